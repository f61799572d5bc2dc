"""A plugin whose code has changed: what it made is made again, and nothing vouches for it."""

import importlib
import json
import os
import py_compile
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from prunecli import cli
from prunecli.cli.study.steps import check, inputs
from prunecli.plugins import blame, code, origin
from prunecli.plugins.resolve import resolve
from prunecli.recipe.inputs import dependencies
from prunecli.recipe.plan import Job

SCORER = """
def score(weight):
    return weight.abs(){}
"""
NETWORK = """
from torch import nn

def net(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))

def data(root, split, download):
    from prunecli.data.digits import digits
    return digits(root, split, download)
"""
PRUNER = "from prunecli.pruners.gradual import gradual\n"
RECIPE = """
version: 1
name: tiny
steps:
  dense: {train: {model: "mynet:net", dataset: "mynet:data", epochs: 0}}
  mask: {mask: {checkpoint: "@dense", method: "mine:score", density: 0.5}}
  sparse: {apply: {checkpoint: "@dense", mask: "@mask"}}
  result: {eval: {checkpoint: "@dense"}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch, trusting):
    """Writes a module into the current folder, as if by an editor before a new process starts."""
    trusting("mine", "mynet", "gentle", "pack", "plain", "bare")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = set()

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] in names]:
            del sys.modules[name]
        code.forget()
        blame.OTHERS.clear()
        importlib.invalidate_caches()

    def write(path, text):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        names.add(path.relative_to(tmp_path).parts[0].removesuffix(".py"))
        forget()

    yield write
    forget()


def sources(command, **options):
    job = Job("a", "a", command, check(command, options, {}).arguments, Path("a"), ())
    return inputs(job).get("plugins")


# Whole studies


@pytest.fixture
def study(write, prune):
    """Runs a study of plugins in the current folder; gives the names of jobs that were run."""
    write("mine.py", SCORER.format(""))
    write("mynet.py", NETWORK)
    Path("r.yaml").write_text(RECIPE)

    def run():
        states = json.loads(prune("run", "r.yaml", "--status", "--json").out)["states"]
        ended = prune("run", "r.yaml", "--json")
        assert ended.code == 0, ended.err
        left = [name for name, state in states.items() if state != "done"]
        assert json.loads(ended.out)["ran"] == len(left)
        return left

    assert run() == ["dense", "mask", "result", "sparse"]
    assert run() == []
    return run


def test_what_a_changed_scorer_made_is_made_again_and_nothing_else(study, write, prune):
    def vouched():
        sparse = "runs/tiny/sparse/ckpt.safetensors"
        return prune("verify", sparse, "--recipe", "r.yaml").err

    assert vouched() == ""
    write("mine.py", SCORER.format(" * -1"))
    assert "job mask is not up to date with the recipe" in vouched()
    assert study() == ["mask", "sparse"]
    assert vouched() == ""


def test_a_network_counts_where_only_the_checkpoint_names_it(study, write):
    before = sources("eval", checkpoint="runs/tiny/dense/ckpt.safetensors")
    write("mynet.py", NETWORK + "# changed\n")
    resolve("models", "mynet:net", by_file=False)  # as the study's first step has it imported
    after = sources("eval", checkpoint="runs/tiny/dense/ckpt.safetensors")
    assert before.keys() == after.keys() == {"models/mynet:net", "data/mynet:data"}
    assert not before.items() & after.items()
    weights = sources("score", checkpoint="runs/tiny/dense/ckpt.safetensors", method="lamp")
    assert weights == {"models/mynet:net": after["models/mynet:net"]}


REFERRING = """
from pathlib import Path

def score(weight, *, ref: str):
    return weight.abs() * Path(ref).stat().st_size
