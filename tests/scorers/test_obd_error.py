"""`obd` with as many probes as an error needs."""

import pytest
import torch
from torch import nn

from prunecli.errors import BadUsage
from prunecli.scorers import _hessian
from prunecli.scorers.obd import obd


class Data:
    def __iter__(self):
        draw = torch.Generator().manual_seed(1)
        yield torch.randn(12, 3, generator=draw), torch.arange(12) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def flat(scores):
    return torch.cat([each.flatten() for each in scores.values()])


def wrong_by(seed, **options):
    exact = flat(obd(network(), Data(), hessian="exact"))
    return float((flat(obd(network(), Data(), seed=seed, **options)) - exact).norm() / exact.norm())


@pytest.mark.parametrize("error", [0.5, 0.2])
def test_the_error_is_about_what_was_allowed(error):
    """The root mean square over 8 estimates: it may be a third off, by chance."""
    errors = torch.tensor([wrong_by(seed, probes=2, error=error) for seed in range(8)])
    assert 0.6 * error < errors.square().mean().sqrt() < 1.4 * error


def test_an_error_that_is_reached_anyway_changes_nothing():
    few = flat(obd(network(), Data(), probes=64))
    assert torch.equal(few, flat(obd(network(), Data(), probes=64, error=5.0)))


def test_probes_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(_hessian, "MOST", 20)
    with pytest.raises(BadUsage, match=r"error=0.001: 20 probes reach only 0\.\d+; raise it"):
        obd(network(), Data(), error=0.001)


@pytest.mark.parametrize(
    "options", [{"error": 0.0}, {"error": -1.0}, {"error": 0.1, "hessian": "ggn"}]
)
def test_an_error_that_cannot_be_is_refused(options):
    with pytest.raises(BadUsage, match="it must be above 0, and needs hessian=hutchinson"):
        obd(network(), Data(), **options)


def test_one_probe_does_not_tell_its_error():
    one, two = (flat(obd(network(), Data(), probes=n, error=1e9)) for n in (1, 2))
    assert torch.equal(one, two)
