import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.files import bits
from prunecli.files.bits import Packed, packed, unpacked
from prunecli.tensors.parts import InMemory, in_memory


@given(st.lists(st.booleans()))
def test_eight_to_a_byte_the_first_in_the_lowest_bit(values):
    [whole] = packed([torch.tensor(values, dtype=torch.bool)])
    assert len(whole) == -(-len(values) // 8)
    assert [(int(whole[i // 8]) >> i % 8) & 1 for i in range(len(values))] == values
    [back] = unpacked([whole], len(values))
    assert back.tolist() == values


def test_set_padding_is_refused():
    with pytest.raises(ValueError, match="padding"):
        list(unpacked([torch.tensor([0b1000], dtype=torch.uint8)], 3))
    with pytest.raises(ValueError, match="padding"):
        list(unpacked([torch.tensor([255, 128], dtype=torch.uint8)], 15))


@pytest.mark.parametrize("room", [1, 1 << 20])
def test_a_mask_is_made_once_and_read_often(tmp_path, monkeypatch, room):
    monkeypatch.setattr(bits, "IN_MEMORY", room)
    torch.manual_seed(0)
    mask = {"a": torch.rand(33, 7) < 0.5, "b": torch.rand(5) < 0.5, "none": torch.zeros(0, 3) > 0}

    class Once(InMemory):
        def __init__(self, tensors):
            super().__init__(tensors)
            self.read = []

        def parts(self, name, size=64):
            self.read.append(name)
            return super().parts(name, 64)

    once = Once(mask)
    kept = Packed(once, tmp_path)
    assert once.read == ["a", "b", "none"]
    assert kept.kept == {name: int(each.sum()) for name, each in mask.items()}
    for _ in range(2):
        back = in_memory(kept)
        assert all(torch.equal(back[name], mask[name]) for name in mask)
    assert [len(part) for part in kept.parts("a", 64)] == [64, 64, 64, 39]
    assert list(tmp_path.iterdir()) == [], "what lies on the disk has no name"
