"""Recipes of any shape: refused in words or planned, and then as a slow reading of them says."""

import copy
import itertools
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunecli.cli.study.steps import STEPS, check
from prunecli.errors import BadUsage
from prunecli.recipe.parse import scalar
from prunecli.recipe.plan import Checked, plan
from prunecli.recipe.read import read_recipe
from prunecli.recipe.variables import REFERENCE, VARIABLE

SECONDS = 1
"""Of the processor, for one recipe."""
settled = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALID = {
    "version": 1,
    "name": "tiny",
    "vars": {"model": "cnn", "lr": 0.1, "options": {"batches": 2}, "words": ["a", "b"]},
    "matrix": {
        "seed": [0, 1],
        "method": {"A": {"scorer": "magnitude"}, "B": {"scorer": "snip", "lr": 1}},
        "exclude": [{"seed": 0, "method": "A"}],
        "include": [{"seed": 7}],
    },
    "steps": {
        "dense": {"train": {"model": "${model}", "dataset": "digits", "lr": "${lr}"}},
        "mask": {"mask": {"checkpoint": "@dense", "method": "${scorer}", "density": 0.5}},
        "table": {"over": ["seed"], "report": {"results": ["@mask[method=*]", "${words}"]}},
    },
}
ODD = ["@dense", "@mask[*]", "@mask[seed=${seed}]", "@", "${", "${}", "${x}", "${seed}", "../x"]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    plain | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The jobs of a recipe's text, and the options that each would hand to its command."""
    folder = tmp_path_factory.mktemp("recipes")

    def make(text, overrides=None, checker=None):
        path, handed = folder / "r.yaml", []
        path.write_text(text, encoding="utf-8")

        def note(command, options, carried):
            handed.append(options)
            return Checked([], "x")

        jobs = plan(read_recipe(path, overrides or {}, STEPS), folder / "out", checker or note)
        return folder / "out", jobs, handed

    return make


def is_refused_or_planned(planned, text, overrides=None):
    """At once, and in words."""
    began = time.process_time()
    try:
        values = {key: scalar(value) for key, value in (overrides or {}).items()}
        planned(text, values, check)
    except BadUsage as error:
        assert str(error).strip()
    assert time.process_time() - began < SECONDS


@pytest.mark.fault(18)
@settled
@given(text=st.text())
def test_any_text_is_refused_in_words(planned, text):
    is_refused_or_planned(planned, text)
    try:
        scalar(text)
    except BadUsage as error:
        assert "is not a plain YAML value" in str(error)


def places(value, place=()):
    """Where there is something in a document, itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from places(item, (*place, key))


@st.composite
def changed(draw):
    """A valid recipe with something else in a few places, or nothing."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(list(places(document))))
        within = document
        for step in path:
            within = within[step]
        match draw(st.sampled_from(["replaced", "replaced", "gone", "more"])):
            case "replaced":
                within[key] = draw(anything)
            case "gone":
                del within[key]
            case "more" if isinstance(within, dict):
                within[draw(st.sampled_from(["seed", "x", "over", "base", "set"]))] = draw(anything)
            case "more":
                within.append(draw(anything))
        if not list(places(document)):
            break
    return document


@pytest.mark.fault(18)
@settled
@given(
    document=changed(),
    overrides=st.dictionaries(st.sampled_from(["seed", "lr"]), anything.map(json.dumps)),
)
def test_a_recipe_with_anything_in_the_wrong_place_is_refused_in_words(
    planned, document, overrides
):
    is_refused_or_planned(planned, json.dumps(document), overrides)


# Valid ones

NAMES = ["a", "b", "c", "d"]
values = st.lists(st.sampled_from([0, 1, 2, 0.5, -1e-3, True, "x", "../y", "p,q=r", None]),
                  min_size=1, max_size=3, unique_by=str)  # fmt: skip
rows = st.lists(st.sampled_from(["R", "S", "../T"]), min_size=1, max_size=3, unique=True)


