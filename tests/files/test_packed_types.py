"""Types that safetensors has and torch does not: copied whole, and never pruned."""

import json
import random

import pytest
import torch
from safetensors import safe_open

from prunecli.errors import BadInput, Mismatch
from prunecli.files import stages
from prunecli.files.artifacts import write_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.files.tensors import TensorFile
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.steps.apply import apply
from prunecli.steps.inspect import inspect
from prunecli.steps.mask import mask
from prunecli.steps.verify import verify

BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


def raw(path, **tensors):
    """A file of tensors given as type, shape and bytes."""
    table, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape}
        table[name]["data_offsets"] = [len(data), len(data) + len(content)]
        data += content
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return path


@pytest.fixture
def quantised(tmp_path):
    draw = random.Random(0)
    packed = {
        f"{dtype}.weight": (dtype, [4, 6], draw.randbytes(24 * bits // 8))
        for dtype, bits in BITS.items()
    }
    floats = torch.rand(8, 8).numpy().tobytes()
    return raw(tmp_path / "q.safetensors", head=("F32", [8, 8], floats), **packed)


def with_head(path):
    return mask(
        path,
        MaskSettings(density=0.5, scoring=ScoringSettings("magnitude", targets=("head",))),
        RunOptions(),
    )


def test_packed_tensors_are_copied_whole(quantised, monkeypatch):
    monkeypatch.setattr(stages, "STAGE", 16)
    kept = with_head(quantised)
    made = apply(quantised, kept, RunOptions())
    one, two = TensorFile(quantised), TensorFile(made)
    for dtype in BITS:
        name = f"{dtype}.weight"
        assert (two.entry(name).dtype, two.entry(name).shape) == (dtype, (4, 6))
        assert two[name].tolist() == one[name].tolist()
    assert int(two["head"].count_nonzero()) == 32
    verify(made, kept)
    with safe_open(made, "pt") as file:  # safetensors itself takes it
        assert file.get_slice("F6_E2M3.weight").get_shape() == [4, 6]


def test_packed_tensors_are_counted_and_not_prunable(quantised):
    facts = inspect(quantised)
    assert (facts["prunable"], facts["parameters"]) == ([], 64 + 3 * 24)
    assert {t["dtype"]: t["zeros"] for t in facts["tensors"]} == {"F32": 0} | dict.fromkeys(BITS)


def test_a_mask_over_a_packed_tensor_is_refused(quantised, tmp_path):
    forged = tmp_path / "m.safetensors"
    write_mask(forged, {"F4.weight": torch.ones(4, 6).bool()}, parsed(MaskRecord, {}))
    for use in (lambda: apply(quantised, forged, RunOptions()), lambda: verify(quantised, forged)):
        with pytest.raises(Mismatch, match="it masks 'F4.weight', which is F4 in .*be made zero"):
            use()


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [("F4", [3], 2), ("F4", [3], 1), ("F6_E2M3", [3], 2)]
)
def test_values_that_fill_no_whole_byte_are_bad_input(tmp_path, dtype, shape, size):
    with pytest.raises(BadInput, match="does not fit its byte range"):
        TensorFile(raw(tmp_path / "q.safetensors", w=(dtype, shape, bytes(size))))
