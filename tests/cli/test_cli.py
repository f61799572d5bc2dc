"""The whole tool from outside: exit codes, messages, what goes to stdout, what is written."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attacks import written
from safetensors.torch import load_file, save_file

from prunecli import cli
from prunecli.files.artifacts import open_artifact

PRUNECLI = [sys.executable, "-m", "prunecli"]


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    """The current folder, with the trained `dense.safetensors` in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mask(folder, prune):
    """`m.safetensors`, a mask of it at density 0.1."""
    line = "mask dense.safetensors --method lamp --density 0.1 -o m.safetensors"
    assert prune(*line.split()).code == 0
    return folder / "m.safetensors"


@pytest.fixture
def refused(folder, prune, nothing_written):
    """Runs a command that must fail with `code`; gives its one line on stderr.

    Nothing may be written, and nothing may stand on stdout.
    """

    def run(line, code, *more):
        with nothing_written():
            ended = prune(*line.split(), *more)
        assert (ended.code, ended.out) == (code, ""), ended.err
        [message] = ended.err.splitlines()
        assert message.startswith("error: ")
        return message

    return run


# Help


HELPS = """
import sys
from click.testing import CliRunner
from prunecli.cli import COMMANDS, cli

for command in [[], *([command.name] for command in COMMANDS)]:
    for flag in ("--help", "-h"):
        ended = CliRunner().invoke(cli, [*command, flag])
        assert ended.exit_code == 0, command
        assert "Examples:" in ended.output or not command, command
        assert f"prunecli {' '.join(command)}" in ended.output, command
        assert max(map(len, ended.output.splitlines())) <= 100, command
assert len(COMMANDS) >= 10
assert not {"torch", "numpy", "rich"} & sys.modules.keys()
"""


def test_every_help_has_examples_and_needs_no_torch():
    subprocess.run([sys.executable, "-c", HELPS], check=True)


def test_help_is_quick():
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PRUNECLI, "mask", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_no_command_shows_help_and_an_unknown_one_the_nearest(prune):
    bare = prune()
    assert (bare.code, bare.out) == (2, "")
    assert bare.err.startswith("Usage: ")
    assert prune("scroe").code == 2
    assert "No such command 'scroe'" in prune("scroe").err
    assert prune("--version").out.startswith("prunecli, version ")


# Refusals

DENSITIES = [
    ("--density 1.5", "1.5 is not above 0 and at most 1"),
    ("--density nan", "nan is not a finite number"),
    ("--density inf", "inf is not a finite number"),
    ("--density 0", "0 is not above 0"),
    ("--density -1", "-1 is not above 0"),
    ("--density 0,5", "'0,5' is not a number"),
    ("--density 1e-9", "keeps none of the 430,500 weights"),
    ("--sparsity 1", "1 is not at least 0 and below 1"),
    ("--sparsity -0.1", "-0.1 is not at least 0"),
    ("--sparsity nan", "nan is not a finite number"),
    ("--compression 0.5", "0.5 is not at least 1"),
    ("--compression inf", "inf is not a finite number"),
    ("", "exactly one of --density, --sparsity, --compression and --critical"),
    (
        "--density 0.1 --sparsity 0.9",
        "exactly one of --density, --sparsity, --compression and --critical",
    ),
    (
        "--density 0.1 --compression 10",
        "exactly one of --density, --sparsity, --compression and --critical",
    ),
]


@pytest.mark.fault(10)
@pytest.mark.parametrize(("options", "words"), DENSITIES)
def test_a_density_that_is_none(refused, options, words):
    assert words in refused(f"mask dense.safetensors --method lamp {options}", 2)


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ("--density 1", 430500),
        ("--sparsity 0", 430500),
        ("--compression 1", 430500),
        ("--sparsity 0.75", 107625),
        ("--compression 16", 26906),
    ],
)
def test_three_ways_to_say_how_much_stays(folder, prune, options, total):
    line = f"mask dense.safetensors --method magnitude {options} --json -o m.safetensors"
    assert json.loads(prune(*line.split()).out)["meta"]["kept"] == total


