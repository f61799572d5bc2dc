import hashlib
import json
import random
import re
import time

import pytest
import torch
from attacks import DISTURBANCES, cut
from safetensors.torch import save, save_file

from prunecli.errors import BadInput
from prunecli.files.header import INDEX
from prunecli.files.tensors import TensorFile

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FUZZ_INPUTS = 3000


def refusal(path):
    with pytest.raises(BadInput) as caught:
        TensorFile(path)
    message = str(caught.value)
    assert message.isprintable()
    return message


def write_index(folder, index):
    folder.mkdir(exist_ok=True)
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    (folder / INDEX).write_bytes(text)
    return folder


def sharded(folder, weight_map=None, **shards):
    """A directory of shards, each holding ones of the given names, and an index for them."""
    folder.mkdir()
    shards = shards or {"one": ["b", "a"], "two": ["c"]}
    files = {ONE: shards["one"], TWO: shards["two"]}
    for file, names in files.items():
        save_file({name: torch.ones(2) for name in names}, folder / file)
    truth = {name: file for file, names in files.items() for name in names}
    return write_index(folder, {"metadata": {}, "weight_map": weight_map or truth})


def test_a_file_is_a_mapping_in_the_order_of_its_bytes(tmp_path):
    path = tmp_path / "m.safetensors"
    saved = {"small": torch.ones(3, dtype=torch.bfloat16), "large": torch.arange(4.0).view(2, 2)}
    save_file(saved, path)
    file = TensorFile(path)
    assert list(file) == ["large", "small"]
    assert len(file) == 2
    assert file["large"].tolist() == [[0, 1], [2, 3]]
    assert file["small"].dtype == torch.bfloat16
    assert file.shapes == {"large": (2, 2), "small": (3,)}
    assert file.entry("small").dtype == "BF16"
    assert file.meta is None
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.label == str(path)


def test_a_name_that_is_not_there_is_a_key_error_as_in_any_mapping(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "m.safetensors")
    file = TensorFile(tmp_path / "m.safetensors")
    assert "v" not in file
    with pytest.raises(KeyError):
        file["v"]


def test_a_file_that_vanishes_after_opening_is_bad_input(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(1)}, path)
    file = TensorFile(path)
    path.unlink()
    with pytest.raises(BadInput, match=r"m.safetensors: there is no such file"):
        file["w"]


@pytest.mark.fault(32)
@pytest.mark.parametrize("disturb", DISTURBANCES)
@pytest.mark.parametrize(
    "use", [lambda f: f["w"], lambda f: list(f.parts("w")), lambda f: f.sha256]
)
def test_a_file_that_changes_after_its_header_was_read_is_used_no_more(tmp_path, disturb, use):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(1)}, path)
    time.sleep(0.02)
    file = TensorFile(path)
    disturb(path)
    words = r"m.safetensors: (it was changed or replaced while in|.*no such file)"
    with pytest.raises(BadInput, match=words):
        use(file)


def test_what_was_read_stays_as_it_was(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(1)}, path)
    weight = TensorFile(path)["w"]
    cut(path)
    assert weight.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "meta"),
    [
        ('{"kind": "scores", "x": [1]}', {"kind": "scores", "x": [1]}),
        ('{"kind": 1}', None),
        ("{}", None),
        ("[]", None),
        ('"scores"', None),
        ("{", None),
        ("", None),
        ('{"kind": "mask", "model": null}', {"kind": "mask", "model": None}),
        ('{"kind": "mask", "density": [1]}', None),
        ('{"kind": "mask", "density": {"kept": 3}}', None),
        ('{"kind": "checkpoint", "model": "cnn"}', None),
        ('{"kind": "checkpoint", "prunable": [[1]]}', None),
        ('{"kind": ' + "[" * 5000 + "]" * 5000 + "}", None),
    ],
)
def test_metadata_is_a_table_of_the_form_of_its_kind_or_bad_input(tmp_path, text, meta):
    path = tmp_path / "m.safetensors"
    save_file({}, path, metadata={"prunecli": text})
    if meta is None:
        with pytest.raises(BadInput, match="its prunecli metadata is damaged"):
            _ = TensorFile(path).record
    else:
        assert TensorFile(path).meta == meta


