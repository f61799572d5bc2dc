"""Scores that are equal where the cut lies: recorded, told, and refused where all are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attacks import written

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import open_artifact
from prunecli.files.atomic import write_tensors
from prunecli.runtime.progress import Progress
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.steps.mask import mask
from prunecli.steps.score import score


class Told(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture
def masked(tmp_path):
    """`masked(tensors, selection)`: the metadata of the mask and the warnings."""

    def make(tensors, selection, previous=None, method="magnitude"):
        source, told = tmp_path / "w.safetensors", Told()
        write_tensors(source, {f"{n}.weight": t for n, t in tensors.items()}, {})
        common = RunOptions(output=tmp_path / "m.safetensors", force=True, progress=told)
        path = mask(
            source, replace(selection, scoring=ScoringSettings(method), mask=previous), common
        )
        return open_artifact(path, "mask").meta, told.warnings

    return make


def ternary(count, ones):
    weights = torch.zeros(count)
    weights[:ones] = 1.0
    return weights.reshape(-1, 10)


def ramp(count):
    return torch.arange(1.0, count + 1).reshape(-1, 10)


def test_scores_that_differ_tie_with_none(masked):
    meta, warnings = masked({"a": ramp(100), "b": ramp(100) + 0.5}, MaskSettings(density=0.5))
    assert meta["ties"] == {"equal": 1, "kept": 1}
    assert warnings == []


@pytest.mark.parametrize(
    ("density", "equal", "kept", "warned"),
    [
        (0.5, 1900, 900, True),  # 1,000 of 2,000: 100 ones and 900 of the 1,900 zeros
        (0.05, 100, 100, False),  # just the ones
        (0.04, 100, 80, True),
        (1.0, 1900, 1900, False),  # nothing is cut
    ],
)
def test_ties_at_the_cut_by_hand(masked, density, equal, kept, warned):
    meta, warnings = masked(
        {"a": ternary(1000, 60), "b": ternary(1000, 40)}, MaskSettings(density=density)
    )
    assert meta["ties"] == {"equal": equal, "kept": kept}
    said = f"{equal:,} scores tie at the threshold, and the first {kept:,} of them were kept"
    assert [message[: len(said)] for message in warnings if "tie" in message] == [said] * warned


def test_a_few_ties_are_recorded_and_not_worth_a_word(masked):
    weights = ramp(1000)
    weights.view(-1)[499:503] = 500.0
    meta, warnings = masked({"a": weights}, MaskSettings(density=0.5))
    assert meta["ties"] == {"equal": 4, "kept": 3}  # 497 above, and one of four left out
    assert warnings == []


def test_ties_add_up_over_layers_that_are_cut_apart(masked):
    tensors = {"a": ternary(1000, 60), "b": ramp(1000)}
    assert masked(tensors, MaskSettings(density=0.5, scope="layer"))[0]["ties"] == {
        "equal": 941,
        "kept": 441,
    }


def test_a_pattern_ties_within_its_groups(masked):
    one = torch.tensor([[3.0, 2.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    meta, warnings = masked({"a": one}, MaskSettings(pattern="2:4"))
    assert meta["ties"] == {"equal": 2 + 1 + 4, "kept": 1 + 1 + 2}
    assert len(warnings) == 1  # three left out, and six are kept


@pytest.mark.parametrize(
    "selection",
    [
        MaskSettings(density=0.5),
        MaskSettings(density=0.5, scope="layer"),
        MaskSettings(density=0.5, rounds=3),
        MaskSettings(critical=True),
        MaskSettings(critical=True, scope="erk"),
        MaskSettings(pattern="1:2"),
    ],
)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_scores_that_are_all_equal_are_refused(masked, selection, value, tmp_path):
    tensors = {"a": torch.full((4, 10), value), "b": torch.full((8, 10), -value)}
    with pytest.raises(Mismatch, match="scores are equal to all that they compete"):
        masked(tensors, selection)
    assert not (tmp_path / "m.safetensors").exists()


def test_of_equal_scores_all_may_be_kept(masked):
    meta, warnings = masked({"a": torch.zeros(4, 10)}, MaskSettings(density=1.0))
    assert (meta["kept"], warnings) == (40, [])


def test_weights_that_an_earlier_mask_removed_are_no_ties(masked, tmp_path):
    tensors = {"a": torch.cat([ramp(100), torch.zeros(10, 10)])}
    masked(tensors, MaskSettings(density=0.5))
    first = (tmp_path / "m.safetensors").rename(tmp_path / "first.safetensors")
    meta, warnings = masked(tensors, MaskSettings(density=0.25), first)
    assert meta["ties"] == {"equal": 1, "kept": 1}
    assert warnings == []


# What stays whole under `uniform`


def kept_of(meta):
    return meta["density"]["kept"]


def test_which_layer_is_the_first_is_asked_where_no_file_says(masked):
    tensors = {"conv": ramp(100), "a_head": ramp(100)}
    with pytest.raises(BadUsage, match="--dense PATTERN"):
        masked(tensors, MaskSettings(density=0.6, scope="uniform"))
    meta, _ = masked(tensors, MaskSettings(density=0.6, scope="uniform", dense=("conv*",)))
    assert kept_of(meta) == {"a_head.weight": 20, "conv.weight": 100}
    assert meta["left_out"] == {"dense": ["conv*"]}


def test_several_may_stay_whole(masked):
    tensors = {name: ramp(100) for name in "abcd"}
    meta, _ = masked(tensors, MaskSettings(density=0.6, scope="uniform", dense=("b*", "d*")))
    assert kept_of(meta) == {f"{n}.weight": k for n, k in zip("abcd", [20, 100] * 2, strict=True)}


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (
            MaskSettings(density=0.6, scope="uniform", dense=("x*",)),
            "no prunable weight matches 'x\\*'",
        ),
        (MaskSettings(density=0.6, dense=("a*",)), "--dense needs --scope uniform"),
        (
            MaskSettings(density=0.6, scope="layer", dense=("a*",)),
            "--dense needs --scope uniform",
        ),
    ],
)
def test_what_would_be_passed_over_is_refused(masked, selection, words):
    with pytest.raises(BadUsage, match=words):
        masked({"a": ramp(100), "b": ramp(100)}, selection)


@pytest.fixture
def own(tmp_path):
    """A checkpoint of prunecli's, whose first layer is not the first by name."""
    path = tmp_path / "own.safetensors"
    tensors = {f"{name}.weight": ramp(100) for name in ("z", "a", "m")}
    written(path, "checkpoint", tensors, {"prunable": list(tensors)})
    return path


@pytest.mark.parametrize("by_scores", [True, False])
@pytest.mark.parametrize(
    ("ignore", "density", "kept"),
    [((), 0.6, {"a": 40, "m": 40, "z": 100}), (("z*",), 0.6, {"a": 60, "m": 60})],
)
def test_what_prunecli_made_keeps_the_networks_first_layer(
    own, tmp_path, by_scores, ignore, density, kept
):
    """One that is left out is whole already: no other stays so in its place."""
    scoring, common = (
        ScoreSettings("magnitude", ignore=ignore),
        RunOptions(output=tmp_path / "m.safetensors"),
    )
    source = own
    if by_scores:
        source = score(own, scoring, RunOptions(output=tmp_path / "s.safetensors"))
        scoring = ScoringSettings()
    path = mask(
        Path(source), MaskSettings(density=density, scope="uniform", scoring=scoring), common
    )
    assert kept_of(open_artifact(path, "mask").meta) == {f"{n}.weight": k for n, k in kept.items()}
