"""What the results come to, sentence by sentence, of rows made by hand."""

import pytest
from results import gmp, result

from prunecli.report.findings import findings
from prunecli.report.reference import Published
from prunecli.report.rows import grouped
from prunecli.report.view import views

DENSE = [result(None, 1.0, top1=90.0 + seed, seed=seed, classes=10) for seed in range(3)]


def seeds(method, compression, *values, **more):
    return [
        result(method, compression, top1=t, seed=s, classes=10, **more)
        for s, t in enumerate(values)
    ]


def told(*results, reference=(), **more):
    [view] = views(grouped(results), reference)
    return findings(view, **more)


def of(start, *results, **more):
    """The sentences that start like that."""
    return [sentence for sentence in told(*results, **more) if sentence.startswith(start)]


def published(method, compression, top1):
    return Published(model="cnn", dataset="digits", method=method, compression=compression,
                     top1=top1)  # fmt: skip


def test_all_that_a_small_study_comes_to():
    results = [
        *DENSE,
        *seeds("lamp", 4.0, 90, 91, 92), *seeds("snip", 4.0, 88, 89, 90),
        *seeds("lamp", 16.0, 80, 81, 82), *seeds("snip", 16.0, 10, 11, 12),
    ]  # fmt: skip
    assert told(*results) == [
        "Unpruned: 91.00 ± 1.00% top-1, mean ± standard deviation of 3 seeds.",
        "4x: lamp is best with 91.00 ± 1.00%; within noise of it: snip.",
        "Collapsed to guessing first: snip at 16x.",
        "Every network has the compression asked for.",
        "Standard deviation over seeds: 1.00 points of top-1 in the median, 1.00 at most "
        "(lamp 4x).",
        "Furthest for 1 point of top-1 lost: lamp 4.595x, snip 2x.",
    ]


def test_the_best_is_told_where_several_methods_live_at_one_ratio():
    close, far = seeds("snip", 4.0, 88, 89, 90), seeds("synflow", 4.0, 60, 61, 62)
    best = seeds("lamp", 4.0, 90, 91, 92)
    assert of("4x", *best) == []
    assert of("4x", *best, *seeds("random", 4.0, 9, 10, 11)) == []  # it has collapsed
    assert of("4x", *best, *far) == [
        "4x: lamp is best with 91.00 ± 1.00%; the next, synflow, has 61.00 ± 1.00%."
    ]
    assert of("4x", *far, *close, *best) == [
        "4x: lamp is best with 91.00 ± 1.00%; within noise of it: snip."
    ]
    many = [x for n in range(6) for x in seeds(f"m{n}", 4.0, 89, 91, 92)]
    [sentence] = of("4x", *best, *many)
    assert sentence.endswith("; within noise of it: m0, m1, m2, m3, m4, m5.")


def test_who_missed_the_ratio_is_not_the_best_at_it():
    missed = result("a", 4.0, top1=99.0, empirical_compression=3.0)
    results = [missed, result("b", 4.0, top1=80.0), result("c", 4.0, top1=70.0)]
    assert of("4x", *results) == ["4x: b is best with 80.00%, then c with 70.00%."]
    assert of("4x", *results[:2]) == []


def test_one_seed_tells_no_noise():
    one, two = seeds("lamp", 4.0, 90), seeds("snip", 4.0, 89)
    assert told(*one, *two) == [
        "4x: lamp is best with 90.00%, then snip with 89.00%.",
        "Every network has the compression asked for.",
        "One seed each: small differences may be chance.",
    ]
    assert of("Unpruned", DENSE[0]) == ["Unpruned: 90.00% top-1, one seed."]
    assert of("Unpruned", *one) == []


def test_each_of_several_unpruned_networks_is_told_by_what_sets_it_apart():
    other = result(None, 1.0, top1=70.0, settings={"epochs": 1})
    assert of("Unpruned", DENSE[0], other, *seeds("lamp", 4.0, 90)) == [
        "Unpruned: dense 90.00%, dense epochs=1 70.00%."
    ]


def test_networks_that_were_asked_for_no_ratio_are_told_by_what_no_other_beats():
    free = [
        gmp(0.1, gamma, top1, ratio, classes=10)
        for gamma, top1, ratio in (
            (0.1, 95, 2), (0.2, 94, 2), (0.3, 93, 4), (0.4, 95, 1.5), (0.5, 12, 90)
        )
    ]  # fmt: skip
    start = "Best trade-offs, where no other is smaller and more accurate: gmp beta=0.1 gamma=0.1"
    assert of("Best", *free) == [f"{start} 95.00% at 2x, gmp beta=0.1 gamma=0.3 93.00% at 4x."]
    assert of("Best", *free, *seeds("lamp", 16.0, 94)) == [
        f"{start} 95.00% at 2x, lamp 94.00% at 16x."
    ]
    assert of("Best", *seeds("lamp", 4.0, 90), *seeds("snip", 8.0, 80)) == []  # ratios tell
    assert of("Best", free[0]) == []


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ({"settings": {"epochs": 1}}, {"settings": {"epochs": 2}}, "epochs 1, 2"),
        (
            {"settings": {"epochs": 1, "lr": 0.1}}, {"settings": {"epochs": 2, "lr": 0.2}},
            "epochs 1, 2; lr 0.1, 0.2",
        ),
        ({"dataset_options": {"fraction": 1}}, {"dataset_options": {"fraction": 0.5}},
         "data fraction 1, 0.5"),
        (
            {"earlier": [{"epochs": 4}, {"epochs": 4}]}, {"earlier": [{"epochs": 4}]},
            "earlier epochs 4+4, 4",
        ),
        ({"earlier": [{"epochs": 4}]}, {"earlier": [{"epochs": 0}]}, "earlier epochs 4, 0"),
    ],
)  # fmt: skip
def test_methods_that_were_not_trained_alike_are_no_fair_comparison(one, other, what):
    start = "Not all were trained alike, so compare with care:"
    pair = [result("a", 4.0, **one), result("b", 4.0, **other)]
    assert of("Not all", *pair) == [f"{start} {what}."]
    assert of("Not all", pair[0], result("c", 4.0, **one)) == []
    assert of("Not all", pair[0], result(None, 1.0, **other)) == []  # no pruned network


