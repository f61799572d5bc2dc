import torch

from prunecli.scorers.random import random


def test_the_seed_alone_decides():
    weight = torch.zeros(50, 40)
    assert torch.equal(random(weight, seed=3), random(torch.ones(50, 40), seed=3))
    assert not torch.equal(random(weight, seed=3), random(weight, seed=4))


def test_scores_are_uniform():
    scores = random(torch.zeros(100_000), seed=0)
    assert 0 <= scores.min() < 1e-4
    assert 1 - 1e-4 < scores.max() < 1
    assert abs(scores.mean() - 0.5) < 0.005
    assert abs(scores.var() - 1 / 12) < 0.001