OTHER = "diffusion_pytorch_model.safetensors.index.json"


@pytest.mark.parametrize("through", ["", OTHER])
def test_an_index_may_be_called_after_what_it_is_of(tmp_path, through):
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    (tmp_path / OTHER).write_text(json.dumps({"weight_map": {"a.weight": "x.safetensors"}}))
    file = TensorFile(tmp_path / through)
    assert file.index == tmp_path / OTHER
    assert torch.equal(file["a.weight"], torch.ones(2, 2))
    (tmp_path / "b.safetensors.index.json").write_text("{}")
    with pytest.raises(BadInput, match=rf"several indexes; give one of b\.saf.*json, {OTHER}"):
        TensorFile(tmp_path)


def test_a_folder_of_one_file_stands_for_it(tmp_path):
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({"a.weight": torch.ones(2, 2)}, path)
    (tmp_path / ".hidden.safetensors").touch()
    file = TensorFile(tmp_path)
    assert (file.folder, file.index, list(file.shards)) == (tmp_path, None, [path])
    assert file.sha256 == TensorFile(path).sha256
    assert TensorFile(path).folder is None
    (tmp_path / "b.safetensors").touch()
    words = r"no index and several files; give one of 'b\.saf.*', 'diffusion_pytorch_model\.s"
    with pytest.raises(BadInput, match=words):
        TensorFile(tmp_path)


@pytest.mark.parametrize("through", ["", INDEX])
def test_a_sharded_directory_reads_as_one(tmp_path, through):
    folder = sharded(tmp_path / "d")
    file = TensorFile(folder / through)
    assert list(file) == ["a", "b", "c"]
    assert file["c"].tolist() == [1, 1]
    hashes = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ONE, TWO)]
    listing = f"{ONE}:{hashes[0]}\n{TWO}:{hashes[1]}\n"
    assert file.sha256 == hashlib.sha256(listing.encode()).hexdigest()


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("../x.safetensors", "'../x.safetensors' is not a .safetensors file beside the index"),
        ("/tmp/x.safetensors", "'/tmp/x.safetensors' is not a .safetensors file beside"),
        ("sub/x.safetensors", "'sub/x.safetensors' is not a .safetensors file beside"),
        ("pytorch_model.bin", "'pytorch_model.bin' is not a .safetensors file beside"),
        ("..", "'..' is not a .safetensors file beside"),
        ("\x1b[2J.bin", r"'\x1b[2J.bin' is not a .safetensors file beside"),
        ("missing.safetensors", "missing.safetensors: there is no such file"),
        ("nul\0.safetensors", r"nul\x00.safetensors: cannot be read: embedded null byte"),
        ("\ud800.safetensors", r"\ud800.safetensors: cannot be read: "),
        ("x" * 300 + ".safetensors", "cannot be read: File name too long"),
    ],
)
def test_an_index_that_leads_astray_is_bad_input(tmp_path, shard, words):
    save_file({"w": torch.ones(1)}, tmp_path / "x.safetensors")
    assert words in refusal(write_index(tmp_path / "d", {"weight_map": {"w": shard}}))


def test_a_tensor_in_the_wrong_shard_or_in_none_is_bad_input(tmp_path):
    swapped = sharded(tmp_path / "swapped", {"a": ONE, "b": TWO, "c": TWO})
    assert "'b' is not in the shard that the index names" in refusal(swapped)
    absent = sharded(tmp_path / "absent", {"a": ONE, "c": TWO, "d": TWO})
    assert "'d' is not in the shard that the index names" in refusal(absent)


