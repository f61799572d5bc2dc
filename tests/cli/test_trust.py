"""What only a file names is never imported: every kind of file, with every command."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from attacks import forged, forged_json

from prunecli import cli
from prunecli.files.tensors import TensorFile

pytestmark = pytest.mark.fault(33)
PATHS = ["canary:anything", "canary.deep:anything", "numpy.f2py.__main__:main"]
MODULES = ("canary", "canary.deep", "numpy.f2py.__main__")


@pytest.fixture(scope="session")
def sound(environment, tmp_path_factory):
    """A file of every kind, as prunecli leaves it."""
    folder = tmp_path_factory.mktemp("sound")
    dense = folder / "dense.safetensors"
    (folder / "r.yaml").write_text(RECIPE)
    (folder / "derived.yaml").write_text("version: 1\nbase: base.yaml\nset: {density: 0.5}\n")
    (folder / "base.yaml").write_text(RECIPE)
    data = "--model cnn --dataset digits --dataset-opt fraction=0.1 --epochs 1 -q"
    for line in (
        f"train {data} -o {dense}",
        f"score {dense} --method snip -o {folder}/scores.safetensors",
        f"mask {dense} --method snip --density 0.5 -o {folder}/mask.safetensors",
        f"train {data} --pruner gradual --opt density=0.5 -o {folder}/pruned.safetensors",
        f"eval {dense} -q -o {folder}/result.json",
        f"run {folder}/r.yaml -q --threads 1 -o {folder}/study",
    ):
        cli.cli.main(line.split(), standalone_mode=False)
    return folder


RECIPE = """
version: 1
name: r
vars: {method: magnitude, density: 0.5}
steps:
  init: {train: {model: cnn, dataset: digits, dataset-opt: {fraction: 0.1}, epochs: 0}}
  mask: {mask: {checkpoint: "@init", method: "${method}", density: "${density}"}}
  result: {eval: {checkpoint: "@init", mask: "@mask"}}
"""
MODEL = {"name": "cnn", "options": {}, "input_shape": [1, 28, 28], "classes": 10}
OTHERS = {
    "model": MODEL,
    "dataset": {"name": "digits", "options": {}, "sha256": None},
    "pruner": {"name": "gradual", "options": {"method": "magnitude"}},
    "method": "magnitude",
}
"""What a file of any kind may say as well."""
TEXTS = ("model", "dataset", "pruner", "method", "mask", "scoring", "scope", "options", "facts")
"""Keys of metadata that name something, or hold what does."""


def named(value, path, keys=()):
    """Copies of a table in each of which one more text is that import path."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict):
            for place, changed in named(item, path, (*keys, key)):
                yield place, {**value, key: changed}
        elif {*keys, key} & {*TEXTS} and (isinstance(item, str) or item is None):
            yield ".".join((*keys, key)), {**value, key: path}


