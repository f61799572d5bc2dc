"""What a report calls results that were given a label."""

import pytest
from results import gmp, result

from prunecli.report.rows import grouped


def called(*results):
    return [(row.method, row.compression) for row in grouped(results)]


def test_a_label_stands_in_place_of_the_description_which_is_kept():
    [row] = grouped([result("magnitude", label="GlobalMag", options={"a": 1})])
    assert (row.method, row.description) == ("GlobalMag", "magnitude a=1")
    assert (row.title, row.series) == ("GlobalMag 16x", "GlobalMag")
    assert (row.flat()["method"], row.flat()["description"]) == ("GlobalMag", "magnitude a=1")


def test_an_empty_label_is_none():
    assert called(result(label="")) == [("lamp", 16)]


def test_a_label_may_stand_for_one_method_at_each_compression():
    one, other = result(options={"n": 1}, label="L"), result("snip", 4.0, label="L")
    assert called(one, other) == [("L", 4), ("L", 16)]


def test_a_label_of_several_methods_at_one_compression_says_which():
    results = [result(label="L"), result("snip", label="L"), result("snip", 4.0, label="L")]
    assert called(*results) == [("L (lamp)", 16), ("L (snip)", 4), ("L (snip)", 16)]
    elsewhere = [result(label="L"), result("snip", label="L", model="vgg16")]
    assert [name for name, _ in called(*elsewhere)] == ["L", "L"]


def test_seeds_and_trainings_under_one_label_stay_apart():
    results = [
        result(seed=s, label="L", settings={"epochs": n}) for s in (0, 1) for n in (2, 5)
    ]  # fmt: skip
    rows = grouped(results)
    assert [(row.method, row.seeds) for row in rows] == [
        ("L (lamp epochs=2)", 2), ("L (lamp epochs=5)", 2)
    ]  # fmt: skip


def test_methods_that_were_asked_for_nothing_are_told_apart_under_one_label():
    from dataclasses import replace

    results = [replace(gmp(beta, 0.1, 80, 4), label="GMP") for beta in (0.1, 0.2)]
    assert [name for name, _ in called(*results)] == [
        "GMP (gmp beta=0.1 gamma=0.1)", "GMP (gmp beta=0.2 gamma=0.1)"
    ]  # fmt: skip


@pytest.mark.parametrize("compression", [16.0, 4.0])
def test_a_label_that_is_what_another_is_called_by_itself_says_what_it_is(compression):
    assert called(result("snip"), result(compression=compression, label="snip")) == [
        ("snip", 16), ("snip (lamp)", compression)
    ]  # fmt: skip


def test_a_label_that_is_ones_own_name_is_that():
    assert called(result(label="lamp"), result(compression=4.0)) == [("lamp", 4), ("lamp", 16)]
    assert called(result("snip", label="lamp"), result(label="lamp")) == [
        ("lamp", 16), ("lamp (snip)", 16)
    ]  # fmt: skip


def test_no_pruned_network_is_called_dense():
    assert called(result(label="dense")) == [("dense (lamp)", 16)]
    assert called(result(None, 1.0), result(label="dense")) == [("dense", 1), ("dense (lamp)", 16)]
    assert called(result(None, 1.0, label="dense")) == [("dense", 1)]
    assert called(result(None, 1.0, label="whole")) == [("whole", 1)]


def test_what_tells_results_of_one_seed_apart_stands_behind_the_label():
    results = [result(label="L", top1=80.0), result(label="L", top1=90.0)]
    assert called(*results) == [("L #1", 16), ("L #2", 16)]
