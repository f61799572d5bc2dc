"""The rows of a section, and which of them stand for a method."""

from results import gmp, result, sight_of

from prunecli.report.rows import grouped


def test_the_highest_compression_of_a_method_is_the_highest_reached():
    rows = [result(compression=8.0, empirical_compression=20.0), result(compression=16.0)]
    [last] = sight_of(grouped(rows)).view.most_pruned
    assert (last.compression, last.at) == (8, "20x, asked 8x")


def most_pruned(*results):
    return [(row.method, row.compression) for row in sight_of(grouped(results)).view.most_pruned]


def lines(**living):
    """Results at 4x, 16x and 64x of methods that live, or have collapsed, at each."""
    return [
        result(name, ratio, top1=90.0 if lives else 10.0, classes=10)
        for name, alive in living.items()
        for ratio, lives in zip((4.0, 16.0, 64.0), alive, strict=True)
    ]


def test_what_stands_for_a_method_is_at_the_highest_ratio_that_half_survive():
    assert most_pruned(*lines(a=(1, 1, 0), b=(1, 0, 0))) == [("a", 16), ("b", 16)]
    assert most_pruned(*lines(a=(1, 1, 0), b=(1, 0, 0), c=(1, 0, 0))) == [
        ("a", 4), ("b", 4), ("c", 4)
    ]  # fmt: skip
    assert most_pruned(*lines(a=(1, 1, 1), b=(1, 1, 0))) == [("a", 64), ("b", 64)]


def test_where_none_survives_or_nobody_can_say_it_is_the_highest():
    assert most_pruned(*lines(a=(0, 0, 0))) == [("a", 64)]
    old = [result("lamp", ratio, top1=1.0) for ratio in (4.0, 16.0)]  # without classes
    assert most_pruned(*old) == [("lamp", 16)]


def test_a_method_at_its_own_ratio_stands_for_itself_and_sets_no_limit():
    far = gmp(0.1, 0.2, 90.0, 1000)
    assert most_pruned(*lines(a=(1, 0, 0)), far) == [("a", 4), ("gmp beta=0.1 gamma=0.2", 1000)]


def test_a_method_that_was_never_asked_for_so_little_is_at_what_it_has():
    assert most_pruned(*lines(a=(1, 0, 0)), result("b", 64.0, top1=10.0, classes=10)) == [
        ("a", 4), ("b", 64)
    ]  # fmt: skip


def test_of_dense_networks_alone_there_is_none():
    assert most_pruned(result(None, 1.0)) == []
