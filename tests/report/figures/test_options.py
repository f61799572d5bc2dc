"""What a method reaches by its options."""

from results import drawn, gmp, lines, result, sight_of

from prunecli.report.figures import options
from prunecli.report.rows import grouped


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


def test_by_option_a_line_has_the_label_that_its_rows_share(monkeypatch):
    seen = lines(monkeypatch)
    given = [(0.1, 0.05, "wide"), (0.1, 0.01, "wide"), (0.1, 0.001, "wide"), (0.2, 0.05, "deep"),
             (0.2, 0.01, "flat")]  # fmt: skip
    results = [gmp(b, g, 90, 4, label=label) for b, g, label in given]
    options.by_option(sight_of(grouped(results)), top1, "top-1")
    assert set(seen) == {"wide", "gmp beta=0.2"}
    seen.clear()
    same = [gmp(b, g, 90, 4, label=f"{g}") for b, g, _ in given]
    options.by_option(sight_of(grouped(same)), top1, "top-1")
    assert set(seen) == {"gmp beta=0.1", "gmp beta=0.2"}  # no label names one line


def test_by_option_what_all_lines_share_is_in_no_name(monkeypatch):
    seen = lines(monkeypatch)
    results = [
        result("weightmom", 4.0, options={"start": start, "window": window, "ste": True})
        for start in (1, 2, 3) for window in (2, 3)
    ]  # fmt: skip
    options.by_option(sight_of(grouped(results)), top1, "top-1")
    assert set(seen) == {"weightmom window=2 4x", "weightmom window=3 4x"}
