"""What every bundled model promises, run on each of them by name."""

import pytest
import torch

from prunecli import registry
from prunecli.errors import Mismatch
from prunecli.masks import classifier, prunable

PARAMETERS = {  # with 10 classes, on the images in the second column; counted by hand
    "cnn": ((1, 28, 28), 431_080),
    "vgg16": ((3, 32, 32), 14_724_042),
    "resnet20": ((3, 32, 32), 269_722),
    "resnet56": ((3, 32, 32), 853_018),
}
MODELS = list(registry.names("models"))


def build(name, shape, classes=10):
    torch.manual_seed(0)
    return registry.find("models", name)(shape, classes)


@pytest.mark.parametrize("name", MODELS)
def test_parameter_counts(name):
    shape, count = PARAMETERS[name]
    assert sum(p.numel() for p in build(name, shape).parameters()) == count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 48)])
def test_any_usual_image_gives_finite_logits_and_gradients_everywhere(name, shape):
    model = build(name, shape, classes=7)
    logits = model(torch.randn(4, *shape))
    assert logits.shape == (4, 7)
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_alone_decides_the_initialisation(name):
    one, two = (build(name, (3, 32, 32)).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", MODELS)
def test_all_but_biases_and_normalisation_is_prunable_and_the_classifier_is_last(name):
    model = build(name, (3, 32, 32))
    large = [n for n, p in model.named_parameters() if p.ndim >= 2]
    assert list(prunable(model)) == large
    assert classifier(model) == large[-1]


def test_cnn_says_what_it_needs():
    with pytest.raises(Mismatch, match="16x16"):
        build("cnn", (1, 8, 8))


def test_resnet_shortcuts_pass_the_input_on():
    from prunecli.models._resnet import Block

    block = Block(16, 32, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 16, 8, 8)
    out = block(x)
    assert out.shape == (1, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()
