"""What a release is made of agrees with itself: versions, workflows, forms, what is packed."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from prunecli.package import VERSION

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text()) for path in (GITHUB / "workflows").iterdir()
}
STEPS = [
    (name, step)
    for name, workflow in WORKFLOWS.items()
    for job in workflow["jobs"].values()
    for step in job["steps"]
]


def tracked(*what):
    listed = subprocess.run(
        ["git", "ls-files", *what], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not in a git repository")
    return listed.stdout.splitlines()


def test_the_version_is_that_of_the_changelog_and_the_citation():
    text = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.search(r"^## \[(.*?)\] - (\S+)$", text, re.MULTILINE).groups()
    assert (version, date) == (VERSION, str(CITATION["date-released"]))
    assert CITATION["version"] == VERSION
    assert (
        f"\n[{VERSION}]: {PROJECT['project']['urls']['Source']}/releases/tag/v{VERSION}\n" in text
    )


def test_the_citation_has_the_four_papers():
    thesis, *others = CITATION["references"]
    assert thesis["type"] == "thesis"
    papers = (ROOT / "docs" / "papers.md").read_text()
    for paper in (thesis, *others):
        assert paper["authors"][0]["family-names"] in papers
        assert f" {paper['year']}\n" in papers
    assert len(others) == 3


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_it_must(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["runs-on"] == "ubuntu-latest" for job in workflow["jobs"].values())


def test_actions_are_pinned_by_their_major_version():
    used = [step["uses"] for _, step in STEPS if "uses" in step]
    assert len(used) >= 10
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action)
    assert len(set(used)) == len({action.partition("@")[0] for action in used})


def test_the_commands_of_the_workflows_are_there():
    lines = {step["run"] for _, step in STEPS if "run" in step}
    assert lines >= {".ci/run", ".venv/bin/mkdocs build --strict"}
    for line in lines:
        command = line.split()[0]
        if command.startswith("."):
            assert command.startswith(".venv/bin/") or os.access(ROOT / command, os.X_OK), line


def test_the_site_is_built_by_what_is_installed_for_it():
    if not (ROOT / "mkdocs.yml").exists():
        pytest.skip("there is no site")
    lines = [step.get("run", "") for name, step in STEPS if name == "site.yml"]
    [extra] = re.findall(r"\[(\w+)\]", " ".join(lines))
    brought = PROJECT["project"]["optional-dependencies"][extra]
    assert "mkdocs-material" in {Requirement(text).name for text in brought}


def test_the_pythons_that_are_tested_are_those_that_are_promised():
    [matrix] = [job["strategy"]["matrix"] for job in WORKFLOWS["ci.yml"]["jobs"].values()]
    told = [
        text.rpartition(" :: ")[2]
        for text in PROJECT["project"]["classifiers"]
        if re.search(r":: Python :: 3\.\d+$", text)
    ]
    assert PROJECT["project"]["requires-python"] == f">={told[0]}" == f">={matrix['python'][0]}"
    assert matrix["python"][-1] == told[-1]


@pytest.mark.parametrize(
    "path", sorted((GITHUB / "ISSUE_TEMPLATE").iterdir()), ids=lambda p: p.stem
)
def test_a_form_is_one(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert all(link.keys() == {"name", "url", "about"} for link in form["contact_links"])
        return
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert len({field["id"] for field in fields}) == len(fields) >= 3
    assert all(field["attributes"]["label"] for field in fields)


def test_the_bug_form_asks_for_what_a_repair_needs():
    form = (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    assert "prunecli --version" in form
    assert "prunecli inspect FILE" in form


def test_every_file_of_the_package_is_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["prunecli"]
    others = [name for name in tracked("prunecli") if not name.endswith(".py")]
    assert "prunecli/py.typed" in others
    for name in others:
        assert any(fnmatch(name.removeprefix("prunecli/"), pattern) for pattern in patterns), name


def test_every_folder_of_the_repository_is_in_the_source_archive():
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    grafted = {line.split()[1] for line in lines if line.startswith("graft ")}
    patterns = [word for line in lines if line.startswith("include ") for word in line.split()]
    itself = {"prunecli", "README.md", "LICENSE", "pyproject.toml"}  # as setuptools does
    for name in {name.partition("/")[0] for name in tracked()} - itself:
        assert name in grafted or any(fnmatch(name, pattern) for pattern in patterns), name


def test_what_git_ignores_is_not_committed():
    assert tracked("--cached", "--ignored", "--exclude-standard") == []
