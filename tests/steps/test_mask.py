import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from attacks import written
from torch import nn

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.files.records import Collapse
from prunecli.files.results import read_result
from prunecli.images.source import Source
from prunecli.masks.mask import dead_layers
from prunecli.masks.select import select
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.mask import mask
from prunecli.steps.score import score
from prunecli.steps.train import train

TOTAL = 430_500


def masked(path, density, method=None, previous=None, output=None, progress=None, **selection):
    common = RunOptions(output=output, force=True, progress=progress or Progress())
    scoring = ScoringSettings(method)
    return mask(
        Path(path),
        MaskSettings(
            density=density, critical=density is None, **selection, scoring=scoring, mask=previous
        ),
        common,
    )


def count(path):
    return sum(int(bits.sum()) for bits in read_mask(path)[0].values())


@pytest.mark.parametrize("scope", ["global", "layer", "erk", "uniform"])
@pytest.mark.parametrize("compression", [1, 2, 3, 16, 64, 1000])
def test_exactly_k_weights_are_kept(dense, scope, compression):
    path = masked(dense, 1 / compression, "lamp", scope=scope)
    assert count(path) == round(TOTAL / compression)


def test_scores_in_a_file_and_on_the_fly_give_the_same_mask(dense, tmp_path):
    scores = score(Path(dense), ScoreSettings("snip"), RunOptions())
    one, _ = read_mask(masked(scores, 0.1))
    two, _ = read_mask(masked(dense, 0.1, "snip"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_names_derive_from_what_was_asked(dense, tmp_path):
    scores = score(Path(dense), ScoreSettings("lamp"), RunOptions())
    assert masked(scores, 1 / 16).name == "dense.lamp.0.0625.mask.safetensors"
    path = masked(dense, 0.1, "snip", scope="layer", rounds=3)
    assert path.name == "dense.snip.layer.3rounds.0.1.mask.safetensors"


def test_metadata_says_how_it_came_about(dense):
    meta = open_artifact(masked(dense, 0.1, "snip", rounds=2), "mask").meta
    expected = {
        "method": "snip", "options": {}, "scope": "global", "rounds": 2, "schedule": "exponential",
        "asked": 0.1, "total": TOTAL, "kept": 43_050, "seed": 3,
        "parent": open_artifact(dense, "checkpoint").sha256,
    }  # fmt: skip
    assert {key: meta[key] for key in expected} == expected
    assert meta["density"]["overall"] == 0.1
    assert sum(meta["density"]["kept"].values()) == 43_050


def test_a_mask_names_the_scores_that_it_is_of_and_is_critical_only_if_that_was_asked(dense):
    scores = score(Path(dense), ScoreSettings("magnitude"), RunOptions(force=True))
    of_scores, critical = (open_artifact(masked(scores, d), "mask").meta for d in (0.1, None))
    assert of_scores["scores"] == critical["scores"] == open_artifact(scores, "scores").sha256
    assert (of_scores["critical"], critical["critical"]) == (False, True)
    settings = MaskSettings(scoring=ScoringSettings("nonzero"))
    decided = open_artifact(mask(Path(dense), settings, RunOptions(force=True)), "mask").meta
    assert (decided["scores"], decided["critical"]) == (None, False)


@pytest.mark.parametrize("method", ["snip", "magnitude", "lamp", "random"])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_end_exactly_at_the_density(dense, method, schedule, scope):
    path = masked(dense, 0.02, method, rounds=4, schedule=schedule, scope=scope)
    assert count(path) == round(0.02 * TOTAL)


def test_rounds_score_the_network_as_the_last_round_left_it(dense, tmp_path):
    """Two rounds are the same as masking, scoring under that mask, and masking again."""
    first = masked(dense, 0.1**0.5, "snip", output=tmp_path / "first.safetensors")
    scores = score(
        Path(dense),
        ScoreSettings("snip", mask=first),
        RunOptions(output=tmp_path / "s.safetensors"),
    )
    by_hand, _ = read_mask(masked(scores, 0.1, output=tmp_path / "second.safetensors"))
    in_rounds, _ = read_mask(masked(dense, 0.1, "snip", rounds=2))
    assert all(torch.equal(by_hand[name], in_rounds[name]) for name in by_hand)
    one_shot, _ = read_mask(masked(dense, 0.1, "snip"))
    assert not all(torch.equal(one_shot[name], in_rounds[name]) for name in one_shot)


def test_masks_nest(dense, tmp_path):
    outer = masked(dense, 0.3, "random", output=tmp_path / "outer.safetensors")
    scores = score(Path(dense), ScoreSettings("magnitude"), RunOptions())
    for number, source in enumerate((scores, dense)):
        method = "magnitude" if source is dense else None
        inner = masked(source, 0.1, method, outer, tmp_path / f"inner{number}.safetensors")
        assert count(inner) == round(0.1 * TOTAL)
        small, large = read_mask(inner)[0], read_mask(outer)[0]
        assert not any((small[name] & ~large[name]).any() for name in small)


def test_a_mask_cannot_grow_back(dense, tmp_path):
    outer = masked(dense, 0.1, "magnitude", output=tmp_path / "outer.safetensors")
    scores = score(Path(dense), ScoreSettings("magnitude"), RunOptions())
    with pytest.raises(BadUsage, match="lower density"):
        masked(scores, 0.2, previous=outer)
    with pytest.raises(BadUsage, match="lower density"):
        masked(dense, 0.2, "magnitude", outer, tmp_path / "x.safetensors")


@pytest.mark.parametrize("ignored", ["fc*", "fc2*"])
def test_a_nested_mask_covers_the_same_weights(dense, tmp_path, ignored):
    previous = masked(dense, 0.5, "magnitude", output=tmp_path / "m.safetensors")
    with pytest.raises(Mismatch, match="'fc.* in only one of the scores and --mask"):
        mask(
            Path(dense),
            MaskSettings(
                density=0.1, scoring=ScoringSettings("magnitude", ignore=(ignored,)), mask=previous
            ),
            RunOptions(),
        )


def test_a_mask_of_other_weights_is_refused(dense, tmp_path):
    scores = tmp_path / "other.scores.safetensors"
    written(scores, "scores", {"conv1.weight": torch.rand(20, 1, 5, 5)}, {})
    previous = masked(dense, 0.5, "magnitude", output=tmp_path / "m.safetensors")
    with pytest.raises(Mismatch, match="'conv2.weight'"):
        masked(scores, 0.1, previous=previous)


@pytest.mark.fault(8)
def test_dead_layers_are_warned_of_or_refused(tmp_path):
    scores = tmp_path / "s.safetensors"
    written(scores, "scores", {"a": torch.zeros(10), "b": torch.ones(10)}, {})
    warnings = []

    class Notes(Progress):
        def warn(self, message):
            warnings.append(message)

    masked(scores, 0.5, progress=Notes(), output=tmp_path / "m.safetensors")
    assert warnings == ["no weight is left in 'a'"]  # which network it is is not known
    with pytest.raises(Mismatch, match="no weight is left in 'a'.*raise the density"):
        masked(scores, 0.5, no_dead_layers=True, output=tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_what_is_given_has_to_make_sense(dense, tmp_path):
    scores = score(Path(dense), ScoreSettings("magnitude"), RunOptions())
    with pytest.raises(BadUsage, match="choose a method to score it"):
        masked(dense, 0.1)
    with pytest.raises(BadUsage, match="--method and --rounds need the checkpoint"):
        masked(scores, 0.1, "lamp")
    with pytest.raises(BadUsage, match="--method and --rounds need the checkpoint"):
        masked(scores, 0.1, rounds=2)
    with pytest.raises(BadUsage, match="keeps none of the 430,500 weights"):
        masked(scores, 1e-9)


def test_a_mask_as_sparse_as_the_earlier_one_is_that_one(dense, tmp_path):
    """430,500 / 16 is no whole number: the earlier density is a little below what is asked."""
    outer = masked(dense, 1 / 16, "lamp", output=tmp_path / "outer.safetensors")
    for name, rounds in (("one", 1), ("three", 3)):
        inner = masked(
            dense, 1 / 16, "lamp", outer, tmp_path / f"{name}.safetensors", rounds=rounds
        )
        assert same(read_mask(inner)[0], read_mask(outer)[0])


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_in_rounds_too_a_mask_cannot_grow_back(dense, tmp_path, rounds, nothing_written):
    outer = masked(dense, 0.1, "magnitude", output=tmp_path / "outer.safetensors")
    with nothing_written(), pytest.raises(BadUsage, match="lower density"):
        masked(dense, 0.2, "snip", outer, tmp_path / "x.safetensors", rounds=rounds)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# Counting over the whole network


PARAMETERS = 431_080
CLASSIFIER = 5_000
NOT_PRUNED = CLASSIFIER + 20 + 50 + 500 + 10  # the classifier and the biases: 5,580
PRUNED = 425_500  # conv1 500, conv2 25,000, fc1 400,000


def foresight(source, ratio, method=None, **options):
    """A mask as `--preset thesis --compression RATIO` makes it."""
    density = None if ratio is None else 1 / ratio
    selection = MaskSettings(density=density, count="model", **options)
    scoring = ScoringSettings(method, exclude_classifier=True)
    return mask(Path(source), replace(selection, scoring=scoring), RunOptions(force=True))


@pytest.fixture
def undiagnosed(monkeypatch):
    """Without tracing the network, which is not what the counting is about."""
    facts = Collapse(
        dead_layers=(), dead_inputs={}, dead_outputs={}, live_path=None, effective_density=None,
        max_compression=1, feasible=True,
    )  # fmt: skip
    monkeypatch.setattr("prunecli.pruning.masking.collapse_facts", lambda *_: facts)


@pytest.mark.parametrize(
    "method", ["magnitude", "lamp", "random", "snip", "gradient", "lookahead", "activation"]
)
def test_over_the_model_exactly_n_over_r_parameters_are_left(dense, method, undiagnosed):
    assert PRUNED + NOT_PRUNED == PARAMETERS == 500 + 25_000 + 400_000 + 5_000 + 580
    source = score(Path(dense), ScoreSettings(method), RunOptions())
    for ratio in range(2, 65, 1 if method == "magnitude" else 7):
        path = foresight(source, ratio)
        kept, file = read_mask(path)
        left = sum(int(bits.sum()) for bits in kept.values())
        assert "fc2.weight" not in kept
        assert left + NOT_PRUNED == file.meta["kept"] == round(PARAMETERS / ratio)
        path.unlink()


@pytest.mark.parametrize(
    ("ratio", "left", "pruned_to"),
    [(2, 215_540, 209_960), (16, 26_942, 21_362), (49, 8_798, 3_218), (64, 6_736, 1_156)],
)
def test_the_arithmetic_by_hand(dense, ratio, left, pruned_to):
    path = foresight(dense, ratio, "magnitude")
    kept, file = read_mask(path)
    meta = file.meta
    assert sum(int(bits.sum()) for bits in kept.values()) == pruned_to == left - NOT_PRUNED
    assert (meta["count"], meta["total"], meta["kept"]) == ("model", PARAMETERS, left)
    assert meta["asked"] == 1 / ratio
    # f = (N / r - N_unprunable) / N_prunable, to the nearest weight
    f = (PARAMETERS / ratio - NOT_PRUNED) / PRUNED
    assert abs(pruned_to - f * PRUNED) <= 0.5 + 1e-6
    assert meta["density"]["overall"] == pruned_to / PRUNED
    assert sum(meta["density"]["kept"].values()) == pruned_to


@pytest.mark.parametrize("ratio", [2, 16, 49, 64])
def test_eval_says_the_compression_over_the_model(dense, tmp_path, ratio):
    path = foresight(dense, ratio, "magnitude")
    pruned = apply(Path(dense), path, RunOptions(output=tmp_path / "pruned.safetensors"))
    left = round(PARAMETERS / ratio)
    for source, given in ((dense, path), (pruned, None)):
        output = evaluation(Path(source), EvalSettings(mask=given), RunOptions(force=True))
        result = json.loads(output.read_text())
        assert result["empirical_compression"] == PARAMETERS / left
        assert result["compression"] == ratio
        assert result["compression_error"] == pytest.approx((PARAMETERS / left - ratio) / ratio)
        assert abs(result["compression_error"]) <= 0.5 / left
        assert result["nonzero"] == left - NOT_PRUNED + CLASSIFIER
        assert result["prunable"] == TOTAL
        assert result["density"] == left / PARAMETERS
        assert result["sparsity"] == 1 - left / PARAMETERS


def test_over_the_model_with_the_classifier_pruned_only_biases_are_left_out(dense):
    path = masked(dense, 1 / 100, "magnitude", count="model")
    assert count(path) == round(PARAMETERS / 100) - 580 == 3_731
    assert open_artifact(path, "mask").meta["kept"] == 4_311


@pytest.mark.parametrize("scope", ["global", "layer", "erk", "uniform"])
def test_over_the_model_every_scope_is_exact(dense, scope):
    assert count(foresight(dense, 8, "lamp", scope=scope)) == 53_885 - NOT_PRUNED


def test_over_the_model_in_rounds_as_in_one_go(dense):
    in_rounds, in_one = foresight(dense, 20, "snip", rounds=2), foresight(dense, 20, "snip")
    assert count(in_rounds) == count(in_one) == 21_554 - NOT_PRUNED


def test_scores_and_the_checkpoint_give_the_same_mask_over_the_model(dense):
    scores = score(Path(dense), ScoreSettings("snip"), RunOptions())
    assert same(read_mask(foresight(scores, 8))[0], read_mask(foresight(dense, 8, "snip"))[0])


@pytest.fixture
def no_data(monkeypatch):
    def load(self, split, meta=None):
        raise AssertionError("the data was read")

    monkeypatch.setattr(Source, "load", load)


def test_a_ratio_that_cannot_be_reached_names_the_highest_that_can(dense, no_data, nothing_written):
    """At 78 there are 5,527 parameters left: fewer than the 5,580 that are not pruned."""
    for source, method in ((dense, "snip"), (scores_of(dense), None)):
        with nothing_written(), pytest.raises(BadUsage) as caught:
            foresight(source, 78, method)
        assert "5,527 of 431,080 parameters, of which 5,580 are not pruned" in str(caught.value)
        most = PARAMETERS / (NOT_PRUNED + 3)  # one weight in each of three layers
        assert f"each of the 3 layers a weight is {most:.6g}" in str(caught.value)
    assert count(foresight(scores_of(dense), most)) == 3


def scores_of(checkpoint):
    return score(Path(checkpoint), ScoreSettings("magnitude"), RunOptions(force=True))


def test_the_highest_over_the_scored_weights_is_said_too(dense, no_data, nothing_written):
    with nothing_written(), pytest.raises(BadUsage) as caught:
        masked(dense, 1e-7, "snip")
    assert "keeps none of the 430,500 weights" in str(caught.value)
    assert "each of the 4 layers a weight is 107625" in str(caught.value)


def test_scores_that_do_not_know_their_network_cannot_be_counted_over_it(tmp_path):
    scores = tmp_path / "s.scores.safetensors"
    written(scores, "scores", {"a": torch.rand(4, 4)}, {})
    with pytest.raises(BadUsage, match="does not say how many parameters"):
        masked(scores, 0.5, count="model")


@pytest.mark.parametrize(
    ("scoring", "left_out"),
    [
        (ScoringSettings(ignore=("conv*",)), {"conv1.weight", "conv2.weight"}),
        (ScoringSettings(ignore=("conv1.weight", "fc2*")), {"conv1.weight", "fc2.weight"}),
        (ScoringSettings(exclude_classifier=True), {"fc2.weight"}),
        (ScoringSettings(exclude_classifier=True, ignore=("fc1*",)), {"fc1.weight", "fc2.weight"}),
    ],
)
def test_weights_are_left_out_of_a_score_file_too(dense, tmp_path, scoring, left_out):
    scores = scores_of(dense)
    sizes = {name: entry.numel() for name, entry in open_artifact(scores, "scores").items()}
    common = RunOptions(output=tmp_path / "m.safetensors")
    kept, file = read_mask(mask(scores, MaskSettings(density=0.1, scoring=scoring), common))
    assert kept.keys() == sizes.keys() - left_out
    total = sum(sizes[name] for name in kept)
    assert (file.meta["total"], file.meta["kept"]) == (total, round(0.1 * total))
    with pytest.raises(BadUsage, match="no prunable weight matches 'fc9'"):
        mask(
            scores,
            MaskSettings(density=0.1, scoring=ScoringSettings(ignore=("fc9",))),
            RunOptions(force=True),
        )


# A small network of its own: collapse and rounds


def small(input_shape, classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 5, stride=4), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, classes),
    )  # fmt: skip


SMALL = {"0.weight": 100, "3.weight": 1152, "5.weight": 80}  # 1,332; with 22 biases 1,354


@pytest.fixture
def tiny(tmp_path, monkeypatch, trusting):
    """An untrained checkpoint of `small` for digits."""
    trusting("networks_of_this_test")
    module = ModuleType("networks_of_this_test")
    module.small = small
    monkeypatch.setitem(sys.modules, module.__name__, module)
    options = TrainingSettings(
        model=ModelSettings(f"{module.__name__}:small"),
        data=DataSettings("digits"),
        given={"epochs": 0},
    )
    return train(options, RunOptions(output=tmp_path / "tiny.safetensors", seed=3))


@pytest.mark.parametrize("method", ["magnitude", "random", "snip"])
@pytest.mark.parametrize("over", ["scored", "model"])
def test_the_critical_mask_is_the_last_on_the_grid_without_a_dead_layer(tiny, method, over):
    scores = dict(open_artifact(score(tiny, ScoreSettings(method), RunOptions()), "scores"))
    assert {name: s.numel() for name, s in scores.items()} == SMALL
    steps = itertools.count()
    fine = None
    while not dead_layers(one := select(scores, 1.01 ** -next(steps))):
        fine = one
    kept, file = read_mask(masked(tiny, None, method, count=over))
    assert same(kept, fine)
    left = sum(int(bits.sum()) for bits in fine.values()) + (22 if over == "model" else 0)
    total = 1_354 if over == "model" else 1_332
    facts = {"kept": left, "total": total, "asked": left / total, "critical": True}
    assert {key: file.meta[key] for key in facts} == facts
    assert file.meta["collapse"]["dead_layers"] == []


@pytest.mark.parametrize("scope", ["layer", "uniform", "erk"])
def test_with_a_quota_a_layer_the_whole_grid_is_searched(tmp_path, scope):
    """Sizes at which a layer's share rounds to none, and at a higher compression to one again."""
    sizes = [(5, 19), (11, 19), (8, 11), (16, 18), (16, 19), (10, 10), (9, 2)]
    scores = tmp_path / "s.scores.safetensors"
    tensors = {f"{n}": torch.rand(shape) for n, shape in enumerate(sizes)}
    written(scores, "scores", tensors, {"first": "0"})
    total = sum(t.numel() for t in tensors.values())
    fine = [
        select(tensors, density, scope)
        for density in [*(1.01**-step for step in range(600)), 7 / total]
        if round(density * total) >= 7
    ]
    fewest = min(
        sum(int(kept.sum()) for kept in mask.values()) for mask in fine if not dead_layers(mask)
    )
    selection = MaskSettings(critical=True, scope=scope)
    path = mask(scores, selection, RunOptions(output=tmp_path / "m.safetensors"))
    assert count(path) == fewest


def test_no_compression_is_higher_than_one_weight_a_layer(tiny):
    """LAMP gives the largest weight of each layer the score 1: no layer dies before the others."""
    said = []

    class Notes(Progress):
        def say(self, message):
            said.append(message)

    path = masked(tiny, None, "lamp", progress=Notes())
    assert path.name == "tiny.lamp.critical.mask.safetensors"
    kept, file = read_mask(path)
    assert [int(bits.sum()) for bits in kept.values()] == [1, 1, 1]
    assert file.meta["collapse"]["max_compression"] == 1332 / 3
    assert said == ["critical compression: 444x"]


def test_the_critical_compression_of_scores_in_a_file_by_hand(tmp_path):
    scores = tmp_path / "s.scores.safetensors"
    # The best weight of 'b' is the 42nd of all, and the grid of 1% steps has 42 of 200 weights.
    tensors = {"a": torch.arange(200.0, 100, -1), "b": torch.arange(159.5, 59.5, -1)}
    written(scores, "scores", tensors, {})
    rank = 1 + int((tensors["a"] > 159.5).sum())
    counts = [round(200 * 1.01**-step) for step in range(300)]
    path = masked(scores, None, output=tmp_path / "m.safetensors")
    assert rank == 42
    assert count(path) == min(n for n in counts if n >= rank) == 42


def test_a_method_in_rounds_has_a_critical_compression_too(tiny, tmp_path):
    path = masked(tiny, None, "synflow", rounds=3, output=tmp_path / "critical.safetensors")
    kept = read_mask(path)[0]
    left = count(path)
    assert not dead_layers(kept)
    # The next on the grid loses a layer, or there is none: three weights are left.
    grid = [1.01**-step for step in range(1000)]
    after = max((d for d in grid if round(d * 1332) < left and d * 1332 >= 3), default=None)
    if after is None:
        assert left == 3
    else:
        next_ = masked(tiny, after, "synflow", rounds=3, output=tmp_path / "next.safetensors")
        assert dead_layers(read_mask(next_)[0])


def test_a_search_in_rounds_ends_a_probe_with_the_first_empty_layer(tiny, tmp_path):
    """Masks nest, so the rest of its rounds cannot change the answer."""
    rounds = []

    class Notes(Progress):
        def advance(self, label, done, total, **facts):
            if label == "pruning rounds":
                rounds.append((done, total))

    masked(tiny, None, "magnitude", rounds=40, progress=Notes())
    probes = [i for i, (done, _) in enumerate(rounds) if done == 1]
    assert [rounds[i - 1][0] < 40 for i in probes[1:]].count(True) >= 2
    assert rounds[-1][0] <= 40 == rounds[0][1]


@pytest.fixture(scope="module")
def grasped(trained, tmp_path_factory):
    """GraSP's scores of `cnn` before training, the classifier left out as in the thesis."""
    output = tmp_path_factory.mktemp("grasped") / "s.scores.safetensors"
    scoring = ScoreSettings("grasp", exclude_classifier=True)
    return score(trained / "init.safetensors", scoring, RunOptions(output=output))


@pytest.mark.parametrize(
    ("ratio", "times"), [(2, 2), (4, 2), (8, 1.8), (16, 1.6), (32, 1.4), (64, 1.1)]
)
def test_a_threshold_keeps_more_than_grasp_is_asked_for_where_exact_keeps_that(
    grasped, ratio, times
):
    """What the foresight thesis saw of `cnn`: "under-pruning by 30-50%", less at high ratios."""
    found = {}
    for rule in ("exact", "threshold"):
        path = masked(grasped, 1 / ratio, count="model", rule=rule)
        found[rule] = open_artifact(path, "mask").meta
    assert found["exact"]["kept"] == round(PARAMETERS / ratio)
    assert found["exact"].keys().isdisjoint({"rule"})
    told = {"rule": "threshold", "asked": 1 / ratio, "critical": False}
    assert {key: found["threshold"][key] for key in told} == told
    assert found["threshold"]["kept"] * ratio / PARAMETERS == pytest.approx(times, rel=0.1)


@pytest.mark.parametrize("scope", ["global", "layer", "erk", "uniform"])
@pytest.mark.parametrize("method", ["random", "lookahead", "snip"])
def test_a_threshold_keeps_what_exact_does_of_scores_that_are_not_negative(dense, method, scope):
    scores = score(Path(dense), ScoreSettings(method), RunOptions())
    one = masked(scores, 0.1, scope=scope)
    other = masked(scores, 0.1, scope=scope, rule="threshold")
    assert other.name == one.name.replace("0.1.mask", "threshold.0.1.mask")
    one, other = read_mask(one)[0], read_mask(other)[0]
    extra = sum(int(bits.sum()) for bits in other.values()) - sum(
        int(bits.sum()) for bits in one.values()
    )
    assert 0 <= extra <= (20 if method == "random" else 2)  # equal to the lowest kept
    assert all(bool((other[name] >= one[name]).all()) for name in one)


def test_a_threshold_in_rounds_and_within_an_earlier_mask_never_grows_back(tiny, tmp_path):
    outer = masked(tiny, 0.5, "magnitude", output=tmp_path / "outer.safetensors")
    inner = masked(
        tiny, 0.1, "grasp", outer, tmp_path / "inner.safetensors", rounds=3, rule="threshold"
    )
    before, after = read_mask(outer)[0], read_mask(inner)[0]
    assert all(bool((after[name] <= before[name]).all()) for name in before)
    assert count(inner) > round(0.1 * 1332)


def test_what_was_selected_by_a_threshold_is_told_to_the_end(grasped, trained, tmp_path):
    path = masked(grasped, 1 / 8, rule="threshold", output=tmp_path / "m.safetensors")
    common = RunOptions(output=tmp_path / "sparse.safetensors", force=True)
    sparse = apply(trained / "init.safetensors", path, common)
    result = json.loads(evaluation(sparse, EvalSettings(), RunOptions()).read_text())
    assert (result["rule"], result["asked"], result["compression"]) == ("threshold", 1 / 8, 8)
    assert result["compression_error"] == pytest.approx(-0.5, abs=0.05)
    assert "critical" not in result


def test_a_result_tells_the_critical_compression_as_such_and_that_none_was_asked(tiny, tmp_path):
    path = masked(tiny, None, "lamp", output=tmp_path / "m.safetensors")
    for result in (
        evaluation(tiny, EvalSettings(mask=path), RunOptions(output=tmp_path / "a.json")),
        evaluation(
            apply(tiny, path, RunOptions(output=tmp_path / "sparse.safetensors")),
            EvalSettings(),
            RunOptions(output=tmp_path / "b.json"),
        ),
    ):
        told = json.loads(result.read_text())
        assert (told["critical"], told["asked"], told["compression"]) == (True, None, 444)
        assert "rule" not in told
        assert read_result(result).is_free


def test_the_critical_compression_is_not_sought_within_an_earlier_mask(tiny, tmp_path):
    outer = masked(tiny, 0.5, "magnitude", output=tmp_path / "outer.safetensors")
    with pytest.raises(BadUsage):
        masked(tiny, None, "magnitude", outer, tmp_path / "inner.safetensors")
    assert not (tmp_path / "inner.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "asked", "rounds", "word"),
    [
        ("synflow", None, 100, ".100rounds"), ("synflow", 1, 1, ""), ("synflow", 7, 7, ".7rounds"),
        ("magnitude", None, 1, ""), ("magnitude", 3, 3, ".3rounds"),
    ],
)  # fmt: skip
def test_a_method_has_rounds_of_its_own_unless_told_otherwise(tiny, method, asked, rounds, word):
    done = []

    class Notes(Progress):
        def advance(self, label, number, total, **facts):
            done.append((label, number, total))

    path = masked(tiny, 0.05, method, rounds=asked, progress=Notes())
    assert path.name == f"tiny.{method}{word}.0.05.mask.safetensors"
    meta = open_artifact(path, "mask").meta
    assert meta["rounds"] == rounds
    assert meta["schedule"] == (None if rounds == 1 else "exponential")
    expected = [("pruning rounds", n, rounds) for n in range(1, rounds + 1)] if rounds > 1 else []
    assert done == expected
    assert count(path) == round(0.05 * 1332) == 67


def test_a_hundred_rounds_of_synflow_are_not_one(tiny, tmp_path):
    many = masked(tiny, 0.05, "synflow", output=tmp_path / "many.safetensors")
    one = masked(tiny, 0.05, "synflow", rounds=1, output=tmp_path / "one.safetensors")
    assert not same(read_mask(many)[0], read_mask(one)[0])
    assert read_mask(many)[1].meta["collapse"]["live_path"] is True


def test_the_mask_says_what_it_does_to_the_network(tiny, tmp_path):
    """One weight at the middle of filter 2, one of a pixel of its channel, one of its unit."""
    shapes = open_artifact(tiny, "checkpoint").shapes
    kept = {name: torch.zeros(shapes[name]) for name in SMALL}
    for name, place in (("0.weight", (2, 0, 2, 2)), ("3.weight", (5, 80)), ("5.weight", (9, 5))):
        kept[name][place] = 3
    kept["3.weight"][6, 0] = 2  # reads channel 0, which is dead
    scores, facts = tmp_path / "s.scores.safetensors", open_artifact(tiny, "checkpoint").meta
    written(scores, "scores", kept, {"model": facts["model"]})
    path = masked(scores, 4 / 1332, output=tmp_path / "m.safetensors")
    assert open_artifact(path, "mask").meta["collapse"] == {
        "dead_layers": [],
        "dead_inputs": {"0.weight": 0, "3.weight": 142, "5.weight": 7},
        "dead_outputs": {"0.weight": 3, "3.weight": 6, "5.weight": 9},
        "live_path": True,
        "effective_density": 3 / 1332,
        "max_compression": 444,
        "feasible": True,
    }


def test_without_a_path_there_is_a_warning_though_no_layer_is_dead(tiny, tmp_path):
    warnings = []

    class Notes(Progress):
        def warn(self, message):
            warnings.append(message)

    shapes = open_artifact(tiny, "checkpoint").shapes
    kept = {name: torch.zeros(shapes[name]) for name in SMALL}
    for name, place in (("0.weight", (2, 0, 2, 2)), ("3.weight", (5, 0)), ("5.weight", (9, 5))):
        kept[name][place] = 3
    scores, facts = tmp_path / "s.scores.safetensors", open_artifact(tiny, "checkpoint").meta
    written(scores, "scores", kept, {"model": facts["model"]})
    path = masked(scores, 3 / 1332, output=tmp_path / "m.safetensors", progress=Notes())
    found = open_artifact(path, "mask").meta["collapse"]
    assert (found["live_path"], found["effective_density"], found["dead_layers"]) == (False, 0, [])
    assert warnings == ["no path of kept weights leads from input to output"]


@pytest.mark.parametrize("meta", [{}, {"model": None}, {"model": "gone"}])
def test_where_the_network_is_not_known_only_the_mask_is_diagnosed(tmp_path, meta):
    if meta.get("model"):
        described = {"name": "no_such_module:net", "options": {}, "input_shape": [1, 4, 4]}
        meta = {"model": {**described, "classes": 2}}
    scores = tmp_path / "s.scores.safetensors"
    written(scores, "scores", {"a": torch.eye(3), "b": torch.eye(2)}, meta)
    path = masked(scores, 5 / 13, output=tmp_path / "m.safetensors")
    assert open_artifact(path, "mask").meta["collapse"] == {
        "dead_layers": [], "dead_inputs": {"a": 0, "b": 0}, "dead_outputs": {"a": 0, "b": 0},
        "live_path": None, "effective_density": None, "max_compression": 6.5, "feasible": True,
    }  # fmt: skip


def test_scores_of_which_nothing_is_left_make_no_mask(tmp_path):
    path, output = tmp_path / "s.safetensors", tmp_path / "m.safetensors"
    written(path, "scores", {"a.weight": torch.full((4, 8), -torch.inf)}, {})
    with pytest.raises(Mismatch, match="an earlier mask has removed all of its weights"):
        mask(path, MaskSettings(pattern="2:4"), RunOptions(output=output))
    assert not output.exists()


@pytest.mark.parametrize("dimensions", [33, 64])
@pytest.mark.parametrize(("density", "rounds"), [(0.25, 1), (0.25, 3), (None, 1), (None, 2)])
def test_weights_of_many_dimensions_are_pruned_like_any(tmp_path, dimensions, density, rounds):
    weight = torch.arange(1.0, 33).reshape(*[1] * (dimensions - 2), 4, 8)
    path, output = tmp_path / "c.safetensors", tmp_path / "m.safetensors"
    written(path, "checkpoint", {"a.weight": weight}, {"prunable": ["a.weight"]})
    chosen = MaskSettings(density=density, critical=density is None, rounds=rounds)
    mask(path, replace(chosen, scoring=ScoringSettings("magnitude")), RunOptions(output=output))
    kept = read_mask(output)[0]["a.weight"]
    assert kept.shape == weight.shape
    assert kept.flatten().nonzero().flatten().tolist() == list(range(24 if density else 31, 32))
