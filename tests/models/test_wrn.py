"""Both wide residual networks, each against the same network written out."""

import math

import pytest
import torch
from torch.nn import functional as F

from prunecli.plugins.resolve import resolve
from prunecli.pruners.fixed_ga import fixed_ga
from prunecli.types import Course

IMAGES = (3, 32, 32)


def wrn(classes=10, seed=0, **options):
    torch.manual_seed(seed)
    return resolve("models", "wrn", by_file=False)(IMAGES, classes, **options)


def by_hand(widen, classes, biased):
    """Parameters of 16 layers: convolutions, normalisations and the linear layer."""
    widths = [16 * widen, 32 * widen, 64 * widen]
    before = [16, *widths[:2]]
    weights = 3 * 16 * 9 + widths[2] * classes + classes
    norms = 2 * widths[2]
    biases = 16
    for c, w in zip(before, widths, strict=True):
        weights += 9 * c * w + 3 * 9 * w * w + c * w  # two blocks, and a shortcut
        norms += 2 * c + 3 * 2 * w
        biases += 4 * w + w
    return weights + norms + biased * biases


@pytest.mark.parametrize(("like", "count"), [("zagoruyko", 11_007_540), ("retsinas", 11_012_036)])
def test_parameters_of_wrn_16_8_with_100_classes(like, count):
    assert by_hand(8, 100, like == "retsinas") == count
    model = wrn(100, like=like, widen=8.0)
    assert sum(p.numel() for p in model.parameters()) == count


def written_out(state, x, like):
    """The logits in training mode, by names of the state_dict."""

    def norm(x, name):
        return F.batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], True)

    def conv(x, name, stride):
        w = state[f"{name}.weight"]
        return F.conv2d(x, w, state.get(f"{name}.bias"), stride, padding=w.shape[-1] // 2)

    x = conv(x, "conv", 1)
    for number in range(6):
        block = f"blocks.{number}"
        stride = 2 if number in (2, 4) else 1
        first, second = (stride, 1) if like == "zagoruyko" else (1, stride)
        ready = F.relu(norm(x, f"{block}.bn1"))
        if f"{block}.shortcut.weight" in state:
            x = conv(ready if like == "zagoruyko" else x, f"{block}.shortcut", stride)
        out = F.relu(norm(conv(ready, f"{block}.conv1", first), f"{block}.bn2"))
        x = conv(out, f"{block}.conv2", second) + x
    pooled = F.relu(norm(x, "bn")).mean((2, 3))
    return pooled @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("like", ["zagoruyko", "retsinas"])
def test_the_forward_pass_is_the_one_written_out(like):
    model = wrn(like=like, widen=2.0).double()
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "bn1.weight")):
            torch.nn.init.normal_(parameter)
    x = torch.randn(4, *IMAGES, dtype=torch.float64)
    state = dict(model.named_parameters())
    torch.testing.assert_close(model(x), written_out(state, x, like), rtol=1e-10, atol=1e-10)
    other = "retsinas" if like == "zagoruyko" else "zagoruyko"
    assert (model(x) - written_out(state, x, other)).abs().max() > 1e-2


def test_dropout_acts_between_the_convolutions_of_either_block():
    for like in ("zagoruyko", "retsinas"):
        model = wrn(like=like, widen=1.0, dropout=0.5)
        x = torch.randn(2, *IMAGES)
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_normal_weights_have_hes_deviation_and_no_bias():
    model = wrn(like="retsinas", init="normal")
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and parameter.numel() > 10_000:
            deviation = math.sqrt(2 / parameter[0].numel())
            assert parameter.std().item() == pytest.approx(deviation, rel=0.05), name
            assert parameter.abs().max() > 3 * deviation
        elif name.endswith("bias"):
            assert not parameter.any()


@pytest.mark.parametrize(("init", "dead"), [("uniform", True), ("normal", False)])
def test_fixed_ga_at_2_percent_leaves_something_of_normal_weights(init, dead):
    model = wrn(100, like="retsinas", widen=2.0, init=init)
    params = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    warnings = []
    course = Course(model, params, 1, 0, None, None, None, warnings.append)
    pruner = fixed_ga(course, density=0.02)
    assert bool(warnings) is dead
    kept = pruner.kept()
    assert kept.keys() == {name for name, p in params.items() if p.numel() >= 1000}
    assert all(bool(mask.any()) is not dead for mask in kept.values())
    if not dead:
        assert pruner.facts()["density"] == pytest.approx(0.02, rel=0.1)
