from collections import Counter
from pathlib import Path

import pytest
from results import drawn, gmp, result, sight_of, table

from prunecli.files.parsing import parsed
from prunecli.files.results import Result, read_result
from prunecli.report.figures.curves import convergence
from prunecli.report.figures.layers import density
from prunecli.report.figures.ratios import accuracy
from prunecli.report.labels import method_label
from prunecli.report.rows import grouped
from prunecli.report.tables.full import full
from prunecli.report.tables.table import as_text

HISTORY = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
DENSE = result(None, 1.0, top1=95.0, history=HISTORY)


def test_seeds_are_averaged_with_the_sample_deviation_by_hand():
    [row] = grouped([result(top1=t, seed=s) for s, t in enumerate([80.0, 84.0, 85.0])])
    assert row.mean("top1") == 83
    assert row.spread("top1") == pytest.approx(7**0.5)
    assert row.flat()["seeds"] == 3


def test_a_label_without_an_option_keeps_what_begins_like_it():
    scored = [{"batches": 10}, {"batches": 20}]
    rows = grouped([result("snip", options={"batches": 1}, scoring=own) for own in scored])
    assert [row.without(["batches"]) for row in rows] == [
        "snip scoring batches=10", "snip scoring batches=20"
    ]  # fmt: skip


def test_one_row_per_method_and_compression_dense_first():
    rows = grouped([result("snip"), result(compression=4.0), DENSE, result()])
    assert [(r.method, r.compression) for r in rows] == [
        ("dense", 1.0), ("lamp", 4.0), ("lamp", 16.0), ("snip", 16.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ({}, "lamp"),
        ({"scope": "layer"}, "lamp layer"),
        ({"rounds": 100}, "lamp 100 rounds"),
        ({"options": {"batches": 4}, "scope": "erk"}, "lamp erk batches=4"),
        ({"mask_epochs": 2}, "lamp"),
        ({"nested": True}, "lamp iterative"),
        ({"nested": False}, "lamp"),
        ({"mask_epochs": 0, "scope": "layer"}, "lamp layer untrained"),
        ({"mask_epochs": 0, "critical": True}, "lamp critical untrained"),
        ({"rule": "threshold", "rounds": 2}, "lamp 2 rounds threshold-rule"),
    ],
)
def test_labels_say_how_methods_differ(more, label):
    assert method_label(result(**more)) == label


def test_what_is_done_twice_counts_once():
    [row] = grouped([result(), result(), result(seed=1, top1=80.0)])
    assert (len(row.results), row.seeds, row.mean("top1")) == (2, 2, 85.0)


def test_results_that_differ_in_more_than_the_seed_are_not_averaged():
    rows = grouped([
        result(settings={"epochs": 2, "lr": 0.1}), result(settings={"epochs": 5, "lr": 0.1}),
        result(settings={"epochs": 5, "lr": 0.1}, seed=1), result("snip", settings={"epochs": 9}),
    ])  # fmt: skip
    assert [(r.method, r.seeds) for r in rows] == [
        ("lamp epochs=2", 1), ("lamp epochs=5", 2), ("snip", 1)
    ]  # fmt: skip
    rows = grouped([result(rewound=True), result(rewound=False)])
    assert [r.method for r in rows] == ["lamp rewound=False", "lamp rewound=True"]
    rows = grouped([result(precision="bf16"), result(precision="fp32", top1=90.1)])
    assert [(r.method, r.seeds) for r in rows] == [
        ("lamp evaluated in=bf16", 1), ("lamp evaluated in=fp32", 1)
    ]  # fmt: skip


SETTINGS = {"epochs": 9, "lr": 0.1}


