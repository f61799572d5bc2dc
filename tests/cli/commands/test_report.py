"""`report` as the shell runs it: what is on standard output, and in files."""

import json

import pytest
from results import table


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """The results of two networks, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, own in (("dense", table(None, 1.0, top1=95.0)), ("lamp", table(label="Mine"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(own))
    return tmp_path


def test_a_table_goes_to_standard_output_and_a_file_is_named_there(prune, results):
    ended = prune("report", "dense.json", "lamp.json", "--format", "markdown")
    assert (ended.code, ended.err) == (0, "")
    assert "| Mine |  | 90.00 |" in ended.out
    ended = prune("report", "dense.json", "lamp.json", "-o", "r.tex")
    assert (ended.code, ended.out) == (0, "r.tex\n")
    assert r"\begin{tabular}" in (results / "r.tex").read_text()


def test_all_figures_are_named_by_their_folder(prune, results):
    ended = prune("report", "dense.json", "lamp.json", "--figure", "all", "-o", "figures")
    assert (ended.code, ended.out) == (0, "figures\n"), ended.err
    assert "top1.svg" in {path.name for path in (results / "figures").iterdir()}
    again = prune("report", "dense.json", "lamp.json", "--figure", "all", "-o", "figures")
    assert (again.code, again.out) == (5, "")
    assert "--force" in again.err


def test_a_folder_that_is_named_as_one_will_do_for_all_figures_alone(prune, results):
    ended = prune("report", "lamp.json", "--figure", "all", "-o", "figures/")
    assert (ended.code, ended.out) == (0, "figures\n"), ended.err
    refused = prune("report", "lamp.json", "--figure", "top1", "-o", "single/")
    assert (refused.code, refused.out) == (2, "")
    assert "the output cannot be a folder" in refused.err
    assert not (results / "single").exists()


def test_a_dry_run_of_all_figures_writes_none(prune, nothing_written):
    with nothing_written():
        ended = prune("report", "lamp.json", "--figure", "all", "-o", "figures", "--dry-run")
    assert (ended.code, ended.out) == (0, "figures\n")
    assert ended.err == "dry run: nothing was written\n"


@pytest.mark.parametrize("options", ["--figure all -o f", "--figure top1 -o f.pdf", "-o f.html"])
def test_json_names_the_output(prune, options):
    ended = prune("report", "dense.json", "lamp.json", *options.split(), "--json")
    assert (ended.code, ended.out.count("\n")) == (0, 1), ended.err
    assert json.loads(ended.out) == {
        "command": "report", "output": options.split()[-1], "dry_run": False, "result": None,
    }  # fmt: skip


def test_json_holds_the_rows_or_the_text(prune):
    def told(*options):
        ended = prune("report", "lamp.json", *options, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    [row] = told("--format", "json")["result"]
    assert (row["method"], row["description"], row["top1"]) == ("Mine", "lamp", 90)
    assert told("--figure", "top1")["result"].startswith("<svg")
    assert told()["output"] is None
