import hashlib

import pytest
import torch

from prunecli.errors import BadInput
from prunecli.files.atomic import write_tensors
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten, taken
from prunecli.tensors.parts import PART, Made

TENSORS = {
    "half": torch.randn(3, 5).half(),
    "wide": torch.randn(4, 4, dtype=torch.float64),
    "turned": torch.randn(5, 3).T,
    "empty": torch.empty(0, 3),
    "one": torch.tensor(2.0),
    "bits": torch.rand(7) > 0.5,
}


def test_a_file_that_is_not_written_tells_all_that_the_written_one_does(tmp_path):
    made = Unwritten(TENSORS, {"key": "value"}, "the tensors")
    write_tensors(tmp_path / "f", made.made, made.metadata)
    file = TensorFile(tmp_path / "f")
    assert list(made) == list(file)
    assert made.sha256 == file.sha256 == hashlib.sha256((tmp_path / "f").read_bytes()).hexdigest()
    assert (made.forms, made.shapes, made.metadata) == (file.forms, file.shapes, file.metadata)
    assert [made.entry(name) for name in made] == [file.entry(name) for name in file]
    for name in made:
        assert torch.equal(made[name], file[name])
        for size in (1, 4, PART):
            ours, theirs = list(made.parts(name, size)), list(file.parts(name, size))
            assert list(map(len, ours)) == list(map(len, theirs))
            assert all(map(torch.equal, ours, theirs))


def test_the_paths_of_what_is_not_written_are_those_that_are_read_for_it(tmp_path):
    assert Unwritten(TENSORS, {}, "the tensors", [tmp_path / "f"]).paths == [tmp_path / "f"]


@pytest.mark.parametrize("size", [1000, PART // 8, PART, 2 * PART])
def test_what_is_made_in_parts_is_read_in_parts_of_any_size(size):
    whole = torch.arange(2 * PART + 5)
    made = Made(torch.int64, tuple(whole.shape), lambda: torch.split(whole, PART))
    parts = list(Unwritten({"a": made}, {}, "the tensors").parts("a", size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert torch.equal(torch.cat(parts), whole)


def test_whoever_changes_what_was_read_changes_nothing_of_it():
    tensors = {"a": torch.ones(4)}
    file = Unwritten(tensors, {}, "the tensors")
    next(file.parts("a")).zero_()
    file["a"].zero_()
    assert tensors["a"].sum() == 4


def test_a_pair_as_torch_prunes_is_one_weight_here_too():
    pair = {"fc.weight_orig": torch.tensor([[1.0, -2.0]]), "fc.weight_mask": torch.tensor([[1, 0]])}
    pair["fc.weight_mask"] = pair["fc.weight_mask"].float()
    assert {n: t.tolist() for n, t in Unwritten(pair, {}, "it").items()} == {
        "fc.weight": [[1.0, 0.0]]
    }


def test_a_tensor_of_a_type_that_torch_has_not_is_taken_byte_by_byte(tmp_path):
    packed = Made(torch.uint8, (2, 4), lambda: [torch.arange(4).byte()], ("F4", 4))
    write_tensors(tmp_path / "f4", {"a": packed}, {})
    file = TensorFile(tmp_path / "f4")
    made = Unwritten({"a": taken(file, "a")}, file.metadata, "it")
    assert made.entry("a") == file.entry("a")
    assert made.sha256 == file.sha256


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (3.0, "is not a tensor but float"),
        (torch.ones(2, device="meta"), "is not a dense tensor"),
        (torch.eye(2).to_sparse(), "is not a dense tensor"),
        (torch.ones(2, dtype=torch.complex128), "is not a dense tensor"),
    ],
)
def test_what_safetensors_cannot_hold_is_refused_by_name(odd, says):
    with pytest.raises(BadInput, match=f"it: 'a' {says}"):
        Unwritten({"a": odd}, {}, "it")
