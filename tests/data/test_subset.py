import pytest
import torch

from prunecli.data._subset import subset
from prunecli.errors import BadUsage
from prunecli.types import Images


def data(counts):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels)).reshape(-1, 1, 1, 1).to(torch.uint8)
    return Images(images, labels, ["a", "b", "c"][: len(counts)], [0.5], [0.5])


def test_the_same_fraction_of_every_class_spread_evenly():
    third = subset(data([9, 6, 1]), "train", 1 / 3)
    assert third.images.flatten().tolist() == [0, 3, 6, 9, 12, 15]
    assert third.labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_the_test_set_stays_whole():
    assert len(subset(data([9, 6]), "test", 0.1).labels) == 15
    assert len(subset(data([9, 6]), "train", 1.0).labels) == 15


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_that_is_none(fraction):
    with pytest.raises(BadUsage, match="above 0 and at most 1"):
        subset(data([9]), "train", fraction)
