import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prunecli.errors import BadOutput, BadUsage, Mismatch, NotFinite
from prunecli.files import stages
from prunecli.files.artifacts import read_mask
from prunecli.files.atomic import write_tensors
from prunecli.files.header import INDEX
from prunecli.files.tensors import TensorFile
from prunecli.masks import applied
from prunecli.runtime.progress import Progress
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.steps import apply as module
from prunecli.steps.apply import apply
from prunecli.steps.mask import mask
from prunecli.steps.score import score
from prunecli.steps.verify import verify

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def llama(tmp_path):
    """A sharded checkpoint as Hugging Face keeps it, in shapes like those of a language model."""
    folder = tmp_path / "llama"
    folder.mkdir()
    torch.manual_seed(0)
    shards = {
        ONE: {
            "model.embed_tokens.weight": torch.randn(50, 16).bfloat16(),
            "model.layers.0.mlp.up_proj.weight": torch.randn(48, 16).bfloat16(),
            "model.layers.0.norm.weight": torch.ones(16),
        },
        TWO: {
            "model.layers.0.mlp.down_proj.weight": torch.randn(16, 48).bfloat16(),
            "model.layers.0.q_proj.weight": torch.randn(16, 16).half(),
            "lm_head.weight": torch.randn(50, 16).bfloat16(),
        },
    }
    for name, tensors in shards.items():
        save_file(tensors, folder / name, {"format": "pt", "note": name})
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / "config.json").write_text('{"tie_word_embeddings": false}')
    (folder / "tokenizer.model").write_bytes(b"\0\1")
    (folder / "pytorch_model.bin").write_bytes(b"the weights of before")
    (folder / ".cache").write_text("")
    return folder


def masked(path, density=0.5, method="magnitude", **options):
    selection = options.pop("selection", MaskSettings(density=density))
    return mask(
        Path(path),
        replace(selection, scoring=ScoringSettings(method, **options)),
        RunOptions(force=True),
    )


def in_memory(folder):
    return {
        n: t for shard in sorted(folder.glob("*.safetensors")) for n, t in load_file(shard).items()
    }


def test_a_folder_of_shards_becomes_one_that_others_load(llama):
    kept = masked(llama, ignore=("lm_head*",))
    assert kept.name == "llama.magnitude.0.5.mask.safetensors"
    output = apply(llama, kept, RunOptions())
    assert output == llama.parent / "llama.magnitude.0.5.pruned"
    assert {path.name for path in output.iterdir()} == {
        ONE, TWO, INDEX, "config.json", "tokenizer.model",
    }  # fmt: skip
    assert (output / INDEX).read_bytes() == (llama / INDEX).read_bytes()
    before, after, bits = in_memory(llama), in_memory(output), read_mask(kept)[0]
    assert after.keys() == before.keys()
    for name, weight in before.items():
        there = bits.get(name, torch.ones(weight.shape, dtype=torch.bool))
        expected = torch.where(there, weight, torch.zeros((), dtype=weight.dtype))
        assert after[name].dtype == weight.dtype
        assert torch.equal(after[name], expected)
    for name in (ONE, TWO):
        with safe_open(output / name, "pt") as shard:
            assert shard.metadata()["note"] == name
            assert shard.metadata()["format"] == "pt"
    assert verify(output, kept)["zeros"] == 48 * 16 + 16 * 16 // 2
    assert not list(llama.parent.glob(".*"))


@pytest.mark.parametrize("method", ["magnitude", "lamp", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_shards_are_masked_as_the_same_tensors_in_one_file(llama, method, scope):
    single = llama.parent / "single.safetensors"
    file = TensorFile(llama)
    # Of one item size, so that they lie in the one file as they do in the shards.
    tensors = {name: file[name].float() for name in file}
    for shard in (ONE, TWO):
        save_file({name: tensors[name] for name in load_file(llama / shard)}, llama / shard)
    write_tensors(single, {name: tensors[name] for name in TensorFile(llama)}, {})
    selection = MaskSettings(density=0.3, scope=scope)
    masks = [read_mask(masked(p, method=method, selection=selection))[0] for p in (llama, single)]
    assert list(masks[0]) == list(masks[1])
    assert len(masks[0]) == 4
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_a_score_file_and_scoring_on_the_fly_give_the_same_mask(llama):
    scores = score(llama, ScoreSettings("lamp"), RunOptions())
    one, two = (
        read_mask(masked(llama, method="lamp")),
        read_mask(mask(scores, MaskSettings(density=0.5), RunOptions(output=llama.parent / "m"))),
    )
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])


