"""Which names there are: from files, and from the packages that are installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import prunecli
from prunecli.errors import BadUsage, suggest
from prunecli.plugins.names import NOUNS, check_name, import_path, known, names
from prunecli.plugins.resolve import resolve


def look_up(kind, name):
    return resolve(kind, name, by_file=False)


@pytest.mark.parametrize("kind", NOUNS)
def test_a_name_is_a_file(kind):
    files = (Path(prunecli.__file__).parent / kind).glob("*.py")
    own = sorted(f.stem.replace("_", "-") for f in files if not f.stem.startswith("_"))
    assert [name for name, point in names(kind).items() if point is None] == own
    for name in own:
        assert resolve(kind, name, by_file=False).call.__name__.replace("_", "-") == name
        assert resolve(kind, name, by_file=False).summary


def test_known_names_are_there():
    assert {"magnitude", "lamp", "random", "snip"} <= names("scorers").keys()
    assert {"cnn", "vgg16", "resnet20", "resnet56"} <= names("models").keys()
    assert {"digits", "mnist", "cifar10", "folder"} <= names("data").keys()


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("scorers", "lmap", "there is no method 'lmap'; did you mean 'lamp'?"),
        ("models", "resnet65", "there is no model 'resnet65'; did you mean 'resnet56'?"),
        ("data", "digit", "there is no data set 'digit'; did you mean 'digits'?"),
        ("scorers", "zzz", "there is no method 'zzz'; there are "),
        ("scorers", "_autograd", "there is no method '_autograd'"),
        ("scorers", "../models/cnn", "there is no method '../models/cnn'"),
        ("scorers", "", "there is no method ''"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(kind, name, words):
    for look in (check_name, look_up):
        with pytest.raises(BadUsage) as error:
            look(kind, name)
        assert words in str(error.value)


@pytest.mark.parametrize(
    "points", [[("lamp", "a:b")], [("x", "c:d"), ("x", "a:b")]], ids=["ours", "theirs"]
)
def test_a_name_defined_twice_is_refused(installed, points):
    installed(*points)
    name = points[0][0]
    for look in (check_name, look_up):
        with pytest.raises(BadUsage, match=f"'{name}' is defined twice, once by a:b"):
            look("scorers", name)
    assert resolve("scorers", "magnitude", by_file=False).call.__name__ == "magnitude"


def test_suggestions():
    assert suggest("dnesity", ["density", "seed"]) == "; did you mean 'density'?"
    assert suggest("zzz", ["a", "b"]) == "; there are a, b"
    assert suggest("zzz", []) == "; there are none"


@pytest.mark.parametrize(
    ("name", "module", "symbol"),
    [
        ("grasp-thesis", "prunecli.scorers.grasp_thesis", "grasp_thesis"),
        ("a.b:c", "a.b", "c"),
        ("spaced", "a.b", "c.d"),
    ],
)
def test_where_a_name_leads(installed, name, module, symbol):
    installed(("spaced", "a.b : c.d [extra]"))
    assert import_path("scorers", name) == (module, symbol)


def package(folder, name, points, metadata=True):
    own = folder / f"{name}-1.dist-info"
    own.mkdir(parents=True)
    if metadata:
        (own / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
    (own / "entry_points.txt").write_bytes(points)


ODD = {
    "no value": b"[prunecli.scorers]\nlost\n",
    "no text": b"[prunecli.scorers]\nx = \xff:y\n",
}


@pytest.mark.parametrize("case", ODD)
def test_a_package_of_odd_metadata_is_one_warning_and_the_others_are_there(tmp_path, case):
    package(tmp_path, "odd", ODD[case])
    package(tmp_path, "sound", b"[prunecli.scorers]\nsound = sound:score\nempty =\n")
    (tmp_path / "sound.py").write_text("def score(weight):\n    'By hand.'\n    return weight\n")
    path = os.pathsep.join([str(tmp_path), str(Path(prunecli.__file__).parents[1])])
    # Or torch reads the entry points too, and ends.
    env = {**os.environ, "PYTHONPATH": path, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    command = [sys.executable, "-m", "prunecli", "list", "methods"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("warning: the package 'odd': its entry points cannot be read")
    lines = {line.split()[0]: line for line in ended.stdout.splitlines()}
    assert "By hand." in lines["sound"]
    assert "cannot be used: method 'empty' cannot be imported" in lines["empty"]
    assert "Absolute value of each weight." in lines["magnitude"]


def test_of_a_package_that_is_there_twice_the_first_is_in_use(tmp_path, monkeypatch):
    for folder in ("one", "two"):
        points = f"[prunecli.scorers]\nown = {folder}:score\n"
        package(tmp_path / folder, "twice", points.encode())
    package(tmp_path / "one", "odd", ODD["no value"])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), *sys.path])
    known.cache_clear()
    assert known("scorers").names["own"].value == "one:score"
    assert len(known("scorers").unread) == 1
    assert known("scorers").twice == {}
    known.cache_clear()
