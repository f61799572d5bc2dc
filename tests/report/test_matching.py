"""Published results beside one's own."""

import re

import pytest
from results import result, sight_of

from prunecli.report.figures import ratios
from prunecli.report.matching import paired
from prunecli.report.page import as_html
from prunecli.report.reference import Published
from prunecli.report.rows import grouped
from prunecli.report.tables.published import HEADINGS
from prunecli.report.tables.published import published as table_of

DENSE = result(None, 1.0, top1=95.0)


def published(method="lamp", compression=16.0, top1=88.0, top5=None, **more):
    of = {"model": "cnn", "dataset": "digits", "method": method, "compression": compression}
    return Published(**{**of, "top1": top1, "top5": top5, **more})


def gmp(beta, gamma, reached):
    return result("gmp", reached, options={"beta": beta, "gamma": gamma}, asked=None)


def lines_of(rows, *reference):
    """The texts of the table of all pairs."""
    return [[cell.text for cell in line] for line in table_of(paired(rows, reference)).lines]


def beside(results, *reference):
    """The names of all pairs, ours and theirs."""
    return [
        (pair.ours and pair.ours.method, pair.theirs and pair.theirs.method)
        for pair in paired(grouped(results), reference)
    ]


def test_a_whole_label_means_just_that_row():
    results = [result("magnitude"), result("magnitude", scope="layer")]
    assert beside(results, published("magnitude"), published("magnitude layer")) == [
        ("magnitude", "magnitude"), ("magnitude layer", "magnitude layer")
    ]  # fmt: skip
    assert beside(results, published("magnitude layer")) == [
        ("magnitude", None), ("magnitude layer", "magnitude layer")
    ]  # fmt: skip
    assert beside(results, published("magnitude")) == [
        ("magnitude", "magnitude"), ("magnitude layer", None)
    ]  # fmt: skip


def test_the_published_method_with_the_most_words_is_meant():
    results = [result("magnitude", scope="layer")]
    assert beside(results, published("magnitude"), published("magnitude layer")) == [
        ("magnitude layer", "magnitude layer"), (None, "magnitude")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["adaptive", "adaptive weighting=avg", "adaptive weighting=avg rate=1e-2",
             "adaptive estimate=gauss rate=0.010 weighting=avg"],
)  # fmt: skip
def test_a_shorter_name_will_do_in_any_order(name):
    options = {"estimate": "gauss", "rate": 0.01, "weighting": "avg"}
    [(ours, theirs)] = beside([result("adaptive", options=options)], published(name))
    assert (ours, theirs) == ("adaptive estimate=gauss rate=0.01 weighting=avg", name)


@pytest.mark.parametrize("name", ["adapt", "rate=0.01 adaptive", "adaptive rate=0.02", "", " "])
def test_other_names_do_not_match(name):
    options = {"rate": 0.01}
    assert (None, name) in beside([result("adaptive", options=options)], published(name))


def test_all_rows_that_a_name_fits_as_well_are_beside_it():
    results = [result("snip", options={"batches": n}) for n in (1, 2)]
    assert beside(results, published("snip")) == [
        ("snip batches=1", "snip"), ("snip batches=2", "snip")
    ]  # fmt: skip


def test_two_published_of_one_name_both_stand_there():
    lines = lines_of(grouped([result()]), published(top1=80.0), published(top1=81.0))
    assert [(line[0], line[8]) for line in lines] == [("lamp", "80.00"), ("lamp", "81.00")]


def test_where_nothing_was_asked_the_nearest_that_was_reached_is_meant():
    results = [gmp(0.05, gamma, reached) for gamma, reached in ((0.1, 2), (0.2, 8), (0.3, 30))]
    assert beside(results, published("gmp", None, reached=9.17)) == [
        ("gmp beta=0.05 gamma=0.2", "gmp")
    ]  # fmt: skip
    # 16 is nearer to 8 in points, and to 30 on a logarithmic scale.
    assert beside(results, published("gmp", None, reached=16.0)) == [
        ("gmp beta=0.05 gamma=0.3", "gmp")
    ]  # fmt: skip
    [line] = lines_of(grouped(results), published("gmp", None, reached=9.17))
    assert line == ["gmp beta=0.05 gamma=0.2", "gmp", "", "8x", "9.17x", "200", "", "90.00",
                    "88.00", "99.00", ""]  # fmt: skip


def test_a_number_of_weights_is_as_good():
    narrow = [
        result(None, 1.0, nonzero=n, model_options={"thin": t}) for n, t in ((500, 0.5), (90, 0.1))
    ]
    reference = published("dense", None, parameters=110.0)
    assert beside([*narrow, result(model_options={})], reference) == [
        ("dense model thin=0.1", "dense")
    ]  # fmt: skip


def test_a_ratio_is_printed_with_few_digits():
    assert beside([result(compression=1 / 0.15)], published(compression=6.67)) == [("lamp", "lamp")]
    assert beside([result(compression=6.5)], published(compression=6.67)) == [
        ("lamp", None), (None, "lamp")
    ][1:]  # fmt: skip


@pytest.mark.parametrize("other", [{"model": "vgg16"}, {"dataset": "mnist"}])
def test_other_networks_and_data_do_not_match(other):
    assert beside([result(**other)], published()) == []


