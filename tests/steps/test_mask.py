from pathlib import Path

import pytest
import torch

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import open_artifact, read_mask, write_artifact
from prunecli.steps._common import Common
from prunecli.steps.mask import Selection, mask
from prunecli.steps.score import Scoring, score
from prunecli.types import Progress

TOTAL = 430_500


def masked(path, density, method=None, previous=None, output=None, progress=None, **selection):
    common = Common(output=output, force=True, progress=progress or Progress())
    scoring = Scoring(method) if method else None
    return mask(Path(path), Selection(density, **selection), scoring, previous, common)


def count(path):
    return sum(int(bits.sum()) for bits in read_mask(path)[0].values())


@pytest.mark.parametrize("scope", ["global", "layer", "erk", "uniform"])
@pytest.mark.parametrize("compression", [1, 2, 3, 16, 64, 1000])
def test_exactly_k_weights_are_kept(dense, scope, compression):
    path = masked(dense, 1 / compression, "lamp", scope=scope)
    assert count(path) == round(TOTAL / compression)


def test_scores_in_a_file_and_on_the_fly_give_the_same_mask(dense, tmp_path):
    scores = score(Path(dense), Scoring("snip"), None, Common())
    one, _ = read_mask(masked(scores, 0.1))
    two, _ = read_mask(masked(dense, 0.1, "snip"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_names_derive_from_what_was_asked(dense, tmp_path):
    scores = score(Path(dense), Scoring("lamp"), None, Common())
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


@pytest.mark.parametrize("method", ["snip", "magnitude", "lamp", "random"])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_end_exactly_at_the_density(dense, method, schedule, scope):
    path = masked(dense, 0.02, method, rounds=4, schedule=schedule, scope=scope)
    assert count(path) == round(0.02 * TOTAL)


def test_rounds_score_the_network_as_the_last_round_left_it(dense, tmp_path):
    """Two rounds are the same as masking, scoring under that mask, and masking again."""
    first = masked(dense, 0.1**0.5, "snip", output=tmp_path / "first.safetensors")
    scores = score(Path(dense), Scoring("snip"), first, Common(output=tmp_path / "s.safetensors"))
    by_hand, _ = read_mask(masked(scores, 0.1, output=tmp_path / "second.safetensors"))
    in_rounds, _ = read_mask(masked(dense, 0.1, "snip", rounds=2))
    assert all(torch.equal(by_hand[name], in_rounds[name]) for name in by_hand)
    one_shot, _ = read_mask(masked(dense, 0.1, "snip"))
    assert not all(torch.equal(one_shot[name], in_rounds[name]) for name in one_shot)


def test_masks_nest(dense, tmp_path):
    outer = masked(dense, 0.3, "random", output=tmp_path / "outer.safetensors")
    scores = score(Path(dense), Scoring("magnitude"), None, Common())
    for number, source in enumerate((scores, dense)):
        method = "magnitude" if source is dense else None
        inner = masked(source, 0.1, method, outer, tmp_path / f"inner{number}.safetensors")
        assert count(inner) == round(0.1 * TOTAL)
        small, large = read_mask(inner)[0], read_mask(outer)[0]
        assert not any((small[name] & ~large[name]).any() for name in small)


def test_a_mask_cannot_grow_back(dense, tmp_path):
    outer = masked(dense, 0.1, "magnitude", output=tmp_path / "outer.safetensors")
    scores = score(Path(dense), Scoring("magnitude"), None, Common())
    with pytest.raises(BadUsage, match="lower density"):
        masked(scores, 0.2, previous=outer)
    with pytest.raises(BadUsage, match="lower density"):
        masked(dense, 0.2, "magnitude", outer, tmp_path / "x.safetensors")


@pytest.mark.parametrize("ignored", ["fc*", "fc2*"])
def test_a_nested_mask_covers_the_same_weights(dense, tmp_path, ignored):
    previous = masked(dense, 0.5, "magnitude", output=tmp_path / "m.safetensors")
    with pytest.raises(Mismatch, match="--mask covers 'fc"):
        mask(
            Path(dense), Selection(0.1), Scoring("magnitude", ignore=(ignored,)), previous, Common()
        )


def test_a_mask_of_other_weights_is_refused(dense, tmp_path):
    scores = tmp_path / "other.scores.safetensors"
    write_artifact(scores, "scores", {"conv1.weight": torch.rand(20, 1, 5, 5)}, {})
    previous = masked(dense, 0.5, "magnitude", output=tmp_path / "m.safetensors")
    with pytest.raises(Mismatch, match="'conv2.weight'"):
        masked(scores, 0.1, previous=previous)


def test_dead_layers_are_warned_of_or_refused(tmp_path):
    scores = tmp_path / "s.safetensors"
    write_artifact(scores, "scores", {"a": torch.zeros(10), "b": torch.ones(10)}, {})
    warnings = []

    class Notes(Progress):
        def warn(self, message):
            warnings.append(message)

    masked(scores, 0.5, progress=Notes(), output=tmp_path / "m.safetensors")
    assert warnings == ["no weight is left in 'a': nothing gets through"]
    with pytest.raises(Mismatch, match="no weight is left in 'a'.*raise the density"):
        masked(scores, 0.5, allow_dead_layers=False, output=tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_what_is_given_has_to_make_sense(dense, tmp_path):
    scores = score(Path(dense), Scoring("magnitude"), None, Common())
    with pytest.raises(BadUsage, match="say how to score it with --method"):
        masked(dense, 0.1)
    with pytest.raises(BadUsage, match="--method and --rounds need the checkpoint"):
        masked(scores, 0.1, "lamp")
    with pytest.raises(BadUsage, match="--method and --rounds need the checkpoint"):
        masked(scores, 0.1, rounds=2)
    with pytest.raises(BadUsage, match="keeps none of the 430,500 weights"):
        masked(scores, 1e-9)
