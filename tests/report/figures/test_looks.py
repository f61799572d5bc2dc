"""A method looks alike in all figures of a page, and no two lines look the same."""

import re

import pytest
from results import result, sight_of

from prunecli.report.figures import kinds
from prunecli.report.figures.looks import DARK, Look, Looks, dense_look
from prunecli.report.figures.sight import sights
from prunecli.report.rows import grouped
from prunecli.report.view import views

HISTORY = [{"epoch": e, "loss": 1.0, "top1": 50.0 + e, "density": 1 / e} for e in (1, 2)]
DENSE = result(None, 1.0, history=HISTORY)


def numbered(count):
    return list(Looks.numbered(f"m{number}" for number in range(count)).of_method.values())


def test_no_two_of_forty_lines_look_the_same_not_even_on_grey_paper():
    looks = numbered(40)
    assert len({(look.colour, look.stroke) for look in looks}) == 40  # as histograms have no marker
    assert len({(look.stroke, look.marker) for look in looks}) == 40
    assert len({dense_look(number) for number in range(12)}) == 12
    assert {look.colour for look in looks}.isdisjoint({dense_look(n).colour for n in range(12)})


def test_nor_do_those_of_ten_scorers_in_four_scopes_each():
    scopes = ["global", "layer", "erk", "uniform"]
    results = [result(f"m{n}", scope=scope) for n in range(10) for scope in scopes]
    looks = Looks.of(grouped(results)).of_method.values()
    assert len({(look.colour, look.stroke) for look in looks}) == 40
    assert len({(look.stroke, look.marker) for look in looks}) == 40
    assert len({look.colour for look in looks}) == 10


def test_more_lines_than_there_are_looks_have_one_all_the_same():
    assert len(numbered(100)) == 100


def test_the_same_scorer_has_the_same_colour_in_another_stroke():
    scopes = ["global", "layer", "erk", "uniform"]
    results = [result("magnitude", scope=scope) for scope in scopes]
    looks = Looks.of(grouped([*results, result("snip")]))
    assert list(looks.of_method) == [
        "magnitude", "magnitude erk", "magnitude layer", "magnitude uniform", "snip"
    ]  # fmt: skip
    *magnitudes, snip = looks.of_method.values()
    assert len({look.colour for look in magnitudes}) == 1
    assert len({look.stroke for look in magnitudes}) == 4
    assert snip.colour != magnitudes[0].colour
    fifth = Looks.of(grouped([*results, result("magnitude", rounds=9)]))  # there is no fifth stroke
    assert len({look.colour for look in fifth.of_method.values()}) == 2


def test_labels_of_one_scorer_are_of_one_colour_too():
    rows = grouped([result(label="Mine"), result(scope="layer", label="Yours"), result("snip")])
    looks = Looks.of(rows).of_method
    assert looks["Mine"].colour == looks["Yours"].colour != looks["snip"].colour


def test_each_colour_has_another_in_the_dark():
    looks = [*numbered(40), *(dense_look(number) for number in range(12))]
    assert {look.colour for look in looks} <= DARK.keys()
    assert len(set(DARK.values())) == len(DARK)


def test_a_look_becomes_a_line_a_bare_line_points_and_hollow_points():
    look = Look("#0072B2", "--", "s")
    assert look.line == {"color": "#0072B2", "linestyle": "--", "marker": "s"}
    assert look.edge == {"color": "#0072B2", "linestyle": "--"}
    assert look.point == {"color": "#0072B2", "linestyle": "none", "marker": "s"}
    assert look.hollow == look.point | {"markerfacecolor": "none", "markersize": 8}
    assert Look("#777777", ":").point["marker"] == "o"


@pytest.mark.parametrize(
    "figure", ["top1", "top5", "degradation", "error", "density", "top1-epochs", "sparsity"]
)
def test_a_method_has_one_colour_in_all_figures(figure):
    names = [f"m{number}" for number in range(10)]
    results = [result(name, 4.0, history=HISTORY) for name in names]
    # In the second section it is the only one, and comes first.
    other = [result(None, 1.0, model="vgg16"), result("m6", 4.0, model="vgg16", history=HISTORY)]
    first, second = sights(views(grouped([DENSE, *results, *other])))
    assert first.looks == second.looks
    colour = first.looks.look("m6").colour.lower()
    others = {first.looks.look(name).colour.lower() for name in names} - {colour, "#000000"}
    for sight in (first, second):
        svg = kinds.drawn(sight, figure).svg()
        assert re.search(rf"stroke: {colour}", svg)
        drawn = [each for each in others if f"stroke: {each}" in svg]
        assert drawn == ([] if sight is second else list(others))


def test_dense_networks_are_told_apart():
    dense = [result(None, 1.0, settings={"epochs": n}, history=HISTORY) for n in (1, 2, 3, 4, 5)]
    sight = sight_of(grouped([*dense, result()]))
    assert len({sight.look(row) for row in sight.view.dense}) == 5
    svg = kinds.drawn(sight, "top1").svg()
    assert len(set(re.findall("stroke-dasharray: [^;]*", svg))) >= 3


def test_places_are_those_of_the_first_appearance():
    rows = grouped([DENSE, result("snip"), result(), result(compression=4.0)])
    assert list(Looks.of(rows, ["dns", "snip"]).of_method) == ["lamp", "snip", "dns"]
