"""How many weights are asked for, in any of the ways to say it."""

import pytest

from prunecli.errors import BadUsage
from prunecli.settings.mask import MaskSettings
from prunecli.settings.scoring import ScoringSettings


@pytest.mark.parametrize(
    ("said", "density"),
    [
        ({"density": 0.25}, 0.25),
        ({"sparsity": 0.9}, 0.1),
        ({"sparsity": 0.0}, 1.0),
        ({"compression": 16}, 0.0625),
        ({"critical": True}, None),
        ({"pattern": "2:4"}, None),
        ({"pattern": "unstructured", "density": 0.5}, 0.5),
    ],
)
def test_a_density_is_asked_for_in_many_ways(said, density):
    assert MaskSettings(**said).asked(decides=False) == density


@pytest.mark.parametrize(
    ("said", "decides", "words"),
    [
        ({}, False, "exactly one of"),
        ({"density": 0.5, "sparsity": 0.0}, False, "exactly one of"),
        ({"critical": True, "mask": "m"}, False, "leave --mask out"),
        ({"critical": True, "rule": "threshold"}, False, "leave --rule out"),
        ({"pattern": "2:4", "rule": "threshold"}, False, "leave --rule out"),
        ({"rule": "threshold"}, True, "leave --rule out"),
        (
            {"pattern": "2:4", "scope": "erk"},
            False,
            "--pattern 2:4 decides which weights to keep; leave --scope",
        ),
        ({"pattern": "2:4", "density": 0.5}, False, "leave --density out"),
        (
            {"dense": ("a",)},
            True,
            "--method nonzero decides which weights to keep; leave --dense out",
        ),
        ({"pattern": "unstructured"}, True, "leave --pattern out"),
        ({"rounds": 1}, True, "leave --rounds out"),
        ({"sparsity": 0.0}, True, "leave --sparsity out"),
    ],
)
def test_what_cannot_go_together_is_named(said, decides, words):
    settings = MaskSettings(scoring=ScoringSettings("nonzero"), **said)
    with pytest.raises(BadUsage, match=words):
        settings.asked(decides)


def test_a_preset_stands_for_what_was_not_said():
    whole = MaskSettings(preset="thesis").complete()
    assert (whole.count, whole.scoring.exclude_classifier) == ("model", True)
    assert MaskSettings(preset="thesis", count="scored").complete().count == "scored"
    assert MaskSettings().complete() == MaskSettings()
