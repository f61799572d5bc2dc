"""Published numbers: read from a CSV, set beside one's own, and where figures start."""

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from results import result, table

from prunecli.errors import BadInput, BadUsage
from prunecli.report.figures import accuracy
from prunecli.report.page import as_html
from prunecli.report.reference import HEADINGS, Published, compared, read_reference
from prunecli.report.rows import grouped
from prunecli.report.tables import as_csv
from prunecli.settings.report import ReportSettings
from prunecli.settings.run import RunOptions
from prunecli.steps.report import report

DENSE = result(None, 1.0, top1=95.0)
HEAD = "model,dataset,method,compression,top1,top5\n"


@pytest.fixture
def reading(tmp_path):
    def read(text):
        path = tmp_path / "paper.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_reference(path)

    return read


# Reading


def test_a_table_of_results_by_what_they_are_of(reading):
    text = HEAD + "cnn,digits,lamp,16,88.5,97.25\nvgg16,cifar10,magnitude layer,32,24.50,63.80\n"
    assert reading(text) == {
        ("cnn", "digits", "lamp", 16.0): Published(88.5, 97.25),
        ("vgg16", "cifar10", "magnitude layer", 32.0): Published(24.5, 63.8),
    }


def test_comments_are_left_out_wherever_they_stand(reading):
    text = f'# From a paper, with commas, "quotes"\n{HEAD}# table 1\ncnn,digits,lamp,16,1,2\n#end\n'
    assert reading(text) == {("cnn", "digits", "lamp", 16.0): Published(1, 2)}


def test_columns_come_in_any_order_and_others_are_passed_over(reading):
    text = "top5,note,method,top1,compression,dataset,model\n9,x,lamp,8,16,digits,cnn\n"
    assert reading(text) == {("cnn", "digits", "lamp", 16.0): Published(8, 9)}


@pytest.mark.parametrize("name", ["model", "dataset", "method", "compression", "top1", "top5"])
def test_a_missing_column_is_named(reading, name):
    with pytest.raises(BadInput, match=rf"paper\.csv: .*it has no column '{name}'"):
        reading(HEAD.replace(name, "other") + "a,b,c,1,2,3\n")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "[1, 2]", "{}"])
def test_what_is_no_table_has_no_columns(reading, text):
    with pytest.raises(BadInput, match="it has no column 'model'"):
        reading(text)


def test_top_5_need_not_be_told(reading):
    assert reading(f"{HEAD}cnn,digits,lamp,16,88.5,\n") == {
        ("cnn", "digits", "lamp", 16.0): Published(88.5, None)
    }
    row = grouped([result("lamp", 16.0, model="cnn", dataset="digits", top1=90.0)])
    [(_, [cells])] = compared(row, {("cnn", "digits", "lamp", 16.0): Published(88.5, None)})
    assert cells[2] == "88.50"
    assert cells[4] == ""


def test_a_table_without_rows_is_empty(reading):
    assert reading(HEAD) == {}


@pytest.mark.parametrize(
    "row", ["cnn,digits,lamp,16,high,2", "cnn,digits,lamp,,1,2", "cnn,digits,lamp,16,1", "cnn",
            "cnn,digits,lamp,16,,1", "cnn,digits,lamp,16,nan,2", "cnn,digits,lamp,16,1,inf"],
)  # fmt: skip
def test_a_row_that_is_no_result_is_shown(reading, row):
    with pytest.raises(BadInput) as caught:
        reading(f"{HEAD}cnn,digits,snip,16,1,2\n{row}\n")
    assert str(caught.value).startswith(str(caught.value).partition("paper.csv")[0] + "paper.csv: ")
    assert f" {row}" in str(caught.value)
    assert "not a result" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff\xff\x00", HEAD.encode() + b"cnn,\xe9,lamp,16,1,2\n"])
def test_a_file_that_is_not_text_is_refused(reading, raw):
    with pytest.raises(BadInput, match=r"paper\.csv: it is not UTF-8 at byte"):
        reading(raw)


