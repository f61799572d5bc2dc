"""Skips lead from every activation to the one after next, and change nothing else."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage, Mismatch
from prunecli.models.n2nskip import BASES, n2nskip
from prunecli.models.vgg16 import vgg16


def skips_of(model):
    return {name: module for name, module in model.named_children() if name.startswith("skip")}


def randomised(model):
    """With statistics and scales that are not the identity."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@torch.no_grad()
def test_vgg16_with_skips_computes_what_a_loop_by_hand_does():
    model = randomised(n2nskip((3, 32, 32), 10, thin=1 / 64))
    parts = dict(model.named_children())
    skips = skips_of(model)
    assert len(skips) == 11  # 13 activations, two apart
    x = images = torch.randn(2, 3, 32, 32)
    activations = []
    for number in range(1, 14):
        z = parts[f"bn{number}"](parts[f"conv{number}"](x))
        if number > 2:
            past, skip = activations[number - 3], skips[f"skip{number - 2}"]
            stride = past.shape[-1] // z.shape[-1]
            moved = F.conv2d(past, skip.conv.weight, stride=stride, padding=1)
            z = z + skip.bn(moved).relu()
        activations.append(z.relu())
        x = parts[f"pool{number}"](activations[-1]) if f"pool{number}" in parts else activations[-1]
    torch.testing.assert_close(model(images), parts["fc"](x.mean((2, 3))))


@pytest.mark.parametrize("base", BASES)
@torch.no_grad()
def test_skips_of_zero_leave_the_base_as_it_is(base):
    torch.manual_seed(0)
    plain = BASES[base]((3, 32, 32), 10, thin=1 / 16)
    model = n2nskip((3, 32, 32), 10, base=base, thin=1 / 16)
    own = {name: t for name, t in model.state_dict().items() if not name.startswith("skip")}
    assert list(own) == list(plain.state_dict())
    plain.load_state_dict(own)
    for skip in skips_of(model).values():
        nn.init.zeros_(skip.conv.weight)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), plain.eval()(images))


def test_the_base_starts_as_it_would_alone():
    torch.manual_seed(3)
    alone = vgg16((3, 32, 32), 10, thin=1 / 16).state_dict()
    torch.manual_seed(3)
    joined = n2nskip((3, 32, 32), 10, thin=1 / 16).state_dict()
    assert all(torch.equal(joined[name], alone[name]) for name in alone)


def test_a_skip_has_the_kernel_of_the_layer_it_leads_past():
    skips = skips_of(n2nskip((3, 32, 32), 10, base="resnet50", thin=1 / 16))
    kernels = [skip.conv.kernel_size for skip in skips.values()]
    # Activations: the stem's, then three of each block, after kernels of 1, 3 and 1.
    assert kernels[:5] == [(3, 3), (1, 1), (1, 1), (3, 3), (1, 1)]


def test_span_says_how_far():
    assert len(skips_of(n2nskip((3, 32, 32), 10, thin=1 / 64, span=5))) == 8
    with pytest.raises(BadUsage, match="13 convolutional"):
        n2nskip((3, 32, 32), 10, thin=1 / 64, span=13)
    with pytest.raises(BadUsage, match="1 or more"):
        n2nskip((3, 32, 32), 10, span=0)


def test_sizes_that_no_stride_connects_are_refused():
    from prunecli.models.n2nskip import _stride

    assert [_stride(32, 16), _stride(28, 4), _stride(7, 7), _stride(1, 1)] == [2, 7, 1, 1]
    with pytest.raises(Mismatch, match="10 to 6"):
        _stride(10, 6)
