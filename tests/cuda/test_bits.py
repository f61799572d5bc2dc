"""What is exact stays exact on a GPU: masks of equal scores, zeros, and float32 that is float32."""

import itertools
import math

import pytest
import torch
from on_gpu import CPU, NAME, assert_near
from safetensors.torch import load_file
from torch import nn

from prunecli.files.artifacts import PRUNED
from prunecli.masks.mask import aligned, apply_
from prunecli.masks.select import keep_highest
from prunecli.pruners._masked import Masked
from prunecli.runtime.device import autocast
from prunecli.tensors.zeros import WHOLE, zero_
from prunecli.types import Course

pytestmark = pytest.mark.cuda

FLOATS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2,
]  # fmt: skip
PLUGIN = '''
import torch
from prunecli.network.layers import prunable

def coarse(model, data):
    """Scores with many ties, of both signs and zero, that are no matter of rounding."""
    draw = torch.Generator().manual_seed(4)
    return {
        name: (torch.randint(-9, 9, w.shape, generator=draw) / 8).to(w.device).reshape(w.shape)
        for name, w in prunable(model).items()
    }
'''


@pytest.fixture
def coarse(tmp_path, monkeypatch):
    """A method that gives the same scores on every device."""
    (tmp_path / "coarse_for_tests.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return "coarse_for_tests:coarse"


CHOICES = {
    "global": ["--density", "0.1"],
    "layer": ["--density", "0.1", "--scope", "layer"],
    "uniform": ["--density", "0.1", "--scope", "uniform"],
    "erk": ["--density", "0.1", "--scope", "erk"],
    "rounds": ["--density", "0.1", "--rounds", "3"],
    "critical": ["--critical"],
    "few": ["--density", "0.0001"],
    "all": ["--density", "1"],
    "2:4": ["--pattern", "2:4", "--ignore", "conv1.*"],
    "1:5": ["--pattern", "1:5", "--ignore", "conv1.*"],
}


@pytest.mark.parametrize("choice", CHOICES)
def test_equal_scores_make_the_very_same_mask(on_gpu, prune, dense, coarse, tmp_path, choice):
    masks = [tmp_path / f"{name}.safetensors" for name in ("gpu", "cpu")]
    how = ["mask", dense, "--method", coarse, *CHOICES[choice]]
    on_gpu(*how, "-o", masks[0])
    ended = prune(*how, "--device", "cpu", "-o", masks[1])
    assert ended.code == 0, ended.err
    assert masks[0].read_bytes() == masks[1].read_bytes()
    kept = load_file(masks[0])
    assert any(bits.any() for bits in kept.values())


def test_a_pruner_ranks_scores_on_the_gpu_as_those_on_the_cpu(device):
    draw = torch.Generator().manual_seed(4)
    params = {n: torch.randn(shape, generator=draw) for n, shape in (("a", (7, 5)), ("b", (40,)))}
    scores = {n: (torch.randint(-3, 3, w.shape, generator=draw) / 2) for n, w in params.items()}
    masks = []
    for where in (device, CPU):
        moved = {n: nn.Parameter(w.to(where)) for n, w in params.items()}
        pruner = Masked(Course(nn.Module(), moved, 1, 0, None, None, None, None))
        pruner.keep({n: w > -1 for n, w in params.items()})
        left = pruner.left({n: s.to(where) for n, s in scores.items()})
        masks.append(keep_highest(left, 20))
    assert all(torch.equal(masks[0][n], masks[1][n]) for n in params)
    assert sum(int(bits.sum()) for bits in masks[0].values()) == 20
    assert bool((left["a"] == PRUNED).any())


@pytest.mark.parametrize("shape", [(7, 5), (64, 32, 3, 3)])
def test_scores_on_the_gpu_are_sorted_out_there_as_on_the_cpu(device, shape):
    draw = torch.Generator().manual_seed(6)
    few = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 1e-45, 1.0])
    scores = {
        "tied": few[torch.randint(len(few), shape, generator=draw)],
        "channels last": torch.randn(shape, generator=draw),
        "half": torch.randn(shape, generator=draw).bfloat16(),
    }
    there = {n: s.to(device) for n, s in scores.items()}
    if len(shape) == 4:
        there["channels last"] = there["channels last"].to(memory_format=torch.channels_last)
    total = 3 * math.prod(shape)
    for keep in (0, 1, total // 3, total // 2, total - total // 20, total):
        found, expected = keep_highest(there, keep), keep_highest(scores, keep)
        assert {each.device for each in found.values()} == {there["tied"].device}
        assert all(torch.equal(found[n].cpu(), expected[n]) for n in scores)


def odd(shape, dtype):
    """Values of a type, with NaN, infinity if it has one, -0.0 and the smallest among them."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    bits = values.view(WHOLE[values.element_size()])
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0]).to(dtype)
    flat = bits.flatten()
    for place, value in enumerate(special.view(bits.dtype)):
        flat[place::11] = value
    flat[4::11] = 1
    return flat.reshape(shape).view(dtype)


def bits_of(tensor):
    """Its bits, laid out as the CPU has them."""
    there = tensor.cpu().contiguous()
    return there.view(WHOLE[there.element_size()])


LAYOUTS = [(24,), (6, 4), (3, 5, 2, 4)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("shape", "last"), [*itertools.product(LAYOUTS, [False]), (LAYOUTS[2], True)]
)
def test_what_is_masked_is_plus_zero_and_the_rest_is_as_it_was_to_the_bit(
    device, dtype, shape, last
):
    values = odd(shape, dtype)
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.5
    form = {"memory_format": torch.channels_last} if last else {}
    weight, other = (values.clone().to(device).contiguous(**form) for _ in range(2))
    mask = aligned({"w": kept}, {"w": weight})
    assert mask["w"].device.type == NAME
    assert mask["w"].stride() == weight.stride()
    assert torch.equal(mask["w"].cpu(), kept)
    zero_(weight, mask["w"])
    apply_({"w": other}, mask)
    expected = bits_of(values) * kept
    assert torch.equal(bits_of(weight), expected)
    assert torch.equal(bits_of(other), expected)
    assert bool(expected.any())


def test_float32_means_float32_in_a_product_of_matrices(device):
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    exact = a.double() @ b.double()
    assert_near(a.to(device) @ b.to(device), exact, 1e-5)  # TF32 would be off by 3e-4
    layer = nn.Linear(512, 512, bias=False).to(device)
    with torch.no_grad():
        layer.weight.copy_(b.t())
    assert_near(layer(a.to(device)), exact, 1e-5)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_float32_means_float32_in_a_convolution_and_its_gradients(device, form):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(64, 64, 3, padding=1, bias=False), torch.randn(8, 64, 16, 16)
    slope = torch.randn(8, 64, 16, 16)
    found = []
    for where, dtype in ((device, torch.float32), (CPU, torch.float64)):
        own = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        own.load_state_dict(layer.state_dict())
        own = own.to(where, dtype, memory_format=form)
        given = x.clone().to(where, dtype, memory_format=form).requires_grad_()
        y = own(given)
        y.backward(slope.to(where, dtype, memory_format=form))
        found.append((y.detach(), given.grad, own.weight.grad))
    for ours, exact in zip(*found, strict=True):  # TF32 is off by 3e-4, Winograd's way by 1e-5
        assert_near(ours, exact, 4e-5)


def test_autocast_computes_in_bf16_and_leaves_weights_and_gradients_float32(device):
    layer, x = nn.Linear(64, 64).to(device), torch.randn(8, 64, device=device)
    with autocast("bf16", device):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert_near(y, layer(x).detach().cpu(), 0.02)
