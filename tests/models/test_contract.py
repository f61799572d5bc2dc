"""What every bundled model promises, run on each of them by name."""

import pytest
import torch

from prunecli.errors import BadUsage, Mismatch
from prunecli.models._thin import thinner
from prunecli.network.layers import classifier, prunable
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

PARAMETERS = {  # with 10 classes, on the images in the second column; counted by hand
    "cnn": ((1, 28, 28), 431_080),
    "vgg16": ((3, 32, 32), 14_724_042),
    "resnet20": ((3, 32, 32), 269_722),
    "resnet32": ((3, 32, 32), 464_154),
    "resnet56": ((3, 32, 32), 853_018),
    "resnet12": ((3, 32, 32), 12_430_730),
    "resnet34": ((3, 32, 32), 21_282_122),
    "resnet50": ((3, 32, 32), 23_520_842),
    "alexnet": ((3, 32, 32), 23_273_418),
    "mobilenet": ((3, 32, 32), 3_217_226),
    "wrn": ((3, 32, 32), 10_961_370),
    "n2nskip": ((3, 32, 32), 27_855_818),  # vgg16, 13,123,584 in skips, 8,192 in their bn
}
MODELS = list(names("models"))


def build(name, shape, classes=10):
    torch.manual_seed(0)
    return resolve("models", name, by_file=False)(shape, classes)


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


@pytest.mark.parametrize("name", ["cnn", "resnet12"])
def test_a_model_says_what_it_needs(name):
    with pytest.raises(Mismatch, match=f"{name} needs images of 16x16 pixels or more, not 15x40"):
        build(name, (1, 15, 40))
    assert build(name, (1, 16, 16))(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("alpha", "depth", "count"),
    [
        (1.0, 1, 3_239_114), (1.0, 2, 6_443_178), (1.0, 4, 12_851_306),
        (0.5, 1, 834_666), (0.5, 2, 1_651_802), (0.5, 4, 3_286_074),
    ],
)  # fmt: skip
def test_mobilenet_counted_with_the_statistics_of_its_normalisations(alpha, depth, count):
    # As Keras counts: 3.24, 6.44 and 12.85 M at alpha 1, and 0.83, 1.65 and 3.29 M at alpha 0.5.
    model = resolve("models", "mobilenet", by_file=False)((3, 32, 32), 10, alpha=alpha, depth=depth)
    assert sum(t.numel() for t in model.state_dict().values() if t.ndim) == count


def test_mobilenet_with_a_thousand_outputs_is_the_network_of_13_8_million():
    build = resolve("models", "mobilenet", by_file=False)
    model = build((3, 32, 32), 10, depth=4, outputs=1000)
    assert sum(p.numel() for p in model.parameters()) == 13_814_408
    assert prunable(model)[classifier(model)].shape == (1000, 1024)


@pytest.mark.parametrize("options", [{"alpha": 0.01}, {"alpha": 1.0, "depth": 0}])
def test_mobilenet_says_what_it_needs(options):
    with pytest.raises(BadUsage, match="mobilenet needs"):
        resolve("models", "mobilenet", by_file=False)((3, 32, 32), 10, **options)


@pytest.mark.parametrize("name", MODELS)
def test_thin_leaves_a_quarter_of_the_weights_between_layers(name):
    shape, _ = PARAMETERS[name]
    full = prunable(build(name, shape))
    thin = prunable(resolve("models", name, by_file=False)(shape, 10, thin=0.25))
    assert list(thin) == list(full)
    for weight in list(full)[1:-1]:  # the first has the image's channels, the last the classes
        once = "depthwise" in weight or full[weight].shape[1] == shape[0]  # of the image's channels
        assert thin[weight].numel() * (2 if once else 4) == full[weight].numel(), weight
    assert thin[list(full)[-1]].numel() * 2 == full[list(full)[-1]].numel()


def test_thin_rounds_down_and_keeps_a_channel():
    thinned = thinner(0.15)  # sqrt(0.15) = 0.3873
    assert [thinned(channels) for channels in (1, 16, 128, 512)] == [1, 6, 49, 198]
    assert [thinner(1 / 9)(3), thinner(0.01)(100)] == [1, 10]


@pytest.mark.parametrize("thin", [0.0, -1.0, 1.5, float("nan")])
def test_thin_says_what_it_needs(thin):
    with pytest.raises(BadUsage, match="above 0"):
        thinner(thin)


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
