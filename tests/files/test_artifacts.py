import json
import re

import pytest
import torch
from attacks import written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from prunecli.errors import BadInput, Mismatch
from prunecli.files.artifacts import (
    ScoresFile,
    check_mask_fits,
    kind_of,
    open_artifact,
    read_mask,
    read_state_dict,
    untied,
    write_mask,
)
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.files.tensors import TensorFile
from prunecli.runtime.facts import canonical
from prunecli.tensors.parts import whole

KINDS = ("checkpoint", "scores", "mask", "state")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def bits(text):
    return torch.tensor([bit == "1" for bit in text])


def bytes_of(*numbers):
    return torch.tensor(numbers, dtype=torch.uint8)


def test_canonical_json_sorts_keys_at_every_depth_and_refuses_nan():
    assert canonical({"b": [1, {"d": 0.1, "c": None}], "a": "é"}) == (
        '{"a":"\\u00e9","b":[1,{"c":null,"d":0.1}]}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"loss": float("nan")})


def test_an_artifact_carries_its_schema_kind_and_meta_in_one_key(path):
    written(path, "scores", {"w": torch.ones(2)}, {"method": "lamp", "seed": 0})
    file = TensorFile(path)
    assert file.shards[path].metadata == {
        "format": "pt",
        "prunecli": '{"kind":"scores","method":"lamp","schema":1,"seed":0}',
    }
    assert file.meta == {"schema": 1, "kind": "scores", "method": "lamp", "seed": 0}
    assert load_file(path)["w"].tolist() == [1, 1]


def test_the_order_of_the_meta_does_not_matter(tmp_path):
    for name, meta in [
        ("a", {"x": 1, "y": {"p": 2, "q": 3}}),
        ("b", {"y": {"q": 3, "p": 2}, "x": 1}),
    ]:
        written(tmp_path / name, "mask", {"w": bytes_of(1)}, meta)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("due", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_the_wrong_kind_is_refused_naming_both(path, kind, due):
    training = {"step": 0, "history": [], "scheduler": {}, "groups": [], "tensors": []}
    written(path, kind, {}, {"facts": {}, "training": training, "digest": ""})
    if kind == due:
        assert kind_of(open_artifact(path, due)) == kind
    else:
        with pytest.raises(BadInput, match=f"it is a {kind} file, but a {due} file is needed here"):
            open_artifact(path, due)


def test_one_of_several_kinds_will_do_and_else_all_are_named(path):
    written(path, "scores", {}, {})
    assert kind_of(open_artifact(path, "checkpoint", "scores")) == "scores"
    with pytest.raises(BadInput, match="but a checkpoint or mask file is needed here"):
        open_artifact(path, "checkpoint", "mask")


def test_a_foreign_file_counts_as_a_checkpoint(path):
    save_file({"w": torch.ones(2)}, path, metadata={"format": "pt", "epoch": "3"})
    file = open_artifact(path, "checkpoint")
    assert kind_of(file) == "checkpoint"
    assert file.meta is None
    assert list(read_state_dict(file)) == ["w"]
    with pytest.raises(BadInput, match="it is a checkpoint file, but a mask file is needed"):
        open_artifact(path, "mask")


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(path, schema):
    meta = {"kind": "checkpoint"} | ({} if schema is None else {"schema": schema})
    save_file({}, path, metadata={"prunecli": json.dumps(meta)})
    words = f"its schema {schema!r} is not 1; it was written by another version of prunecli"
    with pytest.raises(BadInput, match=words):
        open_artifact(path, "checkpoint")


def test_a_hostile_kind_comes_out_escaped(path):
    save_file({}, path, metadata={"prunecli": json.dumps({"schema": 1, "kind": "\x1b[2J\n"})})
    with pytest.raises(BadInput, match=r"it is a \\x1b\[2J\\n file, but a mask file"):
        open_artifact(path, "mask")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 2, bias=False)
        self.decoder = nn.Linear(2, 2, bias=False)
        self.decoder.weight = self.encoder.weight


def test_tied_weights_are_stored_once_and_read_back_under_each_name(path):
    state = Tied().state_dict()
    kept, tied = untied(state)
    assert list(kept) == ["encoder.weight"]
    assert tied == {"decoder.weight": "encoder.weight"}
    written(path, "checkpoint", kept, {"tied": tied})
    assert list(load_file(path)) == ["encoder.weight"]
    back = read_state_dict(open_artifact(path, "checkpoint"))
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_equal_tensors_views_and_empty_ones_are_not_tied():
    base = torch.zeros(2, 2)
    tensors = {"a": base, "equal": torch.zeros(2, 2), "part": base[0], "turned": base.T}
    tensors |= {"empty": torch.zeros(0), "empty too": torch.zeros(0)}
    kept, tied = untied(tensors)
    assert (set(kept), tied) == (set(tensors), {})


@pytest.mark.parametrize(
    ("tied", "words"),
    [
        ({"v": "missing"}, "'v' is tied to 'missing', which is missing"),
        ({"v": ["w"]}, r"is damaged: its 'tied.v' is \['w'\]; write the file again"),
        (["v"], r"is damaged: its 'tied' is \['v'\]"),
        ("w", "is damaged: its 'tied' is 'w'"),
    ],
)
def test_a_damaged_table_of_tied_tensors_is_bad_input(path, tied, words):
    written(path, "checkpoint", {"w": torch.ones(1)}, {"tied": tied})
    with pytest.raises(BadInput, match=words):
        read_state_dict(open_artifact(path, "checkpoint"))


@pytest.mark.parametrize(
    ("mask", "packed"),
    [
        (bits("1"), [1]),
        (bits("0"), [0]),
        (bits("11010000"), [0b00001011]),
        (bits("1000000001"), [0b00000001, 0b00000010]),
        (bits("111111111111"), [0b11111111, 0b00001111]),
        (bits("100110").reshape(2, 3), [0b00011001]),
        (bits("100110").reshape(2, 3).T, [0b00001011]),
        (torch.tensor(True), [1]),
        (torch.zeros(0, 3, dtype=torch.bool), []),
    ],
)
def test_bits_are_packed_flat_and_the_first_is_the_lowest(path, mask, packed):
    write_mask(path, {"w": mask}, parsed(MaskRecord, {"method": "lamp"}))
    stored = load_file(path)["w"]
    assert stored.dtype == torch.uint8
    assert stored.tolist() == packed
    meta = TensorFile(path).meta
    assert meta == {
        "schema": 1, "kind": "mask", "method": "lamp", "shapes": {"w": list(mask.shape)}
    }  # fmt: skip


@given(
    shapes=st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4),
    seed=st.integers(0, 2**31),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_mask_comes_back_as_it_was(path, shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = {f"w{i}": torch.rand(s, generator=generator) < 0.5 for i, s in enumerate(shapes)}
    write_mask(path, mask, parsed(MaskRecord, {}))
    back, file = read_mask(path)
    assert list(back) == list(mask)
    assert file.path == path
    for name, kept in mask.items():
        assert back[name].dtype == torch.bool
        assert back[name].shape == kept.shape
        assert torch.equal(back[name], kept)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("packed", "shape", "words"),
    [
        (bytes_of(255), [9], r"does not hold the 9 bits of \[9\]"),
        (bytes_of(255, 0), [8], r"does not hold the 8 bits of \[8\]"),
        (bytes_of(255), [0], r"does not hold the 0 bits of \[0\]"),
        (bytes_of(), [], r"does not hold the 1 bits of \[\]"),
        (bytes_of(1).view(1, 1), [8], "does not hold the 8 bits"),
        (torch.tensor([True]), [8], "does not hold the 8 bits"),
        (bytes_of(0b00001000), [3], "has padding bits set; it is damaged"),
        (bytes_of(255, 0b10000000), [3, 5], "has padding bits set; it is damaged"),
    ],
)
def test_bits_that_cannot_be_a_masks_are_bad_input(path, packed, shape, words):
    written(path, "mask", {"fc.weight": packed}, {"shapes": {"fc.weight": shape}})
    with pytest.raises(BadInput, match=f"mask 'fc.weight' {words}"):
        read_mask(path)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    "shape",
    [
        [-8],
        [8.0],
        [True, 8],
        8,
        None,
        {"8": 1},
        [0, 2**70],
        [2**40, 2**40],
        [10**4000, 10**4000],
    ],
)
def test_a_shape_that_no_weight_has_is_bad_input(path, shape):
    written(path, "mask", {"fc.weight": bytes_of(255)}, {"shapes": {"fc.weight": shape}})
    with pytest.raises(BadInput, match=r"is damaged: its 'shapes\.fc\.weight"):
        read_mask(path)


