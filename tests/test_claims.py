"""Figures, names and links in the documents are true, as far as a moment is enough to see."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from prunecli.cli import cli
from prunecli.files.artifacts import untied
from prunecli.files.atomic import write_tensors
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.recipe.shipped import shipped

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
}
SENTENCE = re.compile(r"([\d.]+) M parameters with (\d+) classes(?: on (\d+)x\d+ images)?")


def anchors(text):
    """What GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_what_is_there(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        if "://" in path or target.startswith("mailto:"):
            continue
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place.read_text()), target


def test_numbers_of_which_method_stand_in_the_results_it_links():
    found = 0
    for section in DOCUMENTS["docs/which-method.md"].split("\n## "):
        linked = re.findall(r"\((results/\w+/README\.md)\)", section)
        results = "".join(DOCUMENTS[f"docs/{path}"] for path in linked)
        for number in re.findall(r"\d+\.\d\d|\d+,\d{3}", section):
            assert number in results, number
            found += 1
    assert found > 80


def flags(command):
    """All options that there are, of a command and those below it."""
    own = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    return own.union(
        *map(flags, getattr(command, "commands", {}).values()), {"--help", "--version"}
    )


OTHERS = {"--nproc-per-node", "--strict", "--read", "--into", "--dist"}
"""Of torchrun, mypy, benchmarks/gpu.py and pytest-xdist."""


@pytest.mark.parametrize("name", [n for n in DOCUMENTS if not n.startswith("CHANGELOG")])
def test_options_that_are_named_exist(name):
    text = re.sub(r"<!--.*?-->|\|\s*-+", "", DOCUMENTS[name], flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named - OTHERS - flags(cli) == set()


def test_every_choice_of_an_option_is_in_the_reference():
    text = DOCUMENTS["docs/cli.md"]
    for word in ("adamw", "onecycle", "erk", "exponential", "bf16", "top1-epochs", "ray"):
        assert re.search(rf"[`|\\ ]{word}[`|\\,]", text), word


@pytest.mark.parametrize("kind", ["models"])
def test_networks_are_as_large_as_they_say(kind):
    told = 0
    for name in names(kind):
        build = resolve(kind, name, by_file=False)
        for millions, classes, size in SENTENCE.findall(build.text):
            size = int(size or 32)
            widths = {"depth": 16, "widen": 8} if name == "wrn" else {}
            with torch.device("meta"):
                model = build((3, size, size), int(classes), **widths)
            count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            digits = len(millions.partition(".")[2])
            assert f"{count:.{digits}f}" == millions, name
            told += 1
    assert told >= 6


def test_a_model_that_ties_weights_loads_as_the_documents_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [snippet] = re.findall(
        r"```python\n(from safetensors.torch import load_model.*?)```",
        DOCUMENTS["docs/files.md"],
        re.DOTALL,
    )
    for tied in (False, True):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        if tied:
            model[1].weight = model[0].weight
        kept, aliases = untied(model.state_dict())
        write_tensors(tmp_path / "sparse.safetensors", kept, {"format": "pt"})
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        exec(snippet, {"model": model})
        assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
        assert bool(aliases) == tied
        if tied:  # what the documents say of the other way
            with pytest.raises(RuntimeError, match="Missing key"):
                model.load_state_dict(load_file("sparse.safetensors"))
        else:
            model.load_state_dict(load_file("sparse.safetensors"))


def test_sums_in_float32_are_as_far_off_for_lamp_as_methods_says():
    assert "from -0.6 to 0.12 in place of 1, depending on the draw" in DOCUMENTS["docs/methods.md"]
    numpys = []
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        squares = np.sort(torch.randn(2_359_296, generator=draw).numpy() ** 2)
        numpys.append(squares[-1] / (squares.sum() - np.cumsum(squares)[-2]))
        torchs = torch.from_numpy(squares)
        assert 0.9 < float(torchs[-1] / (torchs.sum() - torchs.cumsum(0)[-2])) < 1.1
    assert all(-0.7 < number < 0.2 for number in numpys)


def test_recipes_that_documents_run_by_name_are_shipped():
    for name, text in DOCUMENTS.items():
        for recipe in re.findall(r"recipes/([\w-]+)\.yaml", text):
            assert recipe in shipped(), (name, recipe)


@pytest.mark.parametrize(
    "script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name
)
def test_what_a_benchmark_takes_from_prunecli_is_there(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prunecli"):
            module = import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or find_spec(f"{node.module}.{name.name}"), name
