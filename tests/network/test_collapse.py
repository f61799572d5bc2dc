"""The diagnosis of a mask, against paths and reachability worked out edge by edge."""

import itertools
import math

import pytest
import torch
from torch import nn

from prunecli.errors import Mismatch
from prunecli.files.parsing import table
from prunecli.models._resnet import Block
from prunecli.network.collapse import diagnosis, live_weights
from prunecli.network.layers import prunable

# The slow reference: every pixel of every channel is a node, every use of a weight an edge.


def edges_of(module, shape):
    """(input node, output node, place of the weight or None), and the shape of the output."""
    if isinstance(module, nn.Linear):
        outputs, inputs = module.weight.shape
        pairs = itertools.product(range(outputs), range(inputs))
        return [((i,), (o,), (o, i)) for o, i in pairs], (outputs,)
    if isinstance(module, nn.Flatten):
        nodes = list(itertools.product(*map(range, shape)))
        return [(node, (place,), None) for place, node in enumerate(nodes)], (len(nodes),)
    if isinstance(module, nn.Conv2d):
        (k, _), (s, _), (p, _) = module.kernel_size, module.stride, module.padding
        outputs, inputs = module.weight.shape[:2]
        size = [(side + 2 * p - k) // s + 1 for side in shape[1:]]
        edges = [
            ((o // (outputs // module.groups) * inputs + i, y, x), (o, row, column), (o, i, a, b))
            for o, i, a, b in itertools.product(*map(range, module.weight.shape))
            for row, column in itertools.product(*map(range, size))
            for y, x in [(row * s + a - p, column * s + b - p)]
            if 0 <= y < shape[1] and 0 <= x < shape[2]
        ]
        return edges, (outputs, *size)
    if isinstance(module, nn.MaxPool2d):
        k = s = module.kernel_size
        up = math.ceil if module.ceil_mode else math.floor
        size = [up((side - k) / s) + 1 for side in shape[1:]]
        edges = [
            ((c, y, x), (c, y // k, x // k), None)
            for c, y, x in itertools.product(*map(range, shape))
            if y // k < size[0] and x // k < size[1]
        ]
        return edges, (shape[0], *size)
    nodes = list(itertools.product(*map(range, shape)))
    return [(node, node, None) for node in nodes], shape


def by_search(mask, model, shape):
    """The live weights of a Sequential: from the input forwards, then from the output back."""
    layers, reached = [], set(itertools.product(*map(range, shape)))
    for number, module in model.named_children():
        edges, shape = edges_of(module, shape)
        kept = mask.get(f"{number}.weight")
        open_ = [e for e in edges if e[2] is None or kept is None or kept[e[2]]]
        layers.append((f"{number}.weight", [e for e in open_ if e[0] in reached]))
        reached = {end for _, end, _ in layers[-1][1]}
    live = {name: torch.zeros_like(kept) for name, kept in mask.items()}
    useful = reached
    for name, edges in reversed(layers):
        edges = [e for e in edges if e[1] in useful]
        useful = {start for start, _, _ in edges}
        for _, _, place in edges:
            if place is not None and name in live:
                live[name][place] = True
    return live


def thinned(model, density, seed):
    draw = torch.Generator().manual_seed(seed)
    return {n: torch.rand(w.shape, generator=draw) < density for n, w in prunable(model).items()}


def whole(model):
    return {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}


def perceptron(*widths, bias=True):
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def check(mask, model, shape):
    """Live weights and what the diagnosis makes of them agree with the reference."""
    live = by_search(mask, model, shape)
    assert same(live_weights(mask, model, shape), live)
    count, total = sum(int(x.sum()) for x in live.values()), sum(x.numel() for x in mask.values())
    found = diagnosis(mask, model, shape)
    assert found.effective_density == count / total
    assert found.live_path is (count > 0)
    return count


# Perceptrons


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.2, 0.35, 0.6])
def test_live_weights_are_those_on_some_path(seed, density):
    widths = (3, 4, 3, 2)
    model = perceptron(*widths)
    mask = thinned(model, density, seed)
    names, live = list(mask), {name: torch.zeros_like(kept) for name, kept in mask.items()}
    for path in itertools.product(*map(range, widths)):
        steps = [(b, a) for a, b in itertools.pairwise(path)]
        if all(mask[name][step] for name, step in zip(names, steps, strict=True)):
            for name, step in zip(names, steps, strict=True):
                live[name][step] = True
    assert same(live_weights(mask, model, (3,)), live)
    assert same(by_search(mask, model, (3,)), live)
    check(mask, model, (3,))


def test_a_perceptron_by_hand():
    model = perceptron(3, 3, 2)
    mask = {
        # h0 reads x0 and x1, h1 nothing, h2 x1; y0 reads h0 and h1, y1 nothing.
        "0.weight": torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0]]).bool(),
        "2.weight": torch.tensor([[1, 1, 0], [0, 0, 0]]).bool(),
    }
    assert table(diagnosis(mask, model, (3,))) == {
        "dead_layers": [],
        "dead_inputs": {"0.weight": 1, "2.weight": 1},  # x2; h2
        "dead_outputs": {"0.weight": 1, "2.weight": 1},  # h1; y1
        "live_path": True,
        "effective_density": 3 / 15,  # x0 and x1 to h0, h0 to y0
        "max_compression": 15 / 2,
        "feasible": True,
    }


