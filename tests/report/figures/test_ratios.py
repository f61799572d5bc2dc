"""What the figures of compressions draw, read back from the picture's own numbers."""

import re

import pytest
from results import drawn, gmp, lines, result, sight_of

from prunecli.report.figures import ratios
from prunecli.report.figures.drawing import Axes
from prunecli.report.page import as_html
from prunecli.report.rows import grouped

DENSE = result(None, 1.0, top1=95.0)


def test_degradation_is_against_the_dense_network_of_the_same_seed(monkeypatch):
    seen = lines(monkeypatch)
    dense = [result(None, 1.0, top1=t, seed=s) for s, t in enumerate([90.0, 94.0])]
    pruned = [result(top1=t, seed=s, compression=20.0) for s, t in enumerate([85.0, 91.0])]
    ratios.degradation(sight_of(grouped([*dense, *pruned])))
    [x], [lost], [spread] = seen["lamp"]
    assert (x, lost) == (95, 4)  # 5 and 3 points
    assert spread == pytest.approx(2**0.5)


def test_a_method_without_a_target_is_not_drawn_as_one_that_met_it(monkeypatch):
    seen = lines(monkeypatch)
    ratios.compression_error(sight_of(grouped([DENSE, gmp(0.05, 0.01, 80, 4), result()])))
    assert list(seen) == ["lamp"]


def narrow(thin, nonzero, top1, seed=0):
    return result(None, 1.0, top1=top1, seed=seed, nonzero=nonzero, model_options={"thin": thin})


def test_error_over_the_weights_left_beside_dense_networks_of_the_same_size(monkeypatch):
    seen = lines(monkeypatch)
    whole = [result(None, 1.0, top1=t, nonzero=1000, seed=s) for s, t in enumerate([95.0, 93.0])]
    pruned = [
        result("fixed-ga", 10.0, top1=90.0, nonzero=110),
        result("fixed-ga", 4.0, top1=92.0, nonzero=240),
        result("adaptive", 5.0, top1=80.0, nonzero=200, options={"mode": "unconstr", "lam": 1.0}),
        result("adaptive", 9.0, top1=70.0, nonzero=100, options={"mode": "unconstr", "lam": 9.0}),
    ]
    ratios.parameters(sight_of(grouped([*whole, narrow(0.1, 100, 60.0), *pruned])))
    assert seen["dense"][:2] == ([100, 1000], [40, 6])
    assert seen["dense"][2] == [0, pytest.approx(2**0.5)]
    assert seen["fixed-ga"][:2] == ([110, 240], [10, 8])
    assert seen["adaptive mode=unconstr"][:2] == ([100, 200], [30, 20])


def test_narrow_networks_are_no_baseline_of_the_pruned_ones(monkeypatch):
    seen = lines(monkeypatch)
    results = [
        DENSE,
        narrow(0.1, 160, 50.0),
        result(top1=90.0),
        result("snip", 4.0),
        result("snip"),
    ]
    ratios.degradation(sight_of(grouped(results)))
    assert seen["lamp"][1] == [5]
    seen.clear()
    ratios.accuracy(sight_of(grouped(results)), "top1")
    assert seen["snip"][1] == [95.0, 90.0, 90.0]
    assert seen["lamp"][1] == [90.0]  # a single ratio makes no line
    page = as_html(grouped(results), "t")
    assert "Error over the weights left" in page
    assert "Error over the weights left" not in as_html(grouped([DENSE, result()]), "t")


def test_the_accuracy_figure_has_a_line_for_each_method_and_one_for_dense():
    drawing = ratios.accuracy(sight_of(grouped([DENSE, result(), result("snip")])), "top1")
    assert {"dense", "lamp", "snip", "16", "test top-1, %"} <= set(drawn(drawing))


def test_what_was_reached_is_on_the_axis_and_ticks_are_where_that_was_asked(monkeypatch):
    seen = lines(monkeypatch)
    results = [
        result(compression=4.0, top1=90.0),
        result(compression=16.0, empirical_compression=16.001, top1=80.0),
        result("fixed-ga", 10.0, empirical_compression=50.0, top1=70.0),
    ]
    view = sight_of(grouped([DENSE, *results]))
    svg = ratios.accuracy(view, "top1")
    assert seen["lamp"][0] == [1, 4, 16.001]
    assert seen["fixed-ga"][0] == [50]
    assert drawn(svg)[:4] == ["1", "4", "16", "compression reached (all weights / kept weights)"]
    seen.clear()
    ratios.degradation(view)
    assert seen["fixed-ga"][:2] == ([98], [25])
    seen.clear()
    ratios.compression_error(view)
    assert seen["fixed-ga"][0] == [10]  # what was asked is what it is about


def test_methods_that_were_asked_for_nothing_have_more_than_one_tick():
    svg = ratios.accuracy(
        sight_of(grouped([gmp(0.05, 0.01, 80, 1.5), gmp(0.1, 0.1, 7, 3)])), "top1"
    )
    numbers = [text for text in drawn(svg)[:8] if re.fullmatch(r"[\d.,]+", text)]
    assert len(numbers) > 3


@pytest.mark.parametrize("dead", [["a.weight"], []])
def test_a_network_that_lost_a_layer_does_not_press_the_others_into_a_line(monkeypatch, dead):
    marked, plain = [], Axes.plot

    def plot(axes, x, y, **more):
        marked.extend([(*x, more["color"])] if more["marker"] == "^" else [])
        return plain(axes, x, y, **more)

    monkeypatch.setattr(Axes, "plot", plot)
    pruned = [
        result("fixed-ga", 10.0, top1=90.0, nonzero=110),
        result("fixed-ga", 50.0, top1=1.0, nonzero=20, dead_layers=dead),
    ]
    sight = sight_of(grouped([DENSE, narrow(0.1, 100, 65.0), *pruned]))
    drawing = ratios.parameters(sight)
    top = drawing.panels[0].axes.get_ylim()[1]
    assert (35 < top < 45) if dead else (top > 99)
    assert marked == [(20, sight.looks.look("fixed-ga").colour)] * bool(dead)
    assert ("99" in drawn(drawing)) == bool(dead)
