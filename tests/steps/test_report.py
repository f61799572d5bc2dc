"""What a report writes: a figure, all of them, a table, a page; and what does not go together."""

import csv
import io
import json

import pytest
from results import table

from prunecli.errors import BadOutput, BadUsage
from prunecli.settings.report import CAPTIONS, ReportSettings
from prunecli.settings.run import RunOptions
from prunecli.steps.report import report

HISTORY = [{"epoch": e, "loss": 1.0, "top1": 50.0} for e in (1, 2)]


@pytest.fixture
def given(tmp_path):
    """Writes results, and gives their paths."""

    def write(*tables):
        paths = [tmp_path / f"{number}.eval.json" for number in range(len(tables))]
        for path, own in zip(paths, tables, strict=True):
            path.write_text(json.dumps(own))
        return paths

    return write


@pytest.fixture
def study(given):
    return given(table(None, 1.0, top1=95.0, history=HISTORY), table(), table("snip", 4.0))


def of(**settings):
    return ReportSettings(**settings)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Figures


FIGURES = ["degradation", "density", "loss", "top1", "top1-epochs", "top5"]


@pytest.mark.parametrize(("form", "start"), [(None, b"<svg"), ("svg", b"<svg"), ("pdf", b"%PDF")])
def test_all_figures_go_into_a_folder_each_under_its_name(study, tmp_path, form, start):
    folder = tmp_path / "new" / "figures"
    output, text = report(study, of(figure="all", form=form), RunOptions(output=folder))
    assert (output, text) == (folder, "")
    names = files(folder)
    assert names == sorted(f"{name}.{form or 'svg'}" for name in FIGURES)
    assert set(FIGURES) <= CAPTIONS.keys()
    written = {name: (folder / name).read_bytes() for name in names}
    assert all(content.startswith(start) for content in written.values())
    report(study, of(figure="all", form=form), RunOptions(output=folder, force=True))
    assert {name: (folder / name).read_bytes() for name in names} == written


def test_all_figures_of_several_networks_have_a_folder_each(given, tmp_path):
    paths = given(table(), table(model="torchvision:vgg16"), table(dataset="mnist"))
    report(paths, of(figure="all"), RunOptions(output=tmp_path / "out"))
    assert {name.partition("/")[0] for name in files(tmp_path / "out")} == {
        "cnn-digits", "cnn-mnist", "torchvision-vgg16-digits"
    }  # fmt: skip
    assert (tmp_path / "out" / "cnn-mnist" / "top1.svg").exists()


def test_networks_whose_names_come_to_one_folder_have_one_each(given, tmp_path):
    names = ["a b", "a/b", "A*B", "../..", "..", "", "a-b-digits-2", "n" * 1000]
    paths = given(*(table(model=name) for name in names), table(model="x", dataset="?"))
    out = tmp_path / "out"
    report(paths, of(figure="all"), RunOptions(output=out))
    folders = {name.partition("/")[0] for name in files(out)}
    assert len(folders) == len({name.lower() for name in folders}) == len(paths)
    assert not any(name.startswith((".", "-")) or len(name) > 110 for name in folders)
    assert files(tmp_path / "out") == sorted(f"{f}/{n}.svg" for f in folders
                                             for n in ("density", "top1", "top5"))  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(path.name for path in paths)}


def test_a_figure_that_is_there_already_is_kept(study, tmp_path, nothing_written):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "top5.svg").write_text("mine")
    with nothing_written(), pytest.raises(BadOutput, match=r"top5\.svg.*--force"):
        report(study, of(figure="all"), RunOptions(output=folder))
    report(study, of(figure="all"), RunOptions(output=folder, force=True))
    assert (folder / "top5.svg").read_text().startswith("<svg")


def test_a_dry_run_makes_no_figure_nor_folder(study, tmp_path, nothing_written):
    folder = tmp_path / "figures"
    with nothing_written():
        output, _ = report(study, of(figure="all"), RunOptions(output=folder, dry_run=True))
    assert output == folder


def test_a_file_is_no_folder_for_figures(study, nothing_written):
    with nothing_written(), pytest.raises(BadOutput, match="is not a directory"):
        report(study, of(figure="all"), RunOptions(output=study[0], force=True))


def test_results_that_fill_no_figure_are_told_so(given, tmp_path, nothing_written):
    paths = given(table(None, 1.0))
    with nothing_written(), pytest.raises(BadUsage, match="nothing to show in any figure"):
        report(paths, of(figure="all"), RunOptions(output=tmp_path / "out"))


