"""Plugins by name: from files, entry points and import paths, with their options' types."""

import importlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal, Optional

import pytest

import prunecli
from prunecli.errors import BadUsage, suggest
from prunecli.plugins import registry

PLUGIN = '''
def scorer(weight, *, power: int = 2, name: str = "x"):
    """Score by a power.

    More words.
    """

scale = 3
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An importable module `mypkg.mod`."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "mod.py").write_text(PLUGIN)
    (tmp_path / "mypkg" / "broken.py").write_text("def broken(:")
    (tmp_path / "mypkg" / "failing.py").write_text("1 / 0")
    (tmp_path / "mypkg" / "ending.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


@pytest.fixture
def installed(monkeypatch):
    """Makes `name="module:attribute"` entry points of the scorers, as other packages would."""

    def install(*pairs):
        points = [EntryPoint(name, value, "prunecli.scorers") for name, value in pairs]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [p for p in points if p.group == group]
        )
        registry.names.cache_clear()

    yield install
    registry.names.cache_clear()


@pytest.mark.parametrize("kind", registry.NOUNS)
def test_a_name_is_a_file(kind):
    files = (Path(prunecli.__file__).parent / kind).glob("*.py")
    own = sorted(f.stem.replace("_", "-") for f in files if not f.stem.startswith("_"))
    assert [name for name, point in registry.names(kind).items() if point is None] == own
    for name in own:
        assert registry.find(kind, name).__name__.replace("_", "-") == name
        assert registry.summary(kind, name)


def test_known_names_are_there():
    assert {"magnitude", "lamp", "random", "snip"} <= registry.names("scorers").keys()
    assert {"cnn", "vgg16", "resnet20", "resnet56"} <= registry.names("models").keys()
    assert {"digits", "mnist", "cifar10", "folder"} <= registry.names("data").keys()


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
    for look in (registry.check_name, registry.find):
        with pytest.raises(BadUsage) as error:
            look(kind, name)
        assert words in str(error.value)


def test_other_packages_add_names(installed, plugin):
    installed(("mine", "mypkg.mod:scorer"))
    assert "mine" in registry.names("scorers")
    assert "mine" not in registry.names("models")
    assert registry.find("scorers", "mine").__module__ == "mypkg.mod"
    assert registry.bind("scorers", "mine", {"power": "3"}) == {"power": 3}
    assert registry.summary("scorers", "mine") == "Score by a power."


@pytest.mark.parametrize(
    "points", [[("lamp", "a:b")], [("x", "c:d"), ("x", "a:b")]], ids=["ours", "theirs"]
)
def test_a_name_defined_twice_is_refused(installed, points):
    installed(*points)
    name = points[0][0]
    for look in (registry.check_name, registry.find):
        with pytest.raises(BadUsage, match=f"'{name}' is defined twice, once by a:b"):
            look("scorers", name)
    assert registry.find("scorers", "magnitude").__name__ == "magnitude"


def test_a_plugin_that_cannot_be_imported_is_listed_as_such(installed, plugin, prune):
    installed(("lost", "mypkg.none:x"), ("failing", "mypkg.failing:x"), ("lamp", "mypkg.mod:x"))
    listed = prune("list", "methods")
    lines = {line.split()[0]: line for line in listed.out.splitlines()}
    assert listed.code == 0
    assert "cannot be used: method 'lost' cannot be imported: ModuleNotFound" in lines["lost"]
    assert "cannot be used: method 'failing' cannot be imported: ZeroDiv" in lines["failing"]
    assert "cannot be used: the method 'lamp' is defined twice, once by mypkg" in lines["lamp"]
    assert "Absolute value of each weight." in lines["magnitude"]


def test_an_import_path_needs_no_registration(plugin, trusting):
    trusting("mypkg.mod:scorer")
    assert registry.find("scorers", "mypkg.mod:scorer").__name__ == "scorer"
    assert registry.bind("scorers", "mypkg.mod:scorer", {"power": "3"}) == {"power": 3}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mypkg.none:scorer", "No module named 'mypkg.none'"),
        ("mypkg.mod:none", "has no attribute 'none'"),
        ("mypkg.mod:", "cannot be imported"),
        (":scorer", "cannot be imported"),
        (".mod:scorer", "cannot be imported"),
        ("mypkg.broken:broken", "cannot be imported: SyntaxError"),
        ("mypkg.failing:x", "cannot be imported: ZeroDivisionError"),
        pytest.param(
            "mypkg.ending:x", "cannot be imported: SystemExit: 0", marks=pytest.mark.fault(41)
        ),
        ("mypkg.mod:scale", "is not a function"),
    ],
)
def test_an_import_path_that_leads_nowhere(plugin, trusting, path, words):
    trusting(path)
    with pytest.raises(BadUsage) as error:
        registry.find("scorers", path)
    assert f"method '{path}'" in str(error.value)
    assert words in str(error.value)


def typed(
    *,
    count: int = 1,
    rate: float = 0.1,
    deep: bool = False,
    word: str = "a",
    limit: int | None = None,
    old: Optional[float] = None,  # noqa: UP045
    label: str | None = None,
    norm: Literal["l1", "l2"] = "l1",
    order: Literal[1, 2] = 1,
    bare="x",
):
    pass


@pytest.fixture
def bind(monkeypatch):
    """Binds one option of `typed`."""
    monkeypatch.setattr(registry, "find", lambda kind, name: typed)
    return lambda option, value: registry.bind("scorers", "typed", {option: value})[option]


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("count", "4", 4),
        ("count", -4, -4),
        ("rate", "0.5", 0.5),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("rate", 2, 2.0),
        ("deep", "true", True),
        ("deep", "false", False),
        ("deep", True, True),
        ("word", "b", "b"),
        ("word", "4", "4"),
        ("word", "[", "["),
        ("word", 4, "4"),
        ("limit", "4", 4),
        ("limit", "null", None),
        ("limit", None, None),
        ("old", "4", 4.0),
        ("old", "null", None),
        ("label", "b", "b"),
        ("label", "null", None),
        ("label", None, None),
        ("norm", "l2", "l2"),
        ("order", "2", 2),
        ("order", 2, 2),
        ("bare", "y", "y"),
    ],
)
def test_text_becomes_the_type_of_the_option(bind, option, value, bound):
    assert bind(option, value) == bound
    assert type(bind(option, value)) is type(bound)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("count", "4.0", "must be a whole number, not '4.0'"),
        ("count", "true", "must be a whole number"),
        ("count", "four", "must be a whole number"),
        ("count", "[", "must be a whole number"),
        ("count", "!!python/object:x 1", "must be a whole number"),
        ("count", None, "must be a whole number"),
        ("rate", "fast", "must be a finite number"),
        ("rate", "true", "must be a finite number"),
        ("rate", True, "must be a finite number"),
        ("rate", "nan", "must be a finite number"),
        ("rate", "inf", "must be a finite number"),
        ("deep", "1", "must be true or false"),
        ("deep", "maybe", "must be true or false"),
        ("word", None, "must be text"),
        ("limit", "x", "cannot be 'x'"),
        ("norm", "l3", "must be one of 'l1', 'l2', not 'l3'"),
        ("order", "3", "must be one of 1, 2, not '3'"),
        ("order", "true", "must be one of 1, 2"),
        ("counts", "4", "has no option 'counts'; did you mean 'count'?"),
    ],
)
def test_what_does_not_fit_is_refused(bind, option, value, words):
    with pytest.raises(BadUsage) as error:
        bind(option, value)
    assert words in str(error.value)
    assert f"'{option}'" in str(error.value)


def test_options_are_the_keyword_only_arguments(monkeypatch):
    def needs(weight, second=2, *, must: int, may: int = 3):
        pass

    assert list(registry.options(needs)) == ["must", "may"]
    monkeypatch.setattr(registry, "find", lambda kind, name: needs)
    assert registry.bind("models", "needs", {"must": "1"}) == {"must": 1}
    with pytest.raises(BadUsage, match="the model 'needs' needs the option 'must'"):
        registry.bind("models", "needs", {"may": 1})
    with pytest.raises(BadUsage, match="has no option 'second'"):
        registry.bind("models", "needs", {"second": 1})


def test_suggestions():
    assert suggest("dnesity", ["density", "seed"]) == "; did you mean 'density'?"
    assert suggest("zzz", ["a", "b"]) == "; there are a, b"
    assert suggest("zzz", []) == "; there are none"


def test_a_function_that_does_not_say_its_arguments_is_refused(trusting):
    trusting("torch")
    with pytest.raises(BadUsage, match="the arguments of .* cannot be told"):
        registry.takes_model(registry.find("scorers", "torch:abs"))
    with pytest.raises(BadUsage, match=r"a scorer takes \(weight\) or \(model, data\)"):
        registry.takes_model(lambda one, two, three: None)


BUILDER = """
from pathlib import Path

Path("imported").touch()

def net(input_shape, classes, *, width: int = 2):
    "A network."

class Net:
    def __init__(self, input_shape, classes):
        pass

def data(root, split, download=False):
    "Images."

def swapped(classes, input_shape):
    Path("called").touch()
"""
HARMFUL = [
    "os:system", "builtins:exec", "builtins:eval", "subprocess:run", "shutil:rmtree",
    "os:remove", "pathlib:Path", "runpy:run_path", "torch:load", "torch.hub:load",
    "importlib:import_module", "mine:swapped", "functools:partial",
]  # fmt: skip


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module `mine` in the current folder, which is where modules are looked for first."""
    (tmp_path / "mine.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("kind", ["models", "data"])
@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_not_written_as_a_model_or_a_data_set_is_none(mine, trusting, name, kind):
    trusting(name)
    with pytest.raises(BadUsage, match=f"{registry.NOUNS[kind]} '{name}'|cannot be told"):
        registry.find(kind, name)
    assert not Path("called").exists()


def test_the_refusal_says_how_it_is_written(mine, trusting):
    trusting("mine")
    with pytest.raises(BadUsage) as error:
        registry.find("models", "mine:swapped")
    assert str(error.value) == (
        "model 'mine:swapped' is not written as one: its first arguments must be input_shape and "
        "classes, as in def swapped(input_shape, classes, *, options)"
    )


@pytest.mark.fault(33)
@pytest.mark.parametrize("kind", registry.NOUNS)
def test_an_import_path_that_nobody_gave_is_not_followed(mine, kind, trusting):
    trusting("min", "mine.net", "mine:data", "mine2", "mine:")
    for look in (registry.find, lambda *names: registry.bind(*names, {})):
        with pytest.raises(BadUsage) as error:
            look(kind, "mine:net")
        assert str(error.value) == (
            f"{registry.NOUNS[kind]} 'mine:net' is named by a file, and nothing that a file names "
            "is imported; if you trust that code, add --trust mine:net"
        )
    assert registry.origin(kind, "mine:net") is None
    assert not Path("imported").exists()
    assert "mine" not in sys.modules


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mypkg", "mypkg.mod:scorer"),
        ("mypkg.mod", "mypkg.mod:scorer"),
        ("mypkg.mod:scorer", "mypkg.mod:scorer"),
    ],
)
def test_a_package_a_module_or_one_path_may_be_trusted(plugin, trusting, name, path):
    trusting(name)
    assert registry.find("scorers", path).__name__ == "scorer"
    with pytest.raises(BadUsage, match="is named by a file"):
        registry.find("scorers", "mypkg2.mod:scorer")


def test_names_that_are_no_paths_need_no_trust(plugin, installed):
    installed(("mine", "mypkg.mod:scorer"))
    assert registry.find("scorers", "mine").__name__ == "scorer"
    assert registry.find("models", "cnn").__name__ == "cnn"
    assert registry.find("models", "torchvision:resnet18")((3, 32, 32), 2) is not None
