"""The recipes that come with the program: each plans without a fault and says what it is."""

import re
import shlex
from pathlib import Path

import pytest
from results import result

from prunecli.cli.study.steps import STEPS
from prunecli.plugins.resolve import resolve
from prunecli.recipe.parse import scalar
from prunecli.recipe.read import read_recipe
from prunecli.report.matching import paired
from prunecli.report.reference import read_reference
from prunecli.report.rows import grouped

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TABLES = sorted((ROOT / "recipes").glob("*.csv"))


def header(recipe):
    """The comment at the top, without its marks."""
    lines = recipe.read_text().splitlines()
    top = lines[: next(place for place, line in enumerate(lines) if not line.startswith("#"))]
    return "\n".join(line[1:].removeprefix(" ") for line in top)


def commands(recipe):
    return [
        shlex.split(line.partition("#")[0])
        for line in re.sub(r"\\\n\s*", " ", header(recipe)).splitlines()
        if line.strip().startswith("prunecli ")
    ]


def test_there_are_recipes():
    assert {"quickstart", "foresight_mnist"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_plans_without_a_fault_and_needs_no_data(
    recipe, prune, tmp_path, monkeypatch, nothing_written
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prunecli.images.source.Source.load", None)
    with nothing_written():
        ended = prune("run", recipe, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    jobs = [shlex.split(line) for line in ended.out.splitlines()]
    assert {job[0] for job in jobs} == {"prunecli"}
    assert {job[1] for job in jobs} <= set(STEPS)
    outputs = [job[job.index("--output") + 1] for job in jobs]
    assert len(set(outputs)) == len(jobs) >= 3
    assert [job for job in jobs if job[1] == "report"], "a study ends in a report"
    made = set()
    for job, output in zip(jobs, outputs, strict=True):
        needed = {word for word in job if word.startswith("runs/")} - {output}
        assert needed <= made, f"{output} needs what is made later"
        made.add(output)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_for_how_to_run_it_and_how_long_it_takes(recipe):
    text = header(recipe)
    purpose = text.partition("\n")[0]
    assert len(purpose.split()) >= 6, "what the study shows"
    assert re.search(r"\b(seconds?|minutes?|hours?|days?)\b", text), "how long it takes"
    assert commands(recipe), "the command that runs it"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_commands_in_the_header_are_of_this_recipe_and_set_what_it_has(recipe):
    for command in commands(recipe):
        assert command[:3] == ["prunecli", "run", f"recipes/{recipe.name}"]
        more = command[3:]
        given = [more[place + 1] for place, word in enumerate(more) if word == "--set"]
        overrides = {key: scalar(value) for key, value in (pair.split("=", 1) for pair in given)}
        read_recipe(recipe, overrides, STEPS).raise_faults()


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_published_results_are_a_reference_and_say_where_they_are_from(table):
    published = read_reference(table)
    assert len(published) >= 3
    for each in published:
        sizes = (each.compression, each.reached)
        assert all(size is None or size >= 1 for size in sizes)
        assert 0 < (each.top1 or each.top5) <= (each.top5 or 100) <= 100
    lines = table.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(set(published)) == sum(not line.startswith("#") for line in lines) - 1, "a row twice"


def result_of(job, network):
    """A result of a `mask` or `train` command, as its report will call it."""
    values = [(word, job[place + 1]) for place, word in enumerate(job[:-1])]
    given = dict(values)
    own = dict(value.split("=", 1) for word, value in values if word == "--opt")
    if "--pruner" in given:
        name, rounds, kind = given["--pruner"], 1, "pruners"
    else:
        name, kind = given["--method"], "scorers"
        rounds = resolve(kind, name, by_file=False).rounds
    options = dict(resolve(kind, name, own, by_file=False).options)
    ratio = given.get("--compression") or f"{1 / options.pop('density', 1):.12g}"
    fixed = "layer" if name.startswith("fixed-") else "global"
    scope = options.pop("scope", given.get("--scope", fixed))
    facts = {"options": options, "scope": scope, "rounds": rounds}
    return result(name, float(ratio), **facts, **network)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_what_a_recipe_compares_with_is_called_as_its_report_will_call_it(
    recipe, prune, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    jobs = [shlex.split(line) for line in prune("run", recipe, "--dry-run").out.splitlines()]
    references = {job[job.index("--reference") + 1] for job in jobs if "--reference" in job}
    if not references or "quick" in recipe.stem:
        return
    pruned = [job for job in jobs if job[1] == "mask" or "--pruner" in job]
    networks = {
        (j[j.index("--model") + 1], j[j.index("--dataset") + 1]) for j in jobs if "--model" in j
    }
    results = [
        ours
        for model, dataset in networks
        for network in [{"model": model, "dataset": dataset}]
        for ours in [result(None, 1.0, **network), *(result_of(job, network) for job in pruned)]
    ]
    names = {each.method for each in results if each.method}
    published = [
        pair
        for pair in paired(grouped(results), read_reference(Path(references.pop())))
        if pair.theirs and (pair.theirs.method == "dense" or pair.theirs.method.split()[0] in names)
    ]  # others' methods are not here, nor are results of narrower networks
    assert published
    assert [pair.theirs for pair in published if pair.ours is None] == []


CHOOSING = [
    path for path in RECIPES if path.stem.startswith("foresight_") and "mnist" not in path.stem
]


@pytest.mark.parametrize("recipe", CHOOSING, ids=lambda path: path.stem)
def test_a_foresight_study_takes_any_images_with_their_options_and_the_rule(
    recipe, prune, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    more = ("dataset=folder", "data={size: 64, grey: true}", "rule=threshold", "protocol=thesis")
    ended = prune("run", recipe, "--dry-run", *(word for x in more for word in ("--set", x)))
    jobs = [shlex.split(line) for line in ended.out.splitlines()]
    assert all({"size=64", "grey=true"} <= set(job) for job in jobs if "--model" in job)
    assert {job[job.index("--rule") + 1] for job in jobs if job[1] == "mask"} == {"threshold"}
