"""Off a terminal all is plain text: nothing is coloured, cut, wrapped or drawn anew."""

import os
import re
import subprocess
import sys

import pytest

from prunecli.cli import COMMANDS

ENVIRONMENTS = [
    {"NO_COLOR": "1"},
    {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1"},
    {"COLUMNS": "40", "LINES": "5"},
    {"TERM": "dumb"},
    {"TERM": "xterm-256color", "COLORTERM": "truecolor", "FORCE_COLOR": "3", "COLUMNS": "300"},
]
LONG = "a-folder-whose-name-is-so-long-that-no-terminal-of-eighty-columns-has-room-for-it-in-a-line"
RECIPE = """
version: 1
name: tiny
matrix: {density: [0.5, 0.1]}
steps:
  init: {train: {model: cnn, dataset: digits, epochs: 0}}
  mask: {mask: {checkpoint: "@init", method: magnitude, density: "${density}"}}
"""
HELPS = ["", *(str(command.name) for command in COMMANDS), "recipe list", "recipe cp"]
LINES = [
    *(f"{line} --help".strip() for line in HELPS),
    "list methods", "list methods snip", "list models", "recipe list", "recipe cat gmp", "schema",
    f"inspect {LONG}/dense.safetensors",
    f"score {LONG}/dense.safetensors --method lamp --dry-run",
    f"mask {LONG}/dense.safetensors --method random --critical --force -v",
    f"eval {LONG}/dense.safetensors --force",
    f"report {LONG}/dense.eval.json",
    f"report {LONG}/dense.eval.json --format csv",
    f"verify {LONG}/dense.safetensors",
    f"run r.yaml -o {LONG}/study --dry-run",
    f"run r.yaml -o {LONG}/study --status -v",
    f"report {LONG}/none.json",
    f"inspect --nothing {LONG}/none.json",
]  # fmt: skip
DRAWN = re.compile("[\x1b\r\b…]")


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for environment in ENVIRONMENTS:
        for name in environment:
            monkeypatch.delenv(name, raising=False)
    (tmp_path / LONG).mkdir()
    checkpoint.rename(tmp_path / LONG / "dense.safetensors")
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.long
def test_no_setting_of_a_terminal_changes_what_is_said(folder, prune, monkeypatch):
    plain = {line: prune(*line.split()) for line in LINES}
    for line, ended in plain.items():
        assert not DRAWN.search(ended.out + ended.err), line
    for environment in ENVIRONMENTS:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for line in LINES:
                assert prune(*line.split()) == plain[line], (line, environment)


def test_a_long_path_is_one_line(folder, prune):
    path = f"{LONG}/dense.safetensors"
    ended = prune("score", path, "--method", "lamp")
    assert ended.out == f"{LONG}/dense.lamp.scores.safetensors\n"
    assert ended.err.count("\n") == len(ended.err.splitlines())
    assert f"error: {LONG}/none: there is no such file\n" == prune("inspect", f"{LONG}/none").err


def test_the_list_of_commands_has_their_whole_first_sentences(prune):
    told = prune("--help").out
    for command in COMMANDS:
        first = " ".join(command.help.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
        first = first.partition(":")[0]
        assert first in " ".join(told.split()), command.name


@pytest.mark.long
def test_training_and_a_study_say_lines(folder):
    """In processes of their own, with pipes for streams."""
    environment = os.environ | ENVIRONMENTS[1] | {"COLUMNS": "40"}
    for line in (
        "train --model cnn --dataset digits --epochs 2 -o t.safetensors",
        f"run r.yaml -o {LONG}/study --jobs 2 --threads 1 -v",
    ):
        command = [sys.executable, "-m", "prunecli", *line.split()]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert not DRAWN.search(ended.stdout + ended.stderr)
        assert "\n".join(ended.stdout.split()) + "\n" == ended.stdout  # a path in each line
    assert f"{LONG}/study/mask/density=0.5/mask.safetensors" in ended.stdout
    assert "[3/3] mask/density=0.1: mask\n" in ended.stderr
