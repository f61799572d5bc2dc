"""What is left of layers, how their weights are spread, and masks that go as far as they can."""

import math

import pytest
from results import lines, result, sight_of

from prunecli.report.figures import layers, ratios
from prunecli.report.figures.drawing import Axes, Panel
from prunecli.report.page import as_html
from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv, full
from prunecli.report.tables.table import as_text

DENSE = result(None, 1.0, top1=95.0)


def kept(name, kept, **more):
    return {"name": name, "total": 100, "kept": kept, **more}


@pytest.fixture
def noted(monkeypatch):
    """The arguments of each call of these methods of a panel or its axes."""
    calls = []
    of_panels, of_axes = ("line", "steps", "listing"), ("axvline", "errorbar", "set_title")
    for owner, name in (*((Panel, n) for n in of_panels), *((Axes, n) for n in of_axes)):
        plain = getattr(owner, name)

        def note(self, *given, plain=plain, name=name, **more):
            calls.append((name, *given))
            return plain(self, *given, **more)

        monkeypatch.setattr(owner, name, note)

    def of(name):
        return [call[1:] for call in calls if call[0] == name]

    return of


def test_a_layer_is_drawn_at_what_was_reached_and_an_empty_one_not_at_all(noted):
    own = [kept("a.weight", 50), kept("b.weight", 0)]
    short = result(compression=10.0, empirical_compression=4.0, layers=own)
    drawing = layers.density(sight_of(grouped([short])))
    [(x, y, label, _)] = noted("line")
    assert (x, y[0], label) == ([0, 1], 0.5, "lamp")
    assert math.isnan(y[1])
    assert drawing.panels[0].axes.get_title("left") == "at 4x, asked 10x"
    other = result("snip", 16.0, layers=[kept("a.weight", 5)])
    layers.density(sight_of(grouped([short, other])))
    assert [label for _, _, label, _ in noted("line")[1:]] == ["lamp 4x, asked 10x", "snip 16x"]


SPREAD = {"weights": [10, 20, 30, 20], "sigma": 0.1, "mean": 0.0}


def test_the_spread_of_a_layer_stands_beside_the_gaussian(noted):
    pruned = [kept("a.weight", 80, **SPREAD, threshold=1.5), kept("b.weight", 80, **SPREAD)]
    whole = [kept("a.weight", 100, **SPREAD)]
    rows = grouped([result(None, 1.0, layers=whole), result(layers=pruned), result("snip")])
    layers.distributions(sight_of(rows))
    shares = [(values, label) for values, _, label, _ in noted("steps")]
    bell = [2.27, 47.72, 47.72, 2.27]  # of a Gaussian between -4, -2, 0, 2 and 4
    assert [label for _, label in shares] == [
        "dense", "lamp 16x", "Gaussian", "lamp 16x", "Gaussian"
    ]  # fmt: skip
    assert shares[1][0] == [10, 20, 30, 20]  # percent of the 100 there were
    assert shares[2][0] == pytest.approx(bell, abs=0.01)
    assert [edge for [edge] in noted("axvline")] == [-1.5, 1.5]
    assert noted("set_title") == [("a",), ("b",)]
    assert "Spread of each layer" in as_html(rows, "t")
    assert "Spread of each layer" not in as_html(grouped([DENSE, result()]), "t")


def test_of_many_layers_some_are_drawn_the_first_and_the_last_among_them(noted):
    many = [kept(f"l{n}.weight", 80, **SPREAD) for n in range(50)]
    layers.distributions(sight_of(grouped([result(layers=many)])))
    titles = [title for [title] in noted("set_title")]
    assert (titles[0], titles[-1], len(titles)) == ("l0", "l49", layers.PANELS)


def bell(ste, ratio, method="fixed-ga"):
    history = [{"epoch": 1, "loss": 1.0, "weights": [1, 3, 4, 2]}]
    options = {} if ste else {"ste": False}
    return result(method, ratio, options=options, history=history)


