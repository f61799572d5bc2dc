"""The residual networks, against torchvision's and against their equations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from prunecli.models.resnet12 import resnet12
from prunecli.models.resnet32 import resnet32
from prunecli.models.resnet34 import resnet34
from prunecli.models.resnet50 import resnet50
from prunecli.network.layers import prunable
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.scoring.by_network import network_scores

SHAPE = (3, 32, 32)


def settled(model):
    """The model, in evaluation, with statistics and affine parameters that are not those of 1."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.add_(0.1 * torch.randn(tensor.shape, generator=draw))
    return model.eval()


@pytest.mark.parametrize(("ours", "name"), [(resnet34, "resnet34"), (resnet50, "resnet50")])
def test_it_is_torchvisions_but_for_the_stem(ours, name):
    theirs = models.get_model(name, num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    model = settled(ours(SHAPE, 10))
    states = model.state_dict(), theirs.state_dict()
    pairs = zip(states[1], states[0].values(), strict=True)  # the layers come in the same order
    theirs.load_state_dict(dict(pairs))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(x), theirs.eval()(x))


def normalised(x, state, name):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))


def test_resnet12_by_its_equations():
    model = settled(resnet12(SHAPE, 10, thin=0.05))
    state, x = model.state_dict(), torch.randn(2, *SHAPE)
    out = x
    for block in range(4):
        at, h = f"blocks.{block}", out
        for number in (1, 2, 3):
            h = F.conv2d(h, state[f"{at}.conv{number}.weight"], padding=1)
            h = normalised(h, state, f"{at}.bn{number}")
            h = torch.where(h > 0, h, 0.1 * h) if number < 3 else h
        h = h + normalised(F.conv2d(out, state[f"{at}.shortcut.0.weight"]), state,
                           f"{at}.shortcut.1")  # fmt: skip
        h = torch.where(h > 0, h, 0.1 * h)
        out = h.unflatten(3, (-1, 2)).amax(4).unflatten(2, (-1, 2)).amax(3)
    expected = out.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(
    ("build", "layers"), [(resnet12, 12 + 1), (resnet32, 32), (resnet34, 34), (resnet50, 50)]
)
def test_a_network_has_as_many_layers_as_it_says(build, layers):
    """ResNet-12 is called by its convolutions, the others by these and the classifier."""
    weights = [name for name in prunable(build(SHAPE, 10)) if "shortcut" not in name]
    assert len(weights) == layers


def test_resnet34_has_its_stages():
    model = resnet34(SHAPE, 10)
    blocks = [(b.conv1.out_channels, b.conv1.stride[0]) for b in model.blocks]
    stages = [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 3 + [(256, 2)] + [(256, 1)] * 5
    assert blocks == [*stages, (512, 2), (512, 1), (512, 1)]


class Data:
    input_shape = (3, 16, 16)

    def __iter__(self):
        draw = torch.Generator().manual_seed(1)
        yield torch.randn(6, 3, 16, 16, generator=draw), torch.arange(6) % 3

    def per_class(self, count):
        draw = torch.Generator().manual_seed(2)
        return torch.randn(3 * count, 3, 16, 16, generator=draw), torch.arange(3 * count) % 3


@pytest.mark.parametrize("method", [*names("scorers")])
@pytest.mark.parametrize("build", [resnet12, resnet32, resnet34])
def test_every_method_scores_it(build, method):
    torch.manual_seed(0)
    model = settled(build((3, 16, 16), 3, thin=0.04))
    scorer = resolve("scorers", method, by_file=False)
    if scorer.takes_model:
        scores = network_scores(scorer, model, Data(), {}, 0, "it")
    else:
        scores = {
            name: scorer.seeded(0)(weight.detach()) for name, weight in prunable(model).items()
        }
    assert list(scores) == list(prunable(model))
    for name, values in scores.items():
        assert torch.isfinite(values).all(), name
        assert values.any(), name


def test_what_flows_is_kept_in_every_cut_through_resnet12():
    """Every cut through the network carries all of R, past leaky ReLU and max pooling too."""
    torch.manual_seed(0)
    model = resnet12((3, 16, 16), 2, thin=0.004).eval()
    scores = network_scores(
        resolve("scorers", "synflow", by_file=False), model, Data(), {}, 0, "it"
    )
    flows = {name: float(values.double().sum()) for name, values in scores.items()}
    for block in range(4):
        at = f"blocks.{block}"
        for number in (1, 2, 3):
            cut = flows[f"{at}.conv{number}.weight"] + flows[f"{at}.shortcut.0.weight"]
            assert cut == pytest.approx(flows["fc.weight"], rel=1e-5)