def test_targets_may_be_anything_with_two_dimensions(llama):
    kept, _ = read_mask(masked(llama, targets=("*embed*", "*proj.weight"), ignore=("*.q_*",)))
    assert kept.keys() == {
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
    }
    with pytest.raises(BadUsage, match="no prunable weight matches 'up_proj'"):
        masked(llama, targets=("up_proj",))


def test_two_of_four(llama):
    kept = masked(llama, selection=MaskSettings(pattern="2:4"))
    assert kept.name == "llama.magnitude.2of4.0.5.mask.safetensors"
    for bits in read_mask(kept)[0].values():
        assert (bits.reshape(-1, 4).sum(1) == 2).all()
    facts = read_mask(kept)[1].meta
    assert (facts["scope"], facts["asked"], facts["rounds"]) == ("2:4", 0.5, 1)
    with pytest.raises(Mismatch, match="not a multiple of 5"):
        masked(llama, selection=MaskSettings(pattern="1:5"))


def module_pattern(text):
    from prunecli.masks.patterns import Pattern

    return Pattern.parse(text)


def test_a_name_like_a_files_asks_for_one_file(llama):
    kept = masked(llama)
    output = apply(llama, kept, RunOptions(output=llama.parent / "all.safetensors"))
    assert verify(output, kept)["tensors"] == 6
    assert output.is_file()


def test_what_was_stopped_goes_on_with_the_shards_that_are_there(llama, monkeypatch):
    kept = masked(llama)
    whole = apply(llama, kept, RunOptions(output=llama.parent / "whole"))
    written = []
    write = module.write_tensors

    def stopped(path, *rest):
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, *rest)

    common = RunOptions(output=llama.parent / "out")
    monkeypatch.setattr(module, "write_tensors", stopped)
    with pytest.raises(KeyboardInterrupt):
        apply(llama, kept, common)
    assert not common.output.exists()
    [part] = llama.parent.glob(".out.*.part")
    (part / "left over").write_text("from another time")
    again = []
    monkeypatch.setattr(module, "write_tensors", lambda p, *r: (again.append(p.name), write(p, *r)))
    apply(llama, kept, common)
    assert (written, again) == ([ONE], [TWO])
    for path in whole.iterdir():
        assert path.read_bytes() == (common.output / path.name).read_bytes()
    assert len(list(common.output.iterdir())) == len(list(whole.iterdir()))
    assert not part.exists()


def test_folders_beside_the_shards_are_named_and_not_copied(llama, capsys):
    (llama / "1_Pooling").mkdir()
    (llama / ".git").mkdir()
    common = RunOptions(output=llama.parent / "out", progress=Said())
    (llama.parent / ".out.part" / "left").mkdir(parents=True)
    apply(llama, masked(llama), common)
    assert common.progress.said == ["folders beside the shards are not copied: '1_Pooling'"]
    assert not any(path.is_dir() for path in common.output.iterdir())


class Said(Progress):
    def __init__(self):
        self.said = []

    def warn(self, message):
        self.said.append(message)


def test_tensors_that_were_named_as_targets_are_on_record(tmp_path):
    path = tmp_path / "moe.safetensors"
    save_file({"mix.w1": torch.randn(4, 8, 8), "q.weight": torch.randn(8, 8)}, path)
    kept = masked(path, 0.5, targets=("mix.*",))
    once = apply(path, kept, RunOptions())
    meta = TensorFile(once).meta
    assert meta["prunable"] == ["q.weight", "mix.w1"]
    assert meta["density"]["kept"] == {"q.weight": 64, "mix.w1": 128}
    again = mask(
        once,
        MaskSettings(
            density=0.25, scoring=ScoringSettings("magnitude", targets=("mix.*",)), mask=kept
        ),
        RunOptions(),
    )
    assert read_mask(again)[0]["mix.w1"].sum() == 64


def test_a_file_of_nothing_but_targets_can_be_masked(tmp_path):
    path = tmp_path / "moe.safetensors"
    save_file({"mix.w1": torch.randn(4, 8, 8), "bias": torch.randn(8)}, path)
    pruned = apply(path, masked(path, 0.5, targets=("mix.*",)), RunOptions())
    assert load_file(pruned)["mix.w1"].count_nonzero() == 128


def test_metadata_of_a_single_file_is_kept(tmp_path):
    path = tmp_path / "lora.safetensors"
    own = {"ss_dim": "4", "title": "ä\n", "format": "mlx"}
    save_file({"a.weight": torch.randn(4, 4)}, path, own)
    pruned = apply(path, masked(path, 0.5), RunOptions())
    with safe_open(pruned, "pt") as file:
        assert {k: v for k, v in file.metadata().items() if k != "prunecli"} == own


