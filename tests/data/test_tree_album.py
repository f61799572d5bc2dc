"""Trees as they come from elsewhere: what is read, what is said of the rest, what is refused."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from prunecli.data import _classes
from prunecli.data._classes import EXTENSIONS
from prunecli.data.folder import folder
from prunecli.data.mnist import mnist
from prunecli.errors import BadEnvironment, BadInput, Mismatch

FIRST = {"train": 0, "test": 1}


def make_tree(root, classes="ab", splits=("train", "test"), side=16):
    """Of classes that are told apart by how bright they are."""
    for split in splits:
        for label, name in enumerate(classes):
            place = root / split / name
            place.mkdir(parents=True)
            for number in range(3):
                shade = 200 * label // len(classes) + 9 * number + FIRST.get(split, 2)
                pixels = np.full((side, side), shade, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PRUNECLI_CACHE", str(tmp_path_factory.mktemp("cache")))


def put(path, content=b"?"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


LEFT = {
    "a/Thumbs.db": "a/Thumbs.db",
    "a/.DS_Store": "a/.DS_Store",
    "a/._0.png": "a/._0.png",
    "b/x.heic": "b/x.heic",
    "b/x.png.part": "b/x.png.part",
    "b/more/0.png": "b/more",
    "0.png": "0.png",
    "labels.csv": "labels.csv",
    "__MACOSX/a/0.png": "__MACOSX",
    ".ipynb_checkpoints/0.png": ".ipynb_checkpoints",
}


@pytest.mark.parametrize("place", LEFT)
def test_what_is_not_read_is_said(tmp_path, place):
    put(make_tree(tmp_path) / "train" / place)
    data = folder(tmp_path, "train")
    assert (len(data.labels), data.classes) == (6, ["a", "b"])
    [note] = data.notes
    assert note.startswith(
        f"{tmp_path}/train: {LEFT[place]!r} not read: images must be in ROOT/CLASS/"
    )
    assert folder(tmp_path, "test").notes == ()


def test_of_much_that_is_not_read_the_count_is_said_and_some_names(tmp_path):
    for number in range(1_200):
        put(tmp_path / "train" / "a" / f"{number:04}.heic", b"")
    for name in "ab":
        put(tmp_path / "train" / name / "0.pgm", b"P5 1 1 255\n7")
    [note] = folder(tmp_path, "train").notes
    assert "1,200 files and folders ('a/0000.heic', 'a/0001.heic', 'a/0002.heic' and 1197" in note


def test_names_that_steer_a_terminal_are_said_escaped(tmp_path):
    put(make_tree(tmp_path) / "train" / "a" / "\x1b[31m")
    put(tmp_path / "train" / "a" / os.fsdecode(b"\xff"))
    [note] = folder(tmp_path, "train").notes
    assert r"'a/\x1b[31m'" in note
    assert r"'a/\udcff'" in note
    assert note.isprintable()


@pytest.mark.parametrize("suffix", EXTENSIONS)
def test_an_image_of_every_suffix_is_read(tmp_path, suffix):
    make_tree(tmp_path)
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "train" / "a" / f"9{suffix.upper()}")
    data = folder(tmp_path, "train")
    assert (len(data.labels), data.notes) == (7, ())


def test_a_jpeg_may_be_called_jfif(tmp_path):
    assert {".jfif", ".jpe", ".jpg", ".jpeg", ".png"} <= set(EXTENSIONS)
    assert ".heic" not in EXTENSIONS
    place = tmp_path / "train" / "a"
    place.mkdir(parents=True)
    Image.new("L", (16, 16), 90).save(place / "0.jfif", "JPEG")
    assert abs(folder(tmp_path, "train", grey=True).images.int() - 90).max() <= 1


EMPTY = {
    "nothing": ([], "nothing; put its images directly into it"),
    "one folder deeper": (["images/0.png"], "no image, only 'c/images'; put its images directly"),
    "of other kinds": (["0.heic", "1.heic"], r"no image, only 'c/0\.heic', 'c/1\.heic'; put"),
    "hidden": ([".0.png"], r"no image, only 'c/\.0\.png'; put"),
}


@pytest.mark.fault(22)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", EMPTY)
def test_a_class_without_images_is_refused(tmp_path, kind, split):
    inside, message = EMPTY[kind]
    make_tree(tmp_path, "abc")
    shutil.rmtree(tmp_path / split / "c")
    (tmp_path / split / "c").mkdir()
    for name in inside:
        put(tmp_path / split / "c" / name)
    with pytest.raises(BadInput, match=f"{split}/c: the folder of this class holds {message}"):
        folder(tmp_path, split)


def test_classes_that_all_lie_deeper_are_said(tmp_path):
    for name in "ab":
        put(tmp_path / "train" / name / "images" / "0.png")
    message = "there are no images in .*/CLASS/, only 'a/images', 'b/images'"
    with pytest.raises(BadEnvironment, match=message):
        folder(tmp_path, "train")


@pytest.mark.fault(23)
@pytest.mark.parametrize("lacks", ["train", "test", "val"])
@pytest.mark.parametrize("asked", [0, 1])
def test_both_splits_have_the_same_classes(tmp_path, lacks, asked):
    other = "val" if lacks == "val" else "test"
    make_tree(tmp_path, "abc", ("train", other))
    shutil.rmtree(tmp_path / lacks / "b")
    has = "train" if lacks == other else other
    message = rf"/{has}: .*/{lacks} lacks its classes 'b'; both must have the same classes"
    with pytest.raises(Mismatch, match=message):
        folder(tmp_path, ["train", "test"][asked])


def test_a_split_may_be_alone(tmp_path):
    make_tree(tmp_path, splits=("train",))
    assert folder(tmp_path, "train").classes == ["a", "b"]
    (tmp_path / "train").rename(tmp_path / "val")
    assert folder(tmp_path, "test").classes == ["a", "b"]


@pytest.mark.fault(23)
def test_a_named_set_has_the_same_classes_in_both_splits(tmp_path):
    make_tree(tmp_path / "mnist", "0123456789", side=28)
    put(tmp_path / "mnist" / "train" / "3" / "x.txt")
    assert len(mnist(tmp_path, "train").notes) == 1
    (tmp_path / "mnist" / "test" / "9").rename(tmp_path / "mnist" / "test" / "nine")
    for split, named in (("train", "'9'"), ("test", "'nine'")):
        with pytest.raises(Mismatch, match=f"lacks its classes {named}"):
            mnist(tmp_path, split)


def test_a_part_keeps_what_is_to_be_said(tmp_path):
    put(make_tree(tmp_path) / "train" / "x")
    assert len(folder(tmp_path, "train", fraction=0.5).notes) == 1


def test_commands_say_once_what_they_did_not_read(tmp_path, prune):
    put(make_tree(tmp_path) / "train" / "a" / "x.heic")
    put(tmp_path / "test" / "b" / "y.heic")
    data, net = ["--data-dir", tmp_path, "--device", "cpu"], tmp_path / "c.safetensors"
    learn = ["train", "--model", "cnn", "--dataset", "folder", "--dataset-opt", "size=28"]
    said = prune(*learn, *data, "--epochs", "1", "-o", net)
    assert (said.code, said.err.count("not read"), said.err.count("warning: ")) == (0, 2, 2)
    assert "train: 'a/x.heic' not read" in said.err
    assert "test: 'b/y.heic' not read" in said.err
    said = prune("eval", net, *data, "-o", tmp_path / "r.json")
    assert (said.code, said.err.count("not read")) == (0, 1)
    rounds = ["mask", net, "--method", "snip", "--density", "0.5", "--rounds", "3"]
    said = prune(*rounds, *data, "-o", tmp_path / "m.safetensors")
    assert (said.code, said.err.count("train: 'a/x.heic' not read")) == (0, 1)


STUDY = """
version: 1
matrix: {tree: [empty, lacks, dangling, loop, locked, odd, fine]}
steps:
  net:
    train:
      {model: cnn, dataset: folder, dataset_opt: {size: 28}, data_dir: "${here}/${tree}",
       epochs: 1, device: cpu}
