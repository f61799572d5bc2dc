import math
import warnings

import pytest
import torch
from attacks import written
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.atomic import write_tensors
from prunecli.files.tensors import TensorFile
from prunecli.masks import mask as masks


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.hidden = nn.Linear(4, 4)
        self.tied = self.hidden
        self.fc = nn.Linear(4, 3)


def test_prunable_are_the_weights_of_conv_and_linear_each_once():
    assert list(masks.prunable(Net())) == ["conv.weight", "hidden.weight", "fc.weight"]
    assert list(masks.prunable(nn.Linear(2, 2))) == ["weight"]


def test_a_classifier_that_shares_its_weight_goes_by_the_name_that_is_prunable():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert masks.classifier(model) == "0.weight"
    assert list(masks.prunable(model)) == ["0.weight"]


def test_the_classifier_is_the_last_linear_layer():
    assert masks.classifier(Net()) == "fc.weight"
    assert masks.classifier(nn.Linear(2, 2)) == "weight"
    assert masks.classifier(nn.Conv2d(1, 1, 1)) is None


@pytest.mark.fault(9)
def test_applying_a_mask_leaves_plus_zero_whatever_was_there():
    weight = torch.tensor([math.nan, -1.0, -0.0, 2.0, math.inf])
    masks.apply_({"w": weight}, {"w": torch.tensor([False, False, False, True, False])})
    assert weight.tolist() == [0, 0, 0, 2, 0]
    assert not torch.signbit(weight).any()


def test_an_aligned_mask_has_the_weights_memory_format():
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    mask = torch.rand(4, 3, 5, 5) > 0.5
    ready = masks.aligned({"w": mask}, {"w": weight})["w"]
    assert ready.stride() == weight.stride()
    assert (ready == mask).all()


def test_density_and_dead_layers():
    mask = {"a": torch.tensor([True, False, True, True]), "b": torch.zeros(4, dtype=torch.bool)}
    assert masks.density(mask) == 3 / 8
    assert masks.kept_counts(mask) == {"a": 3, "b": 0}
    assert masks.dead_layers(mask) == ["b"]


@pytest.mark.parametrize(
    ("fraction", "total", "count"),
    [(1 / 16, 430_500, 26_906), (0.5, 5, 2), (0.5, 7, 4), (1.0, 3, 3), (1e-9, 10, 0)],
)
def test_exact_count_rounds_halves_to_even(fraction, total, count):
    assert masks.exact_count(fraction, total) == count


def foreign(tmp_path):
    path = tmp_path / "foreign.safetensors"
    tensors = {
        "model.embed_tokens.weight": torch.zeros(8, 4),
        "model.layers.0.q_proj.weight": torch.zeros(4, 4),
        "model.layers.0.norm.weight": torch.zeros(4),
        "model.layers.0.q_proj.bias": torch.zeros(4),
        "model.layers.0.table.weight": torch.zeros(4, 4, dtype=torch.int64),
        "lm_head.weight": torch.zeros(8, 4, dtype=torch.bfloat16),
    }
    write_tensors(path, tensors, {})
    return TensorFile(path)


def test_parameters_are_as_many_as_a_checkpoint_says_for_a_buffer_looks_like_one(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors = {"w.weight": torch.ones(2, 2), "seen": torch.ones(9)}
    written(path, "checkpoint", tensors, {"parameters": 4, "prunable": ["w.weight"]})
    assert masks.parameter_count(TensorFile(path)) == 4
    save_file(tensors, path)
    assert masks.parameter_count(TensorFile(path)) == 13


def test_tables_by_other_names_and_what_is_tied_to_one_are_embeddings(tmp_path):
    path = tmp_path / "t5.safetensors"
    names = ["shared.weight", "emb.weight", "lm_head.weight", "mlp.shared_expert.up_proj.weight"]
    save_file({name: torch.rand(2, 2) for name in names}, path,
              {"model.embed_tokens.weight": "lm_head.weight"})  # fmt: skip
    assert masks.prunable_names(TensorFile(path)) == ["mlp.shared_expert.up_proj.weight"]


def test_a_foreign_checkpoints_matrices_are_prunable_but_not_its_embeddings(tmp_path):
    names = masks.prunable_names(foreign(tmp_path))
    assert sorted(names) == ["lm_head.weight", "model.layers.0.q_proj.weight"]


def test_ignore_patterns_match_whole_names(tmp_path):
    file = foreign(tmp_path)
    assert masks.chosen(file, ignore=("lm_*",)) == ["model.layers.0.q_proj.weight"]
    with pytest.raises(BadUsage, match="no prunable weight matches 'head'"):
        masks.chosen(file, ignore=("head",))
    with pytest.raises(Mismatch, match="no weight to prune"):
        masks.chosen(file, ignore=("*",))


def test_the_classifier_of_a_foreign_file_has_to_be_named(tmp_path):
    with pytest.raises(BadUsage, match="--ignore PATTERN"):
        masks.chosen(foreign(tmp_path), exclude_classifier=True)


def test_own_checkpoints_say_what_is_prunable(tmp_path):
    path = tmp_path / "own.safetensors"
    meta = {"prunable": ["fc.weight", "a"], "classifier": "fc.weight"}
    written(path, "checkpoint", {"fc.weight": torch.ones(2), "a": torch.ones(2)}, meta)
    assert masks.chosen(TensorFile(path)) == ["fc.weight", "a"]
    assert masks.chosen(TensorFile(path), exclude_classifier=True) == ["a"]


class _Pair(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.rnn = nn.LSTM(3, width, bidirectional=True, proj_size=2)
        self.head = nn.Linear(4, 2)
        self.head.weight_scale = nn.Parameter(torch.ones(2, 4))


def test_of_a_layer_its_weights_alone_are_prunable():
    """Not what else begins with `weight`, as the parts of a weight norm do."""
    ends = [f"{name}_l0{way}" for way in ("", "_reverse") for name in ("ih", "hh", "hr")]
    assert set(masks.prunable(_Pair(5))) == {"head.weight", *(f"rnn.weight_{end}" for end in ends)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = nn.utils.weight_norm(nn.Linear(4, 3)), nn.utils.spectral_norm(nn.Linear(4, 3))
    pruned = prune.identity(nn.Linear(4, 3), "weight")
    assert [list(masks.prunable(each)) for each in (*normed, pruned)] == [[], [], []]
