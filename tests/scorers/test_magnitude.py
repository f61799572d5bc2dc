import torch

from prunecli.scorers.magnitude import magnitude


def test_by_hand():
    assert magnitude(torch.tensor([-3.0, 0.5, 0.0])).tolist() == [3.0, 0.5, 0.0]