USAGE = [
    ("score dense.safetensors --method lmap", "no method 'lmap'; did you mean 'lamp'?"),
    ("score dense.safetensors", "Missing option '--method'"),
    ("score --method lamp", "Missing argument 'CHECKPOINT'"),
    ("score dense.safetensors --mehtod lamp", "--mehtod"),
    ("score dense.safetensors --method snip --opt batchs=4", "did you mean 'batches'?"),
    ("score dense.safetensors --method snip --opt batches=many", "must be a whole number"),
    ("score dense.safetensors --method snip --opt batches=[", "must be a whole number"),
    ("score dense.safetensors --method obd --opt hessian=exactly", "must be one of 'hutchinson'"),
    ("score dense.safetensors --method snip --opt init=he", "'own', 'xavier', not 'he'"),
    ("score dense.safetensors --method snip-thesis --opt init=he", "'own', 'xavier', not 'he'"),
    ("score dense.safetensors --method activation --opt side=up", "must be one of 'out', 'in'"),
    ("score dense.safetensors --method lookahead --opt normalize=all", "'none', 'layer', not"),
    ("score dense.safetensors --method synflow --opt conserve=1", "must be true or false, not '1'"),
    (
        "score dense.safetensors --method grasp --opt per_class=1.5",
        "must be a whole number, not '1.5'",
    ),
    ("score dense.safetensors --method grasp --opt temperature=nan", "must be a finite number"),
    ("score dense.safetensors --method fisher --opt probes=2", "'fisher' has no option 'probes'"),
    ("score dense.safetensors --method fisher --opt batches=0", "batches=0: at least one batch"),
    ("score dense.safetensors --method obd --opt per_class=0", "per_class=0: at least one image"),
    ("score dense.safetensors --method grasp --opt per_class=200", "only 143 images of class '0'"),
    ("mask dense.safetensors --method lamp --critical --density 0.1", "exactly one of --density"),
    ("mask dense.safetensors --method lamp --critical --mask m", "leave --mask out"),
    ("mask dense.safetensors --method lamp --pattern 4:2", "'4:2' is not N:M"),
    ("mask dense.safetensors --method lamp --pattern 2:4 --density 0.5", "leave --density out"),
    ("mask dense.safetensors --method lamp --pattern 2:4 --sparsity 0", "leave --sparsity out"),
    ("mask dense.safetensors --method lamp --pattern 2:4 --scope layer", "leave --scope out"),
    ("mask dense.safetensors --method lamp --pattern 2:4 --preset thesis", "leave --preset out"),
    ("mask dense.safetensors --method lamp --pattern unstructured", "exactly one of --density"),
    ("score dense.safetensors --method lamp --targets head", "no prunable weight matches 'head'"),
    ("mask dense.safetensors --method lamp --compression 78 --preset thesis", "is 77.213"),
    (
        "mask dense.safetensors --method lamp --density 0.1 --preset paper",
        "'paper' is not 'thesis'",
    ),
    ("mask dense.safetensors --method lamp --density 0.1 --count all", "'all' is not one of"),
    ("report r.json --reference x.csv --format json", "needs another format than json"),
    ("score dense.safetensors --method snip --opt batches", "'batches' is not of the form key="),
    ("score dense.safetensors --method snip --opt =4", "'=4' is not of the form key=value"),
    ("score dense.safetensors --method snip --opt a=1 --opt a=2", "the same key is given twice"),
    ("score dense.safetensors --method no.such:thing", "No module named 'no'"),
    ("score dense.safetensors --method lamp --device gpu", "is not auto, cpu, cuda or cuda:N"),
    ("score dense.safetensors --method lamp -o dense.safetensors --force", "one of the inputs"),
    ("score dense.safetensors --method lamp -o ./../{}/dense.safetensors --force", "the inputs"),
    ("eval dense.safetensors --dataset digit", "did you mean 'digits'?"),
    ("eval dense.safetensors -o dense.safetensors --force", "one of the inputs"),
    ("mask dense.safetensors --density 0.1", "choose a method to score it"),
    ("mask dense.safetensors --method lamp --density 0.1 --scope gobal", "'gobal' is not one of"),
    ("train --model ccn --dataset digits", "no model 'ccn'; did you mean 'cnn'?"),
    ("train --model cnn --dataset digits --epochs -1", "-1 is not in the range"),
    ("train --model cnn --dataset digits --lr 0", "0 is not above 0"),
    ("train --model cnn --dataset digits --lr 1e999", "1e999 is not a finite number"),
    ("list method", "'method' is not one of"),
    ("report", "Missing argument"),
]
PRUNING = [
    ("--pruner weigtmom --opt density=0.1", "no pruner 'weigtmom'; did you mean 'weightmom'?"),
    ("--pruner xyzzy --opt density=0.1", "no pruner 'xyzzy'; there are adaptive, "),
    ("--pruner rigl --opt densty=0.1", "'rigl' has no option 'densty'; did you mean 'density'?"),
    ("--pruner rigl", "the pruner 'rigl' needs the option 'density'"),
    ("--pruner rigl --opt density=2", "density=2: it must be above 0 and at most 1"),
    ("--pruner rigl --opt density=0", "density=0: it must be above 0"),
    ("--pruner rigl --opt density=nan", "'density' must be a finite number, not 'nan'"),
    ("--pruner rigl --opt density=0.1 --opt scope=ekr", "scope='ekr': it must be one of global"),
    (
        "--pruner set --opt density=0.1 --opt every=1.5",
        "option 'every' must be a whole number, not '1.5'",
    ),
    ("--pruner set --opt density=0.1 --opt rate=2", "rate"),
    ("--pruner gmp --opt beta=0", "both thresholds must be above 0"),
    ("--pruner gmp --opt fraction=1", "fraction=1: it must leave images to train on"),
    ("--pruner gmp --opt grad_source=test", "must be one of 'held-out', 'train', not 'test'"),
    ("--pruner gradual --opt density=0.1 --opt end=9", "does not fit into 2 epochs"),
    ("--pruner gradual --opt density=0.1 --opt method=snpi", "'snpi'; did you mean 'snip'?"),
    ("--pruner weightmom --opt density=0.1", "a window of 15 epochs is longer than the 2"),
    ("--pruner rigl --opt density=0.1 --ignore conv9", "no prunable weight matches 'conv9'"),
    ("--opt density=0.1", "--opt needs --pruner"),
    ("--ignore conv1*", "--ignore needs --pruner"),
    ("--exclude-classifier", "--exclude-classifier needs --pruner"),
]