@pytest.fixture
def folder(sound, tmp_path, monkeypatch):
    """The files, in the current folder, and packages that can be imported and must not be."""
    shutil.copytree(sound, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    site = tmp_path / "site"
    (site / "canary").mkdir(parents=True)
    sings = f"open({str(tmp_path / 'sung')!r}, 'w').close()\n"
    for name in ("__init__", "deep"):
        (site / "canary" / f"{name}.py").write_text(
            sings + "def anything(input_shape, classes, root=0, split=0, download=0): pass\n"
        )
    monkeypatch.syspath_prepend(site)
    yield Path()
    assert not (tmp_path / "sung").exists()
    for name in MODULES:
        assert name not in sys.modules


OF_CHECKPOINTS = [
    "inspect x", "verify x", "verify x --mask mask.safetensors", "eval x",
    "eval x --mask mask.safetensors", "score x --method magnitude", "score x --method snip",
    "mask x --method lamp --density 0.5", "mask x --method snip --density 0.5",
    "apply x --mask mask.safetensors", "finetune x --epochs 1",
    "finetune x --mask mask.safetensors --epochs 1",
    "finetune dense.safetensors --rewind x --epochs 1", "train x --epochs 0", "train x --epochs 1",
    "finetune x --pruner gradual --opt density=0.5 --epochs 1",
]  # fmt: skip
OF_MASKS = [
    "inspect x", "verify dense.safetensors --mask x", "eval dense.safetensors --mask x",
    "apply dense.safetensors --mask x", "finetune dense.safetensors --mask x --epochs 1",
    "score dense.safetensors --method snip --mask x",
    "mask dense.safetensors --method snip --mask x --density 0.2",
]  # fmt: skip
OF_SCORES = [
    "inspect x", "mask x --density 0.5", "mask x --critical", "mask x --density .3 --scope erk",
]  # fmt: skip
CASES = {
    "checkpoint": ("dense.safetensors", OF_CHECKPOINTS),
    "pruned checkpoint": ("pruned.safetensors", OF_CHECKPOINTS),
    "mask": ("mask.safetensors", OF_MASKS),
    "pruner's mask": ("pruned.mask.safetensors", OF_MASKS),
    "scores": ("scores.safetensors", OF_SCORES),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_metadata_name_is_not_imported(folder, prune, kind):
    source, commands = CASES[kind]
    meta = TensorFile(Path(source)).meta
    said = OTHERS | {key: value for key, value in meta.items() if value is not None}
    places = list(named(said, PATHS[0]))
    assert {"model.name", "dataset.name", "pruner.name"} < {place for place, _ in places}
    refused = set()
    for place, meta in places:
        forged(source, "x", **meta)
        for command in commands if place in ("model.name", "dataset.name") else commands[1:]:
            force = [] if command.startswith(("inspect", "verify")) else ["--force"]
            ended = prune(*command.split(), *force)
            assert ended.code in (0, 2, 3, 4), (place, command, ended.err)
            if "is named by a file" in ended.err:
                refused.add(place)
                assert ended.code == 2
                assert ended.err.rstrip().endswith("add --trust canary:anything")
    expected = {"model.name", "dataset.name"} if "checkpoint" in kind else set()
    assert refused == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "command", ["eval x", "finetune x --epochs 1", "mask x --method snip --critical"]
)
def test_the_refusal_says_how_to_allow_it(folder, prune, nothing_written, command, path):
    forged("dense.safetensors", "x", model={"name": path})
    with nothing_written():
        ended = prune(*command.split())
    assert ended.code == 2
    assert ended.err == (
        f"error: model {path!r} is named by a file only, so it is not imported; "
        f"if you trust its code, add --trust {path}\n"
    )


@pytest.mark.parametrize("place", ["model", "dataset"])
def test_a_state_is_not_believed_either(folder, prune, stopped_at, place):
    data = "--dataset digits --dataset-opt fraction=0.1"
    line = f"train --model cnn {data} --epochs 2 -q -o s.safetensors"
    with suppress(click.Abort), stopped_at(3):
        cli.cli.main(line.split(), standalone_mode=False)
    state = Path("s.state.safetensors")
    facts = TensorFile(state).meta["facts"]
    facts[place]["name"] = PATHS[0]
    forged(state, state, facts=facts)
    assert prune("inspect", state).code == 0
    assert prune("inspect", state, "--json").code == 0
    assert prune(*line.split(), "--resume").code in (3, 4)
    assert prune(*line.split(), "--force").code == 0


@pytest.mark.parametrize("key", ["model", "dataset", "method", "scope"])
def test_nor_is_a_result(folder, prune, key):
    forged_json(Path("result.json"), **{key: PATHS[0]})
    for form in ("table", "csv", "json", "html", "svg"):
        assert prune("report", "result.json", "--format", form, "-o", f"o.{form}").code in (0, 2)


def test_nor_is_the_record_of_a_job_or_what_lies_beside_it(folder, prune):
    record = Path("study/mask/job.json")
    for change in ({"command": PATHS[0]}, {"plugins": {PATHS[0]: "x"}}, {"output": PATHS[0]},
                   {"key": PATHS[0]}, {"beside": {PATHS[0]: "x"}}):  # fmt: skip
        forged_json(record, **change)
        for command in (
            "run r.yaml --status",
            "verify study/init/ckpt.safetensors --recipe r.yaml",
        ):
            study = "--study" if command.startswith("verify") else "-o"
            assert prune(*command.split(), study, "study").code in (0, 4)
        assert prune("run", "r.yaml", "-q", "-o", "study").code == 0
        assert prune("verify", "study/init/ckpt.safetensors").code == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_nor_is_an_output_of_a_study_that_somebody_has_replaced(folder, prune, jobs):
    forged("study/init/ckpt.safetensors", "study/init/ckpt.safetensors", model={"name": PATHS[0]})
    ended = prune("run", "r.yaml", "-q", "-o", "study", "--jobs", jobs, "--threads", 1)
    assert ended.code == 0  # it is made anew
    assert prune("eval", "study/init/ckpt.safetensors").code == 0


BASES = {
    "its steps": [('method: "${method}"', f"method: '{PATHS[0]}'")],
    "its variables": [("method: magnitude,", f"method: '{PATHS[0]}',")],
    "a model": [("model: cnn", f"model: '{PATHS[0]}'")],
    "data": [("dataset: digits, dataset-opt: {fraction: 0.1}", f"dataset: '{PATHS[0]}'")],
    "trust": [("epochs: 0}", "epochs: 0, trust: canary}")],
    "an axis": [
        ("vars: {method: magnitude,", f"matrix: {{method: [magnitude, '{PATHS[0]}']}}\nvars: {{")
    ],
    "a point": [
        ("vars: {method: magnitude,", "matrix: {method: [magnitude], INCLUDE}\nvars: {"),
        ("INCLUDE", f"include: [{{method: '{PATHS[0]}'}}]"),
    ],
}
COMMANDS = [
    "run derived.yaml", "run derived.yaml --dry-run", "run derived.yaml --status",
    "run derived.yaml --emit sh", "recipe validate derived.yaml", "run derived.yaml --jobs 2",
    "verify dense.safetensors --recipe derived.yaml",
]  # fmt: skip


@pytest.mark.parametrize("case", BASES)
@pytest.mark.parametrize("command", COMMANDS)
def test_nor_is_the_base_of_a_recipe(folder, prune, command, case):
    text = RECIPE
    for before, after in BASES[case]:
        assert before in text
        text = text.replace(before, after)
    Path("base.yaml").write_text(text)
    ended = prune(*command.split())
    assert ended.code == 2
    word = "'trust' is set by 'prunecli run'" if case == "trust" else "add --trust canary:anything"
    assert word in ended.err
    assert prune("recipe", "cat", "derived.yaml").code == 0
    assert prune("recipe", "cp", "derived.yaml", "copied").code == 0


# What the user names is followed


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A package of the user's own."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from torch import nn\n"
        "def net(input_shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))\n"
        "def score(weight):\n    return weight.abs()\n"
        "from prunecli.data.digits import digits as data\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mine", None)


