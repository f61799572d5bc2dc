"""The page as a browser takes it: its ids, names of any kind, and narrow screens."""

import re
import xml.etree.ElementTree as ET

import pytest

from prunecli.report.page import as_html, as_svg
from prunecli.report.reference import compared
from prunecli.report.results import NUMBERS
from prunecli.report.rows import as_csv, as_text, grouped


def result(method="lamp", compression=16.0, **more):
    numbers = dict.fromkeys(NUMBERS, 1.0) | {"compression": compression, "prunable": 1600}
    layers = [{"name": "a.weight", "total": 4, "kept": 1}]
    return numbers | {
        "dead_layers": [], "layers": layers, "model": "cnn", "dataset": "digits",
        "method": method, "scope": "global", "seed": 0, **more,
    }  # fmt: skip


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
    key = ("a\nb", "c\x1b[2Jd", "e\rf", 16.0)
    [(_, [[method, *_]])] = compared(rows, {key: None})
    assert method == r"e\rf"
    assert r"<h2>a\nb on c\x1b[2Jd</h2>" in as_html(rows, "t")
    assert "a\nb" in as_csv(rows)
