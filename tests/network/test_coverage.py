import pytest
import torch
from attacks import written
from safetensors.torch import save_file
from torch import nn

from prunecli.files.parsing import table
from prunecli.files.records import LeftWhole
from prunecli.files.tensors import TensorFile
from prunecli.masks.targets import prunable_names
from prunecli.network import coverage
from prunecli.network.layers import prunable
from prunecli.runtime.progress import Progress


class Notes(Progress):
    def __init__(self):
        self.told = []

    def say(self, message):
        self.told.append(("say", message))

    def detail(self, message):
        self.told.append(("detail", message))

    def warn(self, message):
        self.told.append(("warn", message))


def told(record):
    notes = Notes()
    coverage.tell(record, notes)
    [(how, message)] = notes.told
    return how, message


def of(tensors, tmp_path, names=None):
    save_file(tensors, tmp_path / "m.safetensors")
    file = TensorFile(tmp_path / "m.safetensors")
    return coverage.of_file(file, prunable_names(file) if names is None else names)


def test_by_hand(tmp_path):
    tensors = {
        "l.weight": torch.ones(10, 9),
        "l.bias": torch.ones(10),
        "emb.weight": torch.ones(10, 8),
        "p": torch.ones(2, 10),
        "ema.l.weight": torch.ones(10, 9),
        "n.running_mean": torch.ones(10),
    }
    record = of(tensors, tmp_path)
    assert table(record) == {
        "tensors": 3,
        "weights": 200,
        "reasons": {
            "vectors": [1, 10],
            "look-up tables": [1, 80],
            "not named `.weight`": [1, 20],
            "of a moving average of the weights": [1, 90],
            "running statistics": [1, 10],
        },
        "beside": ["of a moving average of the weights", "running statistics"],
    }
    assert told(record) == (
        "warn",
        "not pruned: 3 tensors, 55.0% of the weights: 1 look-up tables (40.0%), 1 not named "
        "`.weight` (10.0%), 1 vectors (5.0%); and other tensors: 1 of a moving average of the "
        "weights, 1 running statistics",
    )


def test_a_tenth_is_said_and_more_is_a_warning(tmp_path):
    tensors = {"l.weight": torch.ones(90, 10), "emb.weight": torch.ones(10, 10)}
    assert told(of(tensors, tmp_path))[0] == "say"
    tensors["emb.weight"] = torch.ones(11, 10)
    assert told(of(tensors, tmp_path))[0] == "warn"


def test_what_was_asked_for_is_no_warning_and_vectors_are_an_aside(tmp_path):
    tensors = {"l.weight": torch.ones(9, 10), "m.weight": torch.ones(9, 10)}
    how, message = told(of(tensors, tmp_path, ["l.weight"]))
    assert (how, message) == (
        "say",
        "not pruned: 1 tensor, 50.0% of the weights: 1 left out as asked (50.0%)",
    )
    assert told(of(tensors | {"b": torch.ones(5)}, tmp_path))[0] == "detail"


def test_scores_pass_on_what_was_left_and_count_what_is_left_now(tmp_path):
    record = of({"l.weight": torch.ones(9, 10), "b": torch.ones(10)}, tmp_path)
    path = tmp_path / "s.scores.safetensors"
    scores = {"l.weight": torch.ones(6, 10), "m.weight": torch.ones(3, 10)}
    written(path, "scores", scores, {"left_whole": table(record)})
    assert coverage.of_scores(TensorFile(path), ["l.weight", "m.weight"]) == record
    now = coverage.of_scores(TensorFile(path), ["l.weight"])
    assert now.reasons == {"vectors": (1, 10), "left out as asked": (1, 30)}
    assert (now.tensors, now.weights) == (2, 100)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.rnn = nn.LSTM(4, 4, proj_size=2)
        self.norm = nn.LayerNorm([3, 4])
        self.scale = nn.Parameter(torch.ones(2, 3))
        self.tied = self.attention.out_proj

    def get_extra_state(self):
        return "of any kind"

    def set_extra_state(self, state):
        pass


def test_a_networks_own_matrices_are_covered_and_counted_once():
    model = Net()
    names = list(prunable(model))
    assert names == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "rnn.weight_hr_l0",
    ]
    record = coverage.of_model(model, names)
    assert record.weights == sum(parameter.numel() for parameter in model.parameters())
    assert table(record)["reasons"] == {
        "vectors": [4, 12 + 4 + 16 + 16],
        "gains of normalisations": [1, 12],
        "biases": [1, 12],
        "not named `.weight`": [1, 6],
    }


@pytest.mark.parametrize("share", [0.0, 0.0004, 0.5])
def test_small_shares_do_not_look_like_none(share):
    reasons = {"biases": (1, int(share * 10_000))}
    record = LeftWhole(tensors=1, weights=10_000, reasons=reasons, beside=())
    shown = {0.0: "0%", 0.0004: "<0.1%", 0.5: "50.0%"}[share]
    assert coverage.line(record).startswith(f"not pruned: 1 tensor, {shown} of the weights")
