"""A method looks alike in all figures of a page, and no two lines look the same."""

import re

import pytest
from results import result, sight_of

from prunecli.report.figures.looks import Looks, dense_look, numbered
from prunecli.report.figures.kinds import FIGURES
from prunecli.report.rows import grouped
from prunecli.report.view import views

HISTORY = [{"epoch": e, "loss": 1.0, "top1": 50.0 + e, "density": 1 / e} for e in (1, 2)]
DENSE = result(None, 1.0, history=HISTORY)


def test_no_two_of_many_lines_look_the_same():
    assert len({numbered(number) for number in range(160)}) == 160
    edges = [tuple(numbered(number).edge.items()) for number in range(32)]
    assert len(set(edges)) == 32  # without markers, as histograms are
    assert len({dense_look(number) for number in range(12)}) == 12


@pytest.mark.parametrize(
    "figure", ["top1", "top5", "degradation", "error", "density", "top1-epochs", "sparsity"]
)
def test_a_method_has_one_colour_in_all_figures(figure):
    names = [f"m{number}" for number in range(10)]
    results = [result(name, 4.0, history=HISTORY) for name in names]
    # In the second section it is the only one, and comes first.
    other = [result(None, 1.0, model="vgg16"), result("m6", 4.0, model="vgg16", history=HISTORY)]
    first, second = views(grouped([DENSE, *results, *other]))
    assert first.looks == second.looks
    colour = first.looks.look("m6").colour.lower()
    for view in (first, second):
        svg = DRAWINGS[figure](view)
        assert re.search(rf"stroke: {colour}", svg)
        others = {first.looks.look(name).colour.lower() for name in names} - {colour}
        if view is second:
            assert not any(f"stroke: {each}" in svg for each in others)


def test_dense_networks_are_told_apart():
    dense = [result(None, 1.0, settings={"epochs": n}, history=HISTORY) for n in (1, 2, 3, 4, 5)]
    view = sight_of(grouped([*dense, result()]))
    assert len({view.look(row) for row in view.dense}) == 5
    svg = DRAWINGS["top1"](view)
    assert len(set(re.findall("stroke-dasharray: [^;]*", svg))) >= 3


def test_places_are_those_of_the_first_appearance():
    rows = grouped([DENSE, result("snip"), result(), result(compression=4.0)])
    assert Looks.of(rows, ["dns", "snip"]).methods == ("lamp", "snip", "dns")
