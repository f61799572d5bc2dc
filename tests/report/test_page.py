"""The page as a browser takes it: its ids, names of any kind, and narrow screens."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from results import result, table

from prunecli.report.matching import paired
from prunecli.report.tables.published import published
from prunecli.report.page import as_html
from prunecli.report.reference import Published
from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv, full
from prunecli.report.tables.table import as_text


def drawn(svg):
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


HISTORY = [
    {"epoch": e, "loss": 1.0, "top1": 50.0, "density": 1 / e, "weights": [1, 2]} for e in (1, 2)
]
DENSE = result(None, 1.0, history=HISTORY)
FIGURES = (
    "top1", "top5", "degradation", "options", "options-sparsity", "error", "density", "loss",
    "top1-epochs", "sparsity", "pruned", "weights",
)  # fmt: skip


def page_of(name, option="a"):
    """All figures there are, of a method of that name, on two models."""
    options = [{option: value} for value in (1, 2)]
    given = [result(name, options=each, history=HISTORY) for each in options]
    free = [result(name, options={option: 3}, history=HISTORY, asked=None)]
    narrow = result(None, 1.0, model_options={"thin": 0.5})
    return grouped([DENSE, narrow, *given, *free, result(name, model="vgg16", options={})])


def test_ids_are_unique_and_all_that_is_referred_to_is_there():
    page = as_html(page_of('id="#m1" url(#m2)'), "t")
    assert page.count("<figure>") > 15
    ids = re.findall(r'<[^>]* id="([^"]*)"', page)
    assert len(set(ids)) == len(ids) > 500
    used = re.findall(r'<[^>]*(?:href="#|url\(#)([^")]*)', page)
    assert len(used) > 400
    assert set(used) <= set(ids)
    assert 'id="#m1" url(#m2)' in "".join(drawn(page))
    assert page == as_html(page_of('id="#m1" url(#m2)'), "t")


def test_figures_keep_their_width_and_scroll_on_a_narrow_screen():
    page = as_html(page_of("lamp"), "t")
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    for figure in figures:
        width, own = re.search(r'<svg style="min-width: (.*?)".*? width="(.*?)"', figure).groups()
        assert width == own
        assert float(own.removesuffix("pt")) >= 518.4
        assert re.search(r'<div class="scroll"><svg .*</svg>\s*</div>', figure, flags=re.DOTALL)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("name", ["_mine:sc", r"$\foo$", "$", r"a\$b $", "\x1b[31m", "\n_"])
def test_any_name_is_in_every_legend_as_it_is(figure, name):
    rows = [row for row in page_of(name, option="$\\bar$\x07") if row.model == "cnn"]
    if figure == "options-sparsity":
        assert r"$\bar$\x07" in drawn(as_svg(rows, figure))
    svg = as_svg(rows, figure)
    ET.fromstring(svg)
    shown = name.replace("\x1b", r"\x1b").replace("\n", r"\n")
    assert any(text.strip().startswith(shown) for text in drawn(svg))


def test_a_layer_of_any_name_is_on_the_axis():
    layers = [{"name": r"$\foo$.weight", "total": 4, "kept": 1}]
    assert r"$\foo$" in drawn(as_svg(grouped([result(layers=layers)]), "density"))


def test_names_that_would_move_the_cursor_are_escaped():
    odd = {"model": "a\nb", "dataset": "c\x1b[2Jd", "method": "e\rf"}
    rows = grouped([result(**odd)])
    _, line = as_text(rows).splitlines()
    assert line.split()[:3] == [r"a\nb", r"c\x1b[2Jd", r"e\rf"]
    published = Published(
        model="a\nb", dataset="c\x1b[2Jd", method="e\rf", compression=16.0, top1=1, note="x\x1b"
    )
    comparison = compared(paired(rows, (published,)))
    assert comparison.lines[0][0] == r"e\rf"
    assert comparison.notes == [("*", r"x\x1b")]
    assert r"<h2>a\nb on c\x1b[2Jd</h2>" in as_html(rows, "t")
    assert "a\nb" in as_csv(rows)


@pytest.mark.fault(42)
def test_nothing_of_a_result_is_markup():
    evil = "</svg><script>alert(1)</script><!-- ]]>\"'&"
    more = {"model": evil, "dataset": evil, "history": HISTORY, "versions": {evil: evil}}
    more |= {"layers": [{"name": evil, "total": 4, "kept": 1}]}
    given = [result(evil, options={evil: value}, **more) for value in (1, 2)]
    rows = grouped([result(None, 1.0, **more), *given])
    said = {"model": evil, "dataset": evil, "compression": 16.0, "top1": 1, "note": evil}
    reference = tuple(Published(method=name, **said) for name in (evil, given[0].method + " a=1"))
    page = as_html(rows, evil, reference)
    tags = set(re.findall(r"<([a-zA-Z!][\w-]*)", page))
    clean = Published(
        model="cnn", dataset="digits", method="lamp a=1", compression=16.0, top1=1, note="it"
    )
    clean = as_html(page_of("lamp"), "t", (clean,))
    assert tags <= set(re.findall(r"<([a-zA-Z!][\w-]*)", clean))
    assert page.count("&lt;script&gt;alert(1)") > 20
    for svg in re.findall("<svg .*?</svg>", page, flags=re.DOTALL):
        ET.fromstring(svg)


def test_a_title_cannot_steer_what_shows_the_page():
    assert r"<title>a\x1b[2J\u202eb</title>" in as_html(page_of("lamp"), "a\x1b[2J\u202eb")


def test_a_long_name_is_cut_in_a_figure_and_whole_in_the_table(recwarn):
    name = "n" * 1000
    layers = [{"name": name, "total": 4, "kept": 1}]
    rows = grouped([result(name, layers=layers), result("\U0001f4a9", layers=layers)])
    for figure in ("top1", "density"):
        texts = "".join(drawn(as_svg(rows, figure)))
        assert 299 <= texts.count("n") < 800
    assert name in as_html(rows, "t")
    assert [str(one.message) for one in recwarn] == []


HOSTILE = """text.usetex: True
text.latex.preamble: \\\\usepackage{shellesc}
backend: module://canary_backend
svg.fonttype: path
font.size: 30
no such key: 1
"""


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    "settings",
    [HOSTILE.encode(), None, pytest.param(b"\xff\xfe: 1\n", marks=pytest.mark.slow)],
)
def test_no_matplotlibrc_of_the_current_folder_is_read(tmp_path, settings):
    for name, one in (
        ("dense", table(None, 1.0, history=HISTORY)),
        ("lamp", table(history=HISTORY)),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
    here = tmp_path / "downloaded"
    here.mkdir()
    (here / "canary_backend.py").write_text("open('ran', 'w')")
    if settings is None:
        os.mkfifo(here / "matplotlibrc")
    else:
        (here / "matplotlibrc").write_bytes(settings)
    command = "report ../dense.json ../lamp.json --format html -q -o ../page.html --force".split()
    pages = []
    for folder in (tmp_path / "empty", here):
        folder.mkdir(exist_ok=True)
        line = [sys.executable, "-m", "prunecli", *command]
        ended = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "../page.html\n", "")
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1]
    assert not (here / "ran").exists()


def test_what_others_set_of_matplotlib_changes_no_figure():
    rows = [row for row in page_of("lamp") if row.model == "cnn"]
    before = as_svg(rows, "top1")
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "svg.fonttype": "path"}):
        assert as_svg(rows, "top1") == before
        assert mpl.rcParams["font.size"] == 30


def test_the_page_stands_alone_and_escapes_what_it_is_given():
    page = as_html(grouped([DENSE, result(model="<script>alert(1)</script>")]), "A & B")
    assert "<script>" not in page
    assert "A &amp; B" in page
    assert "src=" not in page
    assert 'href="http' not in page
    assert page == as_html(grouped([DENSE, result(model="<script>alert(1)</script>")]), "A & B")


def test_a_page_of_dense_results_alone_has_only_its_convergence():
    history = [{"epoch": e, "loss": 1.0} for e in (1, 2)]
    page = as_html(grouped([result(None, 1.0, history=history)]), "t")
    assert page.count("<figure>") == 1
    assert "Training loss" in page
