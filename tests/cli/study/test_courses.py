"""A pruner without room in its training is a fault of the recipe, found before anything runs."""

import shlex
from pathlib import Path
from textwrap import dedent, indent

import pytest

GMP = "{train: {checkpoint: '@init', epochs: 6, pruner: gmp, delta: 10}}"
DELTA = "delta=10: it must be from 1 to the 6 epochs of training"


@pytest.fixture
def faults(prune, tmp_path, monkeypatch):
    """`faults(steps)`: what is said of a recipe with these steps, alike by all that plan it."""
    monkeypatch.chdir(tmp_path)

    def tell(steps):
        head = "version: 1\nname: r\nmatrix: {k: [1, 10]}\nsteps:\n"
        start = "  init: {train: {model: cnn, dataset: digits, epochs: 0}}\n"
        Path("r.yaml").write_text(head + start + indent(dedent(steps).strip("\n"), "  "))
        ways = (["recipe", "validate", "r.yaml"], ["run", "r.yaml", "--dry-run"], ["run", "r.yaml"])
        ended = [prune(*way) for way in ways]
        assert ended[0].err == ended[1].err == ended[2].err
        assert {each.code for each in ended} == {2 if ended[0].err else 0}
        return ended[0].err

    return tell


@pytest.mark.parametrize(
    ("pruner", "words"),
    [
        ("pruner: gmp, delta: 7", "delta=7: it must be from 1 to the 6 epochs"),
        ("pruner: gmp, beta: 0", "beta=0"),
        ("pruner: gmp, fraction: 1", "fraction=1"),
        ("pruner: weightmom, density: 0.1", "a window of 15 epochs is longer than the 6"),
        ("pruner: weightmom, density: 0.1, window: 2, events: 9", "at the end of epoch 42"),
        ("pruner: weightmom, density: 2, window: 2", "density=2"),
        ("pruner: weightmom, window: 2", "either a density or a threshold"),
        ("pruner: gradual, density: 0.1, end: 7", "from epoch 0 to 7 does not fit into 6 epochs"),
        ("pruner: gradual, density: 0.1, method: magnitud", "did you mean 'magnitude'?"),
        ("pruner: gradual, density: 0.1, scope: all", "scope='all'"),
        ("pruner: rigl, density: 0.1, every: 0", "every=0"),
        ("pruner: set, density: 0.1, rate: 1.5", "rate=1.5"),
        ("pruner: n2nskip, density: 0", "density=0"),
        ("pruner: fixed-bs, density: 0.1, eps: 0", "eps=0"),
        ("pruner: fixed-ga, density: 1.5", "density=1.5"),
        ("pruner: adaptive, density: 1", "density=1: a budget is above 0 and below 1"),
        ("pruner: adaptive, density: 0.1, lower: 2", "lower=2"),
        ("pruner: adaptive, density: 0.1, start: 1", "start=1"),
        ("pruner: adaptive, density: 0.1, apart: 0.3", "apart=0.3: give LOW:HIGH"),
    ],
)
def test_what_has_no_room_in_the_epochs_is_found_before_anything_runs(faults, pruner, words):
    said = faults(f"  a: {{train: {{checkpoint: '@init', epochs: 6, {pruner}}}}}")
    assert said.startswith("error: r.yaml:6: step 'a': ")
    assert words in said


@pytest.mark.parametrize("pruner", ["fixed-bs", "fixed-ga", "adaptive"])
def test_a_mask_of_the_last_step_needs_one(faults, pruner):
    step = f"{{train: {{checkpoint: '@init', epochs: 0, pruner: {pruner}, density: 0.1}}}}"
    assert "train for at least one epoch" in faults(f"  a: {step}")