@pytest.mark.parametrize("shapes", [None, {}, {"v": [8]}, {"w": [8], "v": [8]}])
def test_shapes_for_other_tensors_than_there_are_is_bad_input(path, shapes):
    written(path, "mask", {"w": bytes_of(255)}, {"shapes": shapes})
    with pytest.raises(BadInput, match="its shapes do not match its tensors; make the mask again"):
        read_mask(path)


def ones(**shapes):
    return {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}


def shapes_of(mask):
    return {name: tuple(kept.shape) for name, kept in mask.items()}


def misfit(mask, shapes):
    with pytest.raises(Mismatch) as caught:
        check_mask_fits(shapes_of(mask), shapes, "mask.st", "ckpt.st")
    return str(caught.value)


def test_a_mask_for_some_of_the_weights_fits():
    mask = shapes_of(ones(a=(2, 3), b=()))
    check_mask_fits(mask, {"a": (2, 3), "b": (), "c": (9,)}, "mask", "ckpt")
    check_mask_fits({}, {}, "mask", "ckpt")


@pytest.mark.fault(7)
def test_masked_weights_that_the_checkpoint_lacks_are_listed_three_at_most():
    assert misfit(ones(a=1, b=1), {"b": (1,)}) == (
        "mask.st: it masks 'a', which ckpt.st does not have; rebuild it with 'prunecli mask'"
    )
    many = ones(a=1, b=1, c=1, d=1, e=1)
    assert "it masks 'a', 'b', 'c' and 2 more, which ckpt.st does not have" in misfit(many, {})


