"""Models, methods and pruners come to on a GPU what they come to on the CPU, but for rounding.

The tolerances are about ten times what rounding otherwise does to the same figures on the CPU, or
more: to those in float32 against float64, and in one memory format against the other.
"""

import pytest
import torch
from on_gpu import CPU, PRUNERS, assert_near, options_of, pruning, trained
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.network.untouched import untouched
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import put_on

pytestmark = pytest.mark.cuda

OF_NETWORKS = [m for m in names("scorers") if resolve("scorers", m, by_file=False).takes_model]
FIRST, SECOND, DOUBLE = 5e-5, 1e-4, 1e-12
"""Parts of the largest score of a layer: by first and second derivatives in float32 (rounding does
9e-7 and 2e-6 of it on the CPU, a GPU's ways to convolve up to 1e-5, TF32 3e-4), and in float64
(6e-16)."""
NEAR = {"grasp": SECOND, "grasp-thesis": SECOND, "obd": SECOND, "synflow": DOUBLE}
NEAR |= {"lookahead": DOUBLE}
CHOICES = [(method, {}) for method in OF_NETWORKS] + [
    ("activation", {"side": "in"}), ("fisher", {"per_class": 3}), ("gradient", {"batches": 3}),
    ("lookahead", {"normalize": "layer"}), ("obd", {"hessian": "ggn"}),
    ("snip", {"init": "xavier"}), ("snip-thesis", {"init": "own"}), ("synflow", {"conserve": True}),
]  # fmt: skip


class Data:
    """Noise in four classes, the same on every device."""

    input_shape = (1, 12, 12)

    def __init__(self, device):
        self.device = device

    def __iter__(self):
        draw = torch.Generator().manual_seed(1)
        return iter([self.batch(16, draw) for _ in range(4)])

    def per_class(self, count):
        return self.batch(4 * count, torch.Generator().manual_seed(2))

    def batch(self, size, draw):
        images, labels = torch.randn(size, *self.input_shape, generator=draw), torch.arange(size)
        return images.to(self.device), (labels % 4).to(self.device)


def network():
    # Of 180 seeds the one by which activations are furthest from zero, and from each other where
    # they are pooled: 5e-6 of the largest. Rounding cannot decide which gradients pass.
    torch.manual_seed(135)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(300, 24), nn.ReLU(), nn.Linear(24, 4),
    )  # fmt: skip


@pytest.mark.parametrize(("method", "options"), CHOICES)
def test_scores_are_those_of_the_cpu(device, method, options):
    function, scores = resolve("scorers", method, by_file=False), []
    for where in (device, CPU):
        model = put_on(network(), where)
        with untouched(model):
            scores.append(function(model.eval(), Data(where), **options))
    ours, theirs = scores
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype
        assert bool(expected.any())
        assert_near(ours[name], expected.detach(), NEAR.get(method, FIRST), name)


@pytest.fixture
def no_dropout(monkeypatch):
    """Of the random numbers for it, every device draws its own."""
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x)


def step(name, where, dtype):
    """The scores that a model gives of 16 images in training mode, and all its gradients."""
    torch.manual_seed(0)
    model = resolve("models", name, by_file=False)((3, 32, 32), 10, thin=0.25).to(dtype)
    model = put_on(model, where).train()
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(where, dtype)
    logits = model(images)
    F.cross_entropy(logits, torch.arange(16, device=where) % 10).backward()
    slopes = {name: p.grad.cpu().double() for name, p in model.named_parameters()}
    return logits.detach().cpu(), slopes


@pytest.mark.parametrize("name", names("models"))
def test_a_models_scores_and_gradients_are_those_of_the_cpu(device, no_dropout, name):
    ours, theirs = step(name, device, torch.float32), step(name, CPU, torch.float32)
    assert_near(ours[0], theirs[0], 1e-3, "logits")  # rounding does up to 7e-5 of the largest
    # An activation that rounding puts on the other side of zero lets a gradient pass or not. That
    # makes up to 3% of the gradient's length here, whatever computes.
    off = sum(float((ours[1][n] - g).square().sum()) for n, g in theirs[1].items())
    size = sum(float(g.square().sum()) for g in theirs[1].values())
    assert off <= 0.1**2 * size


@pytest.mark.parametrize("name", names("models"))
def test_a_models_gradients_are_those_of_the_cpu_in_float64(device, no_dropout, name):
    ours, theirs = step(name, device, torch.float64), step(name, CPU, torch.float64)
    assert_near(ours[0], theirs[0], 1e-9, "logits")
    largest = max(float(g.abs().max()) for g in theirs[1].values())
    for weight, expected in theirs[1].items():
        scale = max(float(expected.abs().max()), 1e-3 * largest)  # or a bias that has no effect
        assert float((ours[1][weight] - expected).abs().max()) <= 1e-8 * scale, weight


CHAOTIC = {"adaptive"}
"""Each layer's threshold is trained too, at 0.1 of the learning rate here: what rounding changes
grows. Weights changed by a part of 1e-6 at first lead to masks that have 99.4% in common."""


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_keeps_what_it_keeps_on_the_cpu(device, no_dropout, tmp_path, pruner):
    ours, theirs = both(tmp_path, pruning(pruner))
    kept, others = (read_mask(path.with_name("t.mask.safetensors"))[0] for path in (ours, theirs))
    shared = sum(int((bits & others[name]).sum()) for name, bits in kept.items())
    most = max(sum(int(bits.sum()) for bits in mask.values()) for mask in (kept, others))
    assert shared >= (0.95 if pruner in CHAOTIC else 0.99) * most
    assert shared < sum(bits.numel() for bits in kept.values())
    losses, expected = ([row["loss"] for row in history(path)] for path in (ours, theirs))
    assert losses == pytest.approx(expected, rel=0.05 if pruner in CHAOTIC else 0.01)


@pytest.mark.parametrize(
    ("pruner", "options"), [("set", {"until": 0.0}), ("n2nskip", {"sequential": "random"})]
)
def test_a_mask_that_no_weight_decides_is_the_very_same(device, tmp_path, pruner, options):
    given = pruning(pruner) | {"pruner_options": options_of(pruner) | options}
    masks = [load_file(path.with_name("t.mask.safetensors")) for path in both(tmp_path, given)]
    assert all(torch.equal(bits, masks[1][name]) for name, bits in masks[0].items())
    assert not all(bits.all() for bits in masks[0].values())


def both(folder, options):
    """The checkpoints of a training on the GPU and on the CPU."""
    places = {"gpu": {}, "cpu": {"device": "cpu"}}
    return [trained(folder / n / "t.safetensors", **own, **options) for n, own in places.items()]


def history(checkpoint):
    return open_artifact(checkpoint, "checkpoint").meta["history"]