def test_networks_that_differ_in_a_switch_share_a_panel_for_each_density(noted):
    results = [bell(True, 4.0), bell(False, 4.0), bell(True, 8.0), bell(False, 8.0)]
    others = [bell(True, 16.0), bell(True, 4.0, "adaptive"), bell(True, 8.0, "adaptive")]
    sight = sight_of(grouped([*results, *others, result()]))
    assert [
        [(row.method, row.compression) for row in group] for group in layers.switched(sight.view)
    ] == [
        [("fixed-ga", 4), ("fixed-ga ste=False", 4)],
        [("fixed-ga", 8), ("fixed-ga ste=False", 8)],
        [("adaptive", 8), ("fixed-ga", 16)],
    ]
    layers.spread(sight)
    assert len(noted("steps")) == 6
    assert noted("steps")[0][0] == [10, 30, 40, 20]


def test_the_spread_of_weights_is_a_share_of_them(monkeypatch):
    seen = lines(monkeypatch)
    bell = [{"epoch": 1, "loss": 1.0, "weights": [1, 3, 4, 2]}]
    results = [DENSE, result("fixed-ga", history=bell), result("lamp")]
    layers.spread(sight_of(grouped(results)))
    assert seen == {"fixed-ga 16x": ([10, 30, 40, 20], [-4, -2, 0, 2, 4])}
    monkeypatch.undo()
    assert "Spread of the weights" in as_html(grouped(results), "t")
    assert "Spread of the weights" not in as_html(grouped([DENSE, result()]), "t")


# Critical compression


def limit(method, compression, seed=0, **more):
    of = {"asked": None, "critical": True, "mask_epochs": 0, "seed": seed}
    return result(method, compression, **{**of, **more})


LIMITS = [limit("lamp", 800.0), limit("lamp", 1000.0, 1), limit("snip", 60.0)]


def test_critical_compression_is_a_point_per_method_by_the_mean_over_seeds(noted):
    ratios.critical(sight_of(grouped([DENSE, *LIMITS])))
    assert noted("errorbar") == [([60], [0]), ([900], [1])]
    assert noted("axvline") == [(1600,)]  # of one layer
    assert [label for label, *_ in noted("listing")] == ["n / L = 1600"]


def test_the_bar_of_a_critical_compression_spans_its_seeds_and_stays_above_zero(monkeypatch):
    bars = []
    plain = Axes.errorbar

    def errorbar(axes, x, y, xerr=None, **more):
        bars.append(xerr)
        return plain(axes, x, y, xerr=xerr, **more)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    seeds = [limit("random", 20.0), limit("random", 1000.0, 1), limit("random", 60.0, 2)]
    ratios.critical(sight_of(grouped([*seeds, limit("snip", 1200.0)])))
    assert bars == [[[340], [640]], None]  # about the mean, 360, whose deviation is 554


def test_critical_masks_mix_into_no_accuracy_unless_they_were_trained_under():
    page = as_html(grouped([DENSE, *LIMITS]), "t")
    assert "Critical compression" in page
    assert "Top-1 accuracy over compression" not in page
    assert "Compression at equal loss" not in page
    rows = grouped([DENSE, *LIMITS, result(), limit("grasp", 70.0, mask_epochs=3)])
    view = sight_of(rows).view
    assert list(view.lines) == ["grasp critical", "lamp"]
    assert len(view.critical) == 3


def test_tables_say_the_critical_compression_where_there_is_one():
    header, *lines = as_text(full(grouped([DENSE, *LIMITS, result()]))).splitlines()
    assert header.split()[-1] == "critical"
    ends = {" ".join(line.split()[2:5]): line.split()[-3:] for line in lines}
    assert ends["lamp critical untrained"] == ["900.00", "±", "141.42"]
    assert ends["snip critical untrained"][-1] == "60.00"
    assert "critical" not in as_text(full(grouped([DENSE, result()])))
    assert as_csv(grouped([DENSE])).splitlines()[0] == as_csv(grouped(LIMITS)).splitlines()[0]