def test_weights_everywhere_and_yet_no_path():
    model = perceptron(2, 2, 2)
    mask = {
        "0.weight": torch.tensor([[1, 1], [0, 0]]).bool(),
        "2.weight": torch.tensor([[0, 1], [0, 1]]).bool(),
    }
    found = diagnosis(mask, model, (2,))
    assert (found.dead_layers, found.live_path, found.effective_density) == ((), False, 0)


def test_layers_without_weights_are_named_and_nothing_is_live():
    model = perceptron(2, 3, 3, 2)
    mask = whole(model)
    mask["0.weight"][:] = False
    mask["4.weight"][:] = False
    found = diagnosis(mask, model, (2,))
    assert found.dead_layers == ("0.weight", "4.weight")
    assert found.dead_inputs == {"0.weight": 2, "2.weight": 0, "4.weight": 3}
    assert found.dead_outputs == {"0.weight": 3, "2.weight": 0, "4.weight": 2}
    assert (found.live_path, found.effective_density) == (False, 0)


@pytest.mark.parametrize("norm", [False, True])
def test_biases_and_normalisations_make_no_path(norm):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2) if norm else nn.Identity(), nn.ReLU(),
        nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.fill_(9)
    mask = whole(model)
    assert check(mask, model, (1, 5, 5)) == 18 + 36 + 4
    mask["0.weight"][:] = False
    assert check(mask, model, (1, 5, 5)) == 0
    mask = whole(model)
    mask["0.weight"][0] = False  # channel 0 is nothing but its bias
    assert check(mask, model, (1, 5, 5)) == 9 + 18 + 4


def test_the_weights_own_values_do_not_matter():
    model = perceptron(3, 4, 2)
    mask = thinned(model, 0.6, 1)
    before = live_weights(mask, model, (3,))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert same(live_weights(mask, model, (3,)), before)
    assert any(kept.any() for kept in before.values())


def test_layers_that_the_mask_leaves_out_count_whole():
    model = perceptron(2, 3, 3, 2)
    mask = {"2.weight": torch.zeros(3, 3).bool()}
    mask["2.weight"][0, 1] = True
    found = diagnosis(mask, model, (2,))
    assert (found.live_path, found.effective_density) == (True, 1 / 9)
    assert found.dead_inputs == {"2.weight": 2}
    assert check(mask, model, (2,)) == 1


def test_a_layer_that_is_called_twice_is_on_the_path_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(self.fc(x))

    def live(output, input_):
        mask = {"fc.weight": torch.zeros(2, 2).bool()}
        mask["fc.weight"][output, input_] = True
        return diagnosis(mask, Twice(), (2,)).effective_density

    assert live(0, 0) == 1 / 4
    assert live(1, 0) == 0  # what arrives at 1 does not leave from 0


def test_a_weight_that_two_layers_share_is_masked_in_both():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    [name] = prunable(model)
    mask = {name: torch.tensor([[0, 0], [1, 0]]).bool()}
    found = diagnosis(mask, model, (2,))
    assert (found.live_path, found.effective_density) == (False, 0)
    mask = {name: torch.tensor([[1, 0], [0, 0]]).bool()}
    assert diagnosis(mask, model, (2,)).effective_density == 1 / 4


# Convolutions


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Conv2d(3, 6, 2, groups=3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2),
    )  # fmt: skip


