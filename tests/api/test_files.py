import pytest
import torch
from safetensors.torch import load_file, save_file

import prunecli
from prunecli import BadInput, BadOutput, BadUsage, Mismatch
from prunecli.plugins import trust


def test_what_the_commands_wrote_is_written_again_byte_for_byte(checkpoint, prune, tmp_path):
    prune("score", "--method", "lamp", checkpoint, "-o", "s.safetensors")
    prune("mask", "s.safetensors", "--density", "0.1", "-o", "m.safetensors")
    prune("apply", checkpoint, "--mask", "m.safetensors", "-o", "a.safetensors")
    for name, read, write in (
        (checkpoint, prunecli.read_checkpoint, prunecli.write_checkpoint),
        ("a.safetensors", prunecli.read_checkpoint, prunecli.write_checkpoint),
        ("s.safetensors", prunecli.read_scores, prunecli.write_scores),
        ("m.safetensors", prunecli.read_mask, prunecli.write_mask),
    ):
        artifact = read(name)
        path = write("again.safetensors", artifact, force=True)
        assert path.read_bytes() == (tmp_path / name).read_bytes()
        assert read(path).sha256 == artifact.sha256


def test_a_checkpoint_is_read_tensor_by_tensor_as_it_stands_in_the_file(checkpoint):
    read, there = prunecli.read_checkpoint(checkpoint), load_file(checkpoint)
    assert set(read) == set(there)
    assert len(read) == len(there)
    for name, tensor in there.items():
        assert torch.equal(read[name], tensor)
        assert read.shapes[name] == tuple(tensor.shape)
    with pytest.raises(KeyError):
        read["nothing"]


def test_a_network_is_built_with_the_weights_of_its_file(checkpoint):
    built, there = prunecli.read_checkpoint(checkpoint).model().state_dict(), load_file(checkpoint)
    assert built.keys() == there.keys()
    assert all(torch.equal(built[name], there[name]) for name in there)


def test_a_module_that_says_its_network_is_taken_by_every_command(written, prune):
    assert prune("score", "--method", "snip", written, "-o", "s.safetensors").code == 0
    assert prune("mask", "s.safetensors", "--density", "0.1", "-o", "m.safetensors").code == 0
    tuned = ("finetune", written, "--mask", "m.safetensors", "--epochs", "1", "-o", "t.safetensors")
    assert prune(*tuned).code == 0
    assert prune("eval", "t.safetensors").code == 0
    parent = prunecli.read_checkpoint("t.safetensors").record["parent"]
    assert parent == prunecli.read_checkpoint(written).sha256


def test_a_module_that_does_not_say_it_is_scored_by_weights_and_asked_for_the_network(net, prune):
    path = prunecli.write_checkpoint("own.safetensors", net)
    assert prune("score", "--method", "magnitude", path, "-o", "s.safetensors").code == 0
    ended = prune("eval", path, "--dataset", "digits")
    assert ended.code == 4
    assert "its metadata names no network" in ended.err


def test_the_network_that_is_named_must_be_that_of_the_module(net):
    other = prunecli.Network("cnn", (1, 28, 28), 10, {"thin": 0.5})
    with pytest.raises(Mismatch, match="do not match the network"):
        prunecli.write_checkpoint("own.safetensors", net, network=other)
    with pytest.raises(BadUsage, match="a checkpoint describes itself"):
        prunecli.write_checkpoint("own.safetensors", dict(net.state_dict()), network=other)


def test_tied_weights_are_stored_once_and_known_by_both_names():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    path = prunecli.write_checkpoint("tied.safetensors", model)
    assert "1.weight" not in load_file(path)
    assert set(prunecli.read_checkpoint(path).names) == set(model.state_dict())


