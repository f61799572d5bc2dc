"""The documents say what the program does: commands in them run, references are up to date."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from pages import blocks

from prunecli.cli.study.steps import STEPS, check, context
from prunecli.recipe.plan import plan
from prunecli.recipe.read import read_recipe
from prunecli.settings.report import CAPTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_has_one_command_to_run_and_one_to_test():
    [quickstart] = [b.text for b in blocks(README) if b.marker == "quickstart command"]
    [tests] = [b.text for b in blocks(README) if b.marker == "test command"]
    assert quickstart.count("\n") == tests.count("\n") == 1
    assert "prunecli run recipes/quickstart.yaml" in quickstart
    assert "pytest" in tests


def test_what_is_generated_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert {path.name for path in generate.PAGES} == {"cli.md", "AGENTS.md"}
    for path, text in generate.PAGES.items():
        assert path.read_text() == text(), f"run docs/generate.py: {path.name}"


def test_the_pipeline_for_agents_runs_as_written(follow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "AGENTS.md").read_text()
    [pipeline] = [block.text for block in blocks(text) if block.runs]
    ended = follow(pipeline.replace("--epochs 10", "--epochs 1"))
    assert [each.code for each in ended] == [0] * 8, ended
    assert json.loads(ended[-2].out)["result"]["nonzero"] > 0
    assert len(text.splitlines()) <= 140


def test_agents_are_told_of_names_that_there_are():
    from prunecli.files.records import MaskRecord
    from prunecli.files.results import Result

    text = (ROOT / "AGENTS.md").read_text()
    for name, record in {"result": Result, "meta": MaskRecord}.items():
        told = set(re.findall(rf"`{name}\.(\w+)`", text))
        assert len(told) > 3 and told - {"json"} <= record.types().keys()  # a file is result.json


@pytest.mark.parametrize(
    "usage",
    [
        "recipe cp [OPTIONS] RECIPE [FOLDER]",
        "train [OPTIONS] [CHECKP",
        "report [OPTIONS] RESULTS...",
        "mask [OPTIONS] SCORES|CHECKP",
    ],
)
def test_the_command_reference_says_what_may_be_left_out(usage):
    assert f"`prunecli {usage}" in (ROOT / "docs" / "cli.md").read_text()


def test_the_help_of_report_names_the_columns_of_a_reference():
    from prunecli.cli.commands.report import report
    from prunecli.report.reference import COLUMNS

    [option] = [option for option in report.params if option.name == "reference"]
    assert set(COLUMNS) <= set(re.findall(r"\w+", option.help))


def test_the_readme_names_every_method_pruner_model_and_data_set():
    from prunecli.plugins.names import names

    for kind in ("scorers", "pruners", "models", "data"):
        for name in names(kind):
            assert f"`{name}`" in README


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_plans(path, tmp_path):
    jobs = plan(read_recipe(path, {}, STEPS), tmp_path, check)
    assert len(jobs) >= 5
    assert path.read_text().startswith("#")


PAPERS = (ROOT / "docs" / "papers.md").read_text()


@pytest.mark.parametrize("line", re.findall("`prunecli (.*?)`", PAPERS))
def test_a_command_of_the_papers_is_one(line):
    verb, *words = shlex.split(line)
    if verb != "run":
        context(verb, words)
        return
    recipe = ROOT / words[0]
    steps = read_recipe(recipe, {}, STEPS).steps
    assert {word for word in words[1:] if word != "--only"} <= set(steps)


def test_the_papers_name_every_figure_by_its_name():
    figures = set(re.findall(r"`([a-z0-9-]+)`", PAPERS)) & set(CAPTIONS)
    assert figures >= {"top1", "degradation", "pruned", "critical", "weights", "distributions"}


def test_the_recipe_in_the_docs_plans(tmp_path):
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(), re.DOTALL)
    path = tmp_path / "compare.yaml"
    path.write_text(text)
    jobs = plan(read_recipe(path, {}, STEPS), tmp_path, check)
    matrix = yaml.safe_load(text)["matrix"]
    points = 3 * 3 * 3 - 3 * len(matrix["exclude"])
    counts = {"dense": 3, "scores": 9, "mask": points, "sparse": points, "result": points}
    assert {s: sum(j.step == s for j in jobs) for s in counts} == counts
    assert sum(j.step == "table" for j in jobs) == 1


def test_the_snippet_that_reads_a_mask_without_prunecli_works(tmp_path, monkeypatch):
    import torch

    from prunecli.files.artifacts import write_mask
    from prunecli.files.parsing import parsed
    from prunecli.files.records import MaskRecord

    monkeypatch.chdir(tmp_path)
    kept = {"a": torch.rand(3, 5) > 0.5, "b": torch.rand(7) > 0.5}
    write_mask(tmp_path / "mask.safetensors", kept, parsed(MaskRecord, {}))
    text = (ROOT / "docs" / "files.md").read_text()
    [snippet] = [
        s for s in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "unpackbits" in s
    ]
    names = {}
    exec(snippet, names)
    assert all((names["mask"][name] == bits.numpy()).all() for name, bits in kept.items())
