"""Axes multiplied out: what would not end is refused before it begins."""

import time
import tracemalloc
from itertools import chain, combinations
from textwrap import dedent

import pytest

from prunecli.cli.study.steps import STEPS
from prunecli.errors import BadUsage
from prunecli.recipe.matrix import MOST
from prunecli.recipe.plan import Checked, plan
from prunecli.recipe.read import MANY, read_recipe

TEN = ", ".join(map(str, range(10)))
STEP = "steps: {s: {eval: {checkpoint: x}}}\n"


def axes(number, values=TEN):
    return "".join(f"  a{n}: [{values}]\n" for n in range(number))


@pytest.fixture
def jobs(tmp_path):
    """The jobs of a recipe, whatever their options."""

    def make(text, **overrides):
        path = tmp_path / "r.yaml"
        path.write_text("version: 1\n" + dedent(text))
        recipe = read_recipe(path, overrides, STEPS)
        return plan(recipe, tmp_path / "out", lambda command, options, carried: Checked([], "x"))

    return make


@pytest.fixture
def at_once():
    """`with at_once():` what takes a second, or 50 MB, fails."""

    class Watch:
        def __enter__(self):
            tracemalloc.start()
            self.began = time.process_time()

        def __exit__(self, *how):
            took, (_, most) = time.process_time() - self.began, tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert took < 1
            assert most < 50e6

    return Watch


ENDLESS = {
    "ten axes of ten": (f"matrix:\n{axes(10)}{STEP}", "up to 10,000,000,000 jobs of a step"),
    "axes that no step uses count": (f"matrix:\n{axes(6)}{STEP}", "up to 1,000,000 jobs of a step"),
    "excluded ones count": (
        f"matrix:\n{axes(10)}  exclude: [{{a0: 1}}, {{a1: 2, a2: 3}}]\n{STEP}",
        "up to 10,000,000,000 jobs of a step",
    ),
    "included ones count": (
        f"matrix:\n{axes(5)}  include: [{{a0: 11}}]\n{STEP}",
        "up to 110,000 jobs of a step",
    ),
    "steps": (
        f"matrix:\n{axes(4)}steps:\n"
        + "".join(f"  s{n}: {{over: [a0, a1, a2, a3], eval: {{c: x}}}}\n" for n in range(11)),
        "the steps make 110,000 jobs",
    ),
}


@pytest.mark.fault(18)
@pytest.mark.parametrize("case", ENDLESS)
def test_what_multiplies_out_without_end_is_refused_at_once(jobs, at_once, case):
    text, words = ENDLESS[case]
    with at_once(), pytest.raises(BadUsage) as error:
        jobs(text)
    [message] = str(error.value).splitlines()
    assert "r.yaml:2: the " in message
    assert f"{words}; the limit is 100,000: remove values" in message


def test_a_number_of_more_digits_than_python_prints(jobs):
    with pytest.raises(BadUsage, match=r"up to 1\.0e\+5000 jobs of a step; the limit is"):
        jobs(f"matrix:\n{axes(5000)}{STEP}")


@pytest.mark.fault(18)
def test_what_set_makes_too_many_is_refused_too(jobs, at_once):
    text = f"matrix:\n{axes(5, '0')}{STEP}"
    assert len(jobs(text)) == 1
    with at_once(), pytest.raises(BadUsage, match="up to 10,000,000 jobs of a step; the limit is"):
        jobs(text, a0=list(range(1000)), a1=list(range(1000)), a2=list(range(10)))


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "command", [["run"], ["run", "--dry-run"], ["run", "--status"], ["recipe", "validate"]]
)
def test_the_command_line_refuses_it_in_one_line(prune, tmp_path, nothing_written, command):
    path = tmp_path / "r.yaml"
    path.write_text(f"version: 1\nmatrix:\n{axes(9)}  a9: [0]\n{STEP}")
    with nothing_written():
        ended = prune(*command, path, "--set", "a9=[0,1,2]")
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert "up to 3,000,000,000 jobs of a step; the limit is 100,000" in ended.err


def test_as_many_as_the_limit_are_planned(jobs):
    text = (
        f"matrix:\n{axes(5)}  exclude: [{{a4: 9}}]\nsteps: {{s: {{over: [a4], eval: {{c: x}}}}}}\n"
    )
    assert MOST == 10**5
    assert [job.name for job in jobs(text)] == [f"s/a4={n}" for n in range(9)]


