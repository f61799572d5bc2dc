import pytest
import torch
import torchvision
from torch import nn

from prunecli.network.flops import count_flops, sparse_flops

CASES = {
    # name: module, input, multiply-adds counted by hand
    "valid padding": (nn.Conv2d(1, 2, 3), (1, 6, 5), 2 * 4 * 3 * 9),
    "same padding": (nn.Conv2d(3, 8, 3, padding=1), (3, 6, 6), 8 * 36 * 27),
    "stride": (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 7, 7), 8 * 16 * 27),
    "groups": (nn.Conv2d(4, 8, 3, groups=2), (4, 5, 5), 8 * 9 * 2 * 9),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5), 4 * 9 * 9),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), 60),
}


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case):
    module, shape, multiply_adds = CASES[case]
    total, layers = count_flops(nn.Sequential(module), shape)
    assert total == 2 * multiply_adds
    assert max(layers.values()) == 2 * multiply_adds


def test_layers_are_named_by_their_weights_and_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).train()
    total, layers = count_flops(model, (1, 6, 6))
    assert layers["0.weight"] == 2 * 2 * 16 * 9
    assert layers["3.weight"] == 2 * 32 * 3
    assert total == 576 + 192
    assert model.training
    assert sparse_flops(total, layers, {"0.weight": 0.25, "3.weight": 1.0}) == 144 + 192
    assert sparse_flops(total, layers, {}) == total


def test_layers_that_share_a_weight_count_for_it_together():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight
    total, layers = count_flops(nn.Sequential(nn.Flatten(), one, two), (1, 2, 2))
    assert layers == {"1.weight": total}
    assert sparse_flops(total, layers, {"1.weight": 0.25}) == total / 4 == 16


def test_a_layer_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(x.flatten(1)))

    assert count_flops(Twice(), (1, 2, 2)) == (64, {"fc.weight": 64})


@pytest.mark.parametrize(("name", "side", "expected"), [
    ("vit_b_16", 224, 17.564), ("swin_t", 224, 4.491), ("resnet18", 224, 1.814),
    ("mobilenet_v3_small", 224, 0.057), ("densenet121", 224, 2.834),
])  # fmt: skip
def test_multiply_adds_are_those_that_torchvision_publishes(name, side, expected):
    total, _ = count_flops(getattr(torchvision.models, name)(), (3, side, side))
    assert total / 2e9 == pytest.approx(expected, abs=0.0006)


def test_weights_of_attention_count_for_it_and_its_scores_for_none():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            return self.mix(tokens, tokens, tokens, need_weights=False)[0]

    total, layers = count_flops(Attention(), (4, 3, 2))
    assert layers == {"mix.in_proj_weight": 2 * 6 * 4 * 12, "mix.out_proj.weight": 2 * 6 * 4 * 4}
    of_scores = 2 * 2 * (6 * 2 * 6)  # of 2 heads: queries by keys, then those by values
    assert total == sum(layers.values()) + 2 * of_scores
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_is_computed_from_a_weight_is_not_saved_by_its_zeros():
    class Standardised(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x.flatten(1), self.weight - self.weight.mean())

    assert count_flops(Standardised(4, 2), (1, 2, 2)) == (16, {})


def test_the_devices_own_dtype_is_used():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(torch.float64)
    assert count_flops(model, (1, 2, 2))[0] == 16
