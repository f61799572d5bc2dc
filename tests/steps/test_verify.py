"""A checkpoint is taken at its word only where its values, its mask and its study bear it out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attacks import written
from safetensors.torch import load_file, save_file

from prunecli.errors import BadInput, Mismatch, NotFinite
from prunecli.files.artifacts import open_artifact, read_mask, write_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.steps.apply import apply
from prunecli.steps.mask import mask
from prunecli.steps.score import score
from prunecli.steps.verify import verify


@pytest.fixture
def kept(dense):
    return mask(
        Path(dense),
        MaskSettings(density=0.1, scoring=ScoringSettings("magnitude")),
        RunOptions(force=True),
    )


@pytest.fixture
def pruned(dense, kept):
    return apply(Path(dense), kept, RunOptions())


def altered(pruned, change, **meta):
    """The checkpoint with its tensors changed and its metadata, but for `meta`, as it was."""
    file = open_artifact(pruned, "checkpoint")
    tensors = {name: tensor.clone() for name, tensor in file.items()}
    change(tensors)
    path = pruned.with_name("altered.safetensors")
    written(path, "checkpoint", tensors, {**file.meta, **meta})
    return path


def masked_places(kept, name):
    return (~read_mask(kept)[0][name]).nonzero()


def test_a_sound_checkpoint_says_what_was_found(pruned, kept):
    assert verify(pruned, kept) == {
        "checkpoint": open_artifact(pruned, "checkpoint").sha256,
        "tensors": 8,
        "mask": open_artifact(kept, "mask").sha256,
        "zeros": 430_500 - 43_050,
        "masked": 4,
    }


MINUS = "2 masked weights of 'fc2.weight' are -0.0, as a weight times its mask gives, not"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e-30, "2 masked weights of 'fc2.weight' are not zero"),
        (float("nan"), "2 masked weights of 'fc2.weight' are not zero"),
        (-0.0, MINUS),
    ],
)
def test_a_masked_weight_that_is_not_plus_zero_is_counted(pruned, kept, value, words):
    places = masked_places(kept, "fc2.weight")[:2]

    def change(tensors):
        tensors["fc2.weight"][places[:, 0], places[:, 1]] = value

    with pytest.raises(Mismatch, match=words):
        verify(altered(pruned, change), kept)


def test_another_mask_is_told_from_the_one_that_is_named(dense, pruned, kept):
    selection = MaskSettings(density=0.2)
    other = mask(
        Path(dense),
        replace(selection, scoring=ScoringSettings("magnitude")),
        RunOptions(force=True),
    )
    own, its = (open_artifact(path, "mask").sha256 for path in (kept, other))
    with pytest.raises(Mismatch) as error:
        verify(pruned, other)
    assert str(error.value).endswith(f"its metadata names the mask {own}, but {other} is {its}")


def test_all_faults_come_at_once_one_a_line(dense, kept):
    with pytest.raises(Mismatch) as error:
        verify(Path(dense), kept)
    lines = str(error.value).splitlines()
    removed = sum(int((~bits).sum()) for bits in read_mask(kept)[0].values())
    names = "'conv1.weight', 'conv2.weight', 'fc1.weight' and 1 more"
    assert lines[0].endswith(f": {removed:,} masked weights of {names} are not zero")
    assert lines[1].endswith("its metadata names no mask")


def test_weights_that_the_metadata_denies_are_found_without_the_mask(pruned, kept):
    row, column = masked_places(kept, "fc2.weight")[0]

    def change(tensors):
        tensors["fc2.weight"][row, column] = 1.0

    count = int(read_mask(kept)[0]["fc2.weight"].sum())
    words = f"'fc2.weight' has {count + 1:,} nonzero weights, but its metadata says {count:,}"
    with pytest.raises(Mismatch, match=words):
        verify(altered(pruned, change))


def test_a_tensor_that_the_metadata_invents_is_named(pruned):
    density = {"kept": {"ghost": 3}, "overall": 0.1, "per_tensor": {}}
    odd = altered(pruned, lambda tensors: None, density=density)
    with pytest.raises(Mismatch, match="names 'ghost', which is missing"):
        verify(odd)


def test_numbers_that_are_none_are_named(pruned):
    def change(tensors):
        tensors["fc1.bias"][0] = float("inf")

    with pytest.raises(NotFinite, match="'fc1.bias' hold NaN or infinity"):
        verify(altered(pruned, change))


def test_of_a_foreign_file_values_and_zeros_are_checked(pruned, kept, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(load_file(pruned), path)
    assert verify(path, kept)["zeros"] == 387_450
    tensors = load_file(pruned)
    tensors["conv1.weight"] = torch.ones(20, 1, 5, 5)
    save_file(tensors, path)
    with pytest.raises(Mismatch, match="masked weights of 'conv1.weight' are not zero"):
        verify(path, kept)


# The command, and the study behind a checkpoint

RECIPE = """
version: 1
name: tiny
vars: {density: 0.5}
steps:
  init: {train: {model: cnn, dataset: digits, epochs: 0}}
  mask: {mask: {checkpoint: "@init", method: magnitude, density: "${density}"}}
  pruned: {apply: {checkpoint: "@init", mask: "@mask"}}