def test_what_the_user_gives_in_a_command_is_followed_in_that_command(mine, prune):
    line = "train --model mine:net --dataset mine:data --epochs 0 -q -o x.safetensors"
    assert prune(*line.split()).code == 0
    assert prune("eval", "x.safetensors").code == 2
    assert prune("eval", "x.safetensors", "--dataset", "mine:data").code == 2  # the model is not
    assert prune("eval", "x.safetensors", "--trust", "min").code == 2
    assert prune("eval", "x.safetensors", "--trust", "mine").code == 0
    exact = ["--trust", "mine:net", "--trust", "mine:data"]
    assert prune("eval", "x.safetensors", *exact, "--force").code == 0
    assert prune("score", "x.safetensors", "--method", "mine:score").code == 0
    kept = prune("mask", "x.safetensors", "--method", "magnitude", "--density", 0.5)
    assert kept.code == 0
    assert "only a file names the network 'mine:net', so it is not built" in kept.err
    again = ["mask", "x.safetensors", "--method", "magnitude", "--density", 0.5, "--force"]
    assert prune(*again, "--trust", "mine").err == ""


def test_the_environment_may_say_it(mine, prune, monkeypatch):
    line = "train --model mine:net --dataset mine:data --epochs 0 -q -o x.safetensors"
    assert prune(*line.split()).code == 0
    monkeypatch.setenv("PRUNECLI_TRUST", "other mine")
    assert prune("eval", "x.safetensors").code == 0
    monkeypatch.setenv("PRUNECLI_TRUST", "other")
    assert prune("eval", "x.safetensors", "--force").code == 2


