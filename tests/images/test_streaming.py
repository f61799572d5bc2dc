"""Images decoded batch by batch: the very same batches as from memory."""

import threading
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from prunecli.data import _trees
from prunecli.data.folder import folder
from prunecli.errors import BadInput
from prunecli.images.batches import ImageBatches, ScoringBatches, split_off
from prunecli.images.source import fingerprint
from prunecli.images.streaming import AHEAD, decoded
from prunecli.runtime.world import World
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.score import score
from prunecli.steps.train import train
from prunecli.types import Stream

CPU = torch.device("cpu")


@pytest.fixture
def tree(tmp_path):
    """Noise in three classes: 7, 8 and 9 images to train on, 4 of each to test."""
    draw = np.random.default_rng(0)
    for split, counts in (("train", (7, 8, 9)), ("val", (4, 4, 4))):
        for label, count in zip("abc", counts, strict=True):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path


def both(root, split="train", **options):
    return [folder(root, split, size=16, stream=stream, **options) for stream in (False, True)]


def same(one, two):
    pairs = list(zip(one, two, strict=True))
    assert pairs
    for (x, labels), (y, others) in pairs:
        assert torch.equal(x, y)
        assert torch.equal(labels, others)
        assert x.stride() == y.stride()


@pytest.mark.parametrize("options", [{}, {"pad": 0}, {"pad": 0, "flip": False}, {"grey": True}])
@pytest.mark.parametrize("start", [0, 3])
def test_training_batches_are_those_from_memory(tree, options, start):
    held, streamed = (ImageBatches(data, CPU, 5) for data in both(tree, **options))
    same(held.epoch(3, start), streamed.epoch(3, start))


@pytest.mark.parametrize("size", [5, 24, 100])
def test_plain_batches_are_those_from_memory(tree, size):
    held, streamed = (ImageBatches(data, CPU, size) for data in both(tree))
    same(held.plain(), streamed.plain())
    assert sum(len(labels) for _, labels in streamed.plain()) == 24


def test_a_process_without_an_image_in_a_batch_gets_an_empty_one(tree):
    held, streamed = (ImageBatches(data, CPU, 11, World(2, 3)) for data in both(tree))
    assert [len(labels) for _, labels in streamed.epoch(3)] == [3, 3, 0]
    same(held.epoch(3), streamed.epoch(3))


def test_parts_of_a_stream_are_those_of_memory(tree):
    held, streamed = both(tree, fraction=0.5)
    same(ImageBatches(held, CPU, 5).plain(), ImageBatches(streamed, CPU, 5).plain())
    held, streamed = both(tree)
    for one, two in zip(split_off(held, 0.3, 1), split_off(streamed, 0.3, 1), strict=True):
        same(ImageBatches(one, CPU, 5).plain(), ImageBatches(two, CPU, 5).plain())


def test_scoring_batches_are_those_from_memory(tree):
    held, streamed = (
        ScoringBatches(data.input_shape, lambda data=data: data, CPU, 7, 2) for data in both(tree)
    )
    same(held, streamed)
    same([held.per_class(2)], [streamed.per_class(2)])


@pytest.mark.parametrize("pruner", [None, "gmp"])
def test_a_streamed_training_ends_in_the_same_weights(tree, pruner):
    ends = []
    for stream in (False, True):
        options = TrainingSettings(
            model=ModelSettings("resnet20", own_options={"thin": 0.05}),
            data=DataSettings("folder", {"size": 16, "stream": stream}, tree),
            pruner=pruner,
            given={"epochs": 2, "batch_size": 5, "precision": "fp32"},
        )
        ends.append(train(options, RunOptions(output=tree / f"{stream}.safetensors")))
    one, two = map(load_file, ends)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_scores_are_those_from_memory(tree):
    start = TrainingSettings(
        model=ModelSettings("resnet20"),
        data=DataSettings("folder", {"size": 16}, tree),
        given={"epochs": 0},
    )
    checkpoint = train(start, RunOptions(output=tree / "c.safetensors"))
    one, two = (
        score(
            checkpoint,
            ScoreSettings("snip", {}, DataSettings("folder", {"size": 16, "stream": stream}, tree)),
            RunOptions(output=tree / f"{stream}.scores.safetensors"),
        )
        for stream in (False, True)
    )
    ours, theirs = load_file(one), load_file(two)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_would_fill_the_memory_is_streamed(tree, monkeypatch):
    assert isinstance(folder(tree, "train", size=16).images, torch.Tensor)
    monkeypatch.setattr(_trees, "memory", lambda: 2 * 24 * 16 * 16 * 3)
    assert isinstance(folder(tree, "train", size=16).images, torch.Tensor)
    monkeypatch.setattr(_trees, "memory", lambda: 2 * 24 * 16 * 16 * 3 - 2)
    assert isinstance(folder(tree, "train", size=16).images, Stream)
    assert isinstance(folder(tree, "train", size=16, grey=True).images, torch.Tensor)
    assert isinstance(folder(tree, "train", size=16, stream=False).images, torch.Tensor)


