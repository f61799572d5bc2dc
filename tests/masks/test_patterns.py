import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.errors import BadUsage, Mismatch, NotFinite
from prunecli.masks.patterns import Pattern, Patterned
from prunecli.tensors.parts import InMemory, in_memory


def patterned(scores, text):
    return in_memory(Patterned(InMemory(scores), Pattern.parse(text)))


def test_by_hand():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.3, 4.0, 1.0, 2.0, 3.0]])
    kept = patterned({"w": scores}, "2:4")["w"]
    assert kept.tolist() == [[False, True, True, False, True, False, False, True]]


def test_ties_go_to_the_earlier_place():
    kept = patterned({"w": torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, -0.0, 2.0, 0.0]])}, "2:4")["w"]
    assert kept.int().tolist() == [[1, 1, 0, 0], [1, 0, 1, 0]]


def test_a_group_lies_along_the_inputs_of_a_convolution():
    scores = torch.zeros(1, 4, 1, 2)
    scores[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    scores[0, :, 0, 1] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    kept = patterned({"w": scores}, "2:4")["w"]
    assert kept[0, :, 0, 0].int().tolist() == [0, 0, 1, 1]
    assert kept[0, :, 0, 1].int().tolist() == [1, 1, 0, 0]


def test_what_was_pruned_before_is_never_kept():
    scores = torch.tensor([[-math.inf, -math.inf, -math.inf, 1.0, 5.0, 6.0, 7.0, -math.inf]])
    kept = patterned({"w": scores}, "2:4")["w"]
    assert kept.int().tolist() == [[0, 0, 0, 1, 0, 1, 1, 0]]


def by_full_sort(scores, kept, of):
    """The slow reference, a group at a time."""
    rows = scores.movedim(1, -1)
    flat = rows.reshape(-1, of)
    mask = torch.zeros(flat.shape, dtype=torch.bool)
    for group, row in enumerate(flat.tolist()):
        best = sorted(range(of), key=lambda place: (-row[place], place))[:kept]
        mask[group, best] = True
    return mask.reshape(rows.shape).movedim(-1, 1)


@given(
    st.integers(2, 8).flatmap(lambda of: st.tuples(st.integers(1, of - 1), st.just(of))),
    st.integers(1, 3),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(0, 2**16),
    st.booleans(),
)
def test_agrees_with_sorting_each_group(pattern, groups, kernel, seed, few):
    kept, of = pattern
    draw = torch.Generator().manual_seed(seed)
    shape = (3, groups * of, *kernel)
    scores = torch.randn(shape, generator=draw)
    scores = scores.round() if few else scores
    mask = patterned({"w": scores}, f"{kept}:{of}")["w"]
    assert torch.equal(mask, by_full_sort(scores, kept, of))
    assert int(mask.sum()) * of == kept * scores.numel()


@pytest.mark.parametrize("pattern", ["2:4", "3:7", "1:64"])
def test_groups_that_no_part_ends_with(pattern):
    torch.manual_seed(0)
    kept, of = map(int, pattern.split(":"))
    scores = torch.randint(0, 5, (64, of * 700)).float()
    mask = patterned({"w": scores}, pattern)["w"]
    assert torch.equal(mask, by_full_sort(scores, kept, of))


def test_tensors_whose_inputs_are_no_multiple_are_named():
    scores = {"conv1.weight": torch.ones(8, 3, 3, 3), "b": torch.ones(4), "fc": torch.ones(2, 8)}
    with pytest.raises(Mismatch, match=r"'conv1.weight', 'b' are not a multiple of 4; .*--ignore"):
        patterned(scores, "2:4")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused_by_name(bad):
    with pytest.raises(NotFinite, match="'w'"):
        patterned({"w": torch.tensor([[1.0, bad]])}, "1:2")


@pytest.mark.parametrize(
    "text", ["4:2", "2:2", "0:4", "2", "2:", "2:4:8", "-2:4", "two", "1:65", ""]
)
def test_what_is_no_pattern(text):
    with pytest.raises(BadUsage, match="is not N:M"):
        Pattern.parse(text)


def test_none_is_a_pattern_too():
    assert Pattern.parse("unstructured") is None
    assert (str(Pattern.parse("2:4")), Pattern.parse("2:4").density) == ("2:4", 0.5)