@pytest.mark.parametrize(
    "dtype", [torch.complex64, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]
)
def test_tensors_of_rare_types_are_copied(tmp_path, dtype):
    path = tmp_path / "scaled.safetensors"
    scale = torch.arange(48, dtype=torch.uint8).view(dtype)
    save_file({"a.weight": torch.randn(4, 4), "scale": scale}, path)
    kept = masked(path, 0.5)
    pruned = apply(path, kept, RunOptions())
    assert torch.equal(load_file(pruned)["scale"].view(torch.uint8), scale.view(torch.uint8))
    assert verify(pruned, kept)["tensors"] == 2


def test_a_single_file_that_was_stopped_goes_on_with_its_stages(llama, monkeypatch):
    kept = masked(llama)
    whole = apply(llama, kept, RunOptions(output=llama.parent / "whole.safetensors")).read_bytes()
    common = RunOptions(output=llama.parent / "out.safetensors")
    monkeypatch.setattr(stages, "STAGE", 1)
    made, parts = [], applied._parts

    def stopped(file, kept, name):
        made.append(name)
        if len(made) == 4:
            raise KeyboardInterrupt
        return parts(file, kept, name)

    monkeypatch.setattr(applied, "_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        apply(llama, kept, common)
    apply(llama, kept, common)
    assert made[4:] == made[3:4] + [name for name in made[4:] if name not in made[:4]]
    assert len(made) == 7
    assert common.output.read_bytes() == whole


def test_what_was_stopped_under_another_mask_is_made_anew(llama, monkeypatch):
    part = llama.parent / ".out.part"
    part.mkdir()
    common = RunOptions(output=llama.parent / "out")
    old = apply(llama, masked(llama, 0.9), RunOptions(output=llama.parent / "old"))
    for name in (ONE, TWO):
        (part / name).write_bytes((old / name).read_bytes())
    kept = masked(llama, 0.5)
    apply(llama, kept, common)
    assert verify(common.output, kept)["mask"]


def test_a_folder_that_is_there_is_never_replaced(llama):
    kept = masked(llama)
    output = llama.parent / "out"
    output.mkdir()
    (output / "mine").write_text("precious")
    for force in (False, True):
        with pytest.raises(BadOutput, match="the folder exists; remove it"):
            apply(llama, kept, RunOptions(output=output, force=force))
        with pytest.raises(BadOutput, match="the folder exists"):
            apply(llama, kept, RunOptions(output=output, force=force, dry_run=True))
    assert (output / "mine").read_text() == "precious"


@pytest.mark.fault(29)
def test_a_folder_inside_the_checkpoint_is_refused(llama):
    kept = masked(llama)
    for inside in (llama / "out", llama):
        with pytest.raises((BadUsage, BadOutput)):
            apply(llama, kept, RunOptions(output=inside))


@pytest.mark.fault(9)
def test_a_masked_nan_becomes_zero_and_any_other_is_named(llama):
    path = llama / TWO
    tensors = load_file(path)
    tensors["lm_head.weight"][3, 5] = math.nan
    kept = masked(llama, ignore=("lm_head*",))
    save_file(tensors, path)
    with pytest.raises(NotFinite, match=r"'lm_head.weight' holds NaN"):
        masked(llama)
    assert kept


MEMORY = """
import shlex, sys
from pathlib import Path
from prunecli.cli import cli
for line in sys.argv[1:]:
    cli.main(shlex.split(line), standalone_mode=False)
    print("MB", Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peaks(*lines):
    """Megabytes that one command after the other, in one process, needed at most by its end."""
    run = [sys.executable, "-c", MEMORY, *lines]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    return [int(words[1]) / 1024 for words in said if words[0] == "MB"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory it was")
def test_memory_does_not_grow_with_the_tensors(tmp_path, monkeypatch):
    """Of a tensor of 256 MB no more than parts are in memory, by any command of the pipeline."""
    monkeypatch.chdir(tmp_path)
    needed = []
    for rows in (4, 1 << 15):
        save_file({"w.weight": torch.randn(rows, 4096).bfloat16()}, "w.safetensors")
        needed.append(
            peaks(
                "score --method magnitude w.safetensors -o s.safetensors --force -q",
                "mask --method magnitude --density 0.5 w.safetensors -o m.safetensors --force -q",
                "apply w.safetensors --mask m.safetensors -o p.safetensors --force -q",
                "verify p.safetensors --mask m.safetensors",
            )
        )
    for small, large in zip(*needed, strict=True):
        assert large < small + 60
