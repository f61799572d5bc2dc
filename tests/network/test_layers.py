import warnings

import torch
from torch import nn
from torch.nn.utils import prune

from prunecli.network.layers import classifier, prunable


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.hidden = nn.Linear(4, 4)
        self.tied = self.hidden
        self.fc = nn.Linear(4, 3)


class _Pair(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.rnn = nn.LSTM(3, width, bidirectional=True, proj_size=2)
        self.head = nn.Linear(4, 2)
        self.head.weight_scale = nn.Parameter(torch.ones(2, 4))


def test_prunable_are_the_weights_of_conv_and_linear_each_once():
    assert list(prunable(Net())) == ["conv.weight", "hidden.weight", "fc.weight"]
    assert list(prunable(nn.Linear(2, 2))) == ["weight"]


def test_a_classifier_that_shares_its_weight_goes_by_the_name_that_is_prunable():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert classifier(model) == "0.weight"
    assert list(prunable(model)) == ["0.weight"]


def test_the_classifier_is_the_last_linear_layer():
    assert classifier(Net()) == "fc.weight"
    assert classifier(nn.Linear(2, 2)) == "weight"
    assert classifier(nn.Conv2d(1, 1, 1)) is None


def test_of_a_layer_its_weights_alone_are_prunable():
    """Not what else begins with `weight`, as the parts of a weight norm do."""
    ends = [f"{name}_l0{way}" for way in ("", "_reverse") for name in ("ih", "hh", "hr")]
    assert set(prunable(_Pair(5))) == {"head.weight", *(f"rnn.weight_{end}" for end in ends)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = nn.utils.weight_norm(nn.Linear(4, 3)), nn.utils.spectral_norm(nn.Linear(4, 3))
    pruned = prune.identity(nn.Linear(4, 3), "weight")
    assert [list(prunable(each)) for each in (*normed, pruned)] == [[], [], []]
