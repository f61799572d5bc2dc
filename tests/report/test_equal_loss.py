"""The compression that costs so many points, worked by hand."""

import json

import pytest
from results import result, table

from prunecli.report.equal_loss import Reach, against_best, at_loss, at_losses
from prunecli.report.page import as_html
from prunecli.report.rows import grouped
from prunecli.report.tables.equal_loss import at_equal_loss
from prunecli.report.tables.full import as_json
from prunecli.settings.report import LOSSES, ReportSettings
from prunecli.settings.run import RunOptions
from prunecli.steps.report import report

CURVE = [(4.0, 0.0), (16.0, 2.0), (64.0, 10.0)]


@pytest.mark.parametrize(
    ("loss", "compression"),
    [
        (0.0, 4), (1.0, 8),  # half way between 4 and 16
        (0.5, 4 * 4**0.25), (2.0, 16), (4.0, 16 * 4**0.25), (6.0, 32),
    ],
)  # fmt: skip
def test_between_neighbours_it_is_interpolated_on_a_logarithmic_scale(loss, compression):
    assert at_loss(CURVE, loss) == Reach(pytest.approx(compression))


def test_the_curve_begins_at_the_unpruned_network_and_is_not_extrapolated():
    assert at_loss([(16.0, 4.0), (64.0, 9.0)], 1.0) == Reach(pytest.approx(2.0))
    assert at_loss(CURVE, 10.0) == at_loss(CURVE, 50.0) == Reach(64.0, at_least=True)
    assert str(at_loss(CURVE, 50.0)) == "≥ 64x"


def test_a_single_ratio_is_a_bound():
    assert at_loss([(16.0, 4.0)], 1.0) == Reach(16.0, at_most=True)
    assert at_loss([(16.0, 4.0)], 4.0) == Reach(16.0, at_least=True)


def test_of_several_crossings_the_first_counts():
    assert at_loss([(4.0, 2.0), (16.0, 0.5), (64.0, 3.0)], 1.0) == Reach(pytest.approx(2.0))


def test_a_gain_is_no_loss():
    assert at_loss([(4.0, -1.0), (16.0, 1.0)], 0.0) == Reach(pytest.approx(8.0))


def test_points_at_one_ratio_make_no_division_by_zero():
    assert at_loss([(1.0, 3.0), (4.0, 5.0)], 1.0) == Reach(1.0)
    assert at_loss([(4.0, 0.5), (4.0, 3.0)], 1.0) == Reach(pytest.approx(4.0))


DENSE = [result(None, 1.0, top1=90.0 + seed, seed=seed) for seed in (0, 1)]
LAMP = [
    result(compression=r, top1=top1, seed=seed)
    for r, points in ((4.0, (90.0, 91.0)), (16.0, (89.0, 88.0)))  # loses 1 and 3 points
    for seed, top1 in enumerate(points)
]
SNIP = [result("snip", 4.0, top1=88.5), result("snip", 9.0, top1=80.0)]


def test_the_mean_over_seeds_counts_at_what_was_reached():
    reached = at_losses(grouped([*DENSE, *LAMP, *SNIP]), [1.0])
    assert reached == {
        "lamp": {1.0: Reach(pytest.approx(8.0))},
        "snip": {1.0: Reach(pytest.approx(4 ** (1 / 1.5)))},
    }
    one = at_losses(grouped([*DENSE, *SNIP[:1]]), [1.0])
    assert one == {"snip": {1.0: Reach(4.0, at_most=True)}}
    short = result(compression=16.0, empirical_compression=9.0, top1=88.0)
    assert at_losses(grouped([*DENSE, short]), [2.0]) == {"lamp": {2.0: Reach(9.0, at_least=True)}}


def test_how_many_times_that_of_the_best_other():
    reached = {"a": Reach(30.0), "b": Reach(2.0), "c": Reach(20.0)}
    assert against_best("a", reached) == Reach(1.5)
    assert against_best("b", reached) == Reach(pytest.approx(2 / 30))
    assert against_best("a", reached | {"a": Reach(30.0, at_least=True)}) == Reach(1.5, True)
    further = reached | {"c": Reach(20.0, at_least=True)}
    assert against_best("a", further) == Reach(1.5, at_most=True)
    assert str(against_best("a", further)) == "≤ 1.5x"
    assert against_best("c", further | {"a": Reach(30.0, at_least=True)}) is None
    assert against_best("a", {"a": Reach(30.0)}) is None
    bounded = reached | {"c": Reach(20.0, at_most=True)}
    assert against_best("c", bounded) == Reach(pytest.approx(2 / 3), at_most=True)
    assert against_best("a", bounded) is None  # the best other may be anything up to 20
    assert against_best("c", bounded | {"a": Reach(30.0, at_least=True)}) == Reach(
        pytest.approx(2 / 3), at_most=True
    )


def test_the_page_has_a_line_for_each_method():
    rows = grouped([*DENSE, *LAMP, *SNIP])
    assert [line[0].text for line in at_equal_loss(rows, LOSSES).lines] == ["lamp", "snip"]
    [_, *lamp], _ = at_equal_loss(rows, [1.0]).lines
    assert [cell.text for cell in lamp] == ["8x", "3.175x"]
    page = as_html(rows, "t")
    assert all(f"<th>at {loss:g} lost</th>" in page for loss in LOSSES)
    assert "<td>8x</td>" in page
    assert "<td>8x</td>" not in as_html(rows, "t", losses=[0.1])
    assert "at equal loss" not in as_html(grouped(LAMP), "t")  # no unpruned network
    assert "at equal loss" not in as_html(grouped(DENSE), "t")


def test_json_has_it_where_it_is_asked_for():
    rows = grouped([*DENSE, *LAMP, *SNIP, result(model="vgg16")])
    assert "at_loss" not in as_json(rows)
    told = json.loads(as_json(rows, 1.0))
    half = {"points": 1.0, "compression": pytest.approx(8.0), "at_least": False,
            "at_most": False}  # fmt: skip
    assert [each["at_loss"] for each in told[:3]] == [None, half, half]
    assert told[-1]["at_loss"] is None
    without = [{key: each[key] for key in each if key != "at_loss"} for each in told]
    assert without == json.loads(as_json(rows))


def test_the_step_has_it_in_json_and_in_the_table_at_the_loss_that_is_asked_for(tmp_path):
    dense, lamp = tmp_path / "dense.json", tmp_path / "lamp.json"
    dense.write_text(json.dumps(table(None, 1.0, top1=90.0)))
    lamp.write_text(json.dumps(table(top1=86.0)))
    _, text = report([lamp], ReportSettings(form="json", loss=1.0), RunOptions())
    assert json.loads(text)[0]["at_loss"] is None
    asked = ReportSettings(form="csv", table="equal-loss", loss=1.0)
    _, text = report([dense, lamp], asked, RunOptions())
    assert text.splitlines() == [
        "model,dataset,method,at 1 lost,of the best other", "cnn,digits,lamp,≤ 16x,"
    ]  # fmt: skip
