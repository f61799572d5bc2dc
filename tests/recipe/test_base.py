"""A recipe that is another one with other values."""

import pytest

from prunecli.cli.study.steps import STEPS, check
from prunecli.errors import BadInput, BadUsage
from prunecli.recipe.plan import plan
from prunecli.recipe.read import read_recipe

BASE = """version: 1
name: whole
vars: {epochs: 9}
matrix: {seed: [0, 1, 2]}
steps:
  dense: {train: {model: cnn, epochs: "${epochs}", seed: "${seed}"}}
"""


@pytest.fixture
def derived(tmp_path):
    """Jobs of a recipe with that text, beside `whole.yaml`, under command-line settings."""
    (tmp_path / "whole.yaml").write_text(BASE)

    def jobs(text, **settings):
        path = tmp_path / "quick.yaml"
        path.write_text(f"version: 1\n{text}")
        recipe = read_recipe(path, settings, STEPS)
        return recipe.name, plan(recipe, tmp_path, check)

    return jobs


def epochs(jobs):
    return [job.arguments[job.arguments.index("--epochs") + 1] for job in jobs]


def test_it_has_the_steps_of_its_base_and_its_own_name_and_values(derived):
    name, jobs = derived("name: quick\nbase: whole.yaml\nset: {epochs: 2, seed: [7]}\n")
    assert (name, [job.name for job in jobs], epochs(jobs)) == ("quick", ["dense/seed=7"], ["2"])
    name, jobs = derived("base: whole.yaml\n")
    assert (name, epochs(jobs)) == ("quick", ["9"] * 3)


def test_the_command_line_has_the_last_word(derived):
    _, jobs = derived("base: whole.yaml\nset: {epochs: 2, seed: 5}\n", epochs=3)
    assert ([job.name for job in jobs], epochs(jobs)) == (["dense/seed=5"], ["3"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "base: whole.yaml\nset:\n  seed: 1\n  epoch: 2\n",
            r"^\S*/quick.yaml:5: there is no 'epoch' in vars or matrix; did you mean 'epochs'\?$",
        ),
        ("base: whole.yaml\nset:\n  seed: [1, 1]\n", r"quick.yaml:4: the axis 'seed' has a value"),
        ("base: whole.yaml\nset:\n  seed: [1, '${x}']\n", r"quick.yaml:4: 'seed' cannot hold"),
        ("base: whole.yaml\nset:\n  epochs: '@dense'\n", r"quick.yaml:4: 'epochs' cannot hold"),
        ("base: whole.yaml\nset: [2]\n", r"quick.yaml:3: 'set' must be a table"),
        ("base: whole.yaml\nsteps: {}\n", r"quick.yaml:3: there is no key 'steps'"),
        ("base: quick.yaml\n", "a base is a recipe with steps of its own"),
        ("base: whole.yaml\nname: 'a b'\n", r"quick.yaml:3: a name is letters"),
    ],
)
def test_what_is_wrong_is_said(derived, text, words):
    with pytest.raises(BadUsage, match=words):
        derived(text)


def test_a_base_that_is_not_there_is_named(derived):
    with pytest.raises(BadInput, match=r"other\.yaml"):
        derived("base: other.yaml\n")


def test_faults_are_told_where_they_stand(derived):
    with pytest.raises(BadUsage) as error:
        derived("base: whole.yaml\nset: {seed: two, other: 1}\n", epochss=3)
    found = [line.rpartition("/")[2][:50] for line in str(error.value).splitlines()]
    assert found == [
        "quick.yaml:1: --set: there is no 'epochss' in vars",
        "quick.yaml:3: there is no 'other' in vars or matri",
        "whole.yaml:6: step 'dense': Invalid value for '--s",
    ]
