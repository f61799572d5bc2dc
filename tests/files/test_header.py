import io
import json
import os
import pickle
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from prunecli.errors import BadInput, printable
from prunecli.files.header import Entry, is_shape, read_header


def packed(header, data=b""):
    """The bytes of a safetensors file; `header` is a table, or JSON text as it stands."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def tensor(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


GOOD = packed(
    {"late": tensor("F32", [2, 2], 3, 19), "early": tensor("U8", [3], 0, 3)}
    | {"__metadata__": {"format": "pt"}},
    bytes(19),
)


def refusal(path, content=None):
    """The message of the BadInput that reading raises; it is one line that starts with the path."""
    if content is not None:
        path.unlink(missing_ok=True)  # writing over it would wait for the disk
        path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{printable(str(path))}: ")
    assert message.isprintable()
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def test_a_good_header_lists_the_tensors_in_the_order_of_their_bytes(path):
    path.write_bytes(GOOD)
    header = read_header(path)
    assert list(header.entries.items()) == [
        ("early", Entry("U8", (3,), 0, 3)),
        ("late", Entry("F32", (2, 2), 3, 19)),
    ]
    assert header.entries["late"].numel == 4
    assert header.metadata == {"format": "pt"}
    assert header.length == len(GOOD) - 8 - 19


def test_a_file_without_tensors_or_with_a_0d_and_an_empty_one_is_good(path):
    path.write_bytes(packed({}))
    assert read_header(path).entries == {}
    table = {"scalar": tensor("I16", [], 0, 2), "empty": tensor("F32", [4, 0], 0, 0)}
    path.write_bytes(packed(table, bytes(2)))
    entries = read_header(path).entries
    assert {name: entry.numel for name, entry in entries.items()} == {"empty": 0, "scalar": 1}


@pytest.mark.fault(1)
def test_truncation_anywhere_is_bad_input(path):
    for length in range(len(GOOD)):
        refusal(path, GOOD[:length])


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x01\x02\x03\x04\x05\x06\x07", "truncated; 7 bytes cannot hold a header"),
        ((50).to_bytes(8, "little") + b"{}", "truncated: the header alone needs 50 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull`"),
        (b"<!DOCTYPE html><p>404", "HTML page"),
        (b"<html><body>Sign in", "HTML page"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x93NUMPY\x01\0", "NumPy"),
    ],
)
def test_what_is_no_safetensors_file_is_called_by_its_name(path, content, words):
    assert words in refusal(path, content)


@pytest.mark.fault(3)
def test_a_directory_and_a_missing_file_are_called_so(tmp_path):
    assert "it is a directory without model.safetensors.index.json" in refusal(tmp_path)
    assert "there is no such file" in refusal(tmp_path / "missing")
    assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 300))
    assert "cannot be read: embedded null byte" in refusal(tmp_path / "nul\0")


class Canary:
    """Unpickling one makes the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved_by_torch(thing, **options):
    buffer = io.BytesIO()
    torch.save(thing, buffer, **options)
    return buffer.getvalue()


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps,
        saved_by_torch,
        lambda thing: saved_by_torch(thing, _use_new_zipfile_serialization=False),
    ],
    ids=["plain", "zip", "legacy"],
)
def test_a_pickle_is_refused_with_the_conversion_and_never_run(path, tmp_path, pickled):
    canary = tmp_path / "canary"
    message = refusal(path, pickled(Canary(canary)))
    assert "it is a pickle" in message
    assert "torch.load(p, 'cpu', weights_only=True)" in message
    assert not canary.exists()
    with suppress(Exception):
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert canary.exists()  # it was alive all along


@pytest.mark.fault(2)
@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001])
def test_a_giant_header_is_refused_before_it_is_read(path, length):
    path.write_bytes(length.to_bytes(8, "little") + b"{")
    os.truncate(path, 200_000_000)
    tracemalloc.start()
    began = time.perf_counter()
    message = refusal(path)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"its header claims {length:,} bytes, above the limit of 100 MB" in message
    assert seconds < 1
    assert peak < 1_000_000