def like_vgg():
    """Pooled to 2x2 and then to 1x1, as the last convolutions of a VGG-16 are."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [0.1, 0.3, 0.7])
@pytest.mark.parametrize(
    ("build", "shape"), [(convolutional, (2, 6, 6)), (like_vgg, (1, 4, 4)), (like_vgg, (1, 3, 3))]
)
def test_convolutions_agree_with_a_search_over_pixels(build, shape, density, seed):
    check(thinned(build(), density, seed), build(), shape)


def test_all_offsets_before_a_pooling_of_two_by_two_are_live():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)
    )
    assert diagnosis(whole(model), model, (1, 2, 2)).effective_density == 1
    for place in itertools.product(range(3), range(3)):
        mask = whole(model)
        mask["0.weight"][:] = False
        mask["0.weight"][1, 0][place] = True
        assert diagnosis(mask, model, (1, 2, 2)).effective_density == (1 + 2) / (18 + 4)


def test_on_a_single_pixel_only_the_middle_of_a_kernel_is_live():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3, 2))
    live = live_weights(whole(model), model, (2, 1, 1))
    assert int(live["0.weight"].sum()) == int(live["0.weight"][:, :, 1, 1].sum()) == 6
    assert diagnosis(whole(model), model, (2, 1, 1)).effective_density == (6 + 6) / (54 + 6)


def test_flattening_leads_each_pixel_to_its_own_column():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 1))
    mask = whole(model)
    mask["0.weight"][1] = False
    live = live_weights(mask, model, (1, 2, 2))
    assert live["2.weight"].tolist() == [[True] * 4 + [False] * 4]


def test_dead_channels_of_a_convolution_by_hand():
    kept = torch.zeros(3, 4, 2, 2).bool()
    kept[0, 1, 0, 1] = kept[2, 1, 1, 1] = kept[2, 3, 0, 0] = True
    found = diagnosis({"w": kept, "b": torch.tensor([True, False])})
    assert found.dead_inputs == {"w": 2, "b": 0}
    assert found.dead_outputs == {"w": 1, "b": 1}


@pytest.mark.parametrize(
    ("layer", "kept", "inputs", "outputs"),
    [
        (nn.Conv2d(3, 3, 1, groups=3), [0, 1, 1], 1, 1),
        (nn.Conv2d(4, 2, 1, groups=2), [[1, 0], [0, 0]], 3, 1),
        (nn.ConvTranspose2d(2, 3, 1), [[1, 0, 0], [0, 0, 0]], 1, 2),
        (nn.ConvTranspose2d(2, 4, 1), [[1, 0, 0, 0], [1, 0, 0, 0]], 0, 3),
    ],
)
def test_dead_channels_of_grouped_and_transposed_convolutions(layer, kept, inputs, outputs):
    """Their weights are [outputs, inputs of the group] and [inputs, outputs of the group]."""
    model = nn.Sequential(layer)
    mask = {"0.weight": torch.tensor(kept).bool().reshape(layer.weight.shape)}
    found = diagnosis(mask, model, (layer.in_channels, 2, 2))
    assert found.dead_inputs == {"0.weight": inputs}
    assert found.dead_outputs == {"0.weight": outputs}


# Residual blocks


def residual(block, outputs):
    return nn.Sequential(
        nn.Conv2d(1, block.conv1.in_channels, 1), nn.ReLU(), block,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 2),
    )  # fmt: skip


@pytest.mark.parametrize("dead", ["conv1", "conv2"])
def test_a_dead_branch_leaves_the_path_through_the_shortcut(dead):
    model = residual(Block(2, 2, 1), 2)
    mask = whole(model)
    assert diagnosis(mask, model, (1, 4, 4)).effective_density == 1
    mask[f"2.{dead}.weight"][:] = False
    found = diagnosis(mask, model, (1, 4, 4))
    assert found.dead_layers == (f"2.{dead}.weight",)
    # Of the branch's 72 weights none leads through; the stem's 2 and the classifier's 4 do.
    assert (found.live_path, found.effective_density) == (True, 6 / 78)


def test_a_live_branch_does_not_revive_a_dead_stem():
    model = residual(Block(2, 2, 1), 2)
    mask = whole(model)
    mask["0.weight"][:] = False
    assert diagnosis(mask, model, (1, 4, 4)).live_path is False


def test_a_wider_block_adds_channels_that_only_the_branch_feeds():
    # Two channels become four; those of the shortcut are in the middle, at 1 and 2.
    model = residual(Block(2, 4, 2), 4)
    mask = whole(model)
    mask["2.conv2.weight"][:] = False
    mask["0.weight"][1] = False
    live = live_weights(mask, model, (1, 4, 4))
    assert live["5.weight"].tolist() == [[False, True, False, False]] * 2
    assert live["0.weight"].flatten().tolist() == [True, False]
    assert not live["2.conv1.weight"].any()
    mask["2.conv2.weight"][3, 0, 1, 1] = True
    live = live_weights(mask, model, (1, 4, 4))
    assert live["5.weight"].tolist() == [[False, True, False, True]] * 2
    assert live["2.conv1.weight"].flatten(1).sum(1).tolist() == [9, 0, 0, 0]  # of channel 0 alone
    assert int(live["2.conv2.weight"].sum()) == 1


# Depth


@pytest.mark.parametrize("seed", range(3))
def test_forty_layers_agree_with_a_search(seed):
    model = perceptron(*[6] * 41, bias=False)
    assert check(thinned(model, 0.5, seed), model, (6,)) > 0


def test_the_faintest_path_of_forty_layers_is_seen():
    """Unit 0 of each layer reads all and feeds unit 0 alone: its share falls 32-fold a layer."""
    model = perceptron(*[32] * 41, bias=False)
    mask = whole(model)
    for kept in list(mask.values())[1:]:
        kept[1:, 0] = False
    assert same(live_weights(mask, model, (32,)), mask)
    list(mask.values())[-1][0] = False
    live = list(live_weights(mask, model, (32,)).values())
    assert not any(kept[0].any() for kept in live)
    assert all(kept[1:, 1:].all() for kept in live)


def test_more_paths_than_a_float64_can_count_are_counted_as_paths():
    model = perceptron(*[64] * 181, bias=False)  # 64**180 is over 1e308
    mask = whole(model)
    first, second, *_, last = mask
    mask[first][:, 5] = False  # an input that nothing reads
    mask[last][:, 7] = False  # a unit that nothing reads: what feeds it is of no use
    mask[second][3, 4] = False  # a single weight, without which all others are as live
    found = diagnosis(mask, model, (64,))
    size = 64 * 64
    assert (found.live_path, found.dead_layers) == (True, ())
    assert found.effective_density == (180 * size - 64 - 64 - 64 - 1) / (180 * size)


# What cannot be told


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


def test_a_tied_autoencoder_is_diagnosed():
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 1))
    model[2].weight = model[0].weight
    mask = whole(model)
    mask["0.weight"][1] = False  # of the four channels between
    assert diagnosis(mask, model, (2, 3, 3)).effective_density == 6 / 8


def test_of_a_network_that_cannot_be_traced_the_mask_is_diagnosed():
    mask = {"fc.weight": torch.tensor([[1, 0], [0, 0]]).bool()}
    with pytest.raises(Mismatch, match="cannot trace the forward of Deciding"):
        live_weights(mask, Deciding(), (2,))
    expected = {
        "dead_layers": [], "dead_inputs": {"fc.weight": 1}, "dead_outputs": {"fc.weight": 1},
        "live_path": None, "effective_density": None, "max_compression": 4, "feasible": True,
    }  # fmt: skip
    assert diagnosis(mask, Deciding(), (2,)) == diagnosis(mask)
    assert table(diagnosis(mask)) == expected


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.fc = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(self.cell(x.squeeze(1))[0][:, -1])


class OwnProduct(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.fc = nn.Parameter(torch.ones(16, 3)), nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.flatten(1) @ self.w)


@pytest.mark.parametrize("build", [Recurrent, OwnProduct])
def test_weights_of_other_kinds_of_layer_do_not_stop_the_diagnosis(build):
    mask = {"fc.weight": torch.tensor([[1, 0, 1], [0, 0, 0]]).bool()}
    found = diagnosis(mask, build(), (1, 4, 4))
    assert found.effective_density in (None, 2 / 6)
    assert found.dead_outputs == {"fc.weight": 1}


@pytest.mark.parametrize(("left", "feasible"), [(0, False), (1, False), (2, True), (10, True)])
def test_as_many_weights_as_layers_are_feasible(left, feasible):
    kept = torch.arange(12) < left
    found = diagnosis({"a": kept[:4].reshape(2, 2), "b": kept[4:].reshape(2, 4)})
    assert (found.max_compression, found.feasible) == (6, feasible)
