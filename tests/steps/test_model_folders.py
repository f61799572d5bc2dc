"""Somebody's model is a folder: it goes in as one, comes out as one, and nothing is left in it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunecli.errors import BadInput
from prunecli.files.header import INDEX
from prunecli.files.names import sibling, stem
from prunecli.files.tensors import TensorFile
from prunecli.runtime.progress import Progress
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings
from prunecli.steps.apply import apply
from prunecli.steps.mask import mask
from prunecli.steps.score import score

HALF, BY_SIZE = MaskSettings(density=0.5), ScoreSettings("magnitude")


@pytest.fixture
def llama(tmp_path):
    folder = tmp_path / "models" / "llama"
    folder.mkdir(parents=True)
    save_file({"a.weight": torch.randn(8, 8)}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


OWN = ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_folder_in_is_a_folder_out(llama, tmp_path):
    kept = mask(llama, replace(HALF, scoring=BY_SIZE), RunOptions())
    assert kept == llama.with_name("llama.magnitude.0.5.mask.safetensors")
    made = apply(llama, kept, RunOptions(output=tmp_path / "out"))
    assert names(made) == OWN
    assert int(load_file(made / "model.safetensors")["a.weight"].count_nonzero()) == 32
    assert apply(llama, kept, RunOptions()) == llama.with_name("llama.magnitude.0.5.pruned")
    single = apply(llama, kept, RunOptions(output=tmp_path / "out.safetensors"))
    assert single.is_file()
    assert names(llama) == OWN


def test_a_file_in_is_a_file_out_and_the_rest_is_said_to_be_missing(llama, tmp_path):
    class Heard(Progress):
        def warn(self, message):
            warnings.append(message)

    warnings = []
    source = llama / "model.safetensors"
    kept = mask(source, replace(HALF, scoring=BY_SIZE), RunOptions())
    assert kept == llama.with_name("llama.model.magnitude.0.5.mask.safetensors")
    made = apply(source, kept, RunOptions(output=tmp_path / "out", progress=Heard()))
    assert made.is_file()
    [warning] = warnings
    assert "give the folder instead" in warning
    assert names(llama) == OWN


@pytest.mark.parametrize("through", ["", "model.safetensors"])
def test_masks_of_a_folder_and_of_its_file_fit_both(llama, through):
    kept = mask(llama / through, replace(HALF, scoring=BY_SIZE), RunOptions())
    parent = TensorFile(kept).meta["parent"]
    assert parent == TensorFile(llama).sha256 == TensorFile(llama / "model.safetensors").sha256


@pytest.mark.parametrize("make", [lambda p: score(p, BY_SIZE, RunOptions())])
def test_nothing_is_left_in_a_model_folder(llama, make):
    assert make(llama / "model.safetensors").parent == llama.parent
    assert names(llama) == OWN


def test_of_shards_the_index_stands_for_the_folder(llama):
    (llama / "config.json").unlink()
    (llama / INDEX).write_text(json.dumps({"weight_map": {"a.weight": "model.safetensors"}}))
    assert stem(llama / INDEX) == stem(llama) == "llama"
    assert sibling(llama / INDEX, "x") == sibling(llama, "x") == llama.with_name("x")


@pytest.mark.parametrize(
    "config", ['{"name": "my-app"}', "[]", "{", '{"model_type": NaN}', "\udcff"]
)
def test_a_folder_with_another_config_is_no_model(llama, config):
    (llama / "config.json").write_text(config, errors="surrogateescape")
    path = llama / "model.safetensors"
    assert (stem(path), sibling(path, "x")) == ("model", llama / "x")


def test_in_the_folder_itself_the_output_lies_beside_it(llama, monkeypatch):
    monkeypatch.chdir(llama)
    kept = mask(Path("model.safetensors"), replace(HALF, scoring=BY_SIZE), RunOptions())
    assert kept == llama.with_name("llama.model.magnitude.0.5.mask.safetensors").resolve()


def test_several_files_without_an_index_are_named(llama):
    save_file({"b.weight": torch.randn(8, 8)}, llama / "model.fp16.safetensors")
    with pytest.raises(BadInput, match=r"give one of 'model\.fp16\.safet.*', 'model\.saf"):
        mask(llama, replace(HALF, scoring=BY_SIZE), RunOptions())