@pytest.mark.fault(2)
def test_a_header_of_huge_shapes_is_refused_at_once_and_in_few_words(path):
    table = {"w": tensor("F32", [2**62] * 100_000, 0, 4)}
    began = time.perf_counter()
    message = refusal(path, packed(table, bytes(4)))
    assert time.perf_counter() - began < 1
    assert len(message) < 1000


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b" {}", "it is not a safetensors file, or it is damaged"),
        (b"", "does not start with '{'"),
        (b'{"w": ', "Expecting value"),
        (b'{"\xff": 1}', "can't decode byte 0xff"),
        (b'{"\\ud800": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "surrogates not allowed"),
        (b'{"w":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        (b'{"w": 1, "v": 2, "w": 3}', "its header has the name 'w' twice"),
        (b'{"w": {"dtype": "U8", "dtype": "I8"}}', "its header has the name 'dtype' twice"),
        (b'{"__metadata__": {"a": "1", "a": "2"}}', "its header has the name 'a' twice"),
        ({"__metadata__": {"epoch": 1}}, "metadata is not a table of strings"),
        ({"__metadata__": ["pt"]}, "metadata is not a table of strings"),
        ({"__metadata__": None}, "metadata is not a table of strings"),
        ({"w": [1]}, "'w' needs exactly dtype, shape and data_offsets"),
        ({"w": {"dtype": "U8", "shape": []}}, "'w' needs exactly dtype, shape and data_offsets"),
    ],
)
def test_a_malformed_header_is_bad_input(path, header, words):
    assert words in refusal(path, packed(header))


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("dtype", "shape", "offsets", "words"),
    [
        ("F12", [4], [0, 4], "unknown dtype 'F12'"),
        (["U8"], [4], [0, 4], "unknown dtype ['U8']"),
        ("U8", [-4], [0, 4], "an invalid shape"),
        ("U8", [4.0], [0, 4], "an invalid shape"),
        ("U8", [True, 4], [0, 4], "an invalid shape"),
        ("U8", ["4"], [0, 4], "an invalid shape"),
        ("U8", 4, [0, 4], "an invalid shape"),
        ("U8", [4], [-4, 0], "an invalid shape"),
        ("U8", [4], [False, 4], "an invalid shape"),
        ("U8", [4], [0.0, 4], "an invalid shape"),
        ("U8", [4], [0, 2, 4], "an invalid shape"),
        ("U8", [4], None, "an invalid shape"),
        ("U8", [2**63], [0, 4], "an invalid shape"),
        ("U8", [2**32, 2**32], [0, 4], "an invalid shape"),
        ("U8", [2**62, 2**62, 0], [0, 0], "an invalid shape"),
        ("F32", [2**62], [0, 4], "does not fit its byte range"),
        ("F32", [2], [0, 4], "'w' of shape [2] does not fit its byte range"),
        ("U8", [4], [4, 0], "does not fit its byte range"),
        ("U8", [8], [0, 8], "its tensors need 8 bytes but it holds 4"),
        ("U8", [3], [0, 3], "its tensors need 3 bytes but it holds 4"),
        ("U8", [3], [1, 4], "'w' leaves a gap before it, at byte 1"),
    ],
)
def test_a_tensor_that_cannot_be_is_bad_input(path, dtype, shape, offsets, words):
    table = {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    assert words in refusal(path, packed(table, bytes(4)))


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("second", "words"),
    [
        ((2, 6), "'b' overlaps the one before it, at byte 2"),
        ((0, 4), "'b' overlaps the one before it, at byte 0"),
        ((5, 9), "'b' leaves a gap before it, at byte 5"),
    ],
)
def test_two_tensors_that_overlap_or_leave_a_hole_are_bad_input(path, second, words):
    table = {"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], *second)}
    assert words in refusal(path, packed(table, bytes(second[1])))


def test_trailing_bytes_are_bad_input(path):
    assert "its tensors need 19 bytes but it holds 20" in refusal(path, GOOD + b"\0")


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "'../../etc/passwd'"),
        ("\x1b[2Jw", r"'\x1b[2Jw'"),
        ("a\nb\r", r"'a\nb\r'"),
        ("\u202egnp", r"'\u202egnp'"),
        ("\x9b31m", r"'\x9b31m'"),
    ],
)
def test_hostile_tensor_names_come_out_escaped(path, name, shown):
    table = {name: tensor("F12", [0], 0, 0)}
    assert f"tensor {shown} has the unknown dtype" in refusal(path, packed(table))


def test_a_hostile_path_comes_out_escaped(tmp_path):
    path = tmp_path / "\x1b[31m.safetensors"
    assert r"\x1b[31m.safetensors: it is empty" in refusal(path, b"")


def test_printable_leaves_plain_text_of_any_language_alone():
    assert printable("naïve 模型 'a\\b' ~") == "naïve 模型 'a\\b' ~"
    assert printable("\x00\x1b\t\u2028\ud800") == r"\x00\x1b\t\u2028\ud800"


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ([], True),
        ([3, 0, 2**40], True),
        ([2**62, 1], True),
        ([2**62, 2], False),
        ([0, 2**62, 2], False),
        ([True], False),
        ((1,), False),
        (None, False),
    ],
)
def test_shapes_stay_below_2_to_the_63(value, fine):
    assert is_shape(value) is fine


@pytest.mark.fault(35)
@pytest.mark.parametrize("dimensions", [65, 100_002])
def test_a_shape_that_no_library_can_walk_through_is_refused_at_once(path, dimensions):
    began = time.monotonic()
    fault = refusal(path, packed({"w": tensor("U8", [1] * dimensions, 0, 1)}, b"0"))
    assert "an invalid shape or data_offsets" in fault
    assert time.monotonic() - began < 1


@pytest.mark.fault(35)
def test_what_is_no_regular_file_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    assert "it is a named pipe; give a regular file" in refusal(path)
    assert "it is a device" in refusal(Path("/dev/zero"))