@pytest.mark.parametrize("cell", ["x" * 200_000, "a\0b"], ids=["very long", "a zero byte"])
def test_text_that_the_csv_reader_balks_at_is_no_bug(reading, cell):
    """Refused as bad input, or read; which of them depends on the Python."""
    row = f"{HEAD}cnn,digits,{cell},16,1,2\n"
    try:
        read = reading(row)
    except BadInput as refused:
        assert "paper.csv: " in str(refused)
    else:
        assert list(read.values()) == [Published(1, 2)]


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path, words in ((tmp_path / "none.csv", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(BadInput, match=words) as caught:
            read_reference(path)
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).count(str(path)) == 1


def test_what_a_report_wrote_is_a_reference(reading):
    rows = grouped([
        DENSE, result(top1=80.0), result(top1=91.0, seed=1), result("snip", 3.3, options={"a": 1}),
        result("lamp", 1 / 0.3, scope="layer"),
    ])  # fmt: skip
    read = reading(as_csv(rows))
    assert len(read) == len(rows) == 4
    for row in rows:
        known = read[(row.model, row.dataset, row.method, row.compression)]
        assert known == Published(row.mean("top1"), row.mean("top5"))
    assert read["cnn", "digits", "lamp", 16.0].top1 == 85.5


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), ("\tx", "'\tx"),
        ("\rx", "'\rx"), ("#x", "'#x"), ("'=x", "''=x"), ("'x", "'x"), ("x=1", "x=1"), ("", ""),
        ("\uff1dx", "'\uff1dx"), ("a\n#b", "a\n#b"), ('a"b\r\n=c', 'a"b\r\n=c'),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula_and_a_reference_has_the_name_again(reading, name, cell):
    rows = grouped([result(name, model=name, dataset=name, top1=0.5)])
    text = as_csv(rows)
    [own] = csv.DictReader(io.StringIO(text, newline=""))
    assert (own["model"], own["dataset"], own["method"]) == (cell, cell, cell)
    assert (own["top1"], own["compression_error"]) == ("0.5", "0.0")
    assert reading(text) == {(name, name, name, 16.0): Published(0.5, 99.0)}


@pytest.mark.fault(35)
def test_a_pipe_or_a_device_is_no_reference(tmp_path):
    os.mkfifo(tmp_path / "paper.csv")
    for path in (tmp_path / "paper.csv", Path("/dev/zero")):
        with pytest.raises(BadInput, match=f"{path}: it is a .*; give a regular file"):
            read_reference(path)


@pytest.mark.fault(42)
def test_a_cell_that_is_no_number_is_quoted_without_its_escapes(reading):
    with pytest.raises(BadInput) as caught:
        reading(HEAD + "cnn,digits,\x1b[2J" + "x" * 1000 + ",16,high,97\n")
    assert r"cnn,digits,\x1b[2Jxxx" in str(caught.value)
    assert len(str(caught.value)) < 400


# Beside one's own


REFERENCE = {
    ("cnn", "digits", "lamp", 16.0): Published(88.0, 97.0),
    ("cnn", "digits", "snip", 4.0): Published(77.0, 96.0),
    ("vgg16", "digits", "lamp", 8.0): Published(11.0, 12.0),
    ("cnn", "mnist", "lamp", 2.0): Published(13.0, 14.0),
}


def test_rows_meet_those_of_their_own_model_data_method_and_compression():
    rows = grouped([result(), result("snip"), result("snip", 4.0), result(compression=4.0), DENSE])
    assert compared(rows, REFERENCE) == [
        (4.0, [["lamp", "90.00", "", "99.00", ""], ["snip", "90.00", "77.00", "99.00", "96.00"]]),
        (16.0, [["lamp", "90.00", "88.00", "99.00", "97.00"], ["snip", "90.00", "", "99.00", ""]]),
    ]
    assert len(HEADINGS) == 5


@pytest.mark.parametrize(
    "other", [{"model": "vgg16"}, {"dataset": "mnist"}, {"scope": "layer"}, {"compression": 15.0}]
)
def test_other_rows_do_not_meet(other):
    tables = compared(grouped([result(**other)]), REFERENCE)
    assert all(cells[2] == cells[4] == "" for _, table in tables for cells in table)
    assert not tables or other == {"scope": "layer"}


def test_without_a_reference_there_is_nothing_to_compare():
    assert compared(grouped([DENSE, result()]), {}) == []


def test_a_ratio_that_only_the_reference_has_makes_no_table():
    assert [ratio for ratio, _ in compared(grouped([result()]), REFERENCE)] == [16.0]


def test_the_mean_over_seeds_stands_beside_the_reference():
    rows = grouped([result(top1=80.0), result(top1=90.0, seed=1)])
    [(_, [[_, ours, theirs, _, _]])] = compared(rows, REFERENCE)
    assert (ours, theirs) == ("85.00 ± 7.07", "88.00")


