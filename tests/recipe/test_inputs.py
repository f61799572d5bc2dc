"""What a data set is recognised by."""

from dataclasses import replace

import pytest
import torch

from prunecli.images.source import fingerprint
from prunecli.types import Images

DATA = Images(
    torch.arange(2 * 4 * 6, dtype=torch.uint8).reshape(2, 4, 6, 1),
    torch.tensor([0, 1]),
    ["cat", "dog"],
    [0.5],
    [0.25],
)


def test_the_same_data_have_the_same_hash_wherever_they_are():
    other = replace(DATA, images=DATA.images.clone(), labels=DATA.labels.clone())
    assert fingerprint(other) == fingerprint(DATA)
    assert fingerprint(replace(DATA, mean=torch.tensor([0.5]))) == fingerprint(DATA)


@pytest.mark.parametrize(
    "change",
    [
        {"images": DATA.images.flip(0)},
        {"images": DATA.images.reshape(2, 6, 4, 1)},
        {"labels": torch.tensor([1, 0])},
        {"classes": ["cat", "fox"]},
        {"classes": ["dog", "cat"]},
        {"mean": [0.4]},
        {"std": [0.3]},
        {"pad": 1},
        {"flip": True},
    ],
)
def test_all_that_a_training_sees_of_data_counts(change):
    assert fingerprint(replace(DATA, **change)) != fingerprint(DATA)
