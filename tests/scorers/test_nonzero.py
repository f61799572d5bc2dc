import pytest
import torch

from prunecli.masks.select import Positive
from prunecli.scorers.nonzero import nonzero
from prunecli.tensors.parts import InMemory, in_memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_worked_by_hand(dtype):
    weight = torch.tensor([[0.0, -0.0, 1e-7], [3.0, -2.0, 0.0]], dtype=dtype)
    assert nonzero(weight).tolist() == [[0, 0, 1], [1, 1, 0]]


def test_a_reference_that_looks_at_one_weight_after_the_other():
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(7, 5, generator=draw) * (torch.rand(7, 5, generator=draw) < 0.3)
    expected = [[0.0 if value == 0 else 1.0 for value in row] for row in weight.tolist()]
    assert nonzero(weight).tolist() == expected


def test_what_stays_is_what_scores_above_0():
    scores = {"a": torch.tensor([[0.0, 1.0], [-1.0, 0.5]]), "b": torch.tensor([-torch.inf, -0.0])}
    kept = in_memory(Positive(InMemory(scores)))
    assert {n: k.tolist() for n, k in kept.items()} == {
        "a": [[False, True], [False, True]], "b": [False, False],
    }  # fmt: skip


def test_it_decides_by_itself():
    assert nonzero.decisive