def test_values_that_python_takes_for_equal_are_two_places(jobs):
    found = jobs("""
        matrix: {x: [1, true], seed: [0]}
        steps:
          a: {over: [x], eval: {c: x}}
          b: {over: [x], eval: {c: "@a"}}
          c: {over: [x], eval: {c: "@a[*]"}}
    """)
    assert {job.name: job.needs for job in found if job.needs} == {
        f"{step}/x={x}": (f"a/x={x}",) for step in "bc" for x in (1, True)
    }


@pytest.mark.fault(18)
def test_after_a_hundred_faults_no_more_are_looked_for(jobs):
    known = "".join(f"  v{n}: 1\n" for n in range(300))
    steps = "".join(f"  s{n}: {{eval: {{c: '${{w{n}}}'}}}}\n" for n in range(1000))
    with pytest.raises(BadUsage) as error:
        jobs(f"vars:\n{known}steps:\n{steps}")
    lines = str(error.value).splitlines()
    assert len(lines) == MANY == 100
    assert "there is no variable 'w0'" in lines[0]


def test_planning_takes_no_longer_per_job_where_there_are_many(jobs):
    text = """
        matrix: {{seed: [{}]}}
        steps:
          a: {{eval: {{c: x, seed: "${{seed}}"}}}}
          b: {{eval: {{c: "@a"}}}}
    """
    few, many = (text.format(", ".join(map(str, range(n)))) for n in (200, 2000))
    times = []
    for recipe in (few, many):
        began = time.process_time()
        jobs(recipe)
        times.append(time.process_time() - began)
    assert times[1] < 30 * times[0]


@pytest.mark.fault(19)
def test_what_excludes_one_leaves_true(jobs):
    text = "matrix: {{a: [1, true, 2], {}}}\nsteps: {{s: {{over: [a], eval: {{c: x}}}}}}\n"
    for changes, names in (
        ("exclude: [{a: 1}]", ["True", "2"]),
        ("exclude: [{a: true}]", ["1", "2"]),
        ("exclude: [{a: 1.0}, {a: 2.0}]", ["True"]),
        ("exclude: [{a: 1}], include: [{a: true}]", ["True", "2"]),
        ("exclude: [{a: false}, {a: 0}, {a: '1'}]", ["1", "True", "2"]),
    ):
        assert [job.name for job in jobs(text.format(changes))] == [f"s/a={a}" for a in names]


@pytest.mark.fault(19)
def test_what_is_included_or_set_as_true_is_not_one(jobs):
    text = "matrix: {a: [1], include: [{a: true}]}\nsteps: {s: {over: [a], eval: {c: x}}}\n"
    assert [job.name for job in jobs(text)] == ["s/a=1", "s/a=True"]
    assert [job.name for job in jobs(text, a=[1])] == ["s/a=1"]
    assert [job.name for job in jobs(text, a=[True])] == ["s/a=True"]


def test_a_value_written_in_two_ways_is_excluded_in_both(jobs):
    text = "matrix: {a: [1, 1.0, 2], exclude: [{a: 1}]}\nsteps: {s: {over: [a], eval: {c: x}}}\n"
    assert [job.name for job in jobs(text)] == ["s/a=2"]


@pytest.mark.fault(18)
def test_thousands_of_entries_that_exclude_take_no_pass_each(jobs):
    names = [f"a{n}" for n in range(14)]
    subsets = chain.from_iterable(combinations(names, size) for size in range(1, 5))
    entries = [f"{{{', '.join(f'{name}: 2' for name in subset)}}}" for subset in subsets]
    text = "".join(f"  {name}: [0, 1]\n" for name in names)
    began = time.process_time()
    found = jobs(f"matrix:\n{text}  exclude: [{', '.join(entries)}, {{a0: 1, a13: 0}}]\n{STEP}")
    assert time.process_time() - began < 15
    assert (len(entries), len(found)) == (1470, 1)


@pytest.mark.fault(18)
@pytest.mark.parametrize("more", ["", "  include: [{b0: 1}, {b1: 1}]\n"])
def test_points_of_thousands_of_axes_are_refused_at_once(jobs, more):
    text = f"matrix:\n{axes(4)}" + "".join(f"  b{n}: [0]\n" for n in range(1000))
    with pytest.raises(BadUsage, match=r"the axes have \d\d,\d\d\d,\d00 values at all points"):
        jobs(f"{text}{more}{STEP}")
