"""A measure by method and compression: what stands where, and its marks."""

import pytest
from results import gmp, result

from prunecli.report.reference import Published
from prunecli.report.rows import grouped
from prunecli.report.tables.kinds import pivots, table_of
from prunecli.report.view import views

DENSE = result(None, 1.0, top1=95.0, flops_sparse=2000)


def pivot(*results, reference=(), name="top1"):
    [view] = views(grouped(results), reference)
    return table_of(view, name)


def shown(cell):
    """Its text: the best in asterisks, the faint in parentheses."""
    marked = f"**{cell.text}**" if cell.best else cell.text
    return f"({marked})" if cell.faint else marked


def cells(table):
    """What is shown, by method and heading."""
    return {
        method.text: {
            heading: shown(cell)
            for heading, cell in zip(table.headings[1:], line, strict=True)
            if cell.text
        }
        for method, *line in table.lines
    }


def published(method, compression, top1, **more):
    of = {"model": "cnn", "dataset": "digits", "method": method, "compression": compression}
    return Published(**of, top1=top1, **more)


def test_a_line_per_method_and_a_column_per_compression_by_rising_ratio():
    results = [result(compression=r, top1=90.0 - r) for r in (16.0, 4.0)]
    table = pivot(DENSE, *results, result("snip", 1000.0, top1=70.0), gmp(0.1, 0.2, 80, 5))
    assert table.headings == ["method", "unpruned", "4x", "16x", "1000x", "its own ratio"]
    assert cells(table) == {
        "dense": {"unpruned": "95.00"},
        "gmp beta=0.1 gamma=0.2": {"its own ratio": "80.00 (5x)"},
        "lamp": {"4x": "86.00", "16x": "74.00"},
        "snip": {"1000x": "70.00"},
    }
    assert {len(line) for line in table.lines} == {len(table.headings)}
    assert (table.title, table.notes) == ("Test top-1, %", [])
    assert table.lines[2][2].value == 86


def test_seeds_are_a_mean_with_its_deviation():
    table = pivot(result(top1=80.0), result(top1=90.0, seed=1))
    assert cells(table) == {"lamp": {"16x": "85.00 ± 7.07"}}
    assert table.lines[0][1].value == 85


def test_the_best_of_a_column_is_marked_and_all_of_equals():
    results = [result(m, r, top1=t) for m, r, t in (
        ("a", 4.0, 90.0), ("b", 4.0, 91.0), ("c", 4.0, 91.0), ("a", 8.0, 70.0), ("b", 8.0, 60.0),
        ("c", 16.0, 50.0),
    )]  # fmt: skip
    found = cells(pivot(DENSE, *results))
    assert [found[m]["4x"] for m in "abc"] == ["90.00", "**91.00**", "**91.00**"]
    assert (found["a"]["8x"], found["b"]["8x"]) == ("**70.00**", "60.00")
    assert found["c"]["16x"] == "50.00"  # alone it is no best
    assert found["dense"]["unpruned"] == "95.00"


def test_neither_collapsed_networks_nor_those_at_their_own_ratio_are_best():
    results = [result(m, 4.0, top1=t, classes=10) for m, t in (("a", 10.0), ("b", 15.0))]
    free = [gmp(0.1, 0.2, 80, 5), gmp(0.1, 0.3, 90, 5)]
    table = pivot(*results, *free)
    assert not any(cell.best for line in table.lines for cell in line)
    assert cells(table)["a"] == {"4x": "(10.00°)"}
    assert table.notes == ["° collapsed: it does hardly more than guess"]


def test_who_missed_the_ratio_is_not_the_best_of_its_column():
    missed = result("a", 4.0, top1=99.0, empirical_compression=3.0)
    found = cells(pivot(missed, result("b", 4.0, top1=80.0)))
    assert (found["a"]["4x"], found["b"]["4x"]) == ("99.00*", "**80.00**")


def test_no_measure_of_which_less_is_better_has_a_best():
    results = [result("a", flops_sparse=500), result("b", flops_sparse=900)]
    for name in ("flops", "reached"):
        assert not any(
            cell.best for line in pivot(DENSE, *results, name=name).lines for cell in line
        )


@pytest.mark.parametrize(
    ("more", "mark", "note"),
    [
        ({"empirical_compression": 8.0}, "*", "* it kept more or fewer weights than asked"),
        ({"dead_layers": ["a.weight"]}, "†", "† a layer is without any weight"),
        ({"dead_layers": ["a.weight"], "live_path": True}, "†", "† a layer is without any weight"),
        ({"dead_layers": ["a.weight"], "live_path": False}, "†", "† a layer is without any weight"),
        (
            {"live_path": False}, "‡",
            "‡ cut: no layer is empty, but no path of weights leads from input to output",
        ),
        ({"live_path": True}, "", None),
    ],
)  # fmt: skip
def test_marks_and_what_they_mean(more, mark, note):
    table = pivot(result(top1=50.0, **more))
    assert cells(table) == {"lamp": {"16x": f"50.00{mark}"}}
    assert table.notes == ([note] if note else [])