"""


@pytest.mark.fault(27)
def test_a_tree_that_cannot_be_read_fails_its_own_job_only(tmp_path, prune, monkeypatch):
    for name in ("empty", "lacks", "dangling", "loop", "locked", "odd", "fine"):
        make_tree(tmp_path / name)
    (tmp_path / "empty" / "train" / "c").mkdir()
    shutil.rmtree(tmp_path / "lacks" / "test" / "b")
    (tmp_path / "dangling" / "train" / "a" / "9.png").symlink_to("nowhere")
    (tmp_path / "loop" / "train" / "c").symlink_to("c")
    odd = os.fsdecode(b"\xff")
    for split in ("train", "test"):
        (tmp_path / "odd" / split / "a").rename(tmp_path / "odd" / split / odd)
    locked, opened = tmp_path / "locked" / "train" / "a", os.open

    def denied(path, *how, **more):  # a mode of 000 would not keep root out
        if path == locked:
            raise PermissionError(13, os.strerror(13), str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(_classes.os, "open", denied)
    (tmp_path / "study.yaml").write_text(STUDY)
    said = prune("run", tmp_path / "study.yaml", "-o", tmp_path / "out", "--keep-going")
    assert said.code == 8
    assert "5 of 7 jobs failed" in said.err
    for why in (
        "this class holds nothing",
        "lacks its classes 'b'",
        "9.png: cannot be read: No such file",
        "train/c: cannot be read: Too many levels",
        "locked/train/a: cannot be read: Permission denied",
    ):
        assert said.err.count(why) >= 1
    assert sorted(p.parent.name for p in (tmp_path / "out").rglob("*.safetensors")) == [
        "tree=fine",
        "tree=odd",
    ]
    said = prune("run", tmp_path / "study.yaml", "-o", tmp_path / "out", "--status")
    assert (said.code, "2 done" in said.out + said.err) == (0, True)