def test_the_epochs_are_those_of_the_checkpoint_if_nothing_else_is_said(faults):
    said = faults("""
      dense: {train: {checkpoint: '@init', epochs: 6}}
      m: {mask: {checkpoint: '@dense', method: magnitude, density: 0.5}}
      cut: {apply: {checkpoint: '@dense', mask: '@m'}}
      tuned: {finetune: {checkpoint: '@cut', mask: '@m'}}
      a: {finetune: {checkpoint: '@tuned', pruner: gmp, delta: 10}}
      b: {finetune: {checkpoint: '@tuned', pruner: gmp, delta: 10, epochs: 10}}
    """)
    assert said == f"error: r.yaml:10: step 'a': {DELTA}\n"


def test_the_default_stands_where_there_is_no_checkpoint(faults):
    said = faults(
        "  a: {train: {model: cnn, dataset: digits, pruner: gmp, delta: 11}}\n"
        "  b: {train: {model: cnn, dataset: digits, pruner: gmp, delta: 10}}\n"
    )
    assert (
        said
        == "error: r.yaml:6: step 'a': delta=11: it must be from 1 to the 10 epochs of training\n"
    )


def test_a_file_that_is_there_says_it_and_one_that_is_not_is_left_to_its_job(faults, prune):
    assert prune("train", *shlex.split("--model cnn --dataset digits --epochs 1 -o c.safetensors "
                                       "--dataset-opt fraction=0.1")).code == 0  # fmt: skip
    step = "  a: {finetune: {checkpoint: NAME.safetensors, pruner: gmp, delta: 10}}"
    assert "to the 1 epochs of training" in faults(step.replace("NAME", "c"))
    Path("r.yaml").write_text(Path("r.yaml").read_text().replace("c.safe", "absent.safe"))
    assert prune("recipe", "validate", "r.yaml").code == 0


def test_each_fault_is_told_at_its_line_and_all_at_once(faults):
    said = faults(f"""
      a: {GMP}
      b:
        train:
          checkpoint: '@init'
          pruner: gmp
          delta: '${{k}}'
          epochs: 6
      c: {{train: {{checkpoint: '@init'}}}}
      d: {{eval: {{checkpoint: '@c', thruput: true}}}}
      e: {{finetune: {{checkpoint: '@init', epochs: 1, mask: '@c', pruner: gmp}}}}
      f: {{finetune: {{checkpoint: '@init', epochs: 1, ignore: conv1}}}}
      g: {{train: {{epochs: 1}}}}
    """)
    lines = said.splitlines()
    assert [line.partition("r.yaml:")[2].partition(": ")[0] for line in lines] == [
        "6", "11", "13", "14", "15", "16", "17",
    ]  # fmt: skip
    for line, words in zip(
        lines,
        [DELTA, DELTA, "the checkpoint is untrained", "thruput", "leave --mask out",
         "--ignore needs --pruner", "no model is given"],
        strict=True,
    ):  # fmt: skip
        assert words in line


def test_train_itself_finds_it_before_the_data_is_read(prune, tmp_path, nothing_written):
    line = "train --model cnn --dataset digits --epochs 6 --pruner gmp --opt delta=10 --dry-run"
    with nothing_written():
        ended = prune(*line.split())
    assert (ended.code, DELTA in ended.err) == (2, True)


THEIRS = """
from prunecli.types import Pruner, planned

def check(epochs, *, share):
    1 / (epochs - share)

@planned(check)
def act(course, *, share: int = 0):
    return Pruner()
"""


def test_a_check_of_somebody_else_s_that_fails_is_a_fault_like_others(
    faults, tmp_path, monkeypatch
):
    (tmp_path / "sharing.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    said = faults("""
      a: {train: {checkpoint: '@init', epochs: 6, pruner: 'sharing:act', share: 6}}
      b: {train: {checkpoint: '@init', epochs: 6, pruner: gmp, delta: 10}}
    """)
    assert "r.yaml:6: step 'a': " in said and "ZeroDivisionError" in said
    assert f"r.yaml:7: step 'b': {DELTA}" in said
