"""A figure as the page has it: its colours, its ids, its legend."""

import re
import xml.etree.ElementTree as ET

import pytest
from results import result, sight_of

from prunecli.report.figures import ratios
from prunecli.report.figures.drawing import panels, plot
from prunecli.report.figures.inline import inline, paint
from prunecli.report.figures.looks import MARKERS, STROKES, Look, dense_look
from prunecli.report.rows import grouped


@pytest.mark.parametrize(
    ("colour", "painted"),
    [
        ("#000000", "currentColor"), ("#b0b0b0", "var(--grid)"), ("#0072b2", "var(--c0072b2)"),
        ("#777777", "var(--c777777)"), ("#123456", "#123456"),
    ],
)  # fmt: skip
def test_a_colour_is_the_pages_where_it_has_another_in_the_dark(colour, painted):
    assert paint(colour) == painted


def accuracy(number):
    results = [result(None, 1.0, top1=95.0), result(), result("snip", top1=80.0)]
    return inline(ratios.accuracy(sight_of(grouped(results)), "top1"), number)


def test_ids_are_of_the_figure_and_only_those_that_are_referred_to():
    one, other = accuracy(1), accuracy(2)
    ids = re.findall(r' id="([^"]*)"', one.svg)
    assert ids
    assert all(each.startswith("f1-") for each in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', one.svg)) == set(ids)
    assert one.svg.replace("f1-", "f2-") == other.svg
    assert one == accuracy(1)


def test_a_picture_has_the_size_that_the_page_gives_it_and_no_legend():
    picture = ET.fromstring(accuracy(1).svg)
    assert {"width", "height"}.isdisjoint(picture.keys())
    assert picture.get("viewBox").startswith("0 0 ")
    assert ">lamp<" not in accuracy(1).svg


def test_entries_are_those_of_the_legend_in_its_order_with_the_number_of_their_lines():
    figure = accuracy(1)
    assert [entry.label for entry in figure.entries] == ["dense", "lamp", "snip"]
    assert [entry.number for entry in figure.entries] == [0, 1, 2]
    for entry in figure.entries:
        assert f'class="key-{entry.number}"' in figure.svg


@pytest.mark.parametrize("stroke", STROKES)
@pytest.mark.parametrize("marker", [*MARKERS, ""])
def test_a_sample_shows_stroke_marker_and_colour(stroke, marker):
    look = Look("#D55E00", stroke, marker)
    with plot() as (drawing, panel):
        panel.line([1, 2], [1.0, 2.0], "a", look.line)
    [entry] = inline(drawing, 1).entries
    sample = ET.fromstring(entry.sample)
    assert sample.get("stroke") == "var(--cd55e00)"
    paths = sample.findall("path")
    assert len(paths) == 1 + bool(marker)
    assert (paths[0].get("stroke-dasharray") is None) == (stroke == "-")
    assert not marker or paths[1].get("fill") == "var(--cd55e00)"


def test_samples_of_markers_differ_and_hollow_ones_are_not_filled():
    with plot() as (drawing, panel):
        for marker in MARKERS:
            panel.line([1], [1.0], marker, Look("#D55E00", "-", marker).point)
        panel.line([], [], "published", dense_look(0).hollow)
    samples = {entry.label: ET.fromstring(entry.sample) for entry in inline(drawing, 1).entries}
    outlines = {label: sample.find("path").get("d") for label, sample in samples.items()}
    assert len({outlines[marker] for marker in MARKERS}) == len(MARKERS)
    assert all(len(sample.findall("path")) == 1 for sample in samples.values())  # without a line
    assert samples["published"].find("path").get("fill") == "none"


def test_a_figure_of_several_panels_is_wide():
    with panels(2, across=2) as drawing:
        assert inline(drawing, 1).is_wide
    with panels(1) as drawing:
        assert not inline(drawing, 1).is_wide


def test_a_text_that_looks_like_a_tag_or_an_id_stays_text():
    name = '<g id="x"> url(#x) #d55e00'
    with plot() as (drawing, panel):
        panel.line([1, 2], [1.0, 2.0], "a", Look("#D55E00", "-").edge)
        panel.axes.set_xlabel(name, parse_math=False)
    svg = inline(drawing, 1).svg
    assert "".join(ET.fromstring(svg).itertext()).count(name) == 1