def test_an_image_that_cannot_be_read_is_named_when_its_turn_comes(tree):
    bad = tree / "train" / "b" / "3.png"
    bad.write_bytes(bad.read_bytes()[:50])
    streamed = folder(tree, "train", size=16, stream=True)
    with pytest.raises(BadInput, match=r"b/3\.png: not a readable image.*replace") as caught:
        list(ImageBatches(streamed, CPU, 5).plain())
    assert "\n" not in str(caught.value)


@pytest.mark.fault(32)
@pytest.mark.parametrize("batch", [5, 24])  # ahead of time, and when it is needed
def test_an_image_that_is_replaced_after_it_was_hashed_is_named(tree, batch):
    streamed = folder(tree, "train", size=16, stream=True)
    image = tree / "train" / "b" / "3.png"
    image.write_bytes(image.read_bytes())
    with pytest.raises(BadInput, match=r"b/3\.png: it was changed or replaced"):
        list(ImageBatches(streamed, CPU, batch).plain())


def test_images_that_are_not_scaled_are_measured_by_the_first_header(tree, monkeypatch):
    for path in (tree / "train").rglob("*.png"):
        Image.new("RGB", (24, 20)).save(path)  # files of next to nothing
    monkeypatch.setattr(_trees, "memory", lambda: 2 * 24 * 24 * 20 * 3)
    assert isinstance(folder(tree, "train").images, torch.Tensor)
    monkeypatch.setattr(_trees, "memory", lambda: 2 * 24 * 24 * 20 * 3 - 2)
    assert isinstance(folder(tree, "train").images, Stream)


def test_images_of_different_sizes_need_a_size(tree):
    streamed = folder(tree, "train", stream=True)
    with pytest.raises(BadInput, match=r"a/1\.png: its size \(21, 24\) .*\(20, 24\)"):
        list(ImageBatches(streamed, CPU, 24).plain())


def test_a_stream_is_recognised_by_names_and_contents_of_its_files(tree):
    before = fingerprint(folder(tree, "train", size=16, stream=True))
    assert before == fingerprint(folder(Path(str(tree) + "/."), "train", size=16, stream=True))
    assert before != fingerprint(folder(tree, "train", size=15, stream=True))
    (tree / "train" / "a" / "0.png").rename(tree / "train" / "a" / "00.png")
    renamed = fingerprint(folder(tree, "train", size=16, stream=True))
    assert renamed != before
    with (tree / "train" / "a" / "00.png").open("ab") as file:
        file.write(b"x")
    assert fingerprint(folder(tree, "train", size=16, stream=True)) != renamed


@pytest.mark.fault(36)
def test_batches_need_no_other_process_nor_its_shared_memory(tree, monkeypatch):
    monkeypatch.setattr(BaseProcess, "start", lambda process: pytest.fail("a process"))
    data = folder(tree, "train", size=16, stream=True)
    assert len(list(ImageBatches(data, CPU, 5).plain())) == 5


def test_no_more_is_decoded_than_soon_needed_and_nothing_after_the_last_batch(tree):
    images, read = folder(tree, "train", size=16, stream=True).images, []
    counted = replace(images, read=lambda file, row: read.append(file.path))
    batches = decoded(counted, list(torch.arange(24).split(3)), pin=False)
    before = threading.active_count()
    next(batches)
    batches.close()
    assert 3 <= len(read) <= 3 * (1 + AHEAD)
    assert threading.active_count() == before
