"""N2NSkip: half of the weights along the network, half in its skips."""

from functools import partial

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.models.n2nskip import n2nskip as model_with_skips
from prunecli.models.vgg16 import vgg16
from prunecli.network.layers import prunable
from prunecli.pruners.n2nskip import n2nskip
from prunecli.types import Course


def course_of(model, asked):
    """A course whose scores are random, and that notes what was asked of it."""
    params = prunable(model)

    def score(method, mask):
        asked.append((method, sorted(mask)))
        draw = torch.Generator().manual_seed(len(asked))
        return {name: torch.rand(w.shape, generator=draw) for name, w in params.items()}

    return Course(
        model=model,
        params=params,
        epochs=1,
        seed=0,
        scorer=partial(partial, score),
        hold_out=lambda *a, **k: None,
        flops=lambda: (0, {}),
        warn=print,
    )


def counts(pruner):
    kept = {name: int(bits.sum()) for name, bits in pruner.mask({}, None).items()}
    skipping = sum(count for name, count in kept.items() if name.startswith("skip"))
    return sum(kept.values()) - skipping, skipping


@pytest.mark.parametrize("base", ["vgg16", "alexnet", "resnet50"])
@pytest.mark.parametrize("density", [0.1, 0.05, 0.02, 0.0333])
@pytest.mark.parametrize("sequential", ["snip", "random"])
def test_both_parts_keep_half_of_exactly_the_density_of_the_base(base, density, sequential):
    torch.manual_seed(0)
    model = model_with_skips((3, 32, 32), 10, base=base, thin=1 / 64)
    asked = []
    pruner = n2nskip(course_of(model, asked), density=density, sequential=sequential)
    names = [name for name in prunable(model) if not name.startswith("skip")]
    total = sum(prunable(model)[name].numel() for name in names)
    along, skipping = counts(pruner)
    assert along + skipping == round(density * total)
    assert along - skipping in (0, 1)
    assert pruner.counted == total
    assert asked[0] == ("random", [])
    if sequential == "snip":  # sensitivity is that of the network with its sparse skips
        skips = sorted(name for name in prunable(model) if name.startswith("skip"))
        assert asked[1:] == [("snip", skips)]


def test_the_sequential_part_keeps_the_highest_scores():
    model = model_with_skips((3, 32, 32), 10, thin=1 / 64)
    course = course_of(model, [])
    kept = n2nskip(course, density=0.1, sequential="snip").mask({}, None)
    draw = torch.Generator().manual_seed(2)  # the second call is the one for snip
    scores = {n: torch.rand(w.shape, generator=draw) for n, w in course.params.items()}
    along = [name for name in kept if not name.startswith("skip")]
    lowest = min(scores[name][kept[name]].min() for name in along if kept[name].any())
    assert all((scores[name][~kept[name]] <= lowest).all() for name in along)


def test_a_network_without_skips_is_refused():
    with pytest.raises(BadUsage, match="--model n2nskip"):
        n2nskip(course_of(vgg16((3, 32, 32), 10, thin=1 / 64), []), density=0.1)


def test_more_weights_than_the_skips_have_are_refused():
    model = model_with_skips((3, 32, 32), 10, base="alexnet", thin=1 / 16)
    with pytest.raises(BadUsage, match="in the skips, which have"):
        n2nskip(course_of(model, []), density=0.5)


@pytest.mark.parametrize("density", [0, -0.1, 1.1, 1e-9])
def test_densities_that_keep_nothing_or_too_much_are_refused(density):
    model = model_with_skips((3, 32, 32), 10, thin=1 / 64)
    with pytest.raises(BadUsage, match="density"):
        n2nskip(course_of(model, []), density=density)
