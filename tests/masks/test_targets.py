import pytest
import torch
from attacks import written
from safetensors.torch import save_file

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.atomic import write_tensors
from prunecli.files.tensors import TensorFile
from prunecli.masks.targets import chosen, parameter_count, prunable_names


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
    assert parameter_count(TensorFile(path)) == 4
    save_file(tensors, path)
    assert parameter_count(TensorFile(path)) == 13


def test_tables_by_other_names_and_what_is_tied_to_one_are_embeddings(tmp_path):
    path = tmp_path / "t5.safetensors"
    names = ["shared.weight", "emb.weight", "lm_head.weight", "mlp.shared_expert.up_proj.weight"]
    save_file({name: torch.rand(2, 2) for name in names}, path,
              {"model.embed_tokens.weight": "lm_head.weight"})  # fmt: skip
    assert prunable_names(TensorFile(path)) == ["mlp.shared_expert.up_proj.weight"]


def test_a_foreign_checkpoints_matrices_are_prunable_but_not_its_embeddings(tmp_path):
    names = prunable_names(foreign(tmp_path))
    assert sorted(names) == ["lm_head.weight", "model.layers.0.q_proj.weight"]


def test_ignore_patterns_match_whole_names(tmp_path):
    file = foreign(tmp_path)
    assert chosen(file, ignore=("lm_*",)) == ["model.layers.0.q_proj.weight"]
    with pytest.raises(BadUsage, match="no prunable weight matches 'head'"):
        chosen(file, ignore=("head",))
    with pytest.raises(Mismatch, match="no weight to prune"):
        chosen(file, ignore=("*",))


def test_the_classifier_of_a_foreign_file_has_to_be_named(tmp_path):
    with pytest.raises(BadUsage, match="--ignore PATTERN"):
        chosen(foreign(tmp_path), exclude_classifier=True)


def test_own_checkpoints_say_what_is_prunable(tmp_path):
    path = tmp_path / "own.safetensors"
    meta = {"prunable": ["fc.weight", "a"], "classifier": "fc.weight"}
    written(path, "checkpoint", {"fc.weight": torch.ones(2), "a": torch.ones(2)}, meta)
    assert chosen(TensorFile(path)) == ["fc.weight", "a"]
    assert chosen(TensorFile(path), exclude_classifier=True) == ["a"]
