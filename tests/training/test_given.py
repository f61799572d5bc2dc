"""Pruners of somebody's own that give what a pruner should not."""

import math
import sys

import pytest
from replays import SETTINGS, trained

from prunecli.errors import NotFinite
from prunecli.types import Pruner

OWN = """
import torch
from prunecli.types import Pruner

class Own(Pruner):
    def __init__(self, course, *, what: str = ""):
        self.name, weight = next(iter(course.params.items()))
        self.what, self.other = what, torch.ones(3, 2)
        self.given = {
            "mask/list": [self.other],
            "mask/None": None,
            "mask/name": {"no": self.other.bool()},
            "mask/shape": {self.name: self.other.bool()},
            "mask/floats": {self.name: torch.ones_like(weight)},
            "mask/numbers": {self.name: 3},
            "weights/shape": {self.name: self.other},
            "weights/name": {"no": self.other},
            "penalty/shape": weight.abs(),
            "penalty/number": 0.5,
        }
    def mask(self, params, clock):
        return self.given[self.what] if self.what.startswith("mask") else {}
    def weights(self, params, clock):
        return self.given[self.what] if self.what.startswith("weights") else {}
    def penalty(self, params, clock):
        return self.given[self.what] if self.what.startswith("penalty") else None

def flat(weight): return weight.flatten()
def half(model, data): return {n: w[:1] for n, w in model.named_parameters() if w.ndim > 1}
"""
TRAIN = "train --model cnn --dataset digits --dataset-opt fraction=0.1 --epochs 1 --no-eval-epochs"
OWN_PRUNER = f"{TRAIN} -q -o x.safetensors --pruner own_hooks:Own --opt what="
SAID = {
    "mask/list": "a mask that is list, not a dict",
    "mask/None": "a mask that is NoneType, not a dict",
    "mask/name": "a mask of 'no', which is not one of its weights",
    "mask/shape": "a mask of 'conv1.weight' that is bool [3, 2], not bool [20, 1, 5, 5]",
    "mask/floats": "a mask of 'conv1.weight' that is float32 [20, 1, 5, 5], not bool [20, 1, 5, 5]",
    "mask/numbers": "a mask of 'conv1.weight' that is int, not bool [20, 1, 5, 5]",
    "weights/shape": "weights of 'conv1.weight' that is float32 [3, 2], not [20, 1, 5, 5]",
    "weights/name": "weights of 'no', which is not one of its weights",
    "penalty/shape": "a penalty that is float32 [20, 1, 5, 5], not a scalar",
    "penalty/number": "a penalty that is float, not a scalar",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_hooks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_hooks", None)


@pytest.mark.fault(7)
@pytest.mark.parametrize("what", SAID)
def test_a_pruner_that_gives_something_else_is_named(own, prune, what):
    ended = prune(*f"{OWN_PRUNER}{what}".split())
    assert ended.code == 4
    assert ended.err == f"error: the pruner 'Own' gives {SAID[what]}\n"


def test_a_pruner_that_gives_nothing_trains(own, prune):
    assert prune(*f"{OWN_PRUNER}none".split()).code == 0


@pytest.mark.fault(7)
@pytest.mark.parametrize(("method", "form"), [("flat", "[500]"), ("half", "[1, 1, 5, 5]")])
def test_scores_of_another_shape_are_one_error_everywhere(own, prune, checkpoint, method, form):
    wanted = "not real numbers [20, 1, 5, 5]"
    said = f"gives scores of 'conv1.weight' that are float32 {form}, {wanted}"
    opt = f"--pruner gradual --opt density=0.5 --opt method=own_hooks:{method}"
    for command in (
        f"{TRAIN} -q -o x.safetensors {opt}",
        f"score {checkpoint} --method own_hooks:{method} -o s.safetensors",
    ):
        ended = prune(*command.split())
        assert (ended.code, ended.err) == (4, f"error: the method 'own_hooks:{method}' {said}\n")


class Infinite(Pruner):
    """Adds what is no number to a loss that is one, and to no gradient."""

    def penalty(self, params, clock):
        return sum(weight.sum() for weight in params.values()) * 0 + math.inf


def test_a_penalty_that_is_no_number_ends_the_training():
    with pytest.raises(NotFinite, match="in epoch 1, step 1: the loss is not finite"):
        trained(SETTINGS, pruner=lambda *_: Infinite())
