"""A step's options from YAML are the arguments that its command takes."""

from pathlib import Path

import click
import pytest

from prunecli.cli.study.steps import STEPS, arguments, check, context, inputs
from prunecli.cli.values import KeyValue, Named, Number
from prunecli.errors import BadUsage
from prunecli.plugins.names import names
from prunecli.recipe.inputs import dependencies
from prunecli.recipe.plan import Job
from prunecli.runtime import device
from prunecli.settings.study import RESERVED


@pytest.mark.parametrize(
    ("command", "options", "argv"),
    [
        ("eval", {"checkpoint": "a b"}, ["--", "a b"]),
        ("eval", {"checkpoint": "-x"}, ["--", "-x"]),
        ("eval", {"batch_size": 4}, ["--batch-size", "4"]),
        ("eval", {"batch-size": 4}, ["--batch-size", "4"]),
        ("eval", {"throughput": True}, ["--throughput"]),
        ("eval", {"throughput": False}, []),
        ("eval", {"dataset_opt": {"size": 64}}, ["--dataset-opt", "size=64"]),
        ("train", {"lr": 1e-5}, ["--lr", "1e-05"]),
        ("train", {"nesterov": True}, ["--nesterov"]),
        ("train", {"nesterov": False}, ["--no-nesterov"]),
        ("eval", {"dataset_opt": {"a": True, "b": None}}, ["--dataset-opt", "a=true",
                                                           "--dataset-opt", "b=null"]),
        ("score", {"ignore": ["*.a", "b"]}, ["--ignore", "*.a", "--ignore", "b"]),
        ("score", {"ignore": "*"}, ["--ignore", "*"]),
        ("score", {"method": "snip", "batches": 4}, ["--method", "snip", "--opt", "batches=4"]),
        ("score", {"method": "m:f", "deep": False}, ["--method", "m:f", "--opt", "deep=false"]),
        ("mask", {"scores": "s"}, ["--", "s"]),
        ("mask", {"checkpoint": "c"}, ["--", "c"]),
        ("mask", {"scores": "s", "density": 0.1}, ["--density", "0.1", "--", "s"]),
        ("report", {"results": ["a", "b"]}, ["--", "a", "b"]),
        ("report", {"title": "--force; rm"}, ["--title", "--force; rm"]),
    ],
)  # fmt: skip
def test_options_become_arguments(command, options, argv):
    assert arguments(STEPS[command], options) == argv


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("eval", {"trhoughput": True}, ["no option 'trhoughput'; did you mean 'throughput'?"]),
        ("mask", {"densty": 1, "socpe": 2}, ["mean 'density'?", "mean 'scope'?"]),
        ("eval", {"throughput": "yes"}, ["'throughput' must be true or false"]),
        ("train", {"epochs": [1, 2], "lr": None}, ["'epochs' needs one value", "'lr' needs one"]),
        ("eval", {"checkpoint": None}, ["'checkpoint' needs one value"]),
        ("eval", {"checkpoint": True}, ["'checkpoint' needs one value"]),
        ("mask", {"scores": {"a": 1}}, ["'scores' needs one value"]),
        ("report", {"results": ["a", None]}, ["'results' needs one value"]),
        ("train", {"resume": True, "json": True}, ["'resume' is set by", "'json' is set by"]),
        (
            "train",
            {"lr": "fast", "x": 1, "epochs": -1, "seed": "one"},
            [
                "'--lr': 'fast' is not a number",
                "no option 'x'",
                "'--epochs': -1 is not in",
                "'one'",
            ],
        ),
    ],
)
def test_what_is_no_option_is_refused_all_at_once(command, options, words):
    with pytest.raises(BadUsage) as error:
        arguments(STEPS[command], options)
    for line, expected in zip(str(error.value).splitlines(), words, strict=True):
        assert expected in line


def test_what_run_sets_itself_is_not_suggested():
    with pytest.raises(BadUsage) as error:
        arguments(STEPS["eval"], {"outputs": "x"})
    assert "'output'" not in str(error.value)


def sample(option):
    """A value that the option takes, of the type that YAML would give it."""
    if option.is_flag:
        return not option.default
    if isinstance(option.type, click.Choice):
        return option.type.choices[-1]
    if isinstance(option.type, Named):
        return next(iter(names(option.type.kind)))
    if isinstance(option.type, Number):
        return max(float(option.type.real.low), 0.5)
    samples = {KeyValue: {"k": "v"}, click.IntRange: 3, click.Path: "some/path"}
    return samples.get(type(option.type), "cpu")


@pytest.mark.parametrize("command", STEPS)
def test_every_option_of_every_command_can_be_said_in_a_recipe(command):
    options = {
        option.name: (max(option.opts, key=len).removeprefix("--"), sample(option))
        for option in STEPS[command].params
        if isinstance(option, click.Option)
    }
    said = dict(pair for pair in options.values() if pair[0] not in RESERVED)
    [place] = [p.name for p in STEPS[command].params if isinstance(p, click.Argument)]
    params = context(command, arguments(STEPS[command], {**said, place: "some/input"})).params
    for name, (flag, value) in options.items():
        if flag in said:
            got = params[name]
            assert str(got[0] if isinstance(got, tuple) else got) == str(value)
    assert "some/input" in str(params[place])