def test_a_masked_checkpoint_is_what_apply_writes(checkpoint, prune, tmp_path):
    prune("mask", checkpoint, "--method", "magnitude", "--density", "0.1", "-o", "m.safetensors")
    prune("apply", checkpoint, "--mask", "m.safetensors", "-o", "theirs.safetensors")
    dense, mask = prunecli.read_checkpoint(checkpoint), prunecli.read_mask("m.safetensors")
    ours = prunecli.write_checkpoint("ours.safetensors", dense, mask=mask)
    assert ours.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_own_bits_and_own_scores_are_taken_by_the_commands(checkpoint, prune):
    weight = load_file(checkpoint)["fc2.weight"]
    prunecli.write_scores("s.safetensors", {"fc2.weight": weight.square()})
    assert prune("mask", "s.safetensors", "--density", "0.5", "-o", "m.safetensors").code == 0
    kept = prunecli.read_mask("m.safetensors")["fc2.weight"]
    assert kept.sum() == 2500
    assert weight[kept].abs().min() >= weight[~kept].abs().max()
    prunecli.write_mask("own.safetensors", {"fc2.weight": ~kept})
    tuned = ("--mask", "own.safetensors", "--epochs", "1", "-o", "t.safetensors")
    assert prune("finetune", checkpoint, *tuned).code == 0
    assert (load_file("t.safetensors")["fc2.weight"][kept] == 0).all()


def test_nothing_is_replaced_unless_it_is_said_and_never_what_is_being_read(checkpoint, net):
    before, none = checkpoint.read_bytes(), {"fc2.weight": torch.zeros(10, 500).bool()}
    with pytest.raises(BadOutput, match="it exists"):
        prunecli.write_checkpoint(checkpoint, net)
    masked = prunecli.apply(prunecli.read_checkpoint(checkpoint), none)
    with pytest.raises(BadUsage, match="the output is one of the inputs"):
        prunecli.write_checkpoint(checkpoint, masked, force=True)
    scores = prunecli.score(prunecli.read_checkpoint(checkpoint), "magnitude")
    with pytest.raises(BadUsage, match="the output is one of the inputs"):
        prunecli.write_scores(checkpoint, scores, force=True)
    assert checkpoint.read_bytes() == before
    assert prunecli.write_checkpoint(str(checkpoint), net, force=True) == checkpoint
    assert checkpoint.read_bytes() != before


def test_what_is_of_another_kind_or_of_none_is_refused(checkpoint, net, tmp_path):
    for read in (prunecli.read_scores, prunecli.read_mask):
        with pytest.raises(BadInput, match="it is a checkpoint file"):
            read(checkpoint)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(BadInput):
        prunecli.read_checkpoint(tmp_path / "text")
    with pytest.raises(Mismatch, match=r"masks are torch\.bool"):
        prunecli.write_mask("m.safetensors", {"a": torch.ones(3)})
    for wrong in ("m.safetensors", 3):
        with pytest.raises(BadUsage, match="is not a Mask"):
            prunecli.apply(net, wrong)
    with pytest.raises(Mismatch, match="the mask of 'a' is not a tensor but list"):
        prunecli.write_mask("m.safetensors", {"a": [True]})
    with pytest.raises(Mismatch, match="the scores of 'a' is not a tensor but list"):
        prunecli.mask({"a": [1.0, 2.0]}, density=0.5)
    with pytest.raises(BadUsage, match="no data set 'digit'"):
        prunecli.write_checkpoint("c.safetensors", net, data="digit")
    with pytest.raises(BadUsage, match="give a name, not Images"):
        prunecli.write_checkpoint("c.safetensors", net, data=prunecli.load_images("digits"))
    for wrong in (3, prunecli.score(net, "magnitude")):
        with pytest.raises(BadUsage, match="is not a Checkpoint"):
            prunecli.write_checkpoint("c.safetensors", wrong)


def test_plain_tensors_are_written_as_a_file_that_anybody_may_have_written(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.bfloat16)}
    path = prunecli.write_checkpoint("plain.safetensors", tensors)
    save_file(tensors, "theirs.safetensors", {"format": "pt"})
    assert prunecli.read_checkpoint(path).record is None
    assert path.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_code_that_a_file_names_is_imported_only_once_the_caller_named_it(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text(
        "from torch import nn\n"
        "def net(input_shape, classes, *, width: int = 4) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(trust, "_GIVEN", set())
        network = prunecli.Network("somebodys:net", (1, 28, 28), 10, {"width": "8"})
        path = prunecli.write_checkpoint("c.safetensors", network.build(), network=network)
    assert prunecli.read_checkpoint(path).record["model"]["options"] == {"width": 8}
    with pytest.raises(BadUsage, match="--trust somebodys:net"):
        prunecli.read_checkpoint(path).model()
    prunecli.Network("somebodys:net", (1, 28, 28), 10)
    assert prunecli.evaluate(prunecli.read_checkpoint(path), "digits").images == 355