def test_a_tensor_in_two_shards_is_bad_input(tmp_path):
    folder = sharded(tmp_path / "d", one=["a", "b"], two=["b", "c"])
    assert "tensor 'b' is in two shards" in refusal(folder)


def test_a_damaged_shard_is_named(tmp_path):
    folder = sharded(tmp_path / "d")
    (folder / TWO).write_bytes(b"")
    assert f"{TWO}: it is empty" in refusal(folder)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"{", "not a valid index: "),
        (b"[" * 5000, "not a valid index: "),
        (b"\xff", "not a valid index: "),
        ([], "not a valid index: "),
        ({}, "not a valid index: 'weight_map'"),
        ({"weight_map": None}, "not a valid index: "),
        ({"weight_map": {}}, "it names no shards"),
        ({"weight_map": {"w": 1}}, "it names no shards"),
        ({"weight_map": {"w": ["x.safetensors"]}}, "not a valid index: "),
    ],
)
def test_a_malformed_index_is_bad_input(tmp_path, index, words):
    assert words in refusal(write_index(tmp_path / "d", index))


def test_an_index_that_is_a_directory_or_too_large_is_bad_input(tmp_path):
    (tmp_path / "d" / INDEX).mkdir(parents=True)
    assert f"{INDEX}: cannot be read: Is a directory" in refusal(tmp_path / "d")
    with (write_index(tmp_path / "e", {}) / INDEX).open("r+b") as file:
        file.truncate(100_000_001)
    assert "it is over 100,000,000 bytes" in refusal(tmp_path / "e")


def test_a_directory_without_an_index_and_a_path_too_long_are_bad_input(tmp_path):
    assert f"it is a directory without {INDEX}" in refusal(tmp_path)
    assert "there is no such file" in refusal(tmp_path / INDEX)
    assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 300))


NUMBERS = [b"0", b"-0", b"-1", b"1.0", b"1e3", b"9223372036854775808", b"9" * 5000, b"true"]
NUMBERS += [b"null", b"NaN", b"[]", b"{}", b'"w"', b"[" * 2000]
STRINGS = [b'"w"', b'"dtype"', b'"BOOL"', b'"F8_E4M3"', b'"__metadata__"']
STRINGS += [rb'"\ud800"', rb'"\u001b[2J"']
DATA_BYTES = 2 * 3 * 4 + 4 * 2


def mutated(content, rng):
    """A valid file with one or two faults; mostly the header's length is mended afterwards."""
    for _ in range(rng.choice([1, 1, 2])):
        start = rng.randrange(len(content))
        end, new = start + rng.choice([1, 8, 40]), b""
        fault = rng.choice(["byte", "cut", "repeat", "number", "number", "string", "string"])
        if fault == "byte":
            end, new = start + 1, rng.randbytes(1)
        elif fault == "repeat":
            new = content[start:end] * 2
        elif tokens := list(re.finditer(rb"\d+" if fault == "number" else rb'"\w*"', content)):
            start, end = rng.choice(tokens).span()
            new = rng.choice(NUMBERS if fault == "number" else STRINGS)
        content = content[:start] + new + content[end:]
    if rng.random() < 0.8:
        content = (len(content) - 8 - DATA_BYTES).to_bytes(8, "little") + content[8:]
    return content


def test_nothing_but_bad_input_escapes_from_mutated_files(tmp_path):
    tensors = {"w": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "e": torch.ones(0)}
    valid = save(tensors, metadata={"prunecli": '{"kind":"scores","schema":1}'})
    path, rng, refused = tmp_path / "m.safetensors", random.Random(0), 0
    for _ in range(FUZZ_INPUTS):
        path.unlink(missing_ok=True)  # writing over it would wait for the disk
        path.write_bytes(mutated(valid, rng))
        try:
            file = TensorFile(path)
            _ = file.record, dict(file)
        except BadInput as error:
            refused += 1
            assert str(error).isprintable()
    assert FUZZ_INPUTS * 0.8 < refused < FUZZ_INPUTS  # most are faulty, a few are still sound
