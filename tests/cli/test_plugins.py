"""Somebody's own methods, pruners, models and data sets that fail, or give what they should not."""

import json
import sys
from pathlib import Path

import pytest

from prunecli.plugins import blame

OWN = """
import torch
from torch import nn

from prunecli.types import Pruner

def boom(weight): raise RuntimeError("boom\\nand more")
def networked(model, data): raise KeyError("boom")
def nothing(model, data): return None
def bare(weight): return 3
def one(model, data, more): return {}
def odd(weight: "nn.NoSuch"): return weight

def net(input_shape, classes): raise RuntimeError("boom")
def no_net(input_shape, classes): return None

def images(root, split, download=False): return 3
def no_images(root, split, download=False): raise OSError("boom")

def no_pruner(course): return {}
class Late(Pruner):
    def __init__(self, course): pass
    def update(self, params, clock): raise ValueError("boom")
"""
TRAIN = "train --dataset-opt fraction=0.1 --epochs 1 --no-eval-epochs -q -o x.safetensors --model"
SCORE = "score dense.safetensors -o x.safetensors --method"
FAILS = [
    (f"{SCORE} own_plugins:boom", "method 'own_plugins:boom' failed: RuntimeError: boom"),
    (f"{SCORE} own_plugins:networked", "method 'own_plugins:networked' failed: KeyError: 'boom'"),
    (f"{TRAIN} own_plugins:net", "model 'own_plugins:net' failed: RuntimeError: boom"),
    (f"{TRAIN} cnn --pruner own_plugins:Late", "pruner 'own_plugins:Late' failed: ValueError"),
]
GIVES = [
    (f"{SCORE} own_plugins:nothing", "method 'own_plugins:nothing' gives NoneType, not a dict"),
    (f"{SCORE} own_plugins:bare", "method 'own_plugins:bare' gives int, not a Tensor"),
    (f"{TRAIN} own_plugins:no_net", "model 'own_plugins:no_net' gives NoneType, not a torch.nn"),
    (
        "eval dense.safetensors -o x.json --dataset own_plugins:images",
        "data set 'own_plugins:images' gives int, not prunecli.types.Images",
    ),
    (f"{TRAIN} cnn --pruner own_plugins:no_pruner", "'own_plugins:no_pruner' gives dict, not a pr"),
]


@pytest.fixture
def failed(checkpoint, tmp_path, monkeypatch, prune):
    """Runs a command that must fail with `code`; gives its one line on stderr."""
    monkeypatch.chdir(tmp_path)
    Path("own_plugins.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    blame.OTHERS.clear()

    def run(line, code):
        ended = prune(*line.split())
        assert (ended.code, ended.out) == (code, ""), ended.err
        [message] = ended.err.splitlines()
        return message.removeprefix("error: ")

    yield run
    sys.modules.pop("own_plugins", None)


@pytest.mark.parametrize(("line", "words"), FAILS)
def test_one_that_raises_is_named_and_not_taken_for_a_bug_of_prunecli(failed, line, words):
    message = failed(line, 1)
    assert message.startswith(words)
    assert message.endswith("; PRUNECLI_DEBUG=1 shows where")


def test_a_data_set_that_fails_is_one_that_is_not_there(failed):
    message = failed("eval dense.safetensors -o x.json --dataset own_plugins:no_images", 6)
    assert message == (
        "data set 'own_plugins:no_images' failed (OSError: boom); PRUNECLI_DEBUG=1 shows where"
    )


@pytest.mark.parametrize(("line", "words"), GIVES)
def test_one_that_gives_something_else_is_refused(failed, line, words):
    assert words in failed(line, 4)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("one", "method 'own_plugins:one': a scorer takes (weight) or (model, data)"),
        ("odd", "the arguments of 'odd' cannot be read: module 'torch.nn' has no attribute"),
    ],
)
def test_one_that_cannot_be_called_is_named(failed, method, words):
    assert failed(f"{SCORE} own_plugins:{method}", 2).startswith(words)


def test_of_several_in_a_module_the_one_that_was_called_is_named(failed):
    failed(f"{SCORE} own_plugins:bare", 4)
    message = failed(f"{SCORE} own_plugins:boom", 1)
    assert message.startswith("method 'own_plugins:boom' failed: ")


def test_all_whose_hook_it_may_have_been_are_named(failed):
    failed(f"{SCORE} own_plugins:bare", 4)
    message = failed(f"{TRAIN} cnn --pruner own_plugins:Late", 1)
    assert message.startswith("method 'own_plugins:bare' or pruner 'own_plugins:Late' failed: ")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_names_it_too(failed, jobs):
    steps = {
        "init": {"train": {"model": "cnn", "dataset": "digits", "epochs": 0}},
        "scores": {"score": {"checkpoint": "@init", "method": "own_plugins:boom"}},
    }
    Path("r.yaml").write_text(json.dumps({"version": 1, "name": "own", "steps": steps}))
    message = failed(f"run r.yaml -q --jobs {jobs} --threads 1", 8)
    assert "scores failed: method 'own_plugins:boom' failed: RuntimeError: boom; " in message


@pytest.mark.fault(27)
def test_data_that_fail_fail_their_own_job_only(failed, prune):
    study = {
        "matrix": {"data": ["own_plugins:no_images", "digits"]},
        "steps": {"init": {"train": {"model": "cnn", "dataset": "${data}", "epochs": 0}}},
    }
    Path("r.yaml").write_text(json.dumps({"version": 1, "name": "own", **study}))
    message = failed("run r.yaml -o out -q --keep-going", 8)
    assert "1 of 2 jobs failed" in message
    assert "data set 'own_plugins:no_images' failed (OSError: boom); " in message
    assert [path.parent.name for path in Path("out").rglob("*.safetensors")] == ["data=digits"]
    ended = prune("run", "r.yaml", "-o", "out", "--status")
    assert (ended.code, "1 done" in ended.out + ended.err) == (0, True)


def test_what_is_prunecli_s_own_fault_stays_a_bug(failed, monkeypatch):
    monkeypatch.setattr("prunecli.scorers.lamp.lamp", lambda weight: 1 / 0)
    message = failed(f"{SCORE} lamp", 1)
    assert message.startswith("ZeroDivisionError: division by zero; this is a bug")
