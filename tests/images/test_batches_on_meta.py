"""Batches on a device of their own; see `devices`."""

import pytest
import torch
from devices import META, OneDevice

from prunecli.images import batches
from prunecli.images.batches import ImageBatches, ScoringBatches
from prunecli.types import Images, Stream


def images(count=10, streamed=False):
    pixels = torch.zeros(count, 8, 8, 3, dtype=torch.uint8)
    if streamed:
        pixels = Stream(list(range(count)), (8, 8, 3), lambda file, row: row.zero_())
    classes = ["a", "b"]
    return Images(pixels, torch.arange(count) % 2, classes, [0.5] * 3, [0.2] * 3, pad=2, flip=True)


KINDS = {"held": {}, "brought": {}, "streamed": {"streamed": True}}


@pytest.fixture(params=KINDS)
def data(request, monkeypatch):
    monkeypatch.setattr(batches, "has_room", lambda *arguments: request.param == "held")
    return images(**KINDS[request.param])


def check(drawn, sizes):
    assert [tuple(inputs.shape) for inputs, _ in drawn] == [(size, 3, 8, 8) for size in sizes]
    for inputs, labels in drawn:
        assert inputs.device == labels.device == META
        assert inputs.dtype == torch.float32
        assert len(labels) == len(inputs)


def test_training_batches_are_made_on_one_device_without_a_look_at_it(data):
    with OneDevice():
        drawn = list(ImageBatches(data, META, 4).epoch(seed=1))
    check(drawn, [4, 4, 2])
    assert drawn[0][0].is_contiguous(memory_format=torch.channels_last)


def test_plain_batches_are_made_on_one_device_without_a_look_at_it(data):
    with OneDevice():
        check(list(ImageBatches(data, META, 4).plain()), [4, 4, 2])


def test_scoring_batches_are_made_on_one_device_without_a_look_at_it(data):
    made = ScoringBatches((3, 8, 8), lambda: data, META, 4, seed=1)
    with OneDevice():
        check(list(made), [4, 4, 2])
        check([made.per_class(3)], [6])


@pytest.mark.parametrize("batch_size", [2, 10])
def test_the_copies_that_an_epoch_waits_for_are_as_many_whatever_its_batches(data, batch_size):
    made = ImageBatches(data, META, batch_size)
    with OneDevice() as device:
        drawn = made.epoch(seed=1)
        next(drawn)
        before = len(device.moves)
        list(drawn)
    assert before > 0
    assert len(device.moves) == before
