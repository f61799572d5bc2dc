"""A file that is no safetensors file is called what it is, with the mend."""

import bz2
import gzip
import io
import lzma
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from prunecli.errors import BadInput
from prunecli.files.formats import NUMPY, other_format
from prunecli.files.header import read_header
from prunecli.files.texts import read_text


def saved(write, *arguments, **options):
    buffer = io.BytesIO()
    write(buffer, *arguments, **options)
    return buffer.getvalue()


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "{}")
    return buffer.getvalue()


def tarred(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


LONG = b"\0" * 600
KINDS = {
    "npz": (saved(np.savez, np.ones(3)), "archive of NumPy arrays (.npz); convert it once"),
    "npy": (saved(np.save, np.ones(3)), "it is a NumPy array; convert it once"),
    "zip": (zipped("notes.txt"), "it is a zip archive; unpack it"),
    "keras": (zipped("metadata.json"), "it is a Keras file"),
    "torch": (saved(lambda b: torch.save({"a": torch.ones(2)}, b)), "it is a pickle"),
    "tar": (tarred("a"), "it is a tar archive; unpack it"),
    "tar of a long name": (tarred("n" * 90), "it is a tar archive; unpack it"),
    "gzip": (gzip.compress(LONG), "compressed with gzip"),
    "xz": (lzma.compress(LONG), "compressed with xz"),
    "bzip2": (bz2.compress(LONG), "compressed with bzip2"),
    "zstd": (b"\x28\xb5\x2f\xfd" + LONG, "compressed with zstd"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + LONG, "it is an HDF5 file"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\xa0\x01" + LONG, "it is an ONNX file"),
    "tflite": (b"\x1c\0\0\0TFL3" + LONG, "TensorFlow Lite"),
    "gguf": (b"GGUF\x03\0\0\0" + LONG, "it is a GGUF file"),
    "old pickle": (pickle.dumps({"a": 1}, protocol=0), "it is a pickle"),
    "pickle": (pickle.dumps({"a": 1}), "it is a pickle"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "`git lfs pull`"),
    "late html": (b"\n  <html>404", "it is an HTML page; download the file itself"),
    "xml": (b'<?xml version="1.0"?><Error/>', "it is XML"),
    "json": (b'{"error": "Repository not found"}', "it is JSON"),
    "json with a brace there": (b'{"a12": {"b": 1}}', "it is JSON"),
    "yaml": (b"version: 1\nsteps: {}\n", "it is text that begins with 'version: 1'"),
    "utf-16": ("some text of Windows".encode("utf-16"), "it is text that begins with 'some text"),
    "zeros": (LONG, "it is not a safetensors file, or it is damaged"),
}


@pytest.mark.fault(3)
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_called_what_it_is_on_one_line(kind, tmp_path):
    content, words = KINDS[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refusal:
        read_header(path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "claims" not in str(refusal.value)


def test_text_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "x"
    path.write_bytes("\u202ereversed text\n".encode())
    with pytest.raises(BadInput) as refusal:
        read_header(path)
    assert str(refusal.value).isprintable()


def test_every_safetensors_file_is_left_to_the_reader(tmp_path):
    for count in (1, 3, 40):
        path = tmp_path / f"{count}.safetensors"
        save_file({f"layer.{n}": np.ones(n, np.float32) for n in range(count)}, path)
        assert other_format(path.read_bytes()[:512]) is None


@pytest.mark.parametrize("name", ["IN.npz", "IN.npy"])
def test_the_conversion_of_arrays_works_as_it_is_printed(name, tmp_path):
    save = np.savez if name == "IN.npz" else np.save
    save(tmp_path / name, np.ones(3))
    told = other_format((tmp_path / name).read_bytes()[:512])
    assert NUMPY.partition("{}")[0] in told
    [code] = re.findall(r'`python -c "(.*)"`', told)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    [value] = load_file(tmp_path / "OUT.safetensors").values()
    assert value.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("-", "standard input is not read: give a file"),
        ("https://host/a/model.safetensors", "nothing is downloaded: download it first"),
        ("hf://owner/model", "nothing is downloaded: download it first"),
        ("owner/Model-3.1", "fetch it with `hf download owner/Model-3.1`"),
    ],
)
def test_what_other_programs_would_fetch_is_called_so(name, mend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (read_header, read_text):
        with pytest.raises(BadInput, match="there is no such file") as refusal:
            read(Path(name))
        assert mend in str(refusal.value)


@pytest.mark.parametrize("name", ["owner/model.safetensors", "here/model", "model"])
def test_a_file_that_is_merely_missing_gets_no_such_advice(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(BadInput, match=f"^{name}: there is no such file$"):
        read_header(Path(name))


def test_text_may_begin_with_the_mark_of_utf_8(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(path) == "{}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}".encode("utf-16"), "it is text in UTF-16; save it as UTF-8"),
        (b"abc\xff", "it is not UTF-8 at byte 3"),
        (b"\x10\0\0\0\0\0\0\0{}              ", "it is a safetensors file, not text"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(content, words, tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_text(path)
