"""Published numbers: read from a CSV, set beside one's own, and where figures start."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from results import lines, result, sight_of, table

from prunecli.errors import BadInput, BadUsage
from prunecli.report.figures.ratios import accuracy
from prunecli.report.matching import paired
from prunecli.report.reference import Published, read_reference
from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv
from prunecli.settings.report import ReportSettings
from prunecli.settings.run import RunOptions
from prunecli.steps.report import report

DENSE = result(None, 1.0, top1=95.0)
HEAD = "model,dataset,method,compression,top1,top5\n"


def published(method="lamp", compression=16.0, top1=88.0, top5=97.0, **more):
    of = {"model": "cnn", "dataset": "digits", "method": method, "compression": compression}
    return Published(**{**of, "top1": top1, "top5": top5, **more})


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
    assert reading(text) == (
        published(top1=88.5, top5=97.25),
        published("magnitude layer", 32.0, 24.5, 63.8, model="vgg16", dataset="cifar10"),
    )


def test_comments_are_left_out_wherever_they_stand(reading):
    text = f'# From a paper, with commas, "quotes"\n{HEAD}# table 1\ncnn,digits,lamp,16,1,2\n#end\n'
    assert reading(text) == (published(top1=1, top5=2),)


def test_columns_come_in_any_order_and_others_are_passed_over(reading):
    text = "top5,no,method,top1,compression,dataset,model\n9,x,lamp,8,16,digits,cnn\n"
    assert reading(text) == (published(top1=8, top5=9),)


def test_what_was_reached_may_be_told_instead_of_what_was_asked(reading):
    head = HEAD.strip() + ",reached,parameters,note\n"
    text = head + "cnn,digits,gmp,,78.2,,9.17,1500000,14 M\ncnn,digits,dns,,,80.01,,3e6,\n"
    assert reading(text) == (
        published("gmp", None, 78.2, None, reached=9.17, parameters=1.5e6, note="14 M"),
        published("dns", None, None, 80.01, parameters=3e6),
    )


@pytest.mark.parametrize("name", ["model", "dataset", "method", "compression", "top1", "top5"])
def test_a_missing_column_is_named(reading, name):
    with pytest.raises(BadInput, match=rf"paper\.csv: .*it has no column '{name}'"):
        reading(HEAD.replace(name, "other") + "a,b,c,1,2,3\n")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "[1, 2]", "{}"])
def test_what_is_no_table_has_no_columns(reading, text):
    with pytest.raises(BadInput, match="it has no column 'model'"):
        reading(text)


@pytest.mark.parametrize("sizes", ["nan,", ",0", "-1,2", ",many"])
def test_nor_is_a_row_of_an_odd_size(reading, sizes):
    head = "reached,parameters," + HEAD
    with pytest.raises(BadInput, match="not a result"):
        reading(f"{head}{sizes},cnn,digits,lamp,16,1,2\n")


def test_a_note_whose_comma_no_quotes_hold_is_refused_not_cut(reading):
    row = "cnn,digits,lamp,16,1,2,a sparsity,a guess"
    with pytest.raises(BadInput, match="not a result"):
        reading(f"{HEAD.strip()},note\n{row}\n")


def test_top_5_need_not_be_told(reading):
    assert reading(f"{HEAD}cnn,digits,lamp,16,88.5,\n") == (published(top1=88.5, top5=None),)


def test_a_table_without_rows_is_empty(reading):
    assert reading(HEAD) == ()


@pytest.mark.parametrize(
    "row", ["cnn,digits,lamp,16,high,2", "cnn,digits,lamp,,1,2", "cnn,digits,lamp,16,1", "cnn",
            "cnn,digits,lamp,16,,", "cnn,digits,lamp,16,nan,2", "cnn,digits,lamp,16,1,inf",
            "cnn,digits,lamp,0,1,2", "cnn,digits,lamp,-2,1,2", "cnn,digits,lamp,16,101,2",
            "cnn,digits,lamp,16,1,-2"],
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
        assert [(each.top1, each.top5) for each in read] == [(1, 2)]


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
    for row, known in zip(rows, read, strict=True):
        assert known == published(
            row.method, row.compression, row.mean("top1"), row.mean("top5"),
            reached=row.reached, parameters=row.mean("nonzero"),
        )  # fmt: skip
    assert [(pair.ours, pair.theirs) for pair in paired(rows, read)] == [
        (row, known) for row, known in sorted(zip(rows, read, strict=True), key=by_ratio)
    ]


def by_ratio(both):
    return both[0].compression


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
    [read] = reading(text)
    assert (read.model, read.dataset, read.method) == (name, name, name)
    assert (read.top1, read.top5, read.compression) == (0.5, 99.0, 16.0)


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


# The step


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "r.eval.json"
    path.write_text(json.dumps(table()))
    paper = tmp_path / "paper.csv"
    paper.write_text(HEAD + "cnn,digits,lamp,16,88,97\n")
    return path, paper


def test_a_reference_has_no_place_in_json(written, tmp_path, nothing_written):
    path, paper = written
    for common in (RunOptions(), RunOptions(output=tmp_path / "out")):
        with nothing_written(), pytest.raises(BadUsage, match="needs another format than json"):
            report([path], ReportSettings(form="json", reference=paper), common)


def test_a_table_and_a_figure_show_the_reference(written):
    path, paper = written
    _, text = report([path], ReportSettings(reference=paper), RunOptions())
    assert "Ours less published top-1: +2.00 points, of one pair." in text
    of = ReportSettings(form="csv", table="published", reference=paper)
    assert report([path], of, RunOptions())[1].splitlines()[1] == (
        "cnn,digits,lamp,,16x,16x,,100,,90.00,88.00,99.00,97.00"
    )
    _, svg = report([path], ReportSettings(figure="top1", reference=paper), RunOptions())
    assert ">published<" in svg


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
def points(monkeypatch):
    """The points of each line that a figure of accuracy draws."""
    seen = lines(monkeypatch)

    def of(results):
        seen.clear()
        accuracy(sight_of(grouped(results)), "top1")
        return {label: list(zip(*line[:2], strict=True)) for label, line in seen.items()}

    return of


PRUNED = [result(top1=80.0), result(compression=4.0, top1=85.0), result("snip", 8.0, top1=70.0)]
BARE = {"lamp": [(4, 85), (16, 80)], "snip": [(8, 70)]}


def test_lines_start_at_the_one_dense_network(points):
    starts = {name: [(1, 95), *line] for name, line in BARE.items() if len(line) > 1}
    assert points([DENSE, *PRUNED]) == BARE | starts


def test_seeds_of_the_dense_network_are_one_start(points):
    other = replace(DENSE, seed=1, top1=97.0)
    assert points([DENSE, other, *PRUNED])["lamp"][0] == (1, 96)


def test_lines_start_by_themselves_without_a_dense_network_or_with_two(points):
    assert points(PRUNED) == BARE
    two = [replace(DENSE, settings={"epochs": n}) for n in (5, 9)]
    assert points([*two, *PRUNED]) == BARE
