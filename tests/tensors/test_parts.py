import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.files.tensors import TensorFile
from prunecli.tensors.parts import InMemory, in_memory, parted, whole


@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 9))
def test_parts_put_together_are_the_tensor(shape, size):
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape)
    parts = list(InMemory({"t": tensor}).parts("t", size))
    assert parts
    assert all(len(part) == size for part in parts[:-1])
    assert torch.equal(torch.cat(parts).reshape(shape), tensor)
    assert torch.equal(whole(InMemory({"t": tensor}), "t"), tensor)


def test_what_is_not_contiguous_comes_in_its_own_order():
    tensor = torch.arange(6).reshape(2, 3).t()
    assert torch.equal(in_memory(InMemory({"t": tensor}))["t"], tensor)


def test_a_file_is_read_as_one_and_not_taken_for_tensors_in_memory(tmp_path):
    from prunecli.files.atomic import write_tensors

    write_tensors(tmp_path / "t.safetensors", {"t": torch.ones(2)}, {})
    file = TensorFile(tmp_path / "t.safetensors")
    assert parted(file) is file
