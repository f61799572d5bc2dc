"""The page as a browser takes it: its ids, its legends, names of any kind."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from results import result, table

from prunecli.report.figures.looks import DARK
from prunecli.report.matching import paired
from prunecli.report.page import as_html
from prunecli.report.reference import Published
from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv, full
from prunecli.report.tables.published import published
from prunecli.report.tables.table import as_text

HISTORY = [
    {"epoch": e, "loss": 1.0, "top1": 50.0, "density": 1 / e, "weights": [1, 2]} for e in (1, 2)
]
DENSE = result(None, 1.0, history=HISTORY)
VOID = {"meta", "br", "input", "link", "img", "hr"}


def page_of(name, option="a", **more):
    """All figures there are, of a method of that name, on two models."""
    options = [{option: value} for value in (1, 2)]
    given = [result(name, options=each, history=HISTORY, **more) for each in options]
    free = [result(name, options={option: 3}, history=HISTORY, asked=None)]
    narrow = result(None, 1.0, model_options={"thin": 0.5})
    return grouped([DENSE, narrow, *given, *free, result(name, model="vgg16", options={})])


class Tree(HTMLParser):
    """Tells of each element that is open in which, and that each is closed by its own tag."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.faults = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        if len(dict(attributes)) < len(attributes):
            self.faults.append(f"{tag} has an attribute twice")
        self.elements.append((tag, dict(attributes), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} is closed and another open")


def test_every_element_is_closed_where_it_may_be():
    page = as_html(page_of("lamp"), "t")
    tree = Tree(page)
    assert (tree.faults, tree.open) == ([], [])
    tags = {tag for tag, *_ in tree.elements}
    assert {"figure", "svg", "table", "details", "nav", "label", "input"} <= tags
    assert {"script", "link", "img", "iframe", "object", "base", "form"}.isdisjoint(tags)
    assert Tree("<p><b></p></b>").faults  # it would see it


def test_the_page_asks_for_nothing_from_elsewhere():
    page = as_html(page_of("lamp"), "t")
    found = [
        (name, value) for _, attributes, _ in Tree(page).elements
        for name, value in attributes.items()
        if name.startswith("on") or name in ("src", "srcset", "action", "data", "background")
    ]  # fmt: skip
    assert found == []
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) > 100
    assert all(link.startswith("#") for link in links)
    assert re.findall(r"url\((?!#)[^)]*\)|@import", page) == []
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= spaces  # names, which nothing fetches


def test_ids_are_unique_and_all_that_is_referred_to_is_there():
    page = as_html(page_of('id="#m1" url(#m2)'), "t")
    assert page.count("<figure") >= 15
    ids = re.findall(r'<[^>]* id="([^"]*)"', page)
    assert len(set(ids)) == len(ids) > 50
    used = re.findall(r'<[^>]*(?:href="#|url\(#)([^")]*)', page)
    assert len(used) > 350
    assert set(used) == set(ids)
    assert "id=&#34;#m1&#34; url(#m2)" in page
    assert page == as_html(page_of('id="#m1" url(#m2)'), "t")


def test_each_entry_of_a_legend_has_a_rule_that_hides_its_lines():
    results = [result(f"m{number}", 4.0, history=HISTORY) for number in range(14)]
    reference = [Published(model="cnn", dataset="digits", method="dns", compression=4.0, top1=1)]
    page = as_html(grouped([DENSE, *results]), "t", reference)
    rules = set(re.findall(
        r"figure:has\(\.k(\d+) input:not\(:checked\)\) \.key-(\d+) { display: none; }", page
    ))  # fmt: skip
    assert all(one == other for one, other in rules)
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)
    entries = 0
    for figure in figures:
        picture, _, legend = figure.partition('<div class="keys">')
        listed = re.findall(r'<label class="k(\d+)"><input type="checkbox" checked>', legend)
        in_picture = set(re.findall(r'class="key-(\d+)"', picture))
        assert len(set(listed)) == len(listed)
        assert in_picture <= set(listed) <= {one for one, _ in rules}
        # All have a line, but for what only says that hollow is published.
        assert len(set(listed) - in_picture) <= legend.count(">published<")
        entries += len(listed)
    assert len(figures) > 5
    assert entries > 70