def test_what_sets_no_training_apart_is_no_fault():
    pairs = [({"settings": {"compile": True}}, {"settings": {"compile": False}}),
             ({"settings": {"epochs": 1}}, {"settings": None}),
             ({"earlier": [{"epochs": 0}]}, {"earlier": []})]  # fmt: skip
    for one, other in pairs:
        assert of("Not all", result("a", 4.0, **one), result("b", 4.0, **other)) == []


def test_numbers_of_seeds_that_differ_are_told():
    results = [*seeds("a", 4.0, 90, 91, 92), *seeds("b", 4.0, 80)]
    assert of("From", *results) == ["From 1 to 3 seeds each: means of few are less certain."]
    assert of("From", *results[:3], *DENSE[:1]) == []


def test_each_method_collapses_at_its_first_ratio():
    lines = [
        result(name, ratio, top1=top1, classes=10)
        for name, values in (("a", (90, 10, 11)), ("b", (90, 80, 15)), ("c", (90, 9, 80)),
                             ("d", (90, 80, 16)))
        for ratio, top1 in zip((4.0, 16.0, 64.0), values, strict=True)
    ]  # fmt: skip
    assert of("Collapsed", *lines) == ["Collapsed to guessing first: a, c at 16x; b at 64x."]
    partly = [*seeds("a", 4.0, 90, 10, 92), *seeds("b", 4.0, 90, 91, 92)]
    assert of("Collapsed", *partly) == ["Collapsed on some seeds: a 4x (1 of 3)."]
    old = [result("a", 16.0, top1=10.0)]  # it does not say among how many classes
    assert of("Collapsed", *old) == []


def test_budgets_that_were_missed_are_named():
    missed = [
        result(f"m{n}", 8.0, empirical_compression=4.0, compression_error=-0.5) for n in range(5)
    ]
    assert of("Missed", *missed[:1]) == ["Missed the compression asked for: m0 4x, asked 8x."]
    [sentence] = of("Missed", *missed)
    assert sentence.endswith("m3 4x, asked 8x and 1 more.")
    assert of("Every network", *missed, result()) == []
    assert of("Every network", gmp(0.05, 0.1, 80, 4)) == []  # nothing was asked of it
    assert of("Only", gmp(0.05, 0.1, 80, 4), result()) == [
        "Only these were asked for a compression, and they have it: lamp."
    ]


def test_the_spread_over_seeds_is_that_of_the_median_and_of_the_worst():
    results = [
        *seeds("a", 4.0, 90, 92), *seeds("b", 4.0, 90, 96), *seeds("c", 4.0, 90, 91), *DENSE
    ]  # fmt: skip
    assert of("Standard deviation", *results) == [
        "Standard deviation over seeds: 1.41 points of top-1 in the median, 4.24 at most (b 4x)."
    ]


def test_how_far_ours_are_from_what_was_published():
    reference = [published("lamp", 4.0, 88.0), published("snip", 4.0, 91.5), published("x", 4.0, 1)]
    ours = [*seeds("lamp", 4.0, 89, 91), *seeds("snip", 4.0, 90)]
    assert of("Ours", *ours, reference=reference[:1]) == [
        "Ours less published top-1: +2.00 points, of one pair."
    ]
    assert of("Ours", *ours, reference=reference) == [
        "Ours less published top-1: +0.25 points in the median of 2 pairs, -1.50 to +2.00."
    ]
    assert of("Ours", *ours, reference=reference[2:]) == []


def test_who_goes_furthest_before_a_layer_is_empty():
    limits = [
        result(name, ratio, asked=None, critical=True, mask_epochs=0, label=name)
        for name, ratio in (("lamp", 50.0), ("snip", 9.0), ("synflow", 700.0))
    ]
    assert of("Highest", *limits) == [
        "Highest compression at which every layer keeps a weight: synflow 700x, lamp 50x, snip 9x."
    ]


def test_who_goes_furthest_for_the_loss_nearest_to_one_point():
    results = [result(None, 1.0, top1=90.0), result(compression=16.0, top1=86.0),
               result(compression=64.0, top1=86.0), result("snip", 16.0, top1=89.5)]  # fmt: skip
    assert of("Furthest", *results) == ["Furthest for 1 point of top-1 lost: snip ≥ 16x, lamp 2x."]
    assert of("Furthest", *results, losses=[2.0, 8.0]) == [
        "Furthest for 2 points of top-1 lost: snip ≥ 16x, lamp 4x."
    ]
    assert of("Furthest", *results[1:]) == []  # no unpruned network
    assert of("Furthest", *results[:2]) == []  # nobody to compare with


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202ex"])
def test_a_name_cannot_break_a_sentence(name):
    sentences = told(
        *DENSE, *(x for own in (name, "b") for r in (4.0, 99.0) for x in seeds(own, r, 90))
    )
    assert len(sentences) > 4
    assert all(sentence.isprintable() for sentence in sentences)


@pytest.mark.parametrize("results", [DENSE, [result()], [gmp(0.1, 0.2, 80, 4)]])
def test_little_to_tell_is_no_fault(results):
    assert all(sentence.endswith(".") for sentence in told(*results))
