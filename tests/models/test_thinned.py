"""Dense equivalents of torchvision's networks: eq. 12 by hand, and that each still is its own."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import open_artifact
from prunecli.network.build import load_model
from prunecli.plugins.resolve import resolve

IMAGES = (3, 64, 64)


def thin(name, part, classes=10, images=IMAGES, seed=0):
    torch.manual_seed(seed)
    more = {} if part is None else {"thin": part}
    return resolve("models", f"torchvision:{name}", by_file=False)(images, classes, **more)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def resnet50_by_hand(part, classes):
    """Bottlenecks of 3, 4, 6 and 3, each channel count floor(sqrt(part) C)."""

    def c(full):
        return math.floor(math.sqrt(part) * full)

    def conv(inputs, outputs, side):
        return inputs * outputs * side**2 + 2 * outputs  # with its normalisation

    total, before = conv(3, c(64), 7), c(64)
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            total += conv(before, c(width), 1) + conv(c(width), c(width), 3)
            total += conv(c(width), c(4 * width), 1)
            total += conv(before, c(4 * width), 1) * (block == 0)
            before = c(4 * width)
    return total + before * classes + classes


@pytest.mark.parametrize("part", [0.5, 0.3, 0.25, 0.1])
def test_resnet50_has_the_parameters_of_eq_12(part):
    count = parameters(thin("resnet50", part, 1000))
    assert count == resnet50_by_hand(part, 1000)
    assert count / resnet50_by_hand(1, 1000) == pytest.approx(part, abs=0.04)
    assert resnet50_by_hand(1, 1000) == 25_557_032


FAMILIES = [
    "alexnet", "vgg11", "vgg11_bn", "resnet18", "resnet34", "mobilenet_v2", "mobilenet_v3_small",
    "densenet121", "squeezenet1_1", "googlenet", "efficientnet_b0", "mnasnet0_5",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_quarter_of_the_weights_is_half_of_all_channels_but_the_images_and_classes(name):
    images = (3, 75, 75)
    full, narrow = thin(name, None, images=images), thin(name, 0.25, images=images)
    assert list(narrow.state_dict()) == list(full.state_dict())
    layers = [
        (a, b)
        for a, b in zip(full.modules(), narrow.modules(), strict=True)
        if isinstance(a, nn.Conv2d | nn.Linear)
    ]
    for place, (a, b) in enumerate(layers):
        before, after = a.weight.shape, b.weight.shape
        last = place == len(layers) - 1
        assert after[0] == (before[0] if last else before[0] // 2)
        if isinstance(a, nn.Conv2d) and a.groups > 1:
            assert (b.groups, after[1]) == (after[0], 1), "depthwise"
        elif place:
            assert after[1] == pytest.approx(before[1] / 2, abs=2)  # odd halves side by side
        else:
            assert after[1] == 3
    logits = narrow(torch.randn(2, *images))
    assert logits.shape == (2, 10)
    logits.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in narrow.parameters())


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("resnet18", lambda w: math.sqrt(2 / (w.shape[0] * w[0, 0].numel()))),  # He, by outputs
        ("googlenet", lambda w: 0.01),
        ("alexnet", lambda w: 1 / math.sqrt(3 * w[0].numel())),  # torch's own
    ],
)
def test_weights_are_drawn_by_the_networks_own_rule(name, deviation):
    for parameter in list(thin(name, 0.3).parameters()):
        if parameter.ndim == 4 and parameter.numel() > 20_000:
            assert parameter.std().item() == pytest.approx(deviation(parameter), rel=0.03)


def test_a_rule_that_looks_for_a_layer_of_its_network_finds_it():
    """SqueezeNet draws its last convolution, which it tells by identity, with deviation 0.01."""
    *_, last, _ = thin("squeezenet1_1", 0.5, 1000).parameters()
    assert last.shape[0] == 1000
    assert last.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_nothing_thinned_is_torchvisions_own_to_the_bit(name):
    torch.manual_seed(0)
    theirs = models.get_model(name, num_classes=10).state_dict()
    for part in (None, 1.0):
        ours = thin(name, part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_seed_alone_decides():
    one, two = (thin("resnet18", 0.2).state_dict() for _ in "ab")
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["conv1.weight"], thin("resnet18", 0.2, seed=1).conv1.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_b_32", "cannot be thinned because it has 'Encoder', 'LayerNorm', 'Multihead"),
        ("convnext_tiny", "cannot be thinned because it has 'CNBlock', 'LayerNorm'"),
        ("resnext50_32x4d", "a convolution of 32 groups cannot be thinned to 70 input"),
        ("regnet_y_400mf", "cannot be thinned so far"),
    ],
)
def test_what_cannot_be_thinned_says_so_in_a_line(name, message):
    with pytest.raises(BadUsage, match=message) as caught:
        thin(name, 0.3, images=(3, 224, 224))
    assert "\n" not in str(caught.value)


def test_images_that_the_network_does_not_take_are_the_matter_there_too():
    with pytest.raises(Mismatch, match="does not take 3x32x32 images"):
        thin("alexnet", 0.5, images=(3, 32, 32))
    with pytest.raises(BadUsage, match="above 0"):
        thin("resnet18", 0.0)


def test_no_hook_is_left_behind():
    thin("resnet18", 0.25)
    made = nn.Sequential(nn.Conv2d(3, 64, 7))
    assert made[0].out_channels == 64
    assert not any(m._forward_pre_hooks for m in thin("resnet18", 0.25).modules())


@pytest.fixture
def coloured(tmp_path):
    """A folder of coloured noise in two classes."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in "ab":
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "0.png")
    return tmp_path / "data"


def test_a_checkpoint_of_one_comes_back(tmp_path, prune, coloured):
    output = tmp_path / "c.safetensors"
    ended = prune(
        "train", "--model", "torchvision:resnet18", "--thin", "0.1", "--dataset", "folder",
        "--data-dir", coloured, "--epochs", "0", "-o", output,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    file = open_artifact(output, "checkpoint")
    assert file.meta["model"]["options"] == {"thin": 0.1}
    assert load_model(file).layer4[1].conv2.out_channels == math.floor(math.sqrt(0.1) * 512)
    assert prune("eval", output, "--data-dir", coloured).code == 0