def test_every_colour_of_a_figure_has_one_in_the_dark():
    results = [result(f"m{number}", 4.0, history=HISTORY) for number in range(14)]
    dense = [result(None, 1.0, settings={"epochs": n}, history=HISTORY) for n in range(9)]
    page = as_html(grouped([*dense, *results]), "t")
    used = set(re.findall(r"var\((--c[0-9a-f]{6})\)", page))
    assert len(used) >= 12
    light, dark = page.split("prefers-color-scheme: dark")
    for half in (light, dark):
        assert used <= set(re.findall(r"(--c[0-9a-f]{6}): #", half))
    named = {f"--c{light[1:].lower()}: {dark}" for light, dark in DARK.items()}
    assert all(each in dark for each in named)
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert re.findall(r"(?:stroke|fill)[:=] ?\"?(#[0-9a-f]{6})", pictures) == []


def test_figures_fit_the_screen_and_those_of_several_panels_take_its_width():
    layers = [
        {"name": name, "total": 100, "kept": 50, "weights": [10, 20, 30, 20]} for name in "abc"
    ]
    page = as_html(grouped([DENSE, result(layers=layers)]), "t")
    for figure in re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL):
        [tag] = re.findall(r"<svg (?!class=\"sample)[^>]*>", figure)
        assert "viewBox" in tag
        assert not re.search(r"(?<!-)\b(width|height)=", tag)  # the page says how wide
    wide = re.findall(r'<figure class="wide">\s*<figcaption>([^<]*)<', page)
    assert wide == ["Spread of each layer&#39;s weights"]


def test_findings_come_first_then_figures_then_tables_and_all_rows_last_and_folded():
    page = as_html(grouped([DENSE, result(), result("snip", top1=80.0)]), "t")
    order = [
        page.index(each) for each in (
            '<ul class="findings">', '<div class="figures">', "<h3>Test top-1, %</h3>",
            "<h3>Test top-5, %</h3>", "<h3>FLOPs left, %</h3>", "<summary>All results</summary>",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    assert "<details>\n<summary>All results" in page
    assert "<li>16x: lamp is best with 90.00%, then snip with 80.00%.</li>" in page
    assert "<td><strong>90.00</strong></td>" in page
    assert "<h3>Compression reached</h3>" not in page  # all of them is what was asked
    missed = result("snip", empirical_compression=8.0)
    assert "<h3>Compression reached</h3>" in as_html(grouped([DENSE, result(), missed]), "t")


def test_names_that_would_move_the_cursor_are_escaped():
    odd = {"model": "a\nb", "dataset": "c\x1b[2Jd", "method": "e\rf", "label": "g\x07h"}
    rows = grouped([result(**odd)])
    _, line = as_text(full(rows)).splitlines()
    assert line.split()[:3] == [r"a\nb", r"c\x1b[2Jd", r"g\x07h"]
    known = Published(
        model="a\nb", dataset="c\x1b[2Jd", method="e\rf", compression=16.0, top1=1, note="x\x1b"
    )
    comparison = published(paired(rows, (known,)))
    assert [cell.text for cell in comparison.lines[0][:2]] == [r"g\x07h", r"e\rf"]
    assert comparison.notes == [r"* x\x1b"]
    page = as_html(rows, "t", (known,))
    assert r"<h2>a\nb on c\x1b[2Jd</h2>" in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", page)
    assert "a\nb" in as_csv(rows)


@pytest.mark.fault(42)
def test_nothing_of_a_result_is_markup():
    evil = "</svg><script>alert(1)</script><!-- ]]>\"'&"
    more = {"model": evil, "dataset": evil, "history": HISTORY, "versions": {evil: evil}}
    more |= {"layers": [{"name": evil, "total": 4, "kept": 1}]}
    given = [result(evil, options={evil: value}, **more) for value in (1, 2)]
    labelled = result("snip", label=f"label {evil}", **more)
    rows = grouped([result(None, 1.0, **more), *given, labelled])
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
    assert "label &lt;/svg&gt;&lt;script&gt;" in page
    tree = Tree(page)
    assert (tree.faults, tree.open) == ([], [])
    for svg in re.findall("<svg .*?</svg>", page, flags=re.DOTALL):
        ET.fromstring(svg)


def test_a_title_cannot_steer_what_shows_the_page():
    assert r"<title>a\x1b[2J\u202eb</title>" in as_html(page_of("lamp"), "a\x1b[2J\u202eb")


def test_a_long_name_is_cut_in_a_legend_and_whole_in_a_table():
    page = as_html(grouped([result("n" * 1000), result(label="l" * 1000)]), "t")
    legend = "".join(re.findall(r'<div class="keys">.*?</div>', page, flags=re.DOTALL))
    assert ("n" * 299 + "…" in legend, "n" * 300 in legend) == (True, False)
    assert ("l" * 299 + "…" in legend, "l" * 300 in legend) == (True, False)
    assert "n" * 1000 in page
    assert "l" * 1000 in page


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
    assert page.count("<figure") == 1
    assert "Training loss" in page