@st.composite
def recipes(draw):
    """A document: axes of values and of rows, holes, and steps that use them and each other."""
    axes = {name: draw(values) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))}
    matrix = dict(axes)
    if draw(st.booleans()):
        axes["named"] = draw(rows)
        matrix["named"] = {row: {"sets": n} for n, row in enumerate(axes["named"])}
    hole = st.dictionaries(st.sampled_from(list(axes) or ["none"]), st.none(), min_size=1)
    for _ in range(draw(st.integers(0, 3)) if axes else 0):
        where = {axis: draw(st.sampled_from(axes[axis])) for axis in draw(hole)}
        matrix.setdefault("exclude", []).append(where)
    usable = [*axes, "var", *(["sets"] if "named" in axes else [])]
    steps = {}
    for number in range(draw(st.integers(1, 4))):
        options = {f"o{n}": f"{name} ${{{name}}}" for n, name in
                   enumerate(draw(st.lists(st.sampled_from(usable), max_size=2)))}  # fmt: skip
        for earlier in draw(st.lists(st.sampled_from(list(steps)), unique=True)) if steps else []:
            options[f"from_{earlier}"] = f"@{earlier}{draw(st.sampled_from(['', '', '[*]']))}"
        steps[f"s{number}"] = {"eval": options}
    return {"version": 1, "vars": {"var": 3}, "matrix": matrix, "steps": steps}


def same(one, other):
    """1 is 1.0, but not true, as it is to Python."""
    return one == other and (one is True) == (other is True) and (one is False) == (other is False)


def expected(document):
    """The jobs' names and what each needs, by going through all points for each step."""
    matrix = dict(document["matrix"])
    holes = matrix.pop("exclude", [])
    points = [
        dict(zip(matrix, point, strict=True))
        for point in itertools.product(*(list(values) for values in matrix.values()))
    ]
    points = [p for p in points if not any(all(same(p[a], h[a]) for a in h) for h in holes)]
    used, named, needs = {}, {}, {}
    for step, body in document["steps"].items():
        texts = list(body["eval"].values())
        of = {"sets": "named"}
        here = {of.get(name, name) for text in texts for name in [text.split()[0]] if "$" in text}
        single = [text[1:] for text in texts if text.startswith("@") and "[" not in text]
        gathered = [text[1:-3] for text in texts if text.endswith("[*]")]
        used[step] = (here & set(matrix)).union(*(used[name] for name in single))
        for point in points:
            name = named[step, str(point)] = job_name(step, point, used[step], matrix)
            needs.setdefault(name, set()).update(named[other, str(point)] for other in single)
            shared = {other: used[step] & used[other] for other in gathered}
            for other, axes in shared.items():
                needs[name] |= {
                    job_name(other, q, used[other], matrix)
                    for q in points
                    if all(str(q[axis]) == str(point[axis]) for axis in axes)
                }
    return needs


def job_name(step, point, axes, matrix):
    pairs = [f"{a}={quote(str(point[a]), safe='')}" for a in matrix if a in axes]
    return "/".join(filter(None, [step, ",".join(pairs)]))


@settled
@given(document=recipes())
def test_the_jobs_are_those_of_the_points_that_are_left(planned, document):
    wanted = expected(document)
    if not wanted:
        with pytest.raises(BadUsage, match="'exclude' removes all jobs"):
            planned(json.dumps(document))
        return
    folder, jobs, _ = planned(json.dumps(document))
    assert {job.name: set(job.needs) for job in jobs} == wanted
    assert len({job.output for job in jobs}) == len(jobs) == len(wanted)
    names = [job.name for job in jobs]
    assert all(names.index(need) < names.index(job.name) for job in jobs for need in job.needs)
    for job in jobs:
        assert job.output.resolve().is_relative_to(folder.resolve() / job.step)
        assert len(job.folder.relative_to(folder).parts) == 1 + ("/" in job.name)


text = st.text(
    st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8
)
held = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | text | st.sampled_from(ODD)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
held = held.filter(lambda x: not (VARIABLE.search(str(x)) or REFERENCE.fullmatch(str(x))))

beside = st.text("a $@{}", max_size=3).filter(lambda around: "${" not in around)


@settled
@given(value=held, before=beside, after=beside)
def test_a_variable_alone_keeps_its_type_and_is_text_within_text(planned, value, before, after):
    # The test of the same name in test_plan says it of a few values, this one of any.
    around = f"x{before}", f"{after}y"
    options = {
        "alone": "${v}",
        "listed": ["${v}", "${v}"],
        "within": "${v}".join(around),
        "deep": {"key": "${v}"},
    }
    document = {"version": 1, "vars": {"v": value}, "steps": {"s": {"eval": options}}}
    _, _, [handed] = planned(json.dumps(document))
    for found in (handed["alone"], *handed["listed"], handed["deep"]["key"]):
        assert found == value
        assert type(found) is type(value)
    assert handed["within"] == str(value).join(around)