@pytest.mark.parametrize(("line", "words"), USAGE)
def test_wrong_usage_ends_with_2(refused, folder, line, words):
    assert words in refused(line.format(folder.name), 2)


@pytest.mark.parametrize(("options", "words"), PRUNING)
@pytest.mark.parametrize(
    "command",
    ["train --model cnn --dataset digits", "finetune dense.safetensors"],
    ids=["train", "finetune"],
)
def test_pruning_that_cannot_be_ends_with_2_before_the_first_step(
    refused, monkeypatch, command, options, words
):
    monkeypatch.setattr("prunecli.training.loop.train", lambda *a, **k: pytest.fail("it began"))
    line = f"{command} --dataset-opt fraction=0.1 --epochs 2 -q -o t.safetensors {options}"
    assert words in refused(line, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("score none.safetensors --method lamp", "none.safetensors: there is no such file"),
        (
            "score . --method lamp",
            "it has no index and several files; give one of 'dense.safetensors'",
        ),
        ("score m.safetensors --method lamp", "it is a mask file, but a checkpoint file is needed"),
        ("eval m.safetensors", "it is a mask file, but a checkpoint file is needed here"),
        ("apply dense.safetensors --mask dense.safetensors", "a mask file is needed here"),
        ("mask m.safetensors --density 0.1", "a scores or checkpoint file is needed here"),
        ("report dense.safetensors", "dense.safetensors: "),
        ("inspect none.safetensors", "none.safetensors: there is no such file"),
        ("run none.yaml", "none.yaml: there is no such file or recipe; there are "),
    ],
)
def test_an_input_that_is_not_what_it_should_be_ends_with_3(refused, mask, line, words):
    assert words in refused(line, 3)


