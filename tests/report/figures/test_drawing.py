"""What all figures share: their bytes, their legend, names of any kind."""

import math
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from results import drawn, result, sight_of

from prunecli.report.figures import curves, kinds, layers, ratios
from prunecli.report.figures.drawing import PERCENT, plot
from prunecli.report.rows import grouped

HISTORY = [
    {"epoch": e, "loss": 1.0, "top1": 50.0, "density": 1 / e, "weights": [1, 2]} for e in (1, 2)
]
DENSE = result(None, 1.0, history=HISTORY)
SOLID = {"color": "#000000", "linestyle": "-"}
FIGURES = (
    "top1", "top5", "degradation", "options", "options-sparsity", "error", "density", "loss",
    "top1-epochs", "sparsity", "pruned", "weights",
)  # fmt: skip


def sight_of_name(name, option="a"):
    """Results of a method of that name that fill all these figures."""
    options = [{option: value} for value in (1, 2)]
    given = [result(name, options=each, history=HISTORY) for each in options]
    free = result(name, options={option: 3}, history=HISTORY, asked=None)
    return sight_of(grouped([DENSE, *given, free]))


def test_bars_are_deviations_that_end_where_no_value_can_lie():
    values = [[99.0, 100.0, 100.0], [10.0, 20.0], [0.0, 0.1], [100.0]]
    with plot() as (_, panel):
        panel.means(range(4), values, "a", SOLID, PERCENT)
        [bars] = panel.axes.containers
    [drawn_bars] = bars.lines[2]
    ends = [tuple(line[:, 1]) for line in drawn_bars.get_segments()]
    assert ends[0] == pytest.approx((99.6667 - 0.57735, 100), abs=1e-3)
    assert ends[1] == pytest.approx((15 - 7.0711, 15 + 7.0711), abs=1e-3)
    assert ends[2] == pytest.approx((0, 0.05 + 0.0707), abs=1e-3)
    assert ends[3] == (100, 100)


def test_figures_are_the_same_bytes_each_time():
    results = [DENSE, result(history=HISTORY), result(compression=4.0, history=HISTORY)]
    sight = sight_of(grouped(results))
    for draw in (
        ratios.compression_error, layers.density, curves.convergence,
        lambda sight: ratios.accuracy(sight, "top1"),
    ):  # fmt: skip
        svg, pdf, plain = draw(sight).svg(), draw(sight).pdf(), draw(sight).plain()
        assert svg.startswith("<svg")
        assert plain.startswith("<svg")
        assert pdf.startswith(b"%PDF")
        assert (draw(sight).svg(), draw(sight).pdf(), draw(sight).plain()) == (svg, pdf, plain)


def test_a_file_of_its_own_says_nothing_of_when_or_by_what_it_was_made():
    drawing = ratios.degradation(sight_of(grouped([DENSE, result()])))
    for text in (drawing.svg(), drawing.pdf().decode("latin-1")):
        assert not re.search(r"matplotlib v|Matplotlib v|20\d\d-\d\d-\d\d|CreationDate", text)


def test_only_a_file_of_its_own_has_the_legend_and_is_wider_for_it():
    drawing = ratios.degradation(sight_of(grouped([DENSE, result()])))

    def width(svg):
        return float(re.search(r'width="([\d.]+)pt"', svg)[1])

    assert {"dense", "lamp"} <= set(drawn(drawing.svg()))
    assert {"dense", "lamp"}.isdisjoint(drawn(drawing.plain()))
    assert width(drawing.svg()) > 1.3 * width(drawing.plain())


def test_the_legend_is_in_the_order_of_the_lines_from_above():
    results = [result(name, r, top1=t) for r in (4.0, 8.0)
               for name, t in (("a", 40.0), ("b", 80.0), ("c", 60.0))]  # fmt: skip
    sight = sight_of(grouped([result(None, 1.0, top1=90.0), *results]))
    accuracy = ratios.accuracy(sight, "top1")
    assert [label for label, _ in accuracy.listed] == ["dense", "b", "c", "a"]
    assert [text for text in drawn(accuracy) if text in accuracy.keys] == ["dense", "b", "c", "a"]
    turned = ratios.degradation(sight)  # whose axis goes down
    assert [label for label, _ in turned.listed] == ["dense", "b", "c", "a"]


def test_what_has_no_line_comes_last_in_the_legend():
    with plot() as (drawing, panel):
        panel.line([], [], "published", SOLID)
        panel.line([1, 2], [math.nan, 3.0], "low", SOLID)
        panel.line([1, 2], [4.0, 5.0], "high", SOLID)
    assert [label for label, _ in drawing.listed] == ["high", "low", "published"]


def test_all_that_belongs_to_a_label_has_its_class_in_the_picture():
    with plot() as (drawing, panel):
        panel.line([1, 2], [1.0, 2.0], "a", SOLID)
        panel.line([1, 2], [3.0, 4.0], "b", SOLID)
        panel.line([1, 2], [2.0, 1.0], "a", SOLID)
        panel.note("b", "here", (1, 3), (0, 0))
        panel.belongs("of no line", [panel.axes.axhline(1)])
    svg = drawing.plain()
    assert svg.count('class="key-0"') == 2
    assert svg.count('class="key-1"') == 2
    assert 'id="key-' not in svg
    assert "key-2" not in svg


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("name", ["_mine:sc", r"$\foo$", "$", r"a\$b $", "\x1b[31m", "\n_", "<b>"])
def test_any_name_is_in_every_legend_as_it_is(figure, name):
    drawing = kinds.drawn(sight_of_name(name, option="$\\bar$\x07"), figure)
    texts = [text.replace("&lt;", "<").replace("&gt;", ">") for text in drawn(drawing)]
    if figure == "options-sparsity":
        assert r"$\bar$\x07" in texts
    ET.fromstring(drawing.svg())
    shown = name.replace("\x1b", r"\x1b").replace("\n", r"\n")
    assert any(text.strip().startswith(shown) for text in texts)


def test_a_layer_of_any_name_is_on_the_axis():
    layers = [{"name": r"$\foo$.weight", "total": 4, "kept": 1}]
    assert r"$\foo$" in drawn(kinds.drawn(sight_of(grouped([result(layers=layers)])), "density"))


def test_a_long_name_is_cut(recwarn):
    name = "n" * 1000
    layers = [{"name": name, "total": 4, "kept": 1}]
    sight = sight_of(grouped([result(name, layers=layers), result("\U0001f4a9", layers=layers)]))
    for figure in ("top1", "density"):
        texts = "".join(drawn(kinds.drawn(sight, figure)))
        assert 299 <= texts.count("n") < 800
    assert [str(one.message) for one in recwarn] == []


def test_what_others_set_of_matplotlib_changes_no_figure():
    sight = sight_of_name("lamp")

    def made():
        drawings = [kinds.drawn(sight, "top1") for _ in range(3)]
        return drawings[0].svg(), drawings[1].plain(), drawings[2].pdf()

    before = made()
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "svg.fonttype": "path"}):
        assert made() == before
        assert mpl.rcParams["font.size"] == 30
