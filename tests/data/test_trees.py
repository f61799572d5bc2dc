import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunecli.data import _trees
from prunecli.data._contents import contents
from prunecli.errors import BadEnvironment, BadInput, BadUsage
from prunecli.files import digest, reading
from prunecli.images.source import _images, fingerprint
from prunecli.plugins.resolve import resolve


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


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Of each test, for images that are alike would be known from others."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PRUNECLI_CACHE", str(folder))
    return folder


def load(name, root, split="train", **options):
    return resolve("data", name, by_file=False)(root, split, False, **options)


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
    with pytest.raises(BadEnvironment, match="no such folder; give its parent with --data-dir"):
        load("folder", tmp_path)
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(BadEnvironment, match="no images"):
        load("folder", tmp_path)


def test_hidden_folders_are_no_classes_and_named_sets_have_all_of_theirs(tmp_path):
    make_tree(tmp_path / "mnist", tuple("0123456789"), (28, 28), colour=False)
    (tmp_path / "mnist" / "train" / ".ipynb_checkpoints").mkdir()
    assert load("mnist", tmp_path).labels.max() == 9
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "mnist" / split / "4")
    with pytest.raises(BadInput, match="'mnist' has 10 classes, not 9"):
        load("mnist", tmp_path)


@pytest.mark.fault(35)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pad": -1}, "pad of 0 or more"),
        ({"size": 0}, "size of 1 to 4096"),
        ({"size": 4097}, "size of 1 to 4096"),
        ({"size": 8, "resize": 7}, "resize from that to 4096"),
        ({"size": 8, "resize": 0}, "resize from that to 4096"),
        ({"size": 8, "resize": 4097}, "resize from that to 4096"),
        ({"resize": 9}, "a size for resize"),
        ({"crop": "random"}, "a size for resize and for crop=random"),
        ({"size": 8, "crop": "random", "stream": False}, "leave out stream=false"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, said):
    for split in ("train", "test"):
        with pytest.raises(BadUsage, match=said):
            load("folder", make_tree(tmp_path / split), split, **options)


@pytest.mark.fault(35)
def test_images_are_shifted_by_no_more_than_their_side(tmp_path):
    assert load("folder", make_tree(tmp_path), pad=8).pad == 8
    with pytest.raises(BadUsage, match="pad=9: it must be at most the images' side, 8"):
        load("folder", tmp_path, pad=9)


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


def test_decoded_images_are_cached_until_a_file_changes(tmp_path, cache, monkeypatch):
    root = make_tree(tmp_path / "data")
    first = load("folder", root)
    assert len(list(cache.glob("*.safetensors"))) == 1
    monkeypatch.setattr(_trees, "fill", lambda *given, **options: pytest.fail("decoded twice"))
    assert torch.equal(load("folder", root).images, first.images)
    monkeypatch.undo()
    monkeypatch.setenv("PRUNECLI_CACHE", str(cache))
    Image.fromarray(np.full((8, 8, 3), 77, dtype=np.uint8)).save(root / "train" / "a" / "0.png")
    assert load("folder", root).images[0, 0, 0, 0] == 77