@pytest.mark.fault(7)
def test_a_mask_of_another_network_ends_with_4(refused, mask):
    tensors = load_file("dense.safetensors")
    tensors["fc1.weight"] = torch.ones(7, 3)
    save_file(tensors, "other.safetensors")
    message = refused("apply other.safetensors --mask m.safetensors", 4)
    assert "'fc1.weight' is [500, 800] but other.safetensors has [7, 3]" in message
    assert "rebuild it with 'prunecli mask'" in message
    del tensors["fc1.weight"]
    save_file(tensors, "other.safetensors")
    assert "'fc1.weight'" in refused(
        "score other.safetensors --method lamp --mask m.safetensors", 4
    )


def test_an_existing_output_ends_with_5_unless_forced(refused, prune, mask):
    line = "mask dense.safetensors --method lamp --density 0.2 -o m.safetensors"
    assert "m.safetensors: it exists; overwrite it with --force" in refused(line, 5)
    before = mask.read_bytes()
    assert prune(*line.split(), "--force").code == 0
    assert mask.read_bytes() != before


@pytest.mark.parametrize(
    "line",
    ["score dense.safetensors --method lamp", "mask dense.safetensors --method lamp --density 0.2",
     "eval dense.safetensors", "apply dense.safetensors --mask m.safetensors", "train --model cnn",
     "report r.json"],
)  # fmt: skip
def test_a_file_is_not_written_under_the_name_of_a_folder(refused, mask, line):
    assert "new/: the output cannot be a folder; give a file with -o" in refused(
        f"{line} -o new/", 2
    )


def test_a_folder_of_shards_may_be_named_as_one(folder, prune):
    (folder / "shards").mkdir()
    tensors = load_file("dense.safetensors")
    save_file(tensors, "shards/model-1.safetensors")
    index = json.dumps({"weight_map": dict.fromkeys(tensors, "model-1.safetensors")})
    (folder / "shards" / "model.safetensors.index.json").write_text(index)
    line = "mask shards --method magnitude --density 0.1 -o m.safetensors"
    assert prune(*line.split()).code == 0
    ended = prune(*"apply shards/ --mask m.safetensors -o new/".split())
    assert (ended.code, ended.out) == (0, "new\n"), ended.err
    assert (folder / "new" / "model-1.safetensors").is_file()


def test_an_output_in_a_place_that_is_none_ends_with_5(refused, folder):
    (folder / "file").touch()
    line = "mask dense.safetensors --method lamp --density 0.2 -o"
    refused(f"{line} file/m.safetensors", 5)
    assert "it is a directory" in refused(f"{line} .", 5)


@pytest.mark.fault(22)
def test_a_missing_data_set_ends_with_6_and_the_mend(refused):
    for line in ("train --model cnn --dataset mnist", "eval dense.safetensors --dataset cifar10"):
        message = refused(f"{line} --data-dir nowhere -q", 6)
        assert "--download" in message
        assert "--data-dir" in message


