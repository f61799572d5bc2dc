"""What a pruner may ask for before its training begins: the scores of a method, by its name."""

import pytest
import torch
from torch import nn

from prunecli.data.digits import digits
from prunecli.errors import BadUsage, NotFinite
from prunecli.plugins.plugin import Plugin
from prunecli.training.course import TrainingSet, build_pruner
from prunecli.types import Pruner


@pytest.fixture
def course(tmp_path):
    """The course of a pruner of a small network of 64-bit weights, or of another type."""

    def make(dtype=torch.float64, ignore=()):
        given = []

        def asks(course):
            given.append(course)
            return Pruner()

        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.Linear(4, 10)).to(dtype)
        data = TrainingSet(digits(tmp_path, "train", fraction=0.1), torch.device("cpu"), 0)
        build_pruner(Plugin("pruners", "asks", asks, own=False), model, data, 1, ignore)
        return given[0]

    return make


def test_weights_are_scored_as_they_are_now_and_left_as_they_are(course, tmp_path, monkeypatch):
    (tmp_path / "spoils.py").write_text("def spoils(weight):\n    return weight.abs_().add_(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    asked = course(torch.float32)
    before = {name: weight.detach().clone() for name, weight in asked.params.items()}
    scores = asked.scorer("spoils:spoils")({})
    assert all(torch.equal(scores[name], before[name].abs() + 1) for name in before)
    assert all(torch.equal(weight, before[name]) for name, weight in asked.params.items())


def test_what_a_mask_excludes_scores_as_zero_does(course):
    asked = course()
    mask = {"1.weight": torch.zeros(4, 784, dtype=torch.bool)}
    scores = asked.scorer("magnitude")(mask)
    assert scores["1.weight"].count_nonzero() == 0
    assert torch.equal(scores["2.weight"], asked.params["2.weight"].detach().abs().float())


def test_the_checks_are_those_of_files(course):
    asked = course()
    with torch.no_grad():
        asked.params["1.weight"][0, 0] = 1e300
    with pytest.raises(NotFinite, match=r"'1\.weight' holds values beyond the range of float32"):
        asked.scorer("magnitude")({})
    assert asked.scorer("nonzero")({})["1.weight"][0, 0] == 1


def test_only_weights_that_may_be_pruned_are_scored(course):
    assert list(course(ignore=("2.*",)).scorer("magnitude")({})) == ["1.weight"]
    assert list(course(torch.float32, ignore=("2.*",)).scorer("snip")({})) == ["1.weight"]


def test_a_method_that_is_not_there_is_told_when_it_is_asked_for(course):
    with pytest.raises(BadUsage, match="there is no method 'magnitud'"):
        course().scorer("magnitud")
