"""Paths that begin with ~, where no shell has seen them."""

import os

import pytest
from click.testing import CliRunner

from prunecli.cli import cli
from prunecli.cli.study.steps import _params
from prunecli.data import _cache

RECIPE = """
version: 1
name: study
steps:
  start:
    train: {model: cnn, dataset: digits, epochs: 0, data_dir: ~/data}
  kept:
    mask: {scores: ~/own.safetensors, method: lamp, density: 0.5}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("option", ["data_dir", "mask", "checkpoint", "output"])
def test_a_path_of_a_command_may_be_in_the_users_folder(home, option):
    text = "~/x y.safetensors"
    given = [text] if option == "checkpoint" else ["c", f"--{option.replace('_', '-')}", text]
    assert str(_params("eval", tuple(given))[option]) == f"{home}/x y.safetensors"


def test_so_may_the_environments(home, monkeypatch):
    monkeypatch.setenv("PRUNECLI_DATA_DIR", "~/data")
    assert _params.__wrapped__("eval", ("c",))["data_dir"] == home / "data"
    monkeypatch.setenv("PRUNECLI_CACHE", "~/cache")
    assert _cache._place("x") == home / "cache" / "x.safetensors"


def test_where_nobody_knows_that_folder_a_path_is_as_it_stands(home, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert str(_params.__wrapped__("eval", ("~/c",))["checkpoint"]) == "~/c"
    ended = CliRunner().invoke(cli, ["list", "methods"])
    assert ended.exit_code == 0


def test_a_recipe_and_the_script_of_it_mean_the_same(home, prune, monkeypatch):
    prune("train", "--model", "cnn", "--epochs", "0", "-q", "-o", "~/own.safetensors")
    assert (home / "own.safetensors").is_file()
    (home / "study.yaml").write_text(RECIPE)
    assert prune("run", "~/study.yaml", "-q", "-o", "~/study").code == 0
    [kept] = (home / "study").glob("kept/mask.safetensors")
    script = prune("run", "~/study.yaml", "--emit", "sh").out
    assert "'~/own.safetensors'" in script
    assert "'~/data'" in script
    (home / "derived.yaml").write_text("version: 1\nname: derived\nbase: ~/study.yaml\n")
    assert prune("recipe", "validate", "~/derived.yaml").code == 0
    prune(
        "train",
        "--model",
        "cnn",
        "--epochs",
        "0",
        "-q",
        "-o",
        "~/own.safetensors",
        "--force",
        "--seed",
        "1",
    )
    assert "kept: waiting" in prune("run", "~/study.yaml", "--status", "-v", "-o", "~/study").out
    assert kept.is_file()


def test_what_another_step_writes_is_found_by_any_name_of_it(home, prune):
    (home / "study.yaml").write_text(RECIPE.replace("~/own", "~/study/start/ckpt"))
    ended = prune("run", "~/study.yaml", "-o", "~/study", "--dry-run")
    assert ended.code == 2
    assert "which step 'start' writes; refer to it as '@start'" in ended.err