@pytest.mark.fault(7)
def test_masks_of_another_shape_are_listed_three_at_most():
    assert misfit(ones(a=(2, 3)), {"a": (3, 2)}) == (
        "mask.st: mask 'a' is [2, 3] but ckpt.st has [3, 2]; rebuild it with 'prunecli mask'"
    )
    many = ones(ok=1, a=1, b=1, c=1, d=1, e=1)
    shapes = dict.fromkeys(many, (1, 1)) | {"ok": (1,)}
    words = "mask 'a' is [1] but ckpt.st has [1, 1] ('b', 'c' and 2 more differ too); rebuild"
    assert words in misfit(many, shapes)
    assert "has [] ('a' differs too)" in misfit(ones(b=1, a=1), {"a": (), "b": ()})


@pytest.mark.fault(6)
def test_hostile_names_come_out_escaped_in_a_mismatch():
    assert re.search(r"it masks '\\x1b\[2J', which", misfit(ones(**{"\x1b[2J": 1}), {}))


def test_scores_are_read_lazily_and_must_be_float32(path):
    written(path, "scores", {"a": torch.tensor([1.0, float("-inf")])}, {})
    scores = ScoresFile(open_artifact(path, "scores"))
    assert scores.shapes == {"a": (2,)}
    assert whole(scores, "a").tolist() == [1.0, float("-inf")]
    written(path, "scores", {"a": torch.ones(1), "b": torch.ones(1).half()}, {})
    with pytest.raises(BadInput, match="scores 'b' are not float32; score again"):
        ScoresFile(open_artifact(path, "scores"))