STUDY = """
version: 1
name: own
steps:
  init: {train: {model: "mine:net", dataset: "mine:data", epochs: 0}}
  result: {eval: {checkpoint: "@init"}}
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_the_recipe_that_is_run_names_is_followed_in_all_its_jobs(mine, prune, jobs):
    Path("r.yaml").write_text(STUDY)
    assert prune("run", "r.yaml", "-q", "--jobs", jobs, "--threads", 1).code == 0
    text = STUDY.replace('model: "mine:net"', "model: cnn").replace("name: own", "name: other")
    Path("r.yaml").write_text(
        text + '  old: {eval: {checkpoint: "runs/own/init/ckpt.safetensors"}}\n'
    )
    ended = prune("run", "r.yaml", "-q", "--jobs", jobs, "--threads", 1)
    assert (ended.code, "add --trust mine:net" in ended.err) == (8, True)
    ended = prune("run", "r.yaml", "-q", "--jobs", jobs, "--threads", 1, "--trust", "mine:net")
    assert ended.code == 0


@pytest.mark.parametrize(
    "allowed", [["--trust", "mine"], ["--set", "model=mine:net", "--set", "data=mine:data"]]
)
def test_of_a_base_what_the_user_sets_or_trusts(mine, prune, allowed):
    base = "version: 1\nname: b\nvars: {model: 'mine:net', data: 'mine:data'}" + STUDY.partition(
        "name: own"
    )[2].replace('"mine:net"', '"${model}"').replace('"mine:data"', '"${data}"')
    Path("base.yaml").write_text(base)
    Path("r.yaml").write_text("version: 1\nname: d\nbase: base.yaml\n")
    assert prune("run", "r.yaml", "-q").code == 2
    assert prune("run", "r.yaml", "-q", *allowed).code == 0
    Path("r.yaml").write_text(
        "version: 1\nname: d\nbase: base.yaml\nset: {model: 'mine:net', data: 'mine:data'}\n"
    )
    assert prune("run", "r.yaml", "-q").code == 0


def test_nothing_that_lies_in_the_current_folder_is_imported_unless_it_is_meant(tmp_path):
    own = "import runpy, sys; print(*sys.modules)"  # what `python -m` needs, before it is our turn
    done = subprocess.run([sys.executable, "-c", own], cwd="/", capture_output=True, text=True)
    others = {name for name in sys.stdlib_module_names if name not in done.stdout.split()}
    for name in {*others, "__future__", "click", "torch", "numpy", "mine"}:
        (tmp_path / f"{name}.py").write_text("open('sung', 'w').close()\nraise SystemExit(9)\n")
    command = [sys.executable, "-m", "prunecli"]
    ended = subprocess.run(
        [*command, "list", "methods"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not (tmp_path / "sung").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_nor_is_a_method_that_the_pruner_of_a_base_names(folder, prune, jobs):
    train = "{model: cnn, dataset: digits, epochs: 1, pruner: gradual, "
    train += f"opt: {{density: 0.5, method: '{PATHS[0]}'}}}}"
    Path("base.yaml").write_text(f"version: 1\nname: b\nsteps: {{d: {{train: {train}}}}}\n")
    Path("derived.yaml").write_text("version: 1\nbase: base.yaml\n")
    for command in (
        "run derived.yaml",
        f"run derived.yaml --jobs {jobs}",
        "recipe validate derived.yaml",
    ):
        ended = prune(*command.split())
        assert (ended.code, "add --trust canary:anything" in ended.err) == (2, True)


def test_nor_from_the_current_folder_where_the_package_lies_below_it(tmp_path):
    place = tmp_path / ".venv" / "site-packages"
    shutil.copytree(Path(cli.__file__).parents[1], place / "prunecli")
    (tmp_path / "yaml.py").write_text("open('sung', 'w').close()\n")
    ended = subprocess.run(
        [sys.executable, "-m", "prunecli", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(place)},
    )
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "sung").exists()