def test_the_page_has_a_table_for_each_ratio_of_the_reference():
    results = [DENSE, result(), result("snip", 4.0), result("snip", 64.0)]
    page, without = as_html(grouped(results), "t", REFERENCE), as_html(grouped(results), "t")
    assert re.findall("<h3>(.*)</h3>", page) == [
        "At 4x, beside the reference", "At 16x, beside the reference"
    ]  # fmt: skip
    tables = re.findall(r'<table class="compared">.*?</table>', page, flags=re.DOTALL)
    assert [re.findall(r"<td>(.*?)</td>", table) for table in tables] == [
        ["snip", "90.00", "77.00", "99.00", "96.00"],
        ["lamp", "90.00", "88.00", "99.00", "97.00"],
    ]
    assert all(table.count("<th>") == 5 for table in tables)
    assert "beside the reference" not in without
    assert as_html(grouped(results), "t", {}) == without


def test_each_section_has_its_own_comparison():
    results = [result(), result(model="vgg16", compression=8.0), result(model="resnet20")]
    page = as_html(grouped(results), "t", REFERENCE)
    sections = page.split("<h2>")[1:]
    assert [section.partition("<")[0] for section in sections] == [
        "cnn on digits", "resnet20 on digits", "vgg16 on digits"
    ]  # fmt: skip
    assert [re.findall("<h3>At (.*)x,", section) for section in sections] == [["16"], [], ["8"]]


def test_names_from_a_reference_are_escaped():
    bad = {("cnn", "digits", "<b>", 16.0): Published(1, 2)}
    assert "<b>" not in as_html(grouped([result("<b>")]), "t", bad)


# The step


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "r.eval.json"
    path.write_text(json.dumps(table()))
    paper = tmp_path / "paper.csv"
    paper.write_text(HEAD + "cnn,digits,lamp,16,88,97\n")
    return path, paper


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_reference_needs_a_page(written, tmp_path, nothing_written, form):
    path, paper = written
    for common in (RunOptions(), RunOptions(output=tmp_path / "out")):
        with nothing_written(), pytest.raises(BadUsage, match="--reference needs --format html"):
            report([path], ReportSettings(form=form, reference=paper), common)


def test_a_page_with_a_reference_is_written(written, tmp_path):
    path, paper = written
    output, _ = report([path], ReportSettings(form="html", reference=paper), RunOptions())
    assert output == tmp_path / "report.html"
    assert "<td>88.00</td>" in output.read_text()


def test_a_bad_reference_leaves_nothing_behind(written, nothing_written):
    path, paper = written
    paper.write_text(HEAD + "cnn,digits,lamp,16,high,97\n")
    with nothing_written(), pytest.raises(BadInput, match="not a result"):
        report([path], ReportSettings(form="html", reference=paper), RunOptions())


def test_the_reference_is_an_input_and_never_written_over(written, nothing_written):
    path, paper = written
    with nothing_written(), pytest.raises(BadUsage, match="one of the inputs"):
        report(
            [path],
            ReportSettings(form="html", reference=paper),
            RunOptions(output=paper, force=True),
        )


# Where lines start


@pytest.fixture
def lines(monkeypatch):
    """The points of each line that a figure of accuracy draws."""
    drawn = {}
    draw = Axes.errorbar

    def note(self, x, y, *arguments, label, **options):
        drawn[label] = list(zip(x, y, strict=True))
        return draw(self, x, y, *arguments, label=label, **options)

    monkeypatch.setattr(Axes, "errorbar", note)

    def of(results):
        drawn.clear()
        accuracy(grouped(results), "top1")
        return drawn

    return of


PRUNED = [result(top1=80.0), result(compression=4.0, top1=85.0), result("snip", 8.0, top1=70.0)]
BARE = {"lamp": [(4, 85), (16, 80)], "snip": [(8, 70)]}


def test_lines_start_at_the_one_dense_network(lines):
    assert lines([DENSE, *PRUNED]) == {name: [(1, 95), *line] for name, line in BARE.items()}


def test_seeds_of_the_dense_network_are_one_start(lines):
    other = replace(DENSE, seed=1, top1=97.0)
    assert lines([DENSE, other, *PRUNED])["snip"] == [(1, 96), (8, 70)]


def test_lines_start_by_themselves_without_a_dense_network_or_with_two(lines):
    assert lines(PRUNED) == BARE
    two = [replace(DENSE, settings={"epochs": n}) for n in (5, 9)]
    assert lines([*two, *PRUNED]) == BARE