@pytest.mark.fault(23)
@pytest.mark.parametrize("said", ["option", "environment"])
@pytest.mark.parametrize("device", ["cuda", "cuda:99"])
def test_a_device_that_is_not_there_ends_with_6(refused, monkeypatch, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = "score dense.safetensors --method lamp"
    if said == "option":
        line += f" --device {device}"
    else:
        monkeypatch.setenv("PRUNECLI_DEVICE", device)
    assert f"--device {device}: this machine has 0 usable GPUs" in refused(line, 6)


def test_an_option_wins_over_the_environment(folder, prune, monkeypatch):
    monkeypatch.setenv("PRUNECLI_DEVICE", "cuda:99")
    assert prune(*"score dense.safetensors --method lamp --device cpu".split()).code == 0


@pytest.mark.fault(9)
def test_numbers_that_are_none_end_with_7(refused, folder):
    tensors = load_file("dense.safetensors")
    tensors["fc2.weight"][3, 4] = float("nan")
    save_file(tensors, "nan.safetensors")
    assert "'fc2.weight' holds NaN" in refused("score nan.safetensors --method lamp", 7)


@pytest.mark.parametrize(
    "method", ["snip", "gradient", "activation", "lookahead", "grasp", "synflow", "obd", "fisher"]
)
@pytest.mark.parametrize("name", ["conv2.weight", "fc1.bias"])
def test_numbers_that_are_none_are_named_by_every_method_that_runs_the_network(
    refused, folder, method, name
):
    file = open_artifact(folder / "dense.safetensors", "checkpoint")
    tensors = {key: tensor.clone() for key, tensor in file.items()}
    tensors[name].view(-1)[3] = float("nan")
    written(folder / "nan.safetensors", "checkpoint", tensors, file.meta)
    message = refused(f"score nan.safetensors --method {method}", 7)
    assert f"nan.safetensors: {name!r} holds NaN or infinity" in message


def test_the_class_with_too_few_images_is_named(refused):
    """Digits have 174 eights, the fewest; every fifth of them is a test image."""
    message = refused("score dense.safetensors --method grasp --opt per_class=141", 2)
    assert "per_class=141: the training set has only 140 images of class '8'" in message


@pytest.fixture
def untraceable(folder, prune, monkeypatch):
    """`odd.safetensors`, of a network that is not prunecli's and cannot be traced."""
    (folder / "odd_networks.py").write_text(ODD)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PRUNECLI_TRUST", "odd_networks")
    line = "train --model odd_networks:net --dataset digits --epochs 0 -q -o odd.safetensors"
    assert prune(*line.split()).code == 0
    yield
    sys.modules.pop("odd_networks")


ODD = """
import math

import torch
from torch import nn


class Deciding(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(x.flatten(1)) if x.sum() > 0 else self.fc(-x.flatten(1))


def net(input_shape, classes):
    return nn.Sequential(nn.Identity(), Deciding(math.prod(input_shape), classes))
"""


@pytest.mark.parametrize("method", ["lookahead", "activation", "synflow"])
@pytest.mark.parametrize("line", ["score odd.safetensors", "mask odd.safetensors --density 0.1"])
def test_a_network_that_cannot_be_traced_ends_with_4(untraceable, refused, line, method):
    message = refused(f"{line} --method {method}", 4)
    assert "cannot trace '1' of Sequential (an `if` depends on the values of its input)" in message
    assert "only the methods activation, lookahead and synflow need this" in message


@pytest.mark.parametrize("method", ["snip", "gradient", "grasp", "fisher", "lamp"])
def test_the_other_methods_take_it_all_the_same(untraceable, prune, method):
    line = (
        f"mask odd.safetensors --method {method} --density 0.1 --rounds 1 -o m.safetensors --json"
    )
    if method == "fisher":
        line += " --batch-size 8"
    ended = prune(*line.split())
    assert (ended.code, ended.err) == (0, "")
    meta = json.loads(ended.out)["meta"]
    assert meta["kept"] == 784
    assert meta["collapse"]["live_path"] is None
    if method == "lamp":
        ended = prune(*"eval odd.safetensors --mask m.safetensors --json".split())
        assert (ended.code, json.loads(ended.out)["result"]["effective_density"]) == (0, None)


def test_a_recipe_with_faults_ends_with_2_one_line_each(folder, prune, nothing_written):
    text = "version: 1\nsteps:\n  a: {trian: {}}\n  b: {eval: {checkpoint: '@c'}}\n"
    Path("r.yaml").write_text(text)
    with nothing_written():
        ended = prune("run", "r.yaml")
    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first.startswith("error: r.yaml:3: there is no command 'trian'; did you mean 'train'?")
    assert second.startswith("error: r.yaml:4: there is no step 'c'")


def test_debug_adds_a_traceback(folder, prune, monkeypatch):
    line = "score none.safetensors --method lamp".split()
    monkeypatch.setenv("PRUNECLI_DEBUG", "0")
    assert "Traceback" not in prune(*line).err
    monkeypatch.setenv("PRUNECLI_DEBUG", "1")
    ended = prune(*line)
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1] == "error: none.safetensors: there is no such file"
    assert ended.code == 3


def test_what_nobody_foresaw_ends_with_1_and_asks_for_a_report(refused, monkeypatch):
    monkeypatch.setattr("prunecli.steps.inspect.inspect", lambda path: 1 / 0)
    message = refused("inspect dense.safetensors", 1)
    assert "ZeroDivisionError: division by zero; this is a bug" in message


