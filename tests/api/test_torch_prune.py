import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import prunecli
from prunecli import Mismatch


def test_there_and_back_again_gives_the_same_mask_and_the_same_output(net):
    mask = prunecli.mask(net, "random", density=0.3)
    x = torch.randn(2, 1, 28, 28)
    prunecli.to_torch_prune(net, mask)
    pruned = net(x)
    back = prunecli.from_torch_prune(net)
    assert set(back) == set(mask)
    assert all(torch.equal(back[name], mask[name]) for name in mask)
    for name in ("conv1", "conv2", "fc1", "fc2"):
        prune.remove(net.get_submodule(name), "weight")
    assert torch.equal(net(x), pruned)
    assert torch.equal(prunecli.apply(net, mask)(x), pruned)


def test_what_torch_pruned_in_several_ways_is_one_mask_and_biases_count():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(4, 4))
    prune.ln_structured(model[0], "weight", amount=1, n=2, dim=0)
    prune.random_unstructured(model[0], "weight", amount=0.5)
    prune.l1_unstructured(model[1], "bias", amount=1)
    mask = prunecli.from_torch_prune(model)
    assert torch.equal(mask["0.weight"], model[0].weight_mask.bool())
    assert set(mask) == {"0.weight", "1.bias"}
    assert mask["1.bias"].sum() == 3


def test_a_mask_of_torchs_goes_to_a_command(checkpoint, prune, net):
    prune_module = torch.nn.utils.prune
    prune_module.global_unstructured(
        [(net.fc1, "weight"), (net.fc2, "weight")], prune_module.L1Unstructured, amount=0.9
    )
    prunecli.write_mask("m.safetensors", prunecli.from_torch_prune(net))
    assert prune("apply", checkpoint, "--mask", "m.safetensors", "-o", "a.safetensors").code == 0
    weight = prunecli.read_checkpoint("a.safetensors")["fc1.weight"]
    assert bool((weight[net.fc1.weight_mask == 0] == 0).all())


def test_a_weight_that_modules_share_is_pruned_in_each():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    kept = torch.eye(4).bool()
    prunecli.to_torch_prune(model, {"0.weight": kept})
    assert model[0].weight_orig is model[1].weight_orig
    assert torch.equal(model[1].weight, model[0].weight)
    assert torch.equal(model[1].weight != 0, kept)


def test_what_is_no_mask_and_what_does_not_fit_is_told():
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(Mismatch, match="has not pruned this module"):
        prunecli.from_torch_prune(model)
    with pytest.raises(Mismatch):
        prunecli.to_torch_prune(model, {"0.weight": torch.ones(2).bool()})
    prunecli.to_torch_prune(model, {"0.weight": torch.eye(4).bool()})
    with pytest.raises(Mismatch, match="does not have"):
        prunecli.to_torch_prune(model, {"0.weight": torch.eye(4).bool()})
    model[0].weight_mask[0, 0] = 0.5
    with pytest.raises(Mismatch, match="values other than 0 and 1"):
        prunecli.from_torch_prune(model)
