"""Checkpoints of other programs, as they come: under prefixes, with and without counters."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prunecli.errors import Mismatch
from prunecli.network.adoption import adopt, fitted
from prunecli.runtime.progress import Progress


class Listener(Progress):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def network(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip


@pytest.fixture
def weights():
    draw = torch.Generator().manual_seed(1)
    own = network().state_dict()
    return {n: torch.rand(t.shape, generator=draw).to(t.dtype) for n, t in own.items()}


def adopted(tensors, **options):
    """What a network has once it took these up, and what was said."""
    model, listener = network(), Listener()
    adopt(model, tensors, "F", listener, **options)
    return model.state_dict(), listener.said


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_what_fits_is_loaded_and_nothing_is_said(weights):
    state, said = adopted(weights)
    assert same(state, weights)
    assert said == []


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "net.backbone."])
def test_a_prefix_of_all_names_is_taken_away_and_said(weights, prefix):
    state, said = adopted({prefix + name: tensor for name, tensor in weights.items()})
    assert same(state, weights)
    assert said == [f"F: removed the prefix {prefix!r} from the names"]


@pytest.mark.parametrize("form", ["_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"])
def test_what_torch_compile_puts_between_names_is_taken_away(weights, form):
    state, _ = adopted({form.format(name): tensor for name, tensor in weights.items()})
    assert same(state, weights)


def test_a_compiled_part_of_a_network_counts_as_that_part(weights):
    names = {name: name.replace("0.", "0._orig_mod.", 1) for name in weights}
    state, said = adopted({names[name]: tensor for name, tensor in weights.items()})
    assert same(state, weights)
    assert said == ["F: removed '_orig_mod' from the names"]


def test_names_under_several_prefixes_are_asked_about(weights):
    both = {f"{p}.{n}": t for p in ("model", "ema") for n, t in weights.items()}
    with pytest.raises(Mismatch, match=r"^F: the prefixes 'ema\.', 'model\.' fit equally"):
        adopted(both)
    both |= {f"ema.{name}": tensor + 1 for name, tensor in weights.items()}
    state, said = adopted(both, prefix="ema")
    assert same(state, {name: tensor + 1 for name, tensor in weights.items()})
    assert said == [
        "F: left out 'model.0.weight', 'model.0.bias', 'model.1.weight' and 6 more, which do not "
        "begin with 'ema.'"
    ]


def test_one_name_outside_the_prefix_needs_the_option(weights):
    averaged = {"n_averaged": torch.tensor(5)} | {f"module.{n}": t for n, t in weights.items()}
    with pytest.raises(Mismatch, match=r"unexpected 'n_averaged'; .*--strip-prefix"):
        adopted(averaged)
    state, _ = adopted(averaged, prefix="module.")
    assert same(state, weights)


def test_a_prefix_that_is_not_there_is_refused_with_those_that_are(weights):
    with pytest.raises(Mismatch, match=r"no name begins with 'x\.', they begin with 'model\.'$"):
        adopted({f"model.{n}": t for n, t in weights.items()}, prefix="x")


def test_batches_that_were_not_counted_start_at_0(weights):
    del weights["1.num_batches_tracked"]
    state, said = adopted(weights)
    assert state["1.num_batches_tracked"] == 0
    assert same({n: state[n] for n in weights}, weights)
    assert said == ["F: 1 num_batches_tracked are missing and start at 0"]


def test_counted_operations_are_left_out(weights):
    counted = {f"{m}total_{what}": torch.zeros(1) for m in ("", "0.") for what in ("ops", "params")}
    state, said = adopted(weights | counted)
    assert same(state, weights)
    [note] = said
    assert note.startswith("F: left out 4 total_ops and total_params")


def test_a_last_layer_of_other_classes_is_refused_with_the_mend(weights):
    weights |= {"5.weight": torch.ones(7, 4), "5.bias": torch.ones(7)}
    with pytest.raises(Mismatch) as refusal:
        adopted(weights)
    assert str(refusal.value) == (
        "F: its last layer, '5', is not for 3 classes; initialise a new one with --new-head"
    )


@pytest.mark.parametrize("classes", [3, 7])
def test_a_new_head_keeps_the_initialisation_and_nothing_else(weights, classes):
    weights |= {"5.weight": torch.ones(classes, 4), "5.bias": torch.ones(classes)}
    state, said = adopted(weights, head="new")
    fresh = network().state_dict()
    for name, tensor in state.items():
        assert torch.equal(tensor, (fresh if name.startswith("5.") else weights)[name])
    assert said == ["F: initialised '5' anew, for the classes of the data"]


def test_with_a_new_head_one_of_another_name_is_left_out(weights):
    weights["fc.weight"] = weights.pop("5.weight")
    weights["fc.bias"] = weights.pop("5.bias")
    with pytest.raises(Mismatch, match="initialise a new one with --new-head"):
        adopted(weights)
    _, said = adopted(weights, head="new")
    assert "'fc.weight', 'fc.bias'" in said[1]


def test_another_network_is_refused_also_with_a_new_head(weights):
    weights["0.weight"] = torch.ones(9, 1, 3, 3)
    for head in ("kept", "new", "fitting"):
        with pytest.raises(Mismatch, match=r"'0\.weight' is \[9, 1, 3, 3\], .*another --model"):
            adopted(weights, head=head)


def test_a_hundred_thousand_names_are_fitted_in_a_moment():
    import time

    model = nn.Module()
    model.parts = nn.ModuleList(nn.Linear(1, 1) for _ in range(5_000))
    given = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    began = time.perf_counter()
    found, _ = fitted(model, given, "F")
    assert found.keys() == model.state_dict().keys()
    assert time.perf_counter() - began < 5


def test_a_network_without_weights_to_prune_is_no_bug():
    model = nn.BatchNorm1d(2)
    with pytest.raises(Mismatch, match="missing 'weight'"):
        adopt(model, {"x": torch.ones(1)}, "F", Listener())
    with pytest.raises(Mismatch, match="no last linear layer to initialise anew"):
        adopt(model, nn.BatchNorm1d(2).state_dict(), "F", Listener(), head="new")


def test_the_head_that_starts_anew_is_the_last_linear_layer_wherever_it_stands():
    class HeadFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.rnn = nn.Linear(4, 2), nn.GRU(3, 4)

    model, given = HeadFirst(), HeadFirst().state_dict()
    own = model.head.weight.clone()
    adopt(model, given, "F", Listener(), head="new")
    assert torch.equal(model.head.weight, own)
    assert torch.equal(model.rnn.weight_hh_l0, given["rnn.weight_hh_l0"])


# As a command


def test_a_foreign_file_under_a_prefix_is_adopted_and_says_so(checkpoint, tmp_path, prune):
    tensors = load_file(checkpoint)
    save_file({f"module.{n}": t for n, t in tensors.items()}, tmp_path / "foreign.safetensors")
    line = ("train", tmp_path / "foreign.safetensors", "--model", "cnn", "--epochs", 0)
    ended = prune(*line, "--dataset", "digits", "-o", tmp_path / "mine.safetensors")
    assert ended.code == 0, ended.err
    assert "removed the prefix 'module.' from the names" in ended.err
    assert same(load_file(tmp_path / "mine.safetensors"), tensors)


def test_the_head_of_prunecli_s_own_checkpoint_may_start_anew(checkpoint, tmp_path, prune):
    line = ("train", checkpoint, "--model", "cnn", "--dataset", "digits", "--epochs", 0)
    ended = prune(*line, "--new-head", "-o", tmp_path / "new.safetensors")
    assert ended.code == 0, ended.err
    before, after = load_file(checkpoint), load_file(tmp_path / "new.safetensors")
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rpartition(".")[0] for name in differ} == {"fc2"}


def test_prunecli_s_own_checkpoint_is_otherwise_taken_as_it_is(checkpoint, tmp_path, prune):
    line = ("train", checkpoint, "--model", "alexnet", "--dataset", "digits", "--epochs", 0)
    ended = prune(*line, "-o", tmp_path / "new.safetensors")
    assert ended.code == 4
    assert "its tensors do not match the network" in ended.err


@pytest.mark.parametrize(
    "line",
    [
        "train --model cnn --dataset digits --strip-prefix a",
        "train --model cnn --dataset digits --new-head",
        "train {} --new-head",
        "train {} --strip-prefix a",
        "train --model torchvision:resnet18 --pretrained --strip-prefix a",
    ],
)
def test_options_that_have_nothing_to_change_are_refused(checkpoint, tmp_path, prune, line):
    ended = prune(*line.format(checkpoint).split(), "--epochs", 0, "-o", tmp_path / "x")
    assert ended.code == 2
    assert "needs a CHECKPOINT and a --model" in ended.err


def test_a_file_that_names_no_network_says_how_to_adopt_it(checkpoint, tmp_path, prune):
    save_file(load_file(checkpoint), tmp_path / "foreign.safetensors")
    for command in ("train", "finetune"):  # of which only one has a --model
        ended = prune(command, tmp_path / "foreign.safetensors", "--epochs", 1)
        assert ended.code == 2
        assert "import it with 'prunecli train CKPT --model NAME" in ended.err
