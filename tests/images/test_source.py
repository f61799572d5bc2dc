"""Data sets of somebody's own: used as they are meant, or refused with what is wrong."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prunecli.errors import Mismatch
from prunecli.images.batches import ImageBatches
from prunecli.images.source import fingerprint, sound
from prunecli.types import Images, Stream

CPU = torch.device("cpu")
DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def good():
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 4, 5, 3), generator=draw, dtype=torch.uint8)
    return Images(images, torch.tensor([0, 1, 2, 0, 1, 2]), list("abc"), [0.5] * 3, [0.25] * 3)


def same(one, two):
    assert fingerprint(one) == fingerprint(two)
    ours, theirs = (list(ImageBatches(data, CPU, 4).plain()) for data in (one, two))
    for (x, labels), (y, others) in zip(ours, theirs, strict=True):
        assert torch.equal(x, y)
        assert torch.equal(labels, others)


ALIKE = {
    "as it is": lambda good: good,
    "a view of channels first": lambda good: replace(
        good, images=good.images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    ),
    "every second image": lambda good: replace(
        good, images=good.images.repeat_interleave(2, 0)[::2]
    ),
    "int32 labels": lambda good: replace(good, labels=good.labels.int()),
    "uint8 labels in a column": lambda good: replace(
        good, labels=good.labels.to(torch.uint8)[:, None].expand(6, 2)[:, 0]
    ),
    "tensors and tuples": lambda good: replace(
        good, classes=("a", "b", "c"), mean=torch.full((3,), 0.5), std=(0.25, 0.25, 0.25)
    ),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_what_means_the_same_is_the_same(good, kind):
    same(sound(ALIKE[kind](good), "own"), good)


ODD = {
    "floats": ({"images": torch.rand(6, 4, 5, 3)}, "images that are float32 [6, 4, 5, 3]; they"),
    "rank 3": ({"images": torch.ones(6, 4, 5).byte()}, "images that are uint8 [6, 4, 5]; they"),
    "no tensor": ({"images": [1, 2]}, "images that are list; they must be uint8 [number, height"),
    "channels first": (
        {"images": torch.ones(6, 3, 32, 32).byte()},
        "mean=[0.5, 0.5, 0.5]; it must be a number for each channel (32)",
    ),
    "none": ({"images": torch.ones(0, 4, 5, 3).byte()}, "images of shape [0, 4, 5, 3]; there must"),
    "an empty stream": (
        {"images": Stream([], (4, 5, 3), lambda file, row: None)},
        "images of shape [0, 4, 5, 3]; there must be at least one",
    ),
    "meta": ({"images": torch.ones(6, 4, 5, 3, device="meta").byte()}, "it must be dense"),
    "sparse": ({"labels": torch.arange(6).to_sparse()}, "it must be dense"),
    "several labels": (
        {"labels": torch.ones(6, 3).long()},
        "labels that are int64 [6, 3]; prunecli is for classification: a class for each image",
    ),
    "float labels": ({"labels": torch.ones(6)}, "labels that are float32 [6]; prunecli is for"),
    "truth values": ({"labels": torch.ones(6).bool()}, "labels that are bool [6]; prunecli"),
    "a list of labels": ({"labels": [0, 1, 2, 0, 1, 2]}, "labels that are list; prunecli"),
    "too few labels": ({"labels": torch.ones(5).long()}, "5 labels for 6 images; a class for each"),
    "labels from 1": ({"labels": torch.arange(6) % 3 + 1}, "labels from 1 to 3 for 3 classes"),
    "negative labels": ({"labels": -torch.ones(6).long()}, "labels from -1 to -1 for 3 classes"),
    "a class twice": ({"classes": list("aba")}, "the class 'a' twice"),
    "numbered classes": ({"classes": [0, 1, 2]}, "the class 0; class names must be text"),
    "a number of classes": ({"classes": 3}, "classes of type int; they are a list of names"),
    "a single mean": ({"mean": [0.5]}, "mean=[0.5]; it must be a number for each channel (3)"),
    "a scalar mean": ({"mean": 0.5}, "mean=0.5; it must be a number for each channel"),
    "means of bytes": ({"mean": [125.0] * 3}, "of pixels scaled to [0, 1]"),
    "NaN": ({"mean": [float("nan")] * 3}, "mean=[nan, nan, nan]"),
    "no deviation": ({"std": [0.2, 0.0, 0.2]}, "std=[0.2, 0.0, 0.2]; it must be"),
    "negative pad": ({"pad": -1}, "pad=-1, flip=False; pad is from 0 to"),
    "half a pad": ({"pad": 0.5}, "pad=0.5"),
    "a word for flip": ({"flip": "no"}, "flip='no'"),
}


@pytest.mark.fault(23)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_set_of_labelled_images_is_refused(good, kind):
    fields, words = ODD[kind]
    with pytest.raises(Mismatch, match=r"^data set 'own' gives .* \(docs/data\.md\)$") as caught:
        sound(replace(good, **fields), "own")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documented_data_set_is_one(tmp_path, prune, monkeypatch):
    text = DOCUMENT.read_text()
    [source] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mydata.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    PYTHONPATH=\. python -m prunecli (.*)$", text, re.MULTILINE)
    assert [prune(*line.split()).code for line in commands] == [0, 0]
    sys.modules.pop("mydata")
    [result] = tmp_path.glob("*.json")
    assert '"top1":100' in re.sub(r"\s", "", result.read_text())


def test_every_field_is_documented():
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    assert named == list(Images.__dataclass_fields__)