@pytest.mark.parametrize(
    ("command", "options", "product"),
    [
        ("train", {"model": "cnn", "dataset": "digits"}, "ckpt.safetensors"),
        ("score", {"checkpoint": "c", "method": "snip", "batches": 2}, "scores.safetensors"),
        ("mask", {"scores": "s", "compression": 16}, "mask.safetensors"),
        ("apply", {"checkpoint": "c", "mask": "m"}, "ckpt.safetensors"),
        ("finetune", {"checkpoint": "c", "mask": "m"}, "ckpt.safetensors"),
        ("eval", {"checkpoint": "c"}, "result.json"),
        ("report", {"results": ["r"]}, "report.txt"),
        ("report", {"results": ["r"], "format": "html"}, "report.html"),
    ],
)
def test_a_checked_step_names_its_product(command, options, product):
    assert check(command, options, {}).product == product


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("train", {"epochs": -1}, "-1 is not in the range"),
        ("train", {"lr": "fast"}, "'fast' is not a number"),
        ("train", {"model": "ccn"}, "no model 'ccn'; did you mean 'cnn'?"),
        ("train", {"model": "cnn", "model_opt": {"nonsense": 2}}, "'cnn' has no option 'nonsense'"),
        (
            "train",
            {"model": "cnn", "dataset": "digits", "dataset_opt": {"size": 2}},
            "option 'size'",
        ),
        ("score", {"checkpoint": "c"}, "Missing option '--method'"),
        ("score", {"checkpoint": ["c", "d"], "method": "lamp"}, "unexpected extra argument"),
        ("score", {"checkpoint": "c", "method": "snip", "batches": "x"}, "must be a whole number"),
        ("mask", {"scores": "s", "density": 0.1, "opt": {"a": 1}}, "--opt needs --method"),
        ("mask", {"scores": "s"}, "exactly one of --density"),
        ("mask", {"scores": "s", "density": 0.1, "compression": 10}, "exactly one of --density"),
        ("report", {"results": []}, "Missing argument"),
    ],
)
def test_a_step_is_checked_before_anything_runs(command, options, words):
    with pytest.raises(BadUsage) as error:
        check(command, options, {})
    assert words in str(error.value)


TRAIN = {"model": "cnn", "dataset": "digits", "epochs": 1}


def what_counts(command, **options):
    job = Job("a", "a", command, check(command, options, {}).arguments, Path("a"), ())
    return inputs(job)


@pytest.mark.parametrize(
    "option",
    [
        {"weight_decay": 0},
        {"momentum": 0.0},
        {"nesterov": False},
        {"seed": 0},
    ],
)
def test_an_option_that_says_nothing_much_still_says_something(option):
    assert what_counts("train", **TRAIN, **option) != what_counts("train", **TRAIN)


def test_what_a_command_is_not_told_does_not_count():
    given = what_counts("train", **TRAIN)
    assert given.keys() >= {"model", "dataset", "epochs", "device", "precision", "versions", "data"}
    assert given.keys().isdisjoint({"nesterov", "download", "pruner", "checkpoint"})


def test_a_study_knows_its_masks_whether_or_not_it_names_the_rule_that_they_are_older_than(
    prune, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    made = "train --model cnn --dataset digits --epochs 0 -o init.safetensors"
    assert prune(*made.split()).code == 0
    how = {"checkpoint": "init.safetensors", "method": "lamp", "density": 0.5}
    plain = what_counts("mask", **how)
    assert "rule" not in plain
    assert what_counts("mask", **how, rule="exact") == plain
    assert what_counts("mask", **how, rule="threshold") == plain | {"rule": "threshold"}


def test_what_the_machine_takes_for_auto_counts(monkeypatch):
    keys = []
    for fast in (True, False):
        monkeypatch.setattr(device, "has_fast_bf16", lambda device, fast=fast: fast)
        keys.append(what_counts("train", **TRAIN))
    assert [key["precision"] for key in keys] == ["bf16", "fp32"]
    assert keys[0] | {"precision": "fp32"} == keys[1]
    assert what_counts("train", **TRAIN, precision="bf16") == keys[0]
    assert what_counts("train", **TRAIN, device="cuda:7").get("precision") is None


@pytest.mark.parametrize(
    ("text", "places"),
    [("{}", ["one/a/x"]), ("['{}', '{}']", ["a/x", "aa/x"]), ("{}:{}", ["b/aa/x", "b/a/x"])],
)
def test_a_file_that_a_text_names_counts_by_what_is_in_it_wherever_it_lies(
    tmp_path, monkeypatch, text, places
):
    def counted(folder, contents):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        files = [Path(place) for place in places]
        for file, content in zip(files, contents, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        if folder == "elsewhere":
            files = [file.absolute() for file in files]
        return dependencies({"opt": {"ref": text.format(*files), "n": "1"}}, [], files=files)

    contents = ["first", "second"][: len(places)]
    there = counted("here", contents)
    assert counted("elsewhere", contents) == there
    for place in range(len(places)):
        changed = [*contents]
        changed[place] = "other"
        assert counted(f"changed{place}", changed) != there