def test_what_has_no_row_and_what_was_not_published_are_there_too():
    results = [DENSE, result(), result("snip"), result("snip", 4.0)]
    reference = (published(), published("dns", None, parameters=7.0), published("force"))
    assert beside(results, *reference) == [
        ("lamp", "lamp"), ("snip", None), (None, "force"), (None, "dns")
    ]  # fmt: skip
    lines = lines_of(grouped(results), *reference)
    assert lines[2] == ["", "force", "16x", "", "", "", "", "", "88.00", "", ""]
    assert lines[3] == ["", "dns", "", "", "", "", "7", "", "88.00", "", ""]
    assert {len(line) for line in lines} == {len(HEADINGS)}


def test_a_note_stands_behind_the_number_once():
    reference = (
        published("grasp", note="kept twice as much", top5=90.0), published("lamp"),
        published("synflow", note="kept all"), published("snip", note="kept twice as much"),
    )  # fmt: skip
    pairs = paired(grouped([result("grasp"), result()]), reference)
    lines = [[cell.text for cell in line] for line in table_of(pairs).lines]
    tops = {line[1] or line[0]: line[8] for line in lines}
    assert tops == {"grasp": "88.00*", "lamp": "88.00", "synflow": "88.00†", "snip": "88.00*"}
    assert lines[0][10] == "90.00*"
    assert table_of(pairs).notes == ["* kept twice as much", "† kept all"]


def test_the_mean_over_seeds_stands_beside_the_reference():
    rows = grouped([result(top1=80.0), result(top1=90.0, seed=1)])
    [line] = lines_of(rows, published())
    assert line[7:9] == ["85.00 ± 7.07", "88.00"]


def test_critical_masks_that_were_never_trained_under_meet_nothing():
    limit = result(compression=16.0, asked=None, critical=True, mask_epochs=0)
    assert "88.00" not in as_html(grouped([limit]), "t", (published(),))
    trained = result(compression=16.0, asked=None, critical=True, mask_epochs=5)
    assert "88.00" in as_html(grouped([trained]), "t", (published(),))


# On the page


def test_each_section_of_the_page_has_its_own_comparison():
    results = [result(), result(model="vgg16", compression=8.0), result(model="resnet20")]
    reference = (
        published(note="of another kind"), published(model="vgg16", compression=8.0),
        published(dataset="mnist"),
    )  # fmt: skip
    page = as_html(grouped(results), "t", reference)
    sections = page.split("<h2>")[1:]
    assert [section.partition("<")[0] for section in sections] == [
        "cnn on digits", "resnet20 on digits", "vgg16 on digits"
    ]  # fmt: skip
    assert [section.count("Beside what was published") for section in sections] == [1, 0, 1]
    assert ["* of another kind" in section for section in sections] == [True, False, False]
    assert "Beside what was published" not in as_html(grouped(results), "t")


def test_names_from_a_reference_are_escaped():
    bad = (published("<b>", note="<i>"), published("<u>"))
    page = as_html(grouped([result("<b>")]), "t", bad)
    assert not re.search("<[biu]>", page)


# Labels


def test_a_published_method_matches_a_label_or_what_lies_behind_it():
    results = [
        result("magnitude", label="GlobalMag"), result("magnitude", scope="layer", label="LayerMag")
    ]  # fmt: skip
    for one, other in (("GlobalMag", "LayerMag"), ("magnitude", "magnitude layer")):
        assert beside(results, published(one), published(other)) == [
            ("GlobalMag", one), ("LayerMag", other)
        ]  # fmt: skip
    assert beside(results, published("Global")) == [
        ("GlobalMag", None), ("LayerMag", None), (None, "Global")
    ]  # fmt: skip


# In figures


def points(monkeypatch, sight, draw):
    """What is drawn without a line: place, colour, fill; and the labels of the legend."""
    from matplotlib.axes import Axes

    seen, plain = [], Axes.plot

    def plot(axes, x, y, **more):
        seen.append((*x, *y, more["color"], more["markerfacecolor"]))
        return plain(axes, x, y, **more)

    monkeypatch.setattr(Axes, "plot", plot)
    drawing = draw(sight)
    monkeypatch.undo()
    return seen, [label for label, _ in drawing.listed]


def test_published_results_are_hollow_points_where_they_lie(monkeypatch):
    rows = grouped([result(None, 1.0, nonzero=1600), result("snip"), result()])
    reference = (
        published(top5=97.0, reached=8.0), published("dns", None, 70.0, parameters=400.0),
        published("dns", 32.0, 60.0), published("dense", 1.0, 96.0),
    )  # fmt: skip
    sight = sight_of(rows, reference)
    blue, lamp = (sight.looks.look(name).colour for name in ("snip", "lamp"))
    other, grey = sight.looks.look("dns").colour, sight.look(rows[0]).colour
    assert len({blue, lamp, other, grey}) == 4
    seen, listed = points(monkeypatch, sight, lambda sight: ratios.accuracy(sight, "top1"))
    assert seen == [
        (1, 96, grey, "none"), (8, 88, lamp, "none"), (32, 60, other, "none"),
        (4, 70, other, "none"), (grey, "none"),
    ]  # fmt: skip
    assert set(listed) == {"dense", "lamp", "snip", "dns (published)", "published"}
    seen, _ = points(monkeypatch, sight, lambda sight: ratios.accuracy(sight, "top5"))
    assert seen[0] == (8, 97, lamp, "none")
    seen, _ = points(monkeypatch, sight, ratios.parameters)
    assert seen[:4] == [
        (1600, 4, grey, "none"), (200, 12, lamp, "none"), (50, 40, other, "none"),
        (400, 30, other, "none"),
    ]  # fmt: skip
