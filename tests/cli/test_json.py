"""--json: one object on standard output, whatever happens, as the schema says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest

from prunecli import cli as _cli
from prunecli.cli.call import Call
from prunecli.cli.commands.schema import commands
from prunecli.runtime.interrupts import Terminated
from prunecli.steps import inspect as _inspect

RECIPE = """
version: 1
name: tiny
steps:
  init: {train: {model: cnn, dataset: digits, epochs: 0}}
  mask: {mask: {checkpoint: "@init", method: magnitude, density: 0.1}}
  pruned: {apply: {checkpoint: "@init", mask: "@mask"}}
"""
PLUGIN = '''
def loud(weight):
    """Each weight."""
    print("a plugin says hello")
    return weight.abs()
'''
# By command: lines that succeed, in the order in which they can be done.
LINES = {
    "train": ["train --model cnn --dataset digits --epochs 0 -o init.safetensors -q",
              "train --model cnn --dataset digits --dry-run"],
    "score": ["score dense.safetensors --method lamp -o s.safetensors"],
    "mask": ["mask s.safetensors --density 0.1 -o m.safetensors",
             "mask dense.safetensors --method random --density 0.1 --rounds 2 --dry-run"],
    "apply": ["apply dense.safetensors --mask m.safetensors -o p.safetensors",
              "apply foreign/ --mask m.safetensors -o foreign-pruned/"],
    "finetune": ["finetune dense.safetensors --mask m.safetensors --epochs 1 -o f.safetensors -q"],
    "eval": ["eval p.safetensors --histograms", "eval p.safetensors --dry-run --force"],
    "report": ["report p.eval.json", "report p.eval.json --format json", "report p.eval.json "
               "--format html", "report p.eval.json --format csv"],
    "run": ["run r.yaml --status", "run r.yaml --dry-run", "run r.yaml", "run r.yaml --status"],
    "list": [*(f"list {kind}" for kind in ("methods", "pruners", "models", "datasets")),
             "list methods snip"],
    "inspect": [f"inspect {name}" for name in ("dense.safetensors", "foreign", "s.safetensors",
                                               "m.safetensors", "f.safetensors")],
    "verify": ["verify p.safetensors --mask m.safetensors",
               "verify runs/tiny/pruned/ckpt.safetensors --recipe r.yaml"],
    "schema": ["schema"],
    "recipe list": ["recipe list"],
    "recipe cat": ["recipe cat gmp"],
    "recipe cp": ["recipe cp gmp there"],
    "recipe validate": ["recipe validate r.yaml"],
    "recipe schema": ["recipe schema"],
}  # fmt: skip


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.safetensors").write_bytes(checkpoint.read_bytes())
    return tmp_path


@pytest.fixture(scope="session")
def schema():
    context = click.Context(_cli.cli)
    with context:
        found = json.loads(_text_of_schema(context))
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def _text_of_schema(context):
    from prunecli.cli.schema import answers_schema

    return json.dumps(answers_schema({each.title: each.answer for each in commands(context)}))


@pytest.fixture
def valid(schema):
    """Reads the one object that a command printed, and checks it by the schema of its own."""

    def read(out, title):
        assert out.count("\n") == 1 and out.endswith("\n")
        found = json.loads(out)
        own = {"$ref": f"#/$defs/{title.replace(' ', '-')}", "$defs": schema["$defs"]}
        jsonschema.Draft202012Validator(own).validate(found)
        jsonschema.Draft202012Validator(schema).validate(found)  # and no other one fits
        return found

    return read


@pytest.mark.long
def test_every_command_prints_what_its_schema_says(folder, prune, valid):
    assert set(LINES) == {each.title for each in commands(click.Context(_cli.cli))}
    for title, lines in LINES.items():
        for line in lines:
            ended = prune(*line.split(), "--json")
            assert ended.code == 0, (line, ended)
            found = valid(ended.out, title)
            assert list(found)[:2] == ["command", "output"]
            output = found["output"]
            written = not ("--dry-run" in line or "--status" in line)
            assert output is None or Path(output).exists() or not written, line


def test_the_schema_is_printed_as_it_is(prune, schema, valid):
    assert json.loads(prune("schema").out) == schema
    assert valid(prune("schema", "--json").out, "schema")["schema"] == schema


def test_a_schema_is_of_what_is_printed_and_of_nothing_else(schema):
    own = jsonschema.Draft202012Validator(schema)
    good = {"command": "recipe validate", "output": None, "name": "x", "steps": 1, "jobs": 2}
    assert own.is_valid(good)
    assert not own.is_valid(good | {"command": "recipe list"})
    assert not own.is_valid(good | {"jobs": "two"})
    assert not own.is_valid(good | {"more": 1})
    assert not own.is_valid({key: good[key] for key in good if key != "output"})
    bad = {"error": "x", "mend": None, "exit": 2, "kind": "BadUsage"}
    assert own.is_valid(bad)
    assert not own.is_valid(bad | {"exit": 9})
    assert not own.is_valid(bad | {"kind": "Other"})
    result = {"command": "eval", "output": "r.json", "dry_run": False, "result": {"top1": 1}}
    assert not own.is_valid(result)


# Failures


FAILURES = [
    ("train --mdl cnn", 2, "BadUsage", "No such option '--mdl'.", "see '"),
    ("train --epochs many", 2, "BadUsage", "Invalid value for '--epochs'", "see '"),
    ("eval", 2, "BadUsage", "Missing argument 'CHECKPOINT'.", "see '"),
    ("list methods snap", 2, "BadUsage", "there is no method 'snap'", "did you mean 'snip'?"),
    ("mask x --amount 0.5", 2, "BadUsage", "Use --sparsity.", "see '"),
    ("scroe", 2, "BadUsage", "No such command 'scroe'", "see '"),
    ("recipe lst", 2, "BadUsage", "No such command 'lst'", "see '"),
    ("recipe cp gmp -", 2, "BadUsage", "standard output is for the paths", "give a file"),
    (
        "report r.yaml", 3, "BadInput",
        "r.yaml: it is not JSON", "give a file that 'prunecli eval' wrote",
    ),
    ("inspect none", 3, "BadInput", "none: there is no such file", None),
    ("run wrong.yaml", 2, "BadUsage", "wrong.yaml:4: ", None),
    ("score dense.safetensors --method lamp -o dense.safetensors", 2, "BadUsage",
     "dense.safetensors: the output is one of the inputs", "give another with -o"),
    ("verify dense.safetensors --mask dense.safetensors", 3, "BadInput",
     "a mask file is needed here", "'prunecli mask' makes a mask from a checkpoint"),
    ("recipe cp r.yaml .", 5, "BadOutput", "it already exists", "overwrite it with --force"),
    ("run failing.yaml -q", 8, "JobsFailed", "job init failed: ", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "kind", "what", "mend"), FAILURES, ids=[line for line, *_ in FAILURES]
)
def test_a_failure_is_an_object_too(folder, prune, valid, line, code, kind, what, mend):
    head = "version: 1\nsteps:\n"
    Path("wrong.yaml").write_text(
        f"{head}  a: {{train: {{modl: 1}}}}\n  b: {{mask: {{dens: 1}}}}\n"
    )
    Path("failing.yaml").write_text(f"{head}  init: {{eval: {{checkpoint: none.safetensors}}}}\n")
    plain = prune(*line.split())
    ended = prune(*line.split(), "--json")
    assert (ended.code, ended.err) == (code, plain.err)
    assert plain.code == code
    found = valid(ended.out, "Failure")
    assert (found["exit"], found["kind"]) == (code, kind)
    if line != "run wrong.yaml":  # whose lines are in no other order
        assert what in found["error"]
    if mend and mend.startswith("see"):
        assert found["mend"].startswith("see '") and found["mend"].endswith("--help'")
    else:
        assert found["mend"] == mend or line == "run failing.yaml -q"


def test_several_faults_are_lines_of_one_error(folder, prune, valid):
    Path("r.yaml").write_text("version: 1\nsteps:\n  a: {train: {modl: 1}}\n  b: {mask: {d: 1}}\n")
    ended = prune("recipe", "validate", "r.yaml", "--json")
    found = valid(ended.out, "Failure")
    assert len(found["error"].splitlines()) == ended.err.count("error: ") > 1
    assert "did you mean 'model'?" in found["error"] and found["mend"] is None


def raises(error):
    def step(*arguments):
        raise error

    return step


@pytest.mark.parametrize(
    ("error", "code", "kind", "what"),
    [
        (KeyboardInterrupt(), 130, "Interrupted", "interrupted"),
        (Terminated(143), 143, "Killed", "terminated"),
        (MemoryError(), 6, "BadEnvironment", "out of memory"),
        (ZeroDivisionError("1 / 0"), 1, "PruneError", "ZeroDivisionError: 1 / 0"),
        (SystemExit(0), 1, "PruneError", "SystemExit: 0"),
    ],
)
def test_so_is_what_nobody_foresaw(folder, prune, valid, monkeypatch, error, code, kind, what):
    monkeypatch.setattr(_inspect, "inspect", raises(error))
    ended = prune("inspect", "dense.safetensors", "--json")
    found = valid(ended.out, "Failure")
    assert (ended.code, found["exit"], found["kind"], found["error"]) == (code, code, kind, what)


def test_a_reader_that_is_gone_is_told_nothing(folder):
    line = f"{sys.executable} -m prunecli list methods --json"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(line.split(), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


# Where --json stands


@pytest.mark.parametrize(
    "line",
    ["--json recipe list", "recipe --json list", "recipe list --json", "--json recipe --json list"],
)
def test_json_may_stand_anywhere(prune, valid, line):
    assert len(valid(prune(*line.split()).out, "recipe list")["recipes"]) > 10


@pytest.mark.parametrize(
    "line",
    ["--json", "--json recipe", "train --json --mdl x", "train --mdl x --json", "--json scroe",
     "recipe --json", "--json --nothing", "eval --json=yes"],
)  # fmt: skip
def test_json_counts_where_the_line_cannot_be_read(prune, valid, line):
    ended = prune(*line.split())
    assert ended.code == valid(ended.out, "Failure")["exit"] == 2


@pytest.mark.parametrize(
    "line", ["report none.json --title --json", "inspect -- --json", "report -- none.json --json"]
)
def test_json_that_is_no_option_is_none(folder, prune, line):
    ended = prune(*line.split())
    assert (ended.code, ended.out) == (3, "")
    assert "there is no such file" in ended.err


def test_help_is_help(prune):
    assert prune("train", "--json", "--help").out.startswith("Usage: ")


# What else is printed


def test_what_a_plugin_prints_is_no_answer(folder, prune, valid, monkeypatch):
    (folder / "speaks.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    line = "score dense.safetensors --method speaks:loud -o s.safetensors --json"
    ended = prune(*line.split())
    assert ended.code == 0
    assert valid(ended.out, "score")["output"] == "s.safetensors"
    assert "a plugin says hello" in ended.err


def test_options_that_json_lacks_are_text(prune, valid, monkeypatch, tmp_path):
    text = 'def odd(weight, *, most: float = float("inf")):\n    """Odd."""\n'
    (tmp_path / "infinite.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = valid(prune("list", "methods", "infinite:odd", "--json").out, "list")
    assert found["names"]["infinite:odd"]["options"] == {"most": "inf"}


def test_of_several_processes_one_answers(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        Call(["--json"]).answer({"rank": rank})
    assert capsys.readouterr().out == '{"rank": "0"}\n'


def test_a_call_is_answered_once(capsys):
    call = Call(["x", "--json"])
    call.answer({"first": True})
    call.answer({"second": True})
    assert capsys.readouterr().out == '{"first": true}\n'
