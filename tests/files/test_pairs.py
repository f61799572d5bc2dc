"""What torch.nn.utils.prune keeps as weight_orig and weight_mask is read as the weight itself."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

from prunecli.errors import BadInput
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.files.header import INDEX
from prunecli.files.tensors import TensorFile
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.steps.apply import apply
from prunecli.steps.inspect import inspect
from prunecli.steps.mask import mask
from prunecli.steps.score import score


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    prune.random_unstructured(made[0], "weight", amount=0.75)
    prune.random_unstructured(made[0], "bias", amount=0.5)
    return made


@pytest.fixture
def pruned(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "pruned.safetensors")
    return tmp_path / "pruned.safetensors"


def test_a_pair_is_one_tensor_with_plus_zeros(net, pruned):
    file = TensorFile(pruned)
    assert sorted(file) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    for name in ("weight", "bias"):
        assert torch.equal(file[f"0.{name}"], getattr(net[0], name).detach())
    assert not file["0.weight"].signbit()[file["0.weight"] == 0].any()
    parts = torch.cat(list(file.parts("0.weight", 7)))
    assert torch.equal(parts.reshape(6, 8), file["0.weight"])
    assert file.shapes["0.weight"] == (6, 8)
    facts = inspect(pruned)
    assert (facts["pairs"], facts["parameters"]) == (["0.bias", "0.weight"], 48 + 6 + 24 + 4)
    assert (facts["zeros"], facts["prunable"]) == (36, ["0.weight", "2.weight"])


def test_all_commands_by_weights_see_the_weight(net, pruned, tmp_path):
    scores = score(pruned, ScoreSettings("magnitude"), RunOptions())
    assert torch.equal(TensorFile(scores)["0.weight"], net[0].weight.detach().abs())
    kept = mask(pruned, MaskSettings(scoring=ScoringSettings("nonzero")), RunOptions())
    assert read_mask(kept)[0]["0.weight"].sum() == 12
    made = apply(pruned, kept, RunOptions(output=tmp_path / "out.safetensors"))
    plain = load_file(made)
    for name in ("weight", "bias"):
        prune.remove(net[0], name)
    assert plain.keys() == net.state_dict().keys()
    assert all(torch.equal(plain[name], own) for name, own in net.state_dict().items())


def test_the_halves_of_a_pair_may_be_in_two_shards(net, tmp_path):
    folder = tmp_path / "sharded"
    folder.mkdir()
    masks = {name: t for name, t in net.state_dict().items() if name.endswith("_mask")}
    others = {name: t for name, t in net.state_dict().items() if name not in masks}
    save_file(others, folder / "one.safetensors")
    save_file(masks, folder / "two.safetensors")
    places = dict.fromkeys(others, "one.safetensors") | dict.fromkeys(masks, "two.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    kept = mask(folder, MaskSettings(scoring=ScoringSettings("nonzero")), RunOptions())
    made = TensorFile(apply(folder, kept, RunOptions(output=tmp_path / "out")))
    assert sorted(made) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert torch.equal(made["0.weight"], net[0].weight.detach())
    assert json.loads((tmp_path / "out" / INDEX).read_text())["metadata"] == {"total_size": 328}


@pytest.mark.parametrize(
    "tensors",
    [
        {"a.weight_orig": torch.ones(4, 4), "a.weight_u": torch.ones(4)},  # a spectral norm
        {"a.weight_orig": torch.ones(4, 4), "a.weight_mask": torch.ones(4)},
        {"a.weight_orig": torch.ones(4), "a.weight_mask": torch.ones(4), "a.weight": torch.ones(4)},
        {"_orig": torch.ones(4), "_mask": torch.ones(4)},
    ],
)
def test_what_is_no_pair_stays_as_it_is(tmp_path, tensors):
    save_file(tensors, tmp_path / "f.safetensors")
    assert set(TensorFile(tmp_path / "f.safetensors")) == set(tensors)


@pytest.mark.parametrize("value", [0.5, float("nan"), -1.0])
def test_a_mask_of_other_values_is_bad_input(tmp_path, value):
    tensors = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.ones(2, 2)}
    tensors["a.weight_mask"][0, 1] = value
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(BadInput, match="'a.weight_mask' holds values other than 0 and 1"):
        open_artifact(tmp_path / "f.safetensors", "checkpoint")["a.weight"]