"""
PRUNED = "runs/tiny/pruned/ckpt.safetensors"


@pytest.fixture
def study(tmp_path, monkeypatch, prune):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    assert prune("run", "r.yaml", "-q").code == 0
    return lambda path, *options: prune("verify", path, *options)


def test_a_study_vouches_for_its_checkpoints(study):
    mask_file = "runs/tiny/mask/mask.safetensors"
    ended = study(PRUNED, "--mask", mask_file, "--recipe", "r.yaml", "--json")
    assert (ended.code, ended.err) == (0, "")
    facts = json.loads(ended.out)
    assert (facts["verified"], facts["jobs"]) == (True, ["init", "mask", "pruned"])
    lines = study(PRUNED, "--recipe", "r.yaml").out.splitlines()
    assert [line.split()[0] for line in lines] == ["checkpoint", "recipe"]
    assert lines[1].endswith("init, mask, pruned: up to date")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "density=0.25"], "job mask is not up to date with the recipe (waiting)"),
        (["--study", "elsewhere"], "none of the 3 jobs in elsewhere writes it"),
    ],
)
def test_a_study_does_not_vouch_for_what_it_would_do_otherwise(study, options, words):
    ended = study(PRUNED, "--recipe", "r.yaml", *options)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == f"error: {PRUNED}: {words}\n"


def test_a_study_whose_start_was_exchanged_does_not_vouch(study, prune):
    options = "train --model cnn --epochs 0 --seed 9 --force -q -o runs/tiny/init/ckpt.safetensors"
    assert prune(*options.split()).code == 0
    ended = study(PRUNED, "--recipe", "r.yaml")
    assert ended.code == 4
    assert "job init is not up to date with the recipe" in ended.err


def test_a_file_that_cannot_be_read_ends_with_3(study):
    Path("half.safetensors").write_bytes(Path(PRUNED).read_bytes()[:-1])
    assert study("half.safetensors").code == 3


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, "it masks no weight; make the mask again"),
        ({"z.weight": (0, 3)}, "it masks no weight of 'z.weight'; make the mask again"),
        ({"z.weight": (0, 3), "a.weight": (4, 8)}, "it masks no weight of 'z.weight'; make"),
    ],
)
@pytest.mark.parametrize("use", ["apply", "verify", "score", "mask"])
def test_a_mask_of_nothing_is_refused_by_all_who_read_it(tmp_path, shapes, words, use):
    source, nothing = tmp_path / "c.safetensors", tmp_path / "m.safetensors"
    save_file({"a.weight": torch.ones(4, 8), "z.weight": torch.zeros(0, 3)}, source)
    write_mask(
        nothing,
        {name: torch.ones(shape).bool() for name, shape in shapes.items()},
        parsed(MaskRecord, {}),
    )
    common, scoring = RunOptions(output=tmp_path / "o.safetensors"), ScoreSettings("magnitude")
    with pytest.raises(BadInput, match=f"m.safetensors: {words}"):
        {
            "apply": lambda: apply(source, nothing, common),
            "verify": lambda: verify(source, nothing),
            "score": lambda: score(source, replace(scoring, mask=nothing), common),
            "mask": lambda: mask(
                source, MaskSettings(density=0.5, scoring=scoring, mask=nothing), common
            ),
        }[use]()
    assert not common.output.exists()