"""


def test_an_output_that_an_option_of_a_plugin_refers_to_counts_by_what_is_in_it(write, prune):
    write("mine.py", REFERRING)
    text = """
        version: 1
        vars: {method: magnitude}
        steps:
          dense: {train: {model: cnn, dataset: digits, epochs: 0}}
          other: {score: {checkpoint: "@dense", method: "${method}"}}
          own: {score: {checkpoint: "@dense", method: "mine:score", opt: {ref: "@other"}}}
    """
    Path("r.yaml").write_text(text)

    def ran(*options):
        return json.loads(prune("run", "r.yaml", "--json", *options).out)["ran"]

    assert [ran(), ran()] == [3, 0]
    Path("r.yaml").write_text(text.replace("version: 1", "version: 1\n        name: tiny"))
    assert ran() == 0  # taken from a study in another folder
    assert [ran("--set", "method=random"), ran("--set", "method=random")] == [2, 0]


# What is hashed


def test_prunecli_s_own_count_by_its_version(checkpoint):
    assert sources("train", model="cnn", dataset="digits", epochs=1) is None
    assert sources("train", model="torchvision:resnet18", dataset="digits", epochs=1) is None
    assert sources("score", checkpoint=str(checkpoint), method="snip") is None


def test_a_pruner_and_the_scorer_that_its_options_name(write):
    write("mine.py", SCORER.format(""))
    write("gentle.py", PRUNER)
    found = dependencies({"pruner": "gentle:gradual", "opt": {"method": "mine:score"}}, [], (), [
        ("pruners", "gentle:gradual"), ("scorers", "mine:score")
    ])["plugins"]  # fmt: skip
    assert found.keys() == {"pruners/gentle:gradual", "scorers/mine:score"}


def hashed(name):
    return dependencies({}, [], (), [("scorers", name)]).get("plugins", {}).get(f"scorers/{name}")


def test_all_of_a_package_counts_and_nothing_beside_it(write):
    write("pack/__init__.py", "")
    write("pack/deep/more.py", "a = 1\n")
    write("pack/score.py", SCORER.format(""))
    seen = [hashed("pack.score:score")]
    write("pack/deep/more.py", "a = 2\n")
    seen.append(hashed("pack.score:score"))
    write("pack/deep/other.py", "a = 2\n")
    seen.append(hashed("pack.score:score"))
    assert len({*seen, None}) == 4
    write("other.py", "a = 2\n")
    write("pack/deep/notes.txt", "not code\n")
    write("pack/.venv/lib/more.py", "not imported\n")
    assert hashed("pack.score:score") == seen[-1]
    assert "pack" not in sys.modules


def test_a_folder_without_init_is_a_package_too(write):
    write("plain/score.py", SCORER.format(""))
    before = hashed("plain.score:score")
    write("plain/helper.py", "a = 1\n")
    assert None not in (before, hashed("plain.score:score"))
    assert hashed("plain.score:score") != before


def test_the_same_code_elsewhere_has_the_same_hash(write, tmp_path, monkeypatch):
    write("mine.py", SCORER.format(""))
    here = hashed("mine:score")
    (tmp_path / "there").mkdir()
    (tmp_path / "mine.py").rename(tmp_path / "there/mine.py")
    monkeypatch.syspath_prepend(tmp_path / "there")
    assert hashed("mine:score") == here is not None


def test_what_is_installed_without_sources_counts_by_its_version(write, tmp_path):
    Path("bare").mkdir()
    info = tmp_path / "bare-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 3.1\n")
    (info / "RECORD").write_text("bare/score.so,,\n")
    (info / "top_level.txt").write_text("bare\n")
    write("unrelated.py", "")
    assert hashed("bare.score:score") == "3.1"


def test_code_that_is_not_trusted_is_not_looked_for(write):
    write("mine.py", SCORER.format(""))
    write("other.py", SCORER.format(""))
    assert origin.origin("scorers", "mine:score", by_file=True) is not None
    assert origin.origin("scorers", "other:score", by_file=True) is None
    assert origin.origin("scorers", "os:system", by_file=True) is None
    assert origin.origin("scorers", "nowhere:score", by_file=True) is None
    assert "mine" not in sys.modules


@pytest.fixture
def package(write):
    """A package whose network is in a module that is imported when it is built."""
    write("pack/__init__.py", "def net(input_shape, classes):\n    from pack.sub.core import net\n"
                              "    return net(classes)\n")  # fmt: skip
    write("pack/sub/core.py", CORE.format(32))
    return Path("pack/sub/core.py")


CORE = """
from torch import nn

def net(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, {0}), nn.Linear({0}, classes))
"""


def width():
    return resolve("models", "pack:net", by_file=False)((1, 28, 28), 10)[1].out_features


@pytest.mark.fault(32)
def test_what_is_imported_later_is_what_was_hashed(write, package):
    resolve("models", "pack:net", by_file=False)
    before = origin.code("models", "pack:net", by_file=True)
    package.write_text(CORE.format(48))
    with pytest.raises(ImportError, match=r"core.py was changed while in use"):
        width()
    package.write_text(CORE.format(32))
    assert width() == 32
    assert origin.code("models", "pack:net", by_file=True) == before


@pytest.mark.fault(32)
def test_compiled_code_of_an_earlier_source_is_not_run(write, package):
    """Python tells that by time and size, which may be equal."""
    os.utime(package, (1e9, 1e9))
    assert Path(py_compile.compile(str(package.resolve()), doraise=True)).is_file()
    before = hashed("pack:net")
    write("pack/sub/core.py", CORE.format(48))  # forgets what is imported, too
    os.utime(package, (1e9, 1e9))
    assert width() == 48
    assert origin.code("models", "pack:net", by_file=True) != before


@pytest.mark.fault(32)
def test_code_in_folders_that_links_lead_to_counts(write, package):
    write("else/core.py", CORE.format(32))
    Path("pack/linked").symlink_to(Path("else").resolve())
    Path("pack/loop").symlink_to(Path("pack").resolve())
    before = hashed("pack:net")
    write("else/core.py", CORE.format(48))
    assert hashed("pack:net") != before


@pytest.mark.fault(15)
@pytest.mark.parametrize("change", ["its code", "its course"])
def test_a_training_does_not_go_on_by_other_code_or_another_course(
    write, prune, stopped_at, change
):
    write("mynet.py", NETWORK)
    line = "train --model mynet:net --dataset mynet:data --epochs 2 --batch-size 256 -q"
    line += " -o x.safetensors"
    with suppress(click.Abort), stopped_at(6):
        cli.cli.main(line.split(), standalone_mode=False)
    if change == "its code":
        write("mynet.py", NETWORK.replace("nn.Flatten()", "nn.Flatten(), nn.Tanh()"))
    options = ["--no-eval-epochs"] if change == "its course" else []
    ended = prune(*line.split(), "--resume", *options)
    assert ended.code == 4
    what = "plugins" if change == "its code" else "eval_epochs"
    assert f"it is the state of another training: {what}" in ended.err