# What goes where


def test_the_pipeline_with_the_names_it_derives(folder, prune):
    steps = [
        ("score dense.safetensors --method lamp", "dense.lamp.scores.safetensors"),
        ("mask dense.lamp.scores.safetensors --density 0.1", "dense.lamp.0.1.mask.safetensors"),
        (
            "finetune dense.safetensors --mask dense.lamp.0.1.mask.safetensors --epochs 1",
            "dense.lamp.0.1.finetuned.safetensors",
        ),
        (
            "apply dense.safetensors --mask dense.lamp.0.1.mask.safetensors",
            "dense.lamp.0.1.pruned.safetensors",
        ),
        ("eval dense.lamp.0.1.finetuned.safetensors", "dense.lamp.0.1.finetuned.eval.json"),
        ("eval dense.safetensors", "dense.eval.json"),
    ]
    for line, output in steps:
        ended = prune(*line.split())
        assert (ended.code, ended.out) == (0, f"{output}\n"), ended.err
        assert Path(output).is_file()
    result = json.loads(Path("dense.lamp.0.1.finetuned.eval.json").read_text())
    assert (result["nonzero"], result["prunable"], result["density"]) == (43050, 430500, 0.1)
    assert result["method"] == "lamp"
    weights = load_file("dense.lamp.0.1.finetuned.safetensors")
    assert sum(int(t.count_nonzero()) for n, t in weights.items() if t.ndim > 1) == 43050

    table = prune("report", "dense.eval.json", "dense.lamp.0.1.finetuned.eval.json")
    assert (table.code, table.err) == (0, "")
    assert [line.split()[2] for line in table.out.splitlines()[:3]] == ["method", "dense", "lamp"]
    written = {output for _, output in steps} | {"dense.lamp.0.1.finetuned.log.jsonl"}
    assert {path.name for path in folder.iterdir()} == written | {"dense.safetensors"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("mask dense.safetensors --method snip --density 0.1 --rounds 3 --scope layer",
         "dense.snip.layer.3rounds.0.1.mask.safetensors"),
        ("mask dense.safetensors --method lamp --compression 16",
         "dense.lamp.0.0625.mask.safetensors"),
        ("train dense.safetensors --epochs 3", "dense.trained.safetensors"),
        ("train --model resnet20 --dataset digits", "resnet20.digits.safetensors"),
    ],
)  # fmt: skip
def test_a_dry_run_says_the_name_and_writes_nothing(folder, prune, nothing_written, line, name):
    with nothing_written():
        ended = prune(*line.split(), "--dry-run")
    assert (ended.code, ended.out) == (0, f"{name}\n")
    assert ended.err == "dry run: nothing was written\n"


def test_messages_go_to_stderr_and_quiet_silences_them(folder, prune):
    line = "train --model cnn --dataset digits --epochs 1 -o t.safetensors".split()
    loud = prune(*line)
    assert loud.out == "t.safetensors\n"
    assert "epoch 1: loss " in loud.err
    first = Path("t.safetensors").read_bytes()
    quiet = prune(*line, "--force", "--quiet")
    assert (quiet.out, quiet.err) == ("t.safetensors\n", "")
    assert Path("t.safetensors").read_bytes() == first


def test_training_under_a_pruner_writes_its_mask_beside_the_checkpoint(folder, prune):
    line = (
        "train --model cnn --dataset digits --dataset-opt fraction=0.1 --epochs 2 -o t.safetensors"
        " --pruner gradual --opt density=0.1 --opt every=1 --opt method=random --ignore conv*"
    )
    ended = prune(*line.split(), "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["meta"]["mask"]["kept"] == 40_500
    assert {path.name for path in folder.iterdir()} == {
        "dense.safetensors", "t.safetensors", "t.mask.safetensors", "t.log.jsonl",
    }  # fmt: skip
    ended = prune(*"eval dense.safetensors --mask t.mask.safetensors --json".split())
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["result"]["nonzero"] == 40_500 + 25_500
    ended = prune(*line.split())
    assert (ended.code, ended.out) == (5, "")
    assert "it exists; overwrite it with --force" in ended.err


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("train --model cnn --dataset digits", "cnn.digits.rigl.safetensors"),
        ("finetune dense.safetensors", "dense.rigl.safetensors"),
    ],
)
def test_a_dry_run_under_a_pruner_names_the_checkpoint_and_writes_nothing(
    folder, prune, nothing_written, line, name
):
    with nothing_written():
        ended = prune(*line.split(), *"--pruner rigl --opt density=0.1 --dry-run".split())
    assert (ended.code, ended.out) == (0, f"{name}\n")
    with nothing_written():
        assert prune(*line.split(), *"--pruner rigl --opt densty=0.1 --dry-run".split()).code == 2


