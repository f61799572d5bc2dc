"""A study as a shell script: the same outputs, without the study's own machinery."""

import json

import pytest

RECIPE = """
version: 1
name: tiny
vars: {title: "a 'quoted' $title; touch canary"}
matrix: {density: [0.5, 0.1]}
steps:
  init: {train: {model: cnn, dataset: digits, epochs: 0, seed: 3}}
  mask: {mask: {checkpoint: "@init", method: magnitude, density: "${density}"}}
  sparse: {apply: {checkpoint: "@init", mask: "@mask"}}
  result: {eval: {checkpoint: "@sparse"}}
  table: {report: {results: "@result[*]", format: html, title: "${title}"}}
"""


@pytest.fixture
def emitted(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    ended = prune("run", "tiny.yaml", "--emit", "sh")
    assert (ended.code, ended.err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    return ended.out


def test_the_script_is_plain_commands_in_order(emitted):
    lines = emitted.splitlines()
    assert lines[:2] == ["#!/bin/sh", "set -eu"]
    assert lines[2] == "mkdir -p -- runs/tiny/init"
    assert lines[3].startswith("prunecli train --force --output runs/tiny/init/ckpt.safetensors ")
    commands = [line.split()[1] for line in lines if line.startswith("prunecli ")]
    assert commands == ["train", *["mask"] * 2, *["apply"] * 2, *["eval"] * 2, "report"]


def test_it_leaves_the_bytes_that_a_run_leaves(emitted, follow, prune, tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        assert [ended.code for ended in follow(emitted)] == [0] * 8
    assert not (folder / "canary").exists()
    assert prune("run", "tiny.yaml").code == 0
    ours, theirs = (
        {
            str(file.relative_to(root)): file.read_bytes()
            for file in (root / "runs").rglob("*")
            if file.is_file() and file.name != "job.json" and not file.name.endswith(".lock")
        }
        for root in (folder, tmp_path)
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert len(ours) >= 8


def test_a_script_is_no_json(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    ended = prune("run", "tiny.yaml", "--emit", "sh", "--json")
    assert (ended.code, json.loads(ended.out)["exit"]) == (2, 2)
    assert ended.err == "error: --emit and --json exclude each other\n"


def test_a_folder_may_look_like_an_option(prune, follow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    script = prune("run", "tiny.yaml", "--output=-w", "--only", "init", "--emit", "sh").out
    assert [ended.code for ended in follow(script)] == [0]
    assert (tmp_path / "-w/init/ckpt.safetensors").is_file()
