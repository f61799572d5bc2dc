"""What a kind of value holds is what its limits say, in Python as on a command line."""

import math

import pytest

from prunecli.settings.kinds import OneOf, Real, Switch, Whole


@pytest.mark.parametrize(
    ("kind", "limits", "held", "others"),
    [
        (Whole(1, 4), "1<=x<=4", [1, 4], [0, 5, True, 2.0, "2", None]),
        (Whole(0), "0<=x<=1000000", [0, 1_000_000], [-1, 1_000_001]),
        (Real(0, 1), "0<x<=1", [1e-9, 0.5, 1], [0, 1.1, math.nan, True, "0.5"]),
        (Real(0, 1, "[)"), "0<=x<1", [0, 0.5], [1, -1e-9]),
        (Real(1, ends="[]"), "x>=1", [1, 1e300], [0.99, math.inf]),
        (Real(0), "x>0", [1e-300], [0, -1.0, math.inf]),
        (OneOf(("a", "b")), None, ["a"], ["c", "", None, 0]),
        (Switch(), None, [True, False], [0, 1, "yes", None]),
    ],
)
def test_a_kind_holds_what_its_limits_say(kind, limits, held, others):
    assert getattr(kind, "limits", None) == limits
    assert all(kind.holds(value) for value in held)
    assert not any(kind.holds(value) for value in others)
