"""Values of another kind than a network's, and zeros that no mask speaks of."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prunecli.errors import Mismatch, NotFinite
from prunecli.files.artifacts import open_artifact, read_mask, write_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.files.tensors import TensorFile
from prunecli.network.weights import check_weights, load_weights
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.inspect import inspect
from prunecli.steps.mask import mask
from prunecli.steps.train import train
from prunecli.steps.verify import verify

ADOPTED = {
    "model": ModelSettings("cnn"),
    "data": DataSettings("digits"),
    "given": {"epochs": 0},
}


class Heard(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture
def foreign(dense, tmp_path):
    """Writes a copy of the checkpoint without its metadata, with its tensors changed."""

    def write(change):
        tensors = {name: change(tensor) for name, tensor in load_file(dense).items()}
        save_file(tensors, tmp_path / "foreign.safetensors")
        return tmp_path / "foreign.safetensors"

    return write


KINDS = {
    torch.int8: "I8", torch.float8_e4m3fn: "F8_E4M3", torch.bool: "BOOL", torch.complex64: "C64",
}  # fmt: skip


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("use", ["train", "rewind"])
def test_weights_that_are_no_floats_are_not_taken_for_such(foreign, dense, tmp_path, dtype, use):
    path = foreign(lambda tensor: tensor.to(dtype))
    common = RunOptions(output=tmp_path / "o.safetensors")
    options = TrainingSettings(checkpoint=path, **ADOPTED)
    if use == "rewind":
        options = TrainingSettings(checkpoint=dense, rewind=path, given={"epochs": 1})
    words = f"foreign.safetensors: 'conv1.weight' is {KINDS[dtype]}; weights must be floats of two"
    with pytest.raises(Mismatch, match=words):
        train(options, common)
    assert not common.output.exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_any_width_are(foreign, tmp_path, dtype):
    path = foreign(lambda tensor: tensor.to(dtype))
    made = train(
        TrainingSettings(checkpoint=path, **ADOPTED), RunOptions(output=tmp_path / "o.safetensors")
    )
    own = load_file(path)
    assert all(torch.equal(t, own[name].float()) for name, t in load_file(made).items())


@pytest.mark.fault(9)
def test_a_value_beyond_the_networks_floats_is_said_to_be(foreign, tmp_path):
    path = foreign(lambda tensor: tensor.double().clamp(min=1e300) if tensor.ndim == 4 else tensor)
    words = "'conv1.weight' holds values beyond the range of float32"
    with pytest.raises(NotFinite, match=words):
        train(
            TrainingSettings(checkpoint=path, **ADOPTED),
            RunOptions(output=tmp_path / "o.safetensors"),
        )


def checkpoint(path, tensors):
    save_file(tensors, path)
    return TensorFile(path)


def test_counters_may_be_any_whole_numbers_and_no_floats(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    own = net.state_dict()
    counter = "1.num_batches_tracked"
    file = checkpoint(tmp_path / "a.safetensors", {**own, counter: torch.tensor(7).int()})
    load_weights(net, dict(file), file.label)
    assert int(net[1].num_batches_tracked) == 7
    file = checkpoint(tmp_path / "b.safetensors", {**own, counter: torch.tensor(7.0)})
    with pytest.raises(Mismatch, match=f"'{counter}' is F32; its values must be whole numbers"):
        check_weights(net, file.forms, file.label)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("there", ["embed.weight", "head.weight"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_tied_tensor_needs_to_be_there_once(tmp_path, there, device):
    file = checkpoint(tmp_path / "t.safetensors", {there: torch.rand(5, 4)})
    with torch.device(device):
        net = Tied()
    check_weights(net, file.forms, file.label)
    if device == "cpu":
        load_weights(net, dict(file), file.label)
        assert torch.equal(net.head.weight, file[there])
        assert net.head.weight is net.embed.weight


def test_tied_tensors_that_differ_do_not_fit(tmp_path):
    tensors = {"embed.weight": torch.rand(5, 4), "head.weight": torch.rand(5, 4)}
    file = checkpoint(tmp_path / "t.safetensors", tensors)
    with pytest.raises(Mismatch, match=r"'embed.weight' and 'head.weight' differ, but the network"):
        load_weights(Tied(), dict(file), file.label)
    empty = checkpoint(tmp_path / "e.safetensors", {"x": torch.ones(1)})
    with pytest.raises(Mismatch, match="missing 'embed.weight', 'head.weight' and unexpected 'x'"):
        load_weights(Tied(), dict(empty), empty.label)


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("value", "words"),
    [(1e300, "values beyond the range of float32"), (float("inf"), "NaN or infinity")],
)
def test_what_is_beyond_float32_is_not_called_infinity(tmp_path, value, words):
    weights = torch.ones(4, 4, dtype=torch.float64)
    weights[1, 2] = value
    file = checkpoint(tmp_path / "f.safetensors", {"a.weight": weights})
    with pytest.raises(NotFinite, match=f"'a.weight' holds {words}"):
        mask(
            file.path, MaskSettings(density=0.5, scoring=ScoringSettings("magnitude")), RunOptions()
        )


def sparse(tensor):
    """Nine of ten values zero, some of them -0.0, as weight * mask leaves them."""
    draw = torch.Generator().manual_seed(tensor.numel())
    return tensor * (torch.rand(tensor.shape, generator=draw) < 0.1)


def test_the_zeros_that_are_there_make_a_mask(foreign, tmp_path):
    path = foreign(sparse)
    there = {name: tensor != 0 for name, tensor in load_file(path).items() if tensor.ndim > 1}
    made = mask(path, MaskSettings(scoring=ScoringSettings("nonzero")), RunOptions())
    assert made == tmp_path / "foreign.nonzero.mask.safetensors"
    bits, file = read_mask(made)
    assert bits.keys() == there.keys()
    assert all(torch.equal(bits[name], there[name]) for name in bits)
    left = sum(int(t.sum()) for t in there.values())
    assert (file.meta["kept"], file.meta["total"], file.meta["critical"]) == (left, 430_500, False)
    assert file.meta["asked"] == left / 430_500
    with pytest.raises(Mismatch, match=r"masked weights of .* are -0\.0, as a weight times its"):
        verify(path, made)
    assert verify(apply(path, made, RunOptions()), made)["zeros"] == 430_500 - left


def test_a_mask_of_zeros_nests(foreign, tmp_path):
    path = foreign(sparse)
    before = {n: torch.rand(t.shape) < 0.5 for n, t in load_file(path).items() if t.ndim > 1}
    write_mask(tmp_path / "m.safetensors", before, parsed(MaskRecord, {}))
    made = mask(
        path,
        MaskSettings(scoring=ScoringSettings("nonzero"), mask=tmp_path / "m.safetensors"),
        RunOptions(),
    )
    own = load_file(path)
    bits = read_mask(made)[0]
    assert all(torch.equal(kept, before[n] & (own[n] != 0)) for n, kept in bits.items())


def test_a_mask_of_nothing_but_zeros_is_none(tmp_path):
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / "z.safetensors")
    with pytest.raises(Mismatch, match="its weights are all zero"):
        mask(
            tmp_path / "z.safetensors",
            MaskSettings(scoring=ScoringSettings("nonzero")),
            RunOptions(),
        )


def test_a_sparse_checkpoint_without_a_mask_is_told_of(foreign, tmp_path):
    heard = Heard()
    adopted = tmp_path / "o.safetensors"
    train(
        TrainingSettings(checkpoint=foreign(sparse), **ADOPTED),
        RunOptions(output=adopted, progress=heard),
    )
    [warning] = heard.warnings
    assert "90.0% of the weights are exactly zero" in warning
    assert "'prunecli mask CKPT --method nonzero'" in warning
    made = mask(adopted, MaskSettings(scoring=ScoringSettings("nonzero")), RunOptions())
    evaluation(adopted, EvalSettings(), RunOptions(output=tmp_path / "a.json", progress=heard))
    assert len(heard.warnings) == 2
    result = evaluation(
        adopted, EvalSettings(mask=made), RunOptions(output=tmp_path / "b.json", progress=heard)
    )
    assert len(heard.warnings) == 2
    assert abs(json.loads(result.read_text())["density"] - 0.1) < 0.01


def test_a_dense_one_is_not(foreign, dense, tmp_path):
    heard = Heard()
    path = foreign(lambda tensor: tensor)
    common = RunOptions(output=tmp_path / "o.safetensors", progress=heard)
    train(TrainingSettings(checkpoint=path, **ADOPTED), common)
    evaluation(Path(dense), EvalSettings(), RunOptions(progress=heard))
    assert heard.warnings == []


def grouped(kept, of, shape=(8, 64)):
    """Weights of which `kept` in a group of `of` along the inputs are there."""
    weights = torch.rand(shape).movedim(1, -1) + 1
    flat = weights.reshape(-1, of)
    order = torch.rand(flat.shape).argsort(1)
    return flat.mul(order < kept).reshape(weights.shape).movedim(-1, 1).contiguous()


@pytest.mark.parametrize("shape", [(8, 64), (64, 64, 3, 3), (600, 1024)])
@pytest.mark.parametrize(("kept", "of"), [(2, 4), (1, 4), (4, 8), (1, 2), (8, 32)])
def test_the_tightest_pattern_is_found(tmp_path, kept, of, shape):
    weights = grouped(kept, of, shape).bfloat16()
    first = weights[0].clone()
    for inputs in range(of):  # one group has its weights at the start, so that no tighter one holds
        first.reshape(shape[1], -1)[inputs, 0] = float(inputs < kept)
    weights[0] = first
    save_file({"a.weight": weights}, tmp_path / "f.safetensors")
    facts = inspect(tmp_path / "f.safetensors")
    [tensor] = facts["tensors"]
    assert tensor["pattern"] == f"{kept}:{of}"
    assert tensor["zeros"] == facts["zeros"] == int((weights == 0).sum())
    rows = weights.movedim(1, -1).reshape(-1, of)
    assert int((rows != 0).sum(1).max()) == kept


def test_what_fits_no_pattern_has_none(tmp_path):
    weights = grouped(2, 4)
    weights[3, 4:8] = 1.0
    tensors = {"a.weight": weights, "b.weight": torch.zeros(4, 8), "c.weight": torch.ones(4, 6)}
    save_file(tensors, tmp_path / "f.safetensors")
    found = {t["name"]: t["pattern"] for t in inspect(tmp_path / "f.safetensors")["tensors"]}
    assert found == {"a.weight": None, "b.weight": None, "c.weight": None}


@pytest.mark.parametrize(
    ("values", "zeros"),
    [
        (torch.tensor([[0.0, -0.0, 1e-45, float("nan")]]), 2),
        (torch.tensor([[0.0, -0.0, 6e-8, 1.0]]).half(), 2),
        (torch.tensor([[0.0, -0.0, 5e-324, 1.0]], dtype=torch.float64), 2),
        (torch.tensor([[0.0, -0.0, 1.0, 2.0]]).to(torch.float8_e4m3fn), 2),
        (torch.tensor([[0, -128, 1, 0]], dtype=torch.int8), 2),
        (torch.tensor([[True, False]]), 1),
        (torch.tensor([[0j, 1j]]), None),
        (torch.zeros(0, 3), 0),
    ],
)
def test_zeros_of_every_type_are_counted(tmp_path, values, zeros):
    save_file({"a.weight": values}, tmp_path / "f.safetensors")
    [tensor] = inspect(tmp_path / "f.safetensors")["tensors"]
    assert tensor["zeros"] == zeros
    assert (tensor["finite"] is False) == bool(values.isnan().any())


def test_inspect_says_what_it_counted(tmp_path, prune):
    tensors = {"a.weight": grouped(2, 4).bfloat16(), "b.weight": torch.ones(4, 4)}
    tensors["b.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "f.safetensors")
    lines = prune("inspect", str(tmp_path / "f.safetensors")).out.splitlines()
    assert "zeros       256 of 528 weights, 0.4848" in lines
    assert "N:M         2:4 in 1 of 2 weights" in lines
    assert "  a.weight  BF16 [8, 64]  prunable, zeros 0.5, 2:4" in lines
    assert "  b.weight  F32 [4, 4]  prunable, NaN or infinity" in lines


@pytest.mark.parametrize(
    "options",
    [["--density", "0.5"], ["--critical"], ["--scope", "layer"], ["--pattern", "2:4"],
     ["--rounds", "2"], ["--count", "model"], ["--sparsity", "0"]],
)  # fmt: skip
def test_nothing_is_asked_of_a_method_that_decides(foreign, prune, options):
    ended = prune("mask", str(foreign(sparse)), "--method", "nonzero", *options)
    words = f"error: --method nonzero decides which weights to keep; leave {options[0]} out\n"
    assert (ended.code, ended.err) == (2, words)


def test_a_mask_over_what_has_no_zero_is_refused(tmp_path):
    weights = torch.ones(4, 4).to(torch.float8_e8m0fnu)
    save_file({"a.weight": weights}, tmp_path / "f.safetensors")
    write_mask(
        tmp_path / "m.safetensors", {"a.weight": torch.zeros(4, 4).bool()}, parsed(MaskRecord, {})
    )
    with pytest.raises(Mismatch, match="it masks 'a.weight', which is F8_E8M0 in"):
        apply(tmp_path / "f.safetensors", tmp_path / "m.safetensors", RunOptions())
    assert len(open_artifact(tmp_path / "f.safetensors", "checkpoint")) == 1


def test_a_double_that_float32_would_take_for_zero_is_there(tmp_path):
    weight = torch.tensor([[1e-50, 0.0], [-0.0, 2.0]], dtype=torch.float64)
    path = tmp_path / "d.safetensors"
    save_file({"a.weight": weight}, path)
    made = mask(path, MaskSettings(scoring=ScoringSettings("nonzero")), RunOptions())
    assert read_mask(made)[0]["a.weight"].tolist() == [[True, False], [False, True]]