def test_a_figure_is_text_or_a_file_of_the_format_of_its_ending(study, tmp_path):
    output, svg = report(study, of(figure="top5"), RunOptions())
    assert (output, svg[:4]) == (None, "<svg")
    assert "test top-5, %" in svg
    assert ">lamp<" in svg  # with its legend
    for name, start in (("a.svg", b"<svg"), ("a.pdf", b"%PDF")):
        report(study, of(figure="top5"), RunOptions(output=tmp_path / name))
        assert (tmp_path / name).read_bytes().startswith(start)
    assert (tmp_path / "a.svg").read_text() == svg
    assert report(study, of(form="svg"), RunOptions())[1].count("test top-1, %") == 1


def test_one_figure_is_of_one_network(given):
    with pytest.raises(BadUsage, match="one model and data set, not of 'cnn on digits', 'vgg16"):
        report(given(table(), table(model="vgg16")), of(figure="top1"), RunOptions())


# Tables


def test_a_table_is_of_each_network_under_its_title(given):
    paths = given(table(top1=90.0), table(top1=80.0, model="vgg16", compression=4.0))
    _, text = report(paths, of(form="markdown"), RunOptions())
    assert text.count("**Test top-1, %**") == 2
    assert "| lamp | 90.00 |" in text
    assert "| lamp | 80.00 |" in text
    _, latex = report(paths, of(form="latex", table="top5"), RunOptions())
    assert latex.count(r"\caption{Test top-5, \%}") == 2
    _, text = report(paths, of(form="csv", table="top1"), RunOptions())
    assert [row["16x"] for row in csv.DictReader(io.StringIO(text))] == ["90.0", ""]


def test_the_findings_stand_below_the_rows(study, tmp_path):
    _, text = report(study, of(), RunOptions())
    rows, findings = text.split("\ncnn on digits\n")
    assert len(rows.splitlines()) == 4
    assert findings.startswith("- Unpruned: 95.00% top-1, one seed.\n")
    output, said = report(study, of(), RunOptions(output=tmp_path / "r.html"))
    assert said.endswith(f"\ncnn on digits\n{findings}")
    assert said.startswith("Test top-1, %\n")
    assert output.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["published", "equal-loss"])
def test_a_table_without_a_line_is_told_so(given, name):
    with pytest.raises(BadUsage, match=f"nothing to show in the table '{name}'"):
        report(given(table()), of(table=name), RunOptions())


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "latex", "html", "svg"])
def test_older_results_and_odd_ones_are_reported_in_every_format(given, tmp_path, form):
    wild = "<b>|_*\\$%&\n\x1b[2J{" + "x" * 900
    cases = [
        [table(None, 1.0)],
        [table()],
        [table("gmp", asked=None), table("gmp", asked=None, options={"a": 1})],
        [table(None, 1.0, label=wild, classes=10), table(label=wild), table("snip", label="dense")],
        [table(f"m{number}", top1=number / 2) for number in range(40)],
    ]
    for number, case in enumerate(cases):
        settings = of(form=form, figure="top1" if form == "svg" and number else None)
        if form == "svg" and not number:
            continue  # a dense network alone has no figure
        path = tmp_path / f"out{number}"
        report(given(*case), settings, RunOptions(output=path))
        text = path.read_text()
        assert text
        assert "\x1b" not in text or form == "csv"


# What does not go together


@pytest.mark.parametrize(
    ("settings", "output", "words"),
    [
        ({"figure": "all"}, None, "--figure all needs -o FOLDER"),
        ({"figure": "all", "form": "pdf"}, None, "--figure all needs -o FOLDER"),
        ({"form": "pdf"}, None, "--format pdf needs -o"),
        ({"figure": "top1", "form": "html"}, "x.html", "--figure needs --format svg or pdf"),
        ({"table": "top1", "form": "json"}, None, "--table needs --format table, csv"),
        ({"table": "top1"}, "x.svg", "--table needs --format table, csv"),
        ({"table": "top1", "figure": "top1"}, None, "--table needs --format table, csv"),
    ],
)
def test_what_does_not_go_together_is_refused(
    study, tmp_path, nothing_written, settings, output, words
):
    run = RunOptions(output=output and tmp_path / output)
    with nothing_written(), pytest.raises(BadUsage, match=words):
        report(study, of(**settings), run)


def test_no_results_are_no_report():
    with pytest.raises(BadUsage, match="there are no results"):
        report([], of(), RunOptions())
