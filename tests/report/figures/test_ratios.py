"""What the figures draw, read back from the picture's own numbers."""

import re

import pytest
from results import result, sight_of

from prunecli.errors import BadUsage
from prunecli.report.figures import curves, layers, options, ratios
from prunecli.report.page import as_html
from prunecli.report.rows import grouped

DENSE = result(None, 1.0, top1=95.0)


def drawn(svg):
    """Labels of the axes and the legend, in order."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def lines(monkeypatch):
    """Records what is plotted, by label, instead of trusting pixels."""
    from matplotlib.axes import Axes

    seen = {}
    plain, bars = Axes.plot, Axes.errorbar

    def plot(axes, x, y, **more):
        seen[more["label"]] = (list(x), list(y))
        return plain(axes, x, y, **more)

    def errorbar(axes, x, y, yerr, **more):
        seen[more["label"]] = (list(x), list(y), list(yerr or [0.0] * len(y)))
        return bars(axes, x, y, yerr=yerr, **more)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    monkeypatch.setattr(Axes, "plot", plot)
    return seen


def during(densities, **more):
    history = [{"epoch": e, "loss": 1.0, "density": d} for e, d in enumerate(densities, 1)]
    return result("weightmom", compression=1 / densities[-1], history=history, **more)


def test_degradation_is_against_the_dense_network_of_the_same_seed(monkeypatch):
    seen = lines(monkeypatch)
    dense = [result(None, 1.0, top1=t, seed=s) for s, t in enumerate([90.0, 94.0])]
    pruned = [result(top1=t, seed=s, compression=20.0) for s, t in enumerate([85.0, 91.0])]
    ratios.degradation(sight_of(grouped([*dense, *pruned])))
    [x], [lost], [spread] = seen["lamp"]
    assert (x, lost) == (95, 4)  # 5 and 3 points
    assert spread == pytest.approx(2**0.5)


def test_sparsity_and_weights_pruned_in_total_by_epoch(monkeypatch):
    seen = lines(monkeypatch)
    rows = sight_of(grouped([DENSE, during([1.0, 0.5, 0.25]), result("snip")]))
    curves.sparsity(rows)
    assert seen == {"weightmom 4x": ([1, 2, 3], [0, 50, 75])}
    curves.pruned(rows)
    assert seen["weightmom 4x"] == ([1, 2, 3], [0, 800, 1200])


def test_what_only_some_epochs_tell_is_not_drawn():
    some = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 1.0, "density": 0.5, "weights": [0]}]
    page = as_html(grouped([DENSE, result(history=some, versions=None)]), "t")
    assert "Training loss over epochs" in page
    assert "Sparsity over epochs" not in page
    assert "Spread of the weights" not in page


def gmp(beta, gamma, top1, compression, seed=0):
    options = {"beta": beta, "gamma": gamma}
    return result("gmp", compression, top1=top1, seed=seed, options=options, asked=None)


def test_a_method_without_a_target_has_a_row_for_each_of_its_options():
    rows = grouped([gmp(0.05, 0.01, 80, 4, 0), gmp(0.05, 0.01, 90, 8, 1), gmp(0.1, 0.01, 70, 9)])
    assert [(r.method, r.compression, r.seeds) for r in rows] == [
        ("gmp beta=0.05 gamma=0.01", 6, 2), ("gmp beta=0.1 gamma=0.01", 9, 1)
    ]  # fmt: skip


def top1(row):
    return row.values("top1")


def test_accuracy_by_option_has_the_option_with_most_values_across(monkeypatch):
    seen = lines(monkeypatch)
    results = [
        gmp(beta, gamma, 100 * beta + gamma, 4)
        for beta in (0.1, 0.05) for gamma in (0.05, 0.001, 0.01)
    ]  # fmt: skip
    svg = options.by_option(sight_of(grouped(results)), top1, "top-1")
    assert seen["gmp beta=0.1"][:2] == ([0, 1, 2], [10.001, 10.01, 10.05])
    assert list(seen) == ["gmp beta=0.05", "gmp beta=0.1"]
    assert drawn(svg)[:4] == ["0.001", "0.01", "0.05", "gamma"]


def test_by_option_each_density_has_a_line_of_its_own(monkeypatch):
    seen = lines(monkeypatch)
    given = [(4, 1, 95), (4, 10, 96), (16, 1, 80), (16, 2, 82), (16, 10, 83), (20_000, 2, 10)]
    results = [result("snip", r, top1=t, options={"batches": b}) for r, b, t in given]
    svg = options.by_option(sight_of(grouped(results)), top1, "top-1")
    assert {name: line[:2] for name, line in seen.items()} == {
        "snip 4x": ([0, 2], [95, 96]),
        "snip 16x": ([0, 1, 2], [80, 82, 83]),
        "snip 20,000x": ([1], [10]),
    }
    assert drawn(svg)[:4] == ["1", "2", "10", "batches"]


def test_a_method_without_a_target_has_no_error_to_show():
    free = gmp(0.05, 0.01, 80, 4)
    assert "Compression error" not in as_html(grouped([DENSE, free]), "t")
    assert "Compression error" in as_html(grouped([DENSE, free, result()]), "t")


def test_a_method_without_a_target_is_not_drawn_as_one_that_met_it(monkeypatch):
    seen = lines(monkeypatch)
    ratios.compression_error(sight_of(grouped([DENSE, gmp(0.05, 0.01, 80, 4), result()])))
    assert list(seen) == ["lamp"]


def test_variants_of_a_network_stand_with_it():
    skips = result("n2nskip", model="n2nskip", model_options={"base": "cnn", "span": 2})
    rows = grouped([DENSE, skips])
    assert [(row.model, row.method) for row in rows] == [("cnn", "dense"), ("cnn", "n2nskip")]


def test_a_page_has_the_figures_that_its_results_can_fill():
    page = as_html(grouped([DENSE, result()]), "t")
    assert "Top-1 lost to pruning" in page
    assert "by option" not in page
    assert "Sparsity over epochs" not in page
    page = as_html(
        grouped([DENSE, during([1.0, 0.1]), gmp(0.1, 0.1, 1, 2), gmp(0.1, 0.2, 1, 2)]), "t"
    )
    for caption in ("accuracy by option", "Sparsity by option", "Weights pruned in total"):
        assert caption in page
    with pytest.raises(BadUsage, match="nothing to show in the figure 'sparsity'"):
        as_svg(grouped([DENSE, result()]), "sparsity")
    assert "sparsity reached, %" in drawn(as_svg(grouped([DENSE, result()]), "degradation"))


def test_a_loss_over_epochs_takes_two_epochs_to_show():
    def page(epochs):
        history = [{"epoch": e, "loss": 1.0} for e in range(1, epochs + 1)]
        return as_html(grouped([result(history=history)]), "one epoch, or two")

    assert "Training loss over epochs" not in page(1)
    assert "Training loss over epochs" in page(2)


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
    results = [DENSE, narrow(0.1, 160, 50.0), result(top1=90.0)]
    ratios.degradation(sight_of(grouped(results)))
    assert seen["lamp"][1] == [5]
    seen.clear()
    ratios.accuracy(sight_of(grouped(results)), "top1")
    assert seen["lamp"][1] == [95.0, 90.0]
    page = as_html(grouped(results), "t")
    assert "Error over the weights left" in page
    assert "Error over the weights left" not in as_html(grouped([DENSE, result()]), "t")


def test_accuracy_over_epochs_where_it_was_measured(monkeypatch):
    seen = lines(monkeypatch)
    history = [{"epoch": e, "loss": 1.0, "top1": t} for e, t in enumerate([50.0, 70.0], 1)]
    blind = result("snip", history=[{"epoch": e, "loss": 1.0} for e in (1, 2)])
    results = [result(None, 1.0, history=history), blind, result(history=history)]
    curves.accuracy(sight_of(grouped(results)))
    assert seen == {name: ([1, 2], [50, 70]) for name in ("dense", "lamp 16x")}
    assert "Test accuracy over epochs" in as_html(grouped(results), "t")
    assert "Test accuracy over epochs" not in as_html(grouped([DENSE, blind]), "t")


def test_the_spread_of_weights_is_a_share_of_them(monkeypatch):
    from matplotlib.axes import Axes

    seen = {}
    monkeypatch.setattr(
        Axes, "stairs", lambda axes, y, x, **more: seen.update({more["label"]: (y, x)})
    )
    bell = [{"epoch": 1, "loss": 1.0, "weights": [1, 3, 4, 2]}]
    results = [DENSE, result("fixed-ga", history=bell), result("lamp")]
    layers.spread(sight_of(grouped(results)))
    assert seen == {"fixed-ga 16x": ([10, 30, 40, 20], [-4, -2, 0, 2, 4])}
    monkeypatch.undo()
    assert "Spread of the weights" in as_html(grouped(results), "t")
    assert "Spread of the weights" not in as_html(grouped([DENSE, result()]), "t")


def looks(monkeypatch, rows):
    """Colour and stroke of each line in the figure of the loss, by label."""
    from matplotlib.axes import Axes

    seen, plain = {}, Axes.plot

    def plot(axes, x, y, **more):
        seen[more["label"]] = (more["color"], more["linestyle"])
        return plain(axes, x, y, **more)

    monkeypatch.setattr(Axes, "plot", plot)
    curves.convergence(sight_of(rows))
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize(("methods", "ratios"), [(1, 4), (1, 5), (3, 5), (9, 2), (30, 1), (1, 30)])
def test_no_two_lines_of_the_loss_look_alike(monkeypatch, methods, ratios):
    dense = [result(None, 1.0, settings={"epochs": n}) for n in (5, 9)]
    pruned = [result(f"m{m}", 1.0 + r) for m in range(methods) for r in range(1, ratios + 1)]
    seen = looks(monkeypatch, grouped([*dense, *pruned]))
    assert len(set(seen.values())) == len(seen)
    assert {f"m{m} {1 + ratios}x" for m in range(methods)} <= set(seen)
    assert len(seen) - len(dense) == (methods * ratios if methods * ratios == 4 else methods)


def test_figures_are_the_same_bytes_each_time():
    history = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    results = [DENSE, result(history=history), result(compression=4.0, history=history)]
    rows = sight_of(grouped(results))
    for draw in (ratios.compression_error, layers.density, curves.convergence):
        svg = draw(rows)
        assert svg.startswith("<svg")
        assert svg == draw(rows)
    assert ratios.accuracy(rows, "top1") == ratios.accuracy(rows, "top1")


def test_the_accuracy_figure_has_a_line_for_each_method_and_one_for_dense():
    svg = ratios.accuracy(sight_of(grouped([DENSE, result(), result("snip")])), "top1")
    assert all(f">{label}<" in svg for label in ("dense", "lamp", "snip", "16", "test top-1, %"))


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
    assert seen["fixed-ga"][0] == [1, 50]
    assert drawn(svg)[:4] == ["1", "4", "16", "compression reached (all weights / kept weights)"]
    seen.clear()
    ratios.degradation(view)
    assert seen["fixed-ga"][:2] == ([98], [25])
    seen.clear()
    ratios.compression_error(view)
    assert seen["fixed-ga"][0] == [10]  # what was asked is what it is about


def test_the_highest_compression_of_a_method_is_the_highest_reached():
    rows = [result(compression=8.0, empirical_compression=20.0), result(compression=16.0)]
    [last] = sight_of(grouped(rows)).most_pruned
    assert (last.compression, last.at) == (8, "20x, asked 8x")


def test_methods_that_were_asked_for_nothing_have_more_than_one_tick():
    svg = ratios.accuracy(
        sight_of(grouped([gmp(0.05, 0.01, 80, 1.5), gmp(0.1, 0.1, 7, 3)])), "top1"
    )
    numbers = [text for text in drawn(svg)[:8] if re.fullmatch(r"[\d.,]+", text)]
    assert len(numbers) > 3


@pytest.mark.parametrize("dead", [["a.weight"], []])
def test_a_network_that_lost_a_layer_does_not_press_the_others_into_a_line(monkeypatch, dead):
    from matplotlib.axes import Axes

    seen, tops, label = lines(monkeypatch), [], Axes.legend
    monkeypatch.setattr(
        Axes,
        "legend",
        lambda axes, *a, **k: tops.append(axes.get_ylim()[1]) or label(axes, *a, **k),
    )
    pruned = [
        result("fixed-ga", 10.0, top1=90.0, nonzero=110),
        result("fixed-ga", 50.0, top1=1.0, nonzero=20, dead_layers=dead),
    ]
    svg = ratios.parameters(sight_of(grouped([DENSE, narrow(0.1, 100, 65.0), *pruned])))
    assert (35 < tops[0] < 45) if dead else (tops[0] > 99)
    assert ("_beyond" in seen) == (">99<" in svg) == bool(dead)
    assert not dead or seen["_beyond"][0] == [20]
