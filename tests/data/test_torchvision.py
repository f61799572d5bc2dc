"""The data sets from torchvision's own files, some of which are pickles."""

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from prunecli.errors import BadEnvironment
from prunecli.images.source import fingerprint
from prunecli.plugins.resolve import resolve


def load(name, root, split="train", **options):
    return resolve("data", name, by_file=False)(root, split, False, **options)


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """CIFAR-10 of fifty images that torchvision takes for the real one: its place."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def put(name, content):
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    pixels = np.zeros((10, 3072), dtype=np.uint8)
    part = {"data": pixels, "labels": list(range(10))}
    names = [f"data_batch_{number}" for number in range(1, 6)]
    train, test = [[name, put(name, part)] for name in names], [["t", put("t", part)]]
    meta = {"label_names": [str(label) for label in range(10)]}
    described = {"filename": "batches.meta", "key": "label_names", "md5": put("batches.meta", meta)}
    for name, value in (("train_list", train), ("test_list", test), ("meta", described)):
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    return folder


@pytest.mark.fault(33)
@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "t", "batches.meta"])
def test_no_pickle_is_read_that_is_not_the_published_one(batches, tmp_path, name):
    canary = tmp_path / "canary"
    assert load("cifar10", tmp_path).labels.tolist() == 5 * list(range(10))
    (batches / name).write_bytes(pickle.dumps(Canary(canary)))
    for split in ("train", "test"):
        with pytest.raises(BadEnvironment, match="incomplete .*corrupted"):
            load("cifar10", tmp_path, split)
    assert not canary.exists()
    pickle.loads((batches / name).read_bytes())
    assert canary.exists()  # it would have been


@pytest.mark.fault(33)
def test_an_old_file_of_mnists_does_not_run_code(tmp_path):
    folder, canary = tmp_path / "MNIST" / "processed", tmp_path / "canary"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save((Canary(canary), torch.zeros(3)), folder / name)
    with pytest.raises(BadEnvironment, match="'mnist'.*incomplete"):
        load("mnist", tmp_path)
    assert not canary.exists()


def idx(*shape):
    """The head of one of MNIST's files."""
    return struct.pack(f">{1 + len(shape)}i", 0x0800 + len(shape), *shape)


@pytest.mark.fault(22)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (bytes([0, 9]), None),
        (bytes([0, 10]), "do not fit"),
        (bytes([0]), "do not fit"),
        (bytes([0, 1, 2]), "do not fit"),
    ],
)
def test_labels_fit_images_and_classes(tmp_path, labels, message):
    """Of MNIST's files torchvision checks that they are there, and no more."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(2, 28, 28) + bytes(2 * 28 * 28))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(len(labels)) + labels)
    if message is None:
        assert load("mnist", tmp_path).labels.tolist() == [0, 9]
        return
    with pytest.raises(BadEnvironment, match=message):
        load("mnist", tmp_path)


@pytest.mark.fault(22)
def test_whatever_torchvision_makes_of_half_a_download_is_a_missing_data_set(tmp_path, monkeypatch):

    def broken(root, train, download):
        raise AssertionError

    monkeypatch.setattr("torchvision.datasets.MNIST", broken)
    with pytest.raises(BadEnvironment, match=r"incomplete \(AssertionError\)"):
        load("mnist", tmp_path)


@pytest.mark.fault(22)
def test_a_missing_data_set_names_the_mend_and_not_torchvisions_arguments(tmp_path):
    with pytest.raises(BadEnvironment) as error:
        load("mnist", tmp_path)
    assert str(error.value) == (
        f"data set 'mnist' under {tmp_path}: it is missing or incomplete (Dataset not found); "
        "download it with --download or PRUNECLI_DOWNLOAD=1, or give its folder with --data-dir or "
        "PRUNECLI_DATA_DIR"
    )


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
    with pytest.raises(
        BadEnvironment, match=r"missing or incomplete \(.*\); download it with --download"
    ):
        load(name, tmp_path)
    if name == "cifar10":  # would be downloaded anew, and with it the network be asked
        return
    with pytest.raises(BadEnvironment, match=r"are damaged \(.*\); delete it and try again"):
        resolve("data", name, by_file=False)(tmp_path, "train", True)


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


@pytest.mark.parametrize("terminal", [False, True])
def test_a_download_draws_its_bar_on_a_terminal_only(tmp_path, monkeypatch, capsys, terminal):
    class Downloads:
        def __init__(self, root, train, download):
            with datasets.utils.tqdm(total=2) as bar:
                bar.update(1)
            self.data = torch.zeros(10, 28, 28, dtype=torch.uint8)
            self.targets, self.classes = torch.arange(10), [str(label) for label in range(10)]

    monkeypatch.setattr(datasets, "MNIST", Downloads)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert len(load("mnist", tmp_path).labels) == 10
    assert bool(capsys.readouterr().err) == terminal
