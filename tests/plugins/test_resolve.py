"""Plugins by name: from files, entry points and import paths."""

import sys
from pathlib import Path

import pytest

from prunecli.errors import BadUsage, Mismatch
from prunecli.plugins.names import NOUNS, names
from prunecli.plugins.resolve import resolve


def test_other_packages_add_names(installed, plugin):
    installed(("mine", "mypkg.mod:scorer"))
    assert "mine" in names("scorers")
    assert "mine" not in names("models")
    assert resolve("scorers", "mine", by_file=False).call.__module__ == "mypkg.mod"
    assert resolve("scorers", "mine", {"power": "3"}, by_file=False).options == {"power": 3}
    assert resolve("scorers", "mine", by_file=False).summary == "Score by a power."


def test_a_plugin_that_cannot_be_imported_is_listed_as_such(installed, plugin, prune):
    installed(("lost", "mypkg.none:x"), ("failing", "mypkg.failing:x"), ("lamp", "mypkg.mod:x"))
    listed = prune("list", "methods")
    lines = {line.split()[0]: line for line in listed.out.splitlines()}
    assert listed.code == 0
    assert "cannot be used: method 'lost' cannot be imported: ModuleNotFound" in lines["lost"]
    assert "cannot be used: method 'failing' cannot be imported: ZeroDiv" in lines["failing"]
    assert "cannot be used: the method 'lamp' is defined twice, once by mypkg" in lines["lamp"]
    assert "Absolute value of each weight." in lines["magnitude"]


def test_an_import_path_needs_no_registration(plugin):
    assert resolve("scorers", "mypkg.mod:scorer", by_file=False).call.__name__ == "scorer"
    bound = resolve("scorers", "mypkg.mod:scorer", {"power": "3"}, by_file=False)
    assert bound.options == {"power": 3}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mypkg.mod:scorer.none", "has no attribute 'none'"),
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
def test_an_import_path_that_leads_nowhere(plugin, path, words):
    with pytest.raises(BadUsage) as error:
        resolve("scorers", path, by_file=False)
    assert f"method '{path}'" in str(error.value)
    assert words in str(error.value)


HARMFUL = [
    "os:system", "builtins:exec", "builtins:eval", "subprocess:run", "shutil:rmtree",
    "os:remove", "pathlib:Path", "runpy:run_path", "torch:load", "torch.hub:load",
    "importlib:import_module", "mine:swapped", "functools:partial",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["models", "data"])
@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_not_written_as_a_model_or_a_data_set_is_none(mine, name, kind):
    with pytest.raises(BadUsage, match=f"{NOUNS[kind]} '{name}'|cannot be read"):
        resolve(kind, name, by_file=False)
    assert not Path("called").exists()


def test_the_refusal_says_how_it_is_written(mine):
    with pytest.raises(BadUsage) as error:
        resolve("models", "mine:swapped", by_file=False)
    assert str(error.value) == (
        "model 'mine:swapped' has the wrong signature: its first arguments must be input_shape and "
        "classes, as in def swapped(input_shape, classes, *, options)"
    )


def test_what_is_found_by_a_path_within_a_module_s_class(tmp_path, monkeypatch, installed):
    (tmp_path / "mypkg3.py").write_text(
        "class Own:\n    @staticmethod\n    def scorer(weight):\n        return weight\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    installed(("nested", "mypkg3:Own.scorer"), ("extra", "mypkg3:Own.scorer [more]"))
    for name in ("mypkg3:Own.scorer", "nested", "extra"):
        assert resolve("scorers", name, by_file=False).call.__qualname__ == "Own.scorer"


def test_what_is_prunecli_s_own_is_told_apart(plugin, installed):
    installed(("mine", "mypkg.mod:scorer"))
    own = ["snip", "prunecli.scorers.snip:snip"]
    assert all(resolve("scorers", name, by_file=False).own for name in own)
    assert resolve("models", "torchvision:resnet18", by_file=False).own
    others = ["mine", "mypkg.mod:scorer"]
    assert not any(resolve("scorers", name, by_file=False).own for name in others)


def test_options_are_bound_and_given_when_it_is_called():
    unbound = resolve("models", "cnn", by_file=False)
    bound = resolve("models", "cnn", {"thin": "0.5"}, by_file=False)
    assert (unbound.options, bound.options) == ({}, {"thin": 0.5})
    whole, half = (one((1, 28, 28), 10).fc1.out_features for one in (unbound, bound))
    assert (whole, half) == (500, 353)  # floor(sqrt(0.5) * 500)
    with pytest.raises(BadUsage, match="no option 'thn'; did you mean 'thin'"):
        resolve("models", "cnn", {"thn": 1}, by_file=False)
    with pytest.raises(BadUsage, match="needs the option 'density'"):
        resolve("pruners", "gradual", {}, by_file=False)
    assert "density" in resolve("pruners", "gradual", by_file=False).declared


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("scorers", "method 'mypkg4:odd' gives str, not a Tensor"),
        ("models", "model 'mypkg4:odd' gives str, not a torch.nn.Module"),
        ("data", "data set 'mypkg4:odd' gives str, not prunecli.types.Images"),
        ("pruners", "pruner 'mypkg4:odd' gives str, not a prunecli.types.Pruner"),
    ],
)
def test_what_gives_other_things_than_its_kind_is_told(tmp_path, monkeypatch, kind, words):
    arguments = {
        "scorers": "weight",
        "models": "input_shape, classes",
        "data": "root, split, download",
        "pruners": "course",
    }
    (tmp_path / "mypkg4.py").write_text(f"def odd({arguments[kind]}):\n    return 'odd'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mypkg4", raising=False)
    odd = resolve(kind, "mypkg4:odd", by_file=False)
    with pytest.raises(Mismatch, match=words):
        odd(*arguments[kind].split(", "))


def test_whoever_asks_must_say_who_gave_the_name():
    with pytest.raises(TypeError, match="by_file"):
        resolve("scorers", "snip")
