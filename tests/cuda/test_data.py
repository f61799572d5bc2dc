"""Images held on the GPU, brought from memory, or streamed from files: the very same batches."""

import numpy as np
import pytest
import torch
from on_gpu import NAME, SMALL, files, pruning, trained
from PIL import Image
from safetensors.torch import load_file

from prunecli.data.folder import folder
from prunecli.images import batches
from prunecli.images.batches import ImageBatches, ScoringBatches
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings
from prunecli.steps.score import score
from prunecli.types import Stream

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def tree(device, tmp_path_factory):
    """Noise in three classes, of several sizes: 120 images to train on, 30 to test."""
    root, draw = tmp_path_factory.mktemp("tree"), np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 10)):
        for label in "abc":
            place = root / split / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (20 + number % 3, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return root


@pytest.fixture
def no_room(monkeypatch):
    """The GPU holds no data set: batches are brought to it one by one."""

    def take():
        monkeypatch.setattr(batches, "has_room", lambda device, size: False)

    return take


@pytest.fixture
def three_ways(tree, device, monkeypatch):
    """The images of a split, in batches of 16, in each of the three ways."""

    def make(split="train", **options):
        images = folder(tree, split, size=18, stream=False, **options)
        held = ImageBatches(images, device, 16)
        with monkeypatch.context() as patch:
            patch.setattr(batches, "has_room", lambda device, size: False)
            brought = ImageBatches(images, device, 16)
        streamed = folder(tree, split, size=18, stream=True, **options)
        assert isinstance(streamed.images, Stream)
        return held, brought, ImageBatches(streamed, device, 16)

    return make


def same(one, other):
    pairs = list(zip(one, other, strict=True))
    assert pairs
    for (x, labels), (y, others) in pairs:
        assert x.device.type == labels.device.type == NAME
        assert torch.equal(x, y)
        assert torch.equal(labels, others)
        assert x.stride() == y.stride()


@pytest.mark.parametrize("options", [{}, {"pad": 0, "flip": False}, {"grey": True}])
@pytest.mark.parametrize("start", [0, 4])
def test_training_batches_are_the_same_from_everywhere(three_ways, options, start):
    held, brought, streamed = three_ways(**options)
    same(held.epoch(3, start), brought.epoch(3, start))
    same(held.epoch(3, start), streamed.epoch(3, start))


def test_test_batches_are_the_same_from_everywhere(three_ways):
    held, brought, streamed = three_ways("test")
    same(held.plain(), brought.plain())
    same(held.plain(), streamed.plain())


def test_training_batches_are_those_of_the_cpu(three_ways, tree):
    images = folder(tree, "train", size=18, stream=False)
    pairs = zip(three_ways()[0].epoch(3), ImageBatches(images, torch.device("cpu"), 16).epoch(3),
                strict=True)  # fmt: skip
    for (ours, labels), (theirs, others) in pairs:
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-6, atol=1e-6)
        assert torch.equal(labels.cpu(), others)


def test_scoring_batches_are_the_same_from_everywhere(tree, device, no_room):
    def taken(stream):
        data = folder(tree, "train", size=18, stream=stream)
        scoring = ScoringBatches(data.input_shape, lambda: data, device, 16, 2)
        return [*scoring, scoring.per_class(3)]

    held, streamed = taken(False), taken(True)
    no_room()
    same(held, streamed)
    same(held, taken(False))


def ways(tree, no_room, folder_of, run):
    """What `run` makes of the images in each way: held, streamed, brought."""
    made = {}
    for way in ("held", "streamed", "brought"):
        if way == "brought":
            no_room()
        source = DataSettings("folder", {"size": 18, "stream": way == "streamed"}, tree)
        made[way] = run(source, folder_of / way / "t.safetensors")
    return made


@pytest.mark.parametrize("pruner", [None, "rigl", "gmp"])
def test_a_training_ends_in_the_same_bytes_wherever_its_images_are(tree, no_room, tmp_path, pruner):
    options = (pruning(pruner) if pruner else SMALL) | {"eval_every_epoch": True}
    made = ways(
        tree,
        no_room,
        tmp_path,
        lambda source, output: trained(output, data=source, settings={"batch_size": 16}, **options),
    )
    assert files(made["held"]) == files(made["brought"])
    one, two = load_file(made["held"]), load_file(made["streamed"])  # whose metadata says so
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_scores_are_the_same_bytes_wherever_the_images_are(tree, no_room, dense, tmp_path):
    checkpoint = trained(
        tmp_path / "start.safetensors",
        data=DataSettings("folder", {"size": 18}, tree),
        settings={"epochs": 0},
        **SMALL,
    )
    made = ways(
        tree,
        no_room,
        tmp_path,
        lambda source, output: score(
            checkpoint, ScoreSettings("snip", {}, source), RunOptions(output=output, device=NAME)
        ),
    )
    assert made["held"].read_bytes() == made["brought"].read_bytes()
    one, two = load_file(made["held"]), load_file(made["streamed"])
    assert all(torch.equal(one[name], two[name]) for name in one)