def test_list_says_names_options_and_summaries(prune):
    lines = prune("list", "methods").out.splitlines()
    [snip] = [line for line in lines if line.startswith("snip ")]
    assert re.fullmatch(r"snip +Connection sensitivity.*\[.*batches=1.*\]", snip)
    table = json.loads(prune("list", "methods", "--json").out)["names"]
    assert table["snip"]["options"]["batches"] == 1
    assert list(table) == sorted(table)


def test_list_tells_an_option_that_is_needed_from_one_that_may_be_left_out(prune):
    table = json.loads(prune("list", "pruners", "--json").out)["names"]
    assert table["gradual"]["options"]["every"] is None
    assert table["gradual"]["options"].get("density", "needed") is not None
    [line] = [one for one in prune("list", "pruners").out.splitlines() if "gradual" in one]
    assert "density=None" not in line
    assert "every=None" in line


def test_inspect_says_what_a_file_is(folder, mask, prune):
    said = prune("inspect", "dense.safetensors").out
    assert "kind        checkpoint" in said
    assert "values      431,080 in 8 tensors" in said
    assert "conv1.weight  F32 [20, 1, 5, 5]  density 1" in said
    assert "kind        mask" in prune("inspect", "m.safetensors").out


# How it is set up


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_wait_briefly_unless_told_otherwise(prune, monkeypatch, given, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever is done to it
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert prune("--version").code == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins


# Signals and closed pipes


@pytest.mark.fault(25)
@pytest.mark.parametrize("arguments", [["list", "methods"], ["mask", "--help"], ["--version"]])
def test_a_reader_that_is_gone_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*PRUNECLI, *arguments], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_no_stdout_at_all_is_no_error():
    line = f"exec {sys.executable} -m prunecli --version >&-"
    ended = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (0, b"")


TRAIN = "train --model cnn --dataset digits --epochs 4 --batch-size 64 --no-eval-epochs -q".split()