@pytest.mark.parametrize(
    ("ones", "others", "labels"),
    [
        (
            {"earlier": [{"epochs": 5, "lr": 0.1}]},
            {"earlier": [{"epochs": 160, "lr": 0.1}]},
            ["lamp earlier epochs=160", "lamp earlier epochs=5"],
        ),
        (
            {"earlier": [{"epochs": 5}, {"epochs": 2}]},
            {"earlier": [{"epochs": 5}, {"epochs": 3}]},
            ["lamp earlier epochs=5,2", "lamp earlier epochs=5,3"],
        ),
        (
            {"earlier": [{"epochs": 5}]},
            {"earlier": [{"epochs": 5}, {"epochs": 5}]},
            ["lamp earlier epochs=5", "lamp earlier epochs=5,5"],
        ),
        ({"earlier": None}, {"earlier": [{"epochs": 5}]}, ["lamp", "lamp earlier epochs=5"]),
        ({"rewound_to": 2}, {"rewound_to": 0}, ["lamp rewound to=0", "lamp rewound to=2"]),
        ({"rewound_to": None}, {"rewound_to": 2}, ["lamp", "lamp rewound to=2"]),
        (
            {"scoring": {"batch_size": 64, "fraction": 0.1}},
            {"scoring": {"batch_size": 128, "fraction": 0.1}},
            ["lamp scoring batch_size=128", "lamp scoring batch_size=64"],
        ),
        ({}, {"scoring": {"batch_size": 128}}, ["lamp", "lamp scoring batch_size=128"]),
    ],
)
def test_how_a_network_came_to_be_tells_results_apart(ones, others, labels):
    rows = grouped([
        result(seed=seed, settings=SETTINGS, **more) for more in (ones, others) for seed in (0, 1)
    ])  # fmt: skip
    assert [(row.method, row.seeds) for row in rows] == [(label, 2) for label in labels]


@pytest.mark.parametrize(
    ("earlier", "as_if"),
    [
        ([{"epochs": 0, "lr": 0.1}], []),
        ([{"epochs": 0}, {"epochs": 5}], [{"epochs": 5}]),
        ([{"epochs": 5}, {"epochs": 0}, SETTINGS], [{"epochs": 5}]),
    ],
)
def test_a_stage_of_no_epochs_trained_nothing(earlier, as_if):
    rows = grouped([
        result(seed=seed, settings=SETTINGS, earlier=each)
        for seed, each in enumerate((earlier, as_if))
    ])  # fmt: skip
    assert [(row.method, row.seeds) for row in rows] == [("lamp", 2)]


def test_a_network_trained_from_its_written_initialisation_is_the_one_trained_at_once(
    prune, tmp_path
):
    small = "--model cnn --dataset digits --dataset-opt fraction=0.1".split()
    init, chained, at_once = (tmp_path / f"{name}.safetensors" for name in "abc")
    prune("train", *small, "--epochs", 0, "-o", init)
    prune("train", init, "--epochs", 1, "-o", chained)
    prune("train", *small, "--epochs", 1, "--seed", 1, "-o", at_once)
    results = [read_result(Path(prune("eval", path).out.strip())) for path in (chained, at_once)]
    [row] = grouped(results)
    assert (row.method, row.seeds) == ("dense", 2)


def test_rounds_that_were_trained_alike_are_one_line_over_compression():
    first, again = {"epochs": 5}, {"epochs": 2}
    rows = grouped([
        result(compression=2.0**n, earlier=[first] + [again] * (n - 1), settings=again)
        for n in (1, 2, 3)
    ])  # fmt: skip
    assert [(row.method, row.compression) for row in rows] == [
        ("lamp", 2),
        ("lamp", 4),
        ("lamp", 8),
    ]


def test_what_older_results_do_not_tell_is_as_if_it_were_null():
    nulls = dict.fromkeys(("earlier", "rewound_to", "scoring", "mask_seed"))
    [row] = grouped([result(), result(seed=1, **nulls)])
    assert (row.method, row.seeds) == ("lamp", 2)


