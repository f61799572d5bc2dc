"""What a mask leaves whole is said and recorded, whatever it is made of."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prunecli.errors import Mismatch
from prunecli.files.artifacts import read_mask, write_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.files.tensors import TensorFile
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.inspect import inspect
from prunecli.steps.mask import mask
from prunecli.steps.score import score
from prunecli.steps.train import train
from prunecli.steps.verify import verify

R = torch.randn
HALF = MaskSettings(density=0.5)
MAGNITUDE = ScoreSettings("magnitude")


class Notes(Progress):
    def __init__(self):
        self.said = []
        self.warned = []

    def say(self, message):
        self.said.append(message)

    def warn(self, message):
        self.warned.append(message)


def saved(tmp_path, tensors):
    path = tmp_path / "m.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


FP8 = {f"l{i}.up.weight": R(64, 64).to(torch.float8_e4m3fn) for i in range(6)}
HEAD = {"lm_head.weight": R(100, 64).bfloat16()}


@pytest.mark.parametrize(
    ("layers", "name"),
    [(FP8, "F8_E4M3"), ({n: t.to(torch.float32).to(torch.int8) for n, t in FP8.items()}, "I8")],
)
def test_quantised_layers_are_left_whole_with_a_warning(tmp_path, layers, name):
    notes = Notes()
    path = saved(tmp_path, layers | HEAD)
    made = mask(path, replace(HALF, scoring=MAGNITUDE), RunOptions(progress=notes))
    assert list(read_mask(made)[0]) == ["lm_head.weight"]
    assert notes.warned == [f"not pruned: 6 tensors, 79.3% of the weights: 6 {name} (79.3%)"]
    assert TensorFile(made).meta["left_whole"]["reasons"] == {name: [6, 24576]}
    assert inspect(path)["left_whole"] == TensorFile(made).meta["left_whole"]


def test_small_floats_can_be_pruned_as_targets(tmp_path):
    path = saved(tmp_path, FP8 | HEAD)
    made = mask(
        path,
        replace(HALF, scoring=ScoringSettings("magnitude", targets=("l*.up.*",))),
        RunOptions(),
    )
    pruned = apply(path, made, RunOptions())
    assert verify(pruned, made)["zeros"] == 6 * 64 * 64 // 2
    zeros = sum(int((load_file(pruned)[name] == 0).sum()) for name in FP8)
    assert zeros >= 6 * 64 * 64 // 2


def test_what_scores_left_is_said_of_the_mask_made_of_them(tmp_path):
    notes = Notes()
    scores = score(saved(tmp_path, FP8 | HEAD), MAGNITUDE, RunOptions(progress=notes))
    assert notes.warned == []
    made = mask(scores, HALF, RunOptions(progress=notes))
    assert notes.warned == ["not pruned: 6 tensors, 79.3% of the weights: 6 F8_E4M3 (79.3%)"]
    assert TensorFile(made).meta["left_whole"] == TensorFile(scores).meta["left_whole"]


def gpt2():
    return {
        "h.0.mlp.c_fc.weight": R(8, 32),
        "h.0.mlp.c_fc.bias": R(32),
        "h.0.attn.c_proj.weight": R(8, 8),
        "h.0.attn.c_proj.bias": R(8),
    }


@pytest.mark.parametrize("by_scores", [False, True])
def test_a_pattern_runs_along_the_inputs_of_gpt2(tmp_path, by_scores):
    source = saved(tmp_path, gpt2())
    pattern, scoring = MaskSettings(pattern="2:4"), MAGNITUDE
    if by_scores:
        source, scoring = score(source, MAGNITUDE, RunOptions()), ScoringSettings()
    kept, _ = read_mask(mask(source, replace(pattern, scoring=scoring), RunOptions()))
    assert [bits.reshape(2, 4, -1).sum(1).unique().tolist() for bits in kept.values()] == [[2], [2]]
    assert kept["h.0.mlp.c_fc.weight"].reshape(8, 8, 4).sum(2).unique().tolist() != [2]


def test_dead_channels_of_gpt2_are_inputs_by_row(tmp_path):
    tensors = gpt2()
    tensors["h.0.mlp.c_fc.weight"][:3] = 0
    kept = mask(saved(tmp_path, tensors), replace(HALF, scoring=MAGNITUDE), RunOptions())
    collapse = TensorFile(kept).meta["collapse"]
    assert collapse["dead_inputs"]["h.0.mlp.c_fc.weight"] == 3
    assert collapse["dead_outputs"]["h.0.mlp.c_fc.weight"] < 3


def moe():
    return {
        "mlp.experts.gate_up_proj": R(8, 32, 64),
        "mlp.experts.down_proj": R(8, 32, 32),
        "mlp.router.weight": R(8, 32),
    }


def test_experts_in_one_tensor_are_pruned_and_their_router_is_not(tmp_path):
    notes, tensors = Notes(), moe()
    tensors["mlp.experts.down_proj"][1, 5] = 0  # an input of the second expert
    path = saved(tmp_path, tensors)
    made = mask(path, replace(HALF, scoring=MAGNITUDE), RunOptions(progress=notes))
    kept, file = read_mask(made)
    assert sorted(kept) == ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    [line] = notes.said
    assert line.startswith("not pruned: 1 tensor, 1.0% of the weights: 1 routers of experts")
    dead = file.meta["collapse"]
    assert dead["dead_inputs"]["mlp.experts.down_proj"] == 1
    assert dead["dead_outputs"]["mlp.experts.down_proj"] == 0
    pattern = MaskSettings(pattern="2:4")
    kept, _ = read_mask(mask(path, replace(pattern, scoring=MAGNITUDE), RunOptions()))
    groups = [bits.reshape(8, 8, 4, -1).sum(2).unique().tolist() for bits in kept.values()]
    assert groups == [[2], [2]]


def test_a_pattern_is_refused_where_the_inputs_are_not_known(tmp_path):
    path = saved(tmp_path, {"experts.w1": R(8, 8), "l.weight": R(8, 8)})
    with pytest.raises(Mismatch, match="the input dimension of 'experts.w1' is not known"):
        mask(path, MaskSettings(pattern="2:4", scoring=MAGNITUDE), RunOptions())
    known = ScoringSettings("magnitude", ignore=("experts.*",))
    assert list(read_mask(mask(path, MaskSettings(pattern="2:4", scoring=known), RunOptions()))[0])
    collapse = TensorFile(mask(path, replace(HALF, scoring=MAGNITUDE), RunOptions())).meta[
        "collapse"
    ]
    assert list(collapse["dead_inputs"]) == ["l.weight"]


def test_a_file_without_a_layer_says_what_it_has(tmp_path):
    path = saved(tmp_path, {"q.lora_A.weight": R(2, 8), "q.lora_B.weight": R(8, 2)})
    with pytest.raises(Mismatch, match="no weight to prune, but 2 factors of an adapter"):
        mask(path, replace(HALF, scoring=MAGNITUDE), RunOptions())


@pytest.mark.fault(7)
@pytest.mark.parametrize("own", ["table", "seen"])
def test_a_mask_of_what_is_no_layers_weight_is_refused_by_all_alike(tmp_path, own, trusting):
    """Of a parameter that no layer has, and of a buffer."""
    trusting(__name__)
    dense = train(
        TrainingSettings(
            model=ModelSettings(f"{__name__}:net"), data=DataSettings("digits"), given={"epochs": 0}
        ),
        RunOptions(output=tmp_path / "dense.safetensors"),
    )
    odd = tmp_path / "odd.mask.safetensors"
    write_mask(odd, {own: torch.eye(4, dtype=torch.bool)}, parsed(MaskRecord, {}))
    commands = [
        lambda: apply(dense, odd, RunOptions()),
        lambda: evaluation(dense, EvalSettings(mask=odd), RunOptions()),
        lambda: train(
            TrainingSettings(checkpoint=dense, mask=odd), RunOptions(output=tmp_path / "f")
        ),
        lambda: verify(dense, odd),
    ]
    for command in commands:
        with pytest.raises(Mismatch, match=f"odd.mask.*: '{own}' are not weights of Conv, Linear"):
            command()


class Net(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.fc = nn.Linear(inputs, classes)
        self.table = nn.Parameter(torch.ones(4, 4))
        self.register_buffer("seen", torch.ones(4, 4))

    def forward(self, x):
        return self.fc(x.flatten(1)) * self.table.mean()


def net(input_shape, classes: int) -> nn.Module:
    return Net(math.prod(input_shape), classes)


def test_what_a_pruner_leaves_whole_is_said_and_recorded(tmp_path):
    notes = Notes()
    made = train(
        TrainingSettings(
            model=ModelSettings("mobilenet", own_options={"thin": 0.01}),
            data=DataSettings("digits"),
            pruner="gradual",
            pruner_options={"density": 0.5},
            exclude_classifier=True,
            given={"epochs": 1},
        ),
        RunOptions(output=tmp_path / "d.safetensors", progress=notes),
    )
    whole = TensorFile(tmp_path / "d.mask.safetensors").meta["left_whole"]
    assert whole["reasons"]["left out as asked"][0] == 1
    [line] = [said for said in notes.said + notes.warned if said.startswith("not pruned")]
    assert "left out as asked" in line
    assert whole["weights"] == TensorFile(made).meta["parameters"]


def test_what_is_left_out_twice_adds_up(tmp_path):
    tensors = {f"{name}.weight": R(4, 4) for name in "abc"}
    some = ScoreSettings("magnitude", ignore=("a.*",))
    scores = score(saved(tmp_path, tensors), some, RunOptions())
    made = mask(scores, replace(HALF, scoring=ScoringSettings(ignore=("b.*",))), RunOptions())
    told = TensorFile(made).meta["left_whole"]
    assert (told["tensors"], told["reasons"]) == (2, {"left out as asked": [2, 32]})


def widening(input_shape, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ConvTranspose2d(8, 8, 2, bias=False), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


def test_a_transposed_convolution_takes_a_pattern_along_its_inputs(tmp_path, trusting):
    """Its checkpoint says so, for the shape [8, 8] and no bias do not."""
    trusting(__name__)
    start = train(
        TrainingSettings(
            model=ModelSettings(f"{__name__}:widening"),
            data=DataSettings("digits"),
            given={"epochs": 0},
        ),
        RunOptions(output=tmp_path / "u.safetensors"),
    )
    assert TensorFile(start).meta["layouts"] == {"1.weight": "io"}
    pattern = MaskSettings(pattern="2:4")
    made = mask(
        start,
        replace(pattern, scoring=ScoringSettings("magnitude", ignore=("0.*", "4.*"))),
        RunOptions(),
    )
    kept = read_mask(made)[0]["1.weight"]
    assert (kept.reshape(2, 4, -1).sum(1) == 2).all()
    assert not (kept.reshape(8, 2, 4, -1).sum(2) == 2).all()