@pytest.mark.fault(13)
@pytest.mark.fault(25)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(folder, whole, prune, number, code):
    state = folder / "t.state.safetensors"
    training = subprocess.Popen([*PRUNECLI, *TRAIN, "-o", "t.safetensors"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    training.send_signal(number)
    _, err = training.communicate(timeout=60)
    assert training.returncode == code, err
    assert state.is_file()
    assert not (folder / "t.safetensors").exists()

    resumed = prune(*TRAIN[:-1], "-o", "t.safetensors", "--resume")
    assert resumed.code == 0
    assert re.search(r"resumed after step \d+", resumed.err)
    assert (folder / "t.safetensors").read_bytes() == whole
    assert not state.exists()


@pytest.fixture(scope="module")
def whole(environment, tmp_path_factory):
    """The bytes that the training ends in when nothing stops it."""
    path = tmp_path_factory.mktemp("whole") / "t.safetensors"
    cli.cli.main([*TRAIN, "-o", str(path)], standalone_mode=False)
    return path.read_bytes()


# What a first user runs into

OWN = """
import torch
from torch import nn

def half(weight): return weight.abs().flatten()[: weight.numel() // 2]
def turned(weight): return weight.abs().flatten()[:, None]
def nothing(model, data): return {}
def bare(input_shape, classes):
    model = nn.Flatten()
    model.scale = nn.Parameter(torch.ones(1))
    return model
def picky(input_shape, classes):
    class Picky(nn.Linear):
        def forward(self, x):
            assert x.shape[-1] == 224, "wrong image height"
    return Picky(1, 1)
def few(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
"""


@pytest.fixture
def own(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # beside what a refusal may not write
    Path("own_things.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("half", "are float32 [250], not real numbers [20, 1, 5, 5]"),
        ("turned", "not real numbers [20, 1, 5, 5]"),
        ("nothing", "are NoneType"),
    ],
)
@pytest.mark.parametrize("command", ["score", "mask --density 0.5"])
def test_scores_of_another_form_than_the_weights_are_refused(own, refused, command, method, words):
    line = f"{command} dense.safetensors --method own_things:{method} -o x.safetensors"
    message = refused(line, 4)
    assert f"the method 'own_things:{method}' gives scores of 'conv1.weight' that are" in message
    assert words in message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("bare", "has no weight of Conv, Linear"),
        ("picky", "does not take 1x28x28 images (AssertionError: wrong image height)"),
        ("few", "of a 1x28x28 image it makes [1, 3], not 10 classes"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_before_it_is(own, refused, model, words):
    line = f"train --model own_things:{model} --dataset digits --epochs 1 -o x.safetensors"
    assert f"model 'own_things:{model}': it {words}".replace("it of", "of") in refused(line, 4)


def test_a_stopped_training_is_not_thrown_away_unsaid(folder, prune, refused):
    Path("t.state.safetensors").write_bytes(b"hours of work")
    line = "train --model cnn --dataset digits --epochs 0 -q -o t.safetensors"
    assert "continue it with --resume, or start again with --force" in refused(line, 5)
    assert Path("t.state.safetensors").read_bytes() == b"hours of work"
    assert prune(*line.split(), "--force").code == 0


def test_scores_are_not_scored_again(folder, prune, refused):
    assert prune(*"score dense.safetensors --method lamp -o s.safetensors".split()).code == 0
    for option in ("--opt batches=2", "--dataset mnist"):
        message = refused(f"mask s.safetensors --density 0.5 {option} -o m.safetensors", 2)
        assert f"{option.split()[0]} needs a checkpoint" in message


def test_a_report_tells_masks_over_other_weights_apart(folder, prune):
    masks = ["", "--exclude-classifier", "--ignore conv1.weight", "--count model"]
    for number, said in enumerate(masks):
        line = f"mask dense.safetensors --method magnitude --density 0.1 {said}"
        assert prune(*line.split(), "-o", f"{number}.safetensors").code == 0
        line = f"eval dense.safetensors --mask {number}.safetensors -o {number}.json"
        assert prune(*line.split()).code == 0
    prune(
        "eval", "dense.safetensors", "--mask", "0.safetensors", "--throughput", "-o", "again.json"
    )
    results = [f"{number}.json" for number in range(len(masks))]
    ended = prune("report", *results, "again.json", "--format", "json", "-o", "r.json")
    assert ended.code == 0
    rows = json.loads(Path("r.json").read_text())
    assert len(rows) == len(masks)
    assert {row["top1_std"] for row in rows} == {None}


def test_the_compression_reached_is_that_of_what_is_left(folder, prune):
    line = "mask dense.safetensors --method magnitude --density 0.0625 -o a.safetensors"
    assert prune(*line.split()).code == 0
    assert prune(*"apply dense.safetensors --mask a.safetensors -o p.safetensors".split()).code == 0
    ended = prune(*"mask p.safetensors --method random --density 0.5 -o b.safetensors".split())
    assert "the checkpoint is masked but no --mask was given" in ended.err
    assert prune(*"eval p.safetensors --mask b.safetensors -o r.json".split()).code == 0
    found = json.loads(Path("r.json").read_text())
    assert found["empirical_compression"] == found["prunable"] / found["nonzero"] > 16


def test_inspect_says_what_a_mask_did(folder, prune):
    line = "mask dense.safetensors --method snip --opt batches=1 --compression 16 -o m.safetensors"
    assert prune(*line.split()).code == 0
    said = prune("inspect", "m.safetensors").out
    for words in (
        'options     {"batches": 1',
        "kept        26,906 of 430,500, 16.0001",
        "live path   true",
    ):
        assert words in said
