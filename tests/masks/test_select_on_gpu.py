import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.errors import NotFinite
from prunecli.masks.select import keep_highest
from prunecli.masks.select_on_gpu import sorted_out

ODD = st.sampled_from([-math.inf, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0000001, 3e38])


@given(st.lists(st.lists(ODD, min_size=1), min_size=1, max_size=3), st.integers(0, 40))
def test_what_a_gpu_sorts_out_is_the_same(rows, keep):
    scores = {f"w{i}": torch.tensor(row) for i, row in enumerate(rows)}
    keep = min(keep, sum(map(len, rows)))
    expected, found = keep_highest(scores, keep), sorted_out(scores, keep)
    assert all(torch.equal(found[name], expected[name]) for name in scores)
    assert sum(int(bits.sum()) for bits in found.values()) == keep


def test_what_a_gpu_sorts_out_is_in_the_order_of_places_not_of_memory():
    torch.manual_seed(0)
    rounded = torch.randint(-3, 3, (8, 4, 3, 3)).float()
    scores = {"a": rounded.to(memory_format=torch.channels_last), "b": rounded.bfloat16()}
    for keep in range(0, 2 * rounded.numel() + 1):
        found, expected = sorted_out(scores, keep), keep_highest(scores, keep)
        assert all(torch.equal(found[name], expected[name]) for name in scores)


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf])
def test_a_gpu_sorts_out_finite_scores_only(bad):
    scores = {"w0": torch.tensor([1.0]), "w1": torch.tensor([0.0, bad])}
    for way in (keep_highest, sorted_out):
        with pytest.raises(NotFinite, match="'w1' hold NaN or infinity"):
            way(scores, 1)