def test_a_tree_that_was_copied_is_not_decoded_again(tmp_path, monkeypatch):
    first = load("folder", make_tree(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    monkeypatch.setattr(_trees, "fill", lambda *given, **options: pytest.fail("decoded twice"))
    assert torch.equal(load("folder", tmp_path / "two").images, first.images)


def replace_in_silence(root):
    """Swap the images of two classes, by others of the same names, sizes and times."""
    pairs = zip(sorted((root / "a").iterdir()), sorted((root / "b").iterdir()), strict=True)
    for one, two in pairs:
        before = [(path, path.stat().st_mtime_ns) for path in (one, two)]
        ours, theirs = one.read_bytes(), two.read_bytes()
        assert len(ours) == len(theirs)
        one.write_bytes(theirs)
        two.write_bytes(ours)
        for path, time in before:
            os.utime(path, ns=(time, time))


@pytest.fixture
def bitmaps(tmp_path):
    for split in ("train", "test"):
        for label, name in enumerate("ab"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                image = Image.new("RGB", (16, 16), (label * 200, number, 0))
                image.save(folder / f"{number}.bmp")
    return tmp_path


@pytest.mark.fault(38)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tick", [digest.TICK, -digest.TICK])  # nothing is settled, everything is
def test_other_images_of_the_same_names_sizes_and_times_are_seen(
    bitmaps, monkeypatch, stream, tick
):
    monkeypatch.setattr(digest, "TICK", tick)
    before = [load("folder", bitmaps, stream=stream) for _ in range(2)]
    assert fingerprint(before[0]) == fingerprint(before[1])
    replace_in_silence(bitmaps / "train")
    after = load("folder", bitmaps, stream=stream)
    assert fingerprint(after) != fingerprint(before[0])
    if not stream:
        assert after.images[:, 0, 0, 0].tolist() == [200] * 3 + [0] * 3


@pytest.mark.fault(38)
def test_an_evaluation_is_of_the_images_that_are_there(bitmaps, prune):
    given = ["--data-dir", bitmaps, "-q", "--device", "cpu"]
    learn = ["train", "--model", "cnn", "--dataset", "folder", "--dataset-opt", "size=28"]
    prune(*learn, *given, "--epochs", "10", "-o", bitmaps / "c.safetensors")
    tops = []
    for number in range(2):
        _images.cache_clear()  # which each command starts with
        output = bitmaps / f"{number}.json"
        assert prune("eval", bitmaps / "c.safetensors", *given, "-o", output).code == 0
        tops.append(json.loads(output.read_text())["top1"])
        replace_in_silence(bitmaps / "test")
    _images.cache_clear()
    assert tops == [100, 0]


@pytest.mark.fault(32)
@pytest.mark.parametrize("same_size", [True, False])
def test_an_image_that_changes_between_hash_and_decoding_is_named(bitmaps, monkeypatch, same_size):
    image = bitmaps / "train" / "b" / "1.bmp"
    raw = image.read_bytes()

    def then_changed(*given):
        hashes = contents(*given)
        image.write_bytes(raw[:-1] + (b"" if not same_size else b"\x07"))
        return hashes

    monkeypatch.setattr(_trees, "contents", then_changed)
    with pytest.raises(BadInput, match=r"b/1\.bmp: it was changed or replaced while in use"):
        load("folder", bitmaps)


def link_to(target):
    return lambda path: path.symlink_to(target)


ODD = {
    "a pipe": (os.mkfifo, "it is a named pipe; give a regular file"),
    "a device": (link_to("/dev/zero"), "it is a device; give a regular file"),
    "a link to nothing": (link_to("nowhere"), "cannot be read: No such file"),
    "a link to itself": (
        lambda path: path.symlink_to(path.name),
        "cannot be read: Too many levels",
    ),
    "a folder": (Path.mkdir, "cannot be read: Is a directory"),
}


@pytest.mark.fault(35)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["0.png", "9.png"])  # which is the first, and the last
@pytest.mark.parametrize("options", [{}, {"size": 8}, {"size": 8, "stream": True}])
def test_what_is_no_regular_file_is_no_image(tmp_path, kind, name, options):
    make, message = ODD[kind]
    image = make_tree(tmp_path) / "train" / "a" / name
    image.unlink(missing_ok=True)
    make(image)
    with pytest.raises(BadInput, match=rf"a/{name}: {message}"):
        load("folder", tmp_path, **options)


@pytest.mark.fault(35)
@pytest.mark.parametrize("target", ["nowhere", "c"])
def test_a_link_in_place_of_a_class_leads_somewhere(tmp_path, target):
    (make_tree(tmp_path) / "train" / "c").symlink_to(target)
    with pytest.raises(BadInput, match=r"train/c: cannot be read: (No such|Too many levels)"):
        load("folder", tmp_path)


@pytest.mark.parametrize("place", ["x" * 300, "file"])
def test_a_place_that_cannot_be_looked_into_is_a_missing_data_set(tmp_path, place):
    (tmp_path / "file").write_text("")
    for name in ("folder", "mnist"):
        with pytest.raises(BadEnvironment, match=place):
            load(name, tmp_path / place)


@pytest.mark.parametrize("stream", [False, True])
def test_names_need_not_be_text(tmp_path, stream):
    train = make_tree(tmp_path) / "train"
    before = fingerprint(load("folder", tmp_path, stream=stream))
    (train / "a" / "1.png").rename(train / "a" / os.fsdecode(b"\xff.png"))
    data = load("folder", tmp_path, stream=stream)
    assert data.images.shape == (6, 8, 8, 3)
    assert fingerprint(data) != before
    for split in (train, tmp_path / "test"):
        (split / "a").rename(split / os.fsdecode(b"\xfe"))
    assert len(fingerprint(load("folder", tmp_path, stream=stream))) == 64


@pytest.mark.fault(42)
def test_names_of_images_are_printed_escaped(tmp_path):
    (make_tree(tmp_path) / "train" / "a" / "\x1b[31m.png").write_bytes(b"none")
    with pytest.raises(BadInput, match=r"a/\\x1b\[31m\.png: not a readable image") as caught:
        load("folder", tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.fault(36)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_shortage_is_no_fault_of_an_image(tmp_path, monkeypatch, number):
    def short(*given):
        raise OSError(number, os.strerror(number))

    make_tree(tmp_path)
    for place in (reading, _trees):
        with monkeypatch.context() as patch:
            patch.setattr(place.os, "open", short)
            with pytest.raises(BadEnvironment, match="too many files|out of memory"):
                load("folder", tmp_path)


@pytest.mark.fault(36)
def test_memory_that_runs_out_while_decoding_is_no_fault_of_an_image(tmp_path, monkeypatch):
    def short(image, mode):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", short)
    with pytest.raises(BadEnvironment, match="out of memory"):
        load("folder", make_tree(tmp_path), grey=True)


@pytest.mark.fault(36)
def test_what_cannot_be_held_in_memory_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(_trees, "memory", lambda: 6 * 8 * 8 * 3 - 1)
    monkeypatch.setattr(_trees, "contents", lambda *given: pytest.fail("begun"))
    with pytest.raises(
        BadEnvironment, match=r"need 0\.0 GB.*--dataset-opt stream=true, or size=64"
    ):
        load("folder", make_tree(tmp_path), stream=False)