def test_several_marks_stand_together():
    more = {"empirical_compression": 8.0, "live_path": False}
    table = pivot(result(top1=50.0, **more))
    assert cells(table) == {"lamp": {"16x": "50.00*‡"}}
    assert len(table.notes) == 2
    assert cells(pivot(result(**more), name="reached")) == {"lamp": {"16x": "8x"}}


def test_what_was_published_stands_behind_ours_or_in_a_line_of_its_own():
    reference = [
        published("lamp", 16.0, 88.0), published("dns", 16.0, 70.0), published("dns", 16.0, 71.0),
        published("dns", 32.0, 60.0), published("dense", 1.0, 96.0),
        published("far", None, 50.0, reached=7.0), published("five", 16.0, None, top5=99.0),
    ]  # fmt: skip
    table = pivot(DENSE, result(), reference=reference)
    assert cells(table) == {
        "dense": {"unpruned": "95.00 [96.00]"},
        "lamp": {"16x": "90.00 [88.00]"},
        "dns (published)": {"16x": "[70.00] [71.00]", "32x": "[60.00]"},
    }
    assert table.headings == ["method", "unpruned", "16x", "32x"]
    assert table.notes == ["[ ] published"]
    assert cells(pivot(DENSE, result(), reference=reference, name="top5")) == {
        "dense": {"unpruned": "99.00"}, "lamp": {"16x": "99.00"},
        "five (published)": {"16x": "[99.00]"},
    }  # fmt: skip


def test_what_was_published_is_never_the_best_of_ours():
    found = cells(pivot(result("a", top1=50.0), result("b", top1=60.0), reference=[
        published("dns", 16.0, 99.0), published("b", 16.0, 90.0)
    ]))  # fmt: skip
    assert found["b"]["16x"] == "**60.00 [90.00]**"
    assert found["dns (published)"]["16x"] == "[99.00]"


def test_narrow_dense_networks_have_lines_of_their_own():
    narrow = [
        result(None, 1.0, top1=t, model_options={"thin": n}, flops_dense=f, flops_sparse=f)
        for n, t, f in ((0.1, 50.0, 20), (0.5, 80.0, 500))
    ]
    whole = result(None, 1.0, top1=95.0, flops_sparse=2000, model_options={})
    pruned = result(model_options={})
    assert cells(pivot(whole, *narrow, pruned)) == {
        "dense": {"unpruned": "95.00"},
        "dense model thin=0.1": {"unpruned": "50.00"},
        "dense model thin=0.5": {"unpruned": "80.00"},
        "lamp": {"16x": "90.00"},
    }
    assert cells(pivot(whole, *narrow, pruned, name="flops")) == {
        "dense": {"unpruned": "100.0"},
        "dense model thin=0.1": {"unpruned": "1.0"},
        "dense model thin=0.5": {"unpruned": "25.0"},
        "lamp": {"16x": "25.0"},
    }


def test_masks_that_go_as_far_as_they_can_are_at_their_own_ratio():
    critical = result(compression=123.4, asked=None, critical=True, mask_epochs=5)
    assert cells(pivot(critical)) == {"lamp critical": {"its own ratio": "90.00 (123.4x)"}}
    untrained = result(compression=123.4, asked=None, critical=True, mask_epochs=0)
    assert pivot(untrained) is None


def test_names_cannot_move_the_cursor():
    reference = [published("x\x1b", 16.0, 1.0)]
    assert list(cells(pivot(result(label="a\nb"), reference=reference))) == [
        r"a\nb", r"x\x1b (published)"
    ]  # fmt: skip


def test_ratios_that_read_alike_have_columns_of_their_own():
    results = [result(compression=r, top1=t) for r, t in ((100.01, 90.0), (100.02, 80.0))]
    assert cells(pivot(*results)) == {"lamp": {"100.01x": "90.00", "100.02x": "80.00"}}
    same = [result("a", 1 / 0.1), result("b", 1 / (1 - 0.9))]
    assert pivot(*same).headings == ["method", "10x"]


def test_programs_read_deviation_published_value_and_marks_apart():
    reference = [published("lamp", 16.0, 88.0)]
    results = [result(top1=t, seed=s, live_path=False) for s, t in enumerate((80.0, 90.0))]
    _, cell = pivot(*results, reference=reference).lines[0]
    assert cell.parts == {
        "": 85.0, " std": pytest.approx(7.0711, abs=1e-4), " published": 88.0, " marks": "‡"
    }  # fmt: skip
    assert pivot(result()).lines[0][1].parts == {"": 90.0}


def test_what_was_published_alone_stands_under_the_ratio_as_printed():
    reference = [published("dns", 6.67, 70.0)]
    table = pivot(result(compression=1 / 0.15), reference=reference)
    assert table.headings == ["method", "6.667x"]


def test_what_was_reached_has_a_table_where_it_is_not_what_was_asked():
    def has(*results):
        [view] = views(grouped(results))
        return "reached" in pivots(view)

    assert not has(DENSE, result())
    assert has(DENSE, result(), result("snip", empirical_compression=8.0))
    assert has(DENSE, gmp(0.1, 0.2, 80, 4))
