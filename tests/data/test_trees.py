import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from prunecli import registry
from prunecli.errors import BadEnvironment, BadInput, BadUsage
from prunecli.steps._common import fingerprint


def make_tree(root, classes=("b", "a"), size=(8, 8), colour=True):
    """DATA/{train,test}/CLASS/N.png with pixels that say which image it is."""
    for split in ("train", "test"):
        for label, name in enumerate(sorted(classes)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                value = label * (100 if colour else 20) + number * 10 + (split == "test")
                pixels = np.full((size[1], size[0], 3), value, dtype=np.uint8)
                image = Image.fromarray(pixels if colour else pixels[:, :, 0])
                image.save(folder / f"{number}.png")
    return root


def load(name, root, split="train", **options):
    return registry.find("data", name)(root, split, False, **options)


def test_classes_and_files_come_in_alphabetical_order(tmp_path):
    data = load("folder", make_tree(tmp_path))
    assert data.classes == ["a", "b"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.images[:, 0, 0, 0].tolist() == [0, 10, 20, 100, 110, 120]
    assert data.images.shape == (6, 8, 8, 3)
    assert load("folder", tmp_path, "test").images[0, 0, 0].tolist() == [1, 1, 1]


def test_a_named_data_set_is_read_from_its_tree(tmp_path):
    make_tree(tmp_path / "mnist", tuple("0123456789"), (28, 28), colour=False)
    data = load("mnist", tmp_path)
    assert data.input_shape == (1, 28, 28)
    assert data.labels.tolist() == [label for label in range(10) for _ in range(3)]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_a_data_set_that_is_not_there_names_the_mend(tmp_path, name):
    with pytest.raises(BadEnvironment, match=f"{name}.*--download.*--data-dir"):
        load(name, tmp_path)


def test_a_folder_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(BadEnvironment, match="no such folder; name its parent by --data-dir"):
        load("folder", tmp_path)
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(BadEnvironment, match="no images"):
        load("folder", tmp_path)


def test_hidden_folders_are_no_classes_and_named_sets_have_all_of_theirs(tmp_path):
    make_tree(tmp_path / "mnist", tuple("0123456789"), (28, 28), colour=False)
    (tmp_path / "mnist" / "train" / ".ipynb_checkpoints").mkdir()
    assert load("mnist", tmp_path).labels.max() == 9
    (tmp_path / "mnist" / "train" / "4").rename(tmp_path / "4")
    with pytest.raises(BadInput, match="'mnist' has 10 classes, not 9"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("options", [{"pad": -1}, {"size": 0}])
def test_options_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(BadUsage, match="pad of 0 or more, and size of 1 or more"):
        load("folder", make_tree(tmp_path), **options)


@pytest.mark.fault(22)
def test_whatever_torchvision_makes_of_half_a_download_is_a_missing_data_set(tmp_path, monkeypatch):

    def broken(root, train, download):
        raise AssertionError

    monkeypatch.setattr("torchvision.datasets.MNIST", broken)
    with pytest.raises(BadEnvironment, match=r"not complete \(AssertionError\)"):
        load("mnist", tmp_path)


HALF = {
    "mnist": [
        f"MNIST/raw/{split}-{kind}-ubyte"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ],
    "cifar10": [
        f"cifar-10-batches-py/{name}"
        for name in ["batches.meta", "test_batch", *(f"data_batch_{n}" for n in range(1, 6))]
    ],
}


@pytest.mark.fault(22)
@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("content", [b"", b"half of it", bytes.fromhex("00000803 0000ea60 001c")])
def test_half_a_download_is_a_missing_data_set(tmp_path, name, content):
    for path in HALF[name]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(BadEnvironment, match=r"not complete \(.*\); get it with --download"):
        load(name, tmp_path)
    if name == "cifar10":  # would be downloaded anew, and with it the network be asked
        return
    with pytest.raises(BadEnvironment, match=r"is damaged \(.*\); delete it, try again"):
        registry.find("data", name)(tmp_path, "train", True)


def test_val_stands_in_for_test(tmp_path):
    make_tree(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    assert len(load("folder", tmp_path, "test").labels) == 6


def test_size_scales_the_shorter_side_and_cuts_out_the_middle(tmp_path):
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 200  # the middle third
    Image.fromarray(pixels).save(folder / "0.png")
    Image.fromarray(pixels[:, 10:20]).save(folder / "1.png")
    with pytest.raises(BadInput, match=r"1\.png.*size=64"):
        load("folder", tmp_path)
    data = load("folder", tmp_path, size=5)
    assert data.images.shape == (2, 5, 5, 3)
    assert (data.images[1] == 200).all()
    assert (data.images[0, :, 1:4] == 200).all()


@pytest.mark.fault(22)
def test_a_corrupt_image_is_named(tmp_path):
    make_tree(tmp_path)
    (tmp_path / "train" / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(BadInput, match=r"b.1\.png: not a readable image"):
        load("folder", tmp_path)


def test_a_stream_goes_to_processes_however_they_are_started(tmp_path):
    stream = load("folder", make_tree(tmp_path), stream=True).images
    there = pickle.loads(pickle.dumps(stream))
    assert torch.equal(there.read(there.files[0]), stream.read(stream.files[0]))


def test_decoded_images_are_cached_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNECLI_CACHE", str(tmp_path / "cache"))
    root = make_tree(tmp_path / "data")
    first = load("folder", root)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    monkeypatch.setattr(Image, "open", lambda path: pytest.fail("decoded twice"))
    assert torch.equal(load("folder", root).images, first.images)
    monkeypatch.undo()
    monkeypatch.setenv("PRUNECLI_CACHE", str(tmp_path / "cache"))
    Image.fromarray(np.full((8, 8, 3), 77, dtype=np.uint8)).save(root / "train" / "a" / "0.png")
    assert load("folder", root).images[0, 0, 0, 0] == 77


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_or_unwritable_cache_is_done_without(tmp_path, monkeypatch, damage):
    cache = tmp_path / "cache"
    monkeypatch.setenv("PRUNECLI_CACHE", str(cache))
    root = make_tree(tmp_path / "data")
    if damage is None:
        cache.write_text("a file where the folder should be")
    else:
        load("folder", root)
        next(cache.glob("*.safetensors")).write_bytes(damage)
    assert load("folder", root).images[1, 0, 0, 0] == 10


def test_cifar10_from_torchvisions_own_files(tmp_path, monkeypatch):
    """A stand-in for the pickled batches: what torchvision hands over is what arrives."""

    class Dataset:
        def __init__(self, root, train, download):
            assert (root, download) == (tmp_path, False)
            self.data = np.arange(2 * 32 * 32 * 3, dtype=np.int64).reshape(2, 32, 32, 3) % 256
            # A transposed view, not contiguous: that is how torchvision hands CIFAR over.
            self.data = self.data.astype(np.uint8).transpose(0, 3, 1, 2).copy()
            self.data = self.data.transpose(0, 2, 3, 1)
            self.targets, self.classes = [3, 9], [str(i) for i in range(10)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Dataset)
    data = load("cifar10", tmp_path)
    assert data.images[0, 0, 1].tolist() == [3, 4, 5]
    assert data.labels.tolist() == [3, 9]
    assert data.images.is_contiguous()
    assert len(fingerprint(data)) == 64
    assert (data.pad, data.flip) == (4, True)