def test_a_mask_has_a_seed_of_its_own():
    [row] = grouped([
        result("random", seed=seed, mask_seed=mask, top1=80.0 + mask + 10 * seed)
        for seed in (0, 1) for mask in (0, 1)
    ])  # fmt: skip
    assert (row.method, row.seeds, row.mean("top1")) == ("random", 4, 85.5)


def test_results_of_one_seed_that_do_not_say_how_they_differ_are_not_averaged():
    def of(checkpoint, mask, top1, seed=0):
        return result(
            checkpoint_sha256=checkpoint * 64, mask_sha256=mask * 64, top1=top1, seed=seed
        )

    def rows(*results):
        return [(r.method, r.mean("top1"), r.seeds) for r in grouped(results)]

    one, other, third = of("b", "c", 90.0), of("a", "c", 50.0), of("d", "c", 70.0, seed=1)
    assert rows(one, other, third) == [
        ("lamp @aaaaaaaa", 50, 1), ("lamp @bbbbbbbb", 90, 1), ("lamp @dddddddd", 70, 1)
    ]  # fmt: skip
    assert rows(of("b", "c", 90.0), of("b", "d", 60.0)) == [
        ("lamp @cccccccc", 90, 1), ("lamp @dddddddd", 60, 1)
    ]  # fmt: skip
    assert rows(of("b", "c", 90.0), of("b", "c", 60.0)) == [("lamp #1", 90, 1), ("lamp #2", 60, 1)]
    assert rows(result(), result(top1=80.0)) == [("lamp #1", 90, 1), ("lamp #2", 80, 1)]
    assert rows(of("b", "c", 90.0), of("a", "c", 50.0, seed=1)) == [("lamp", 70, 2)]


def test_how_quick_a_network_was_is_no_other_result():
    [row] = grouped([result(images_per_second=1.0), result(images_per_second=2.0)])
    assert (row.method, len(row.results)) == ("lamp", 1)


def test_the_time_to_group_results_grows_as_their_number():
    """Counted, not clocked: how often a result is looked into."""
    looked = Counter()

    class Watched(Result):
        def __getattribute__(self, name):
            looked[name] += 1
            return super().__getattribute__(name)

    def looks(count):
        settings = {"epochs": 2}
        many = [parsed(Watched, table(seed=seed, settings=settings)) for seed in range(count)]
        looked.clear()
        [row] = grouped(many)
        assert row.seeds == count
        return looked.total()

    assert 0 < looks(200) <= 2 * looks(100)


@pytest.mark.parametrize(
    ("compression", "text"),
    [
        (16.0, "16x"), (1 / 0.65, "1.538x"), (9999.4, "9999x"), (9999.6, "10,000x"),
        (12345.6, "12,350x"), (1e6, "1,000,000x"),
    ],
)  # fmt: skip
def test_a_compression_reads_as_people_write_it(compression, text):
    rows = grouped([result(compression=compression, history=HISTORY)])
    assert as_text(full(rows)).splitlines()[1].split()[3:5] == [text, text]
    assert text[:-1] in drawn(accuracy(sight_of(rows), "top1"))
    for figure in (convergence, density):  # of one ratio, which is said above the panel
        assert {f"at {text}", "lamp"} <= set(drawn(figure(sight_of(rows))))


def test_a_method_without_a_target_has_a_row_for_each_of_its_options():
    rows = grouped([gmp(0.05, 0.01, 80, 4, 0), gmp(0.05, 0.01, 90, 8, 1), gmp(0.1, 0.01, 70, 9)])
    assert [(r.method, r.compression, r.seeds) for r in rows] == [
        ("gmp beta=0.05 gamma=0.01", 6, 2), ("gmp beta=0.1 gamma=0.01", 9, 1)
    ]  # fmt: skip


def test_variants_of_a_network_stand_with_it():
    skips = result("n2nskip", model="n2nskip", model_options={"base": "cnn", "span": 2})
    rows = grouped([DENSE, skips])
    assert [(row.model, row.method) for row in rows] == [("cnn", "dense"), ("cnn", "n2nskip")]
