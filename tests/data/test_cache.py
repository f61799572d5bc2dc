"""What is kept on disk is as it was written, or it is made anew."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from prunecli.data import _cache
from prunecli.data._cache import cached
from prunecli.data.digits import FORMS, digits
from prunecli.errors import BadEnvironment
from prunecli.files.atomic import write_tensors

TABLE = {"a": ("U8", (4, 2)), "b": ("I64", (3,))}


def tensors():
    return {"a": torch.arange(8, dtype=torch.uint8).reshape(4, 2), "b": torch.tensor([5, 6, 7])}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNECLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "x.safetensors"


def made(name="x", forms=TABLE):
    """How often the tensors were made, once they are had: they are always the same."""
    times = []
    got = cached(name, forms, lambda: times.append(1) or tensors())
    assert got.keys() == tensors().keys()
    assert all(torch.equal(got[key], tensor) for key, tensor in tensors().items())
    return len(times)


def test_it_is_made_once(place):
    assert [made(), made()] == [1, 0]


@pytest.mark.fault(40)
def test_any_bit_that_flips_is_noticed(place):
    made()
    whole = place.read_bytes()
    for at in range(8, len(whole)):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        again = made()
        # Of the header, a flipped bit of "format" or of the space after it means nothing.
        assert again or at < len(whole) - 32
        place.write_bytes(whole)
    assert made() == 0


@pytest.mark.fault(40)
def test_no_entry_passes_for_another(place):
    made()
    place.rename(place.with_name("y.safetensors"))
    assert [made("y"), made("y"), made("x")] == [1, 0, 1]


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(4, 2, dtype=torch.int8)},
        {"a": torch.zeros(2, 4, dtype=torch.uint8)},
        {"a": torch.zeros(5, 2, dtype=torch.uint8)},
        {"b": torch.zeros(3)},
        {"c": torch.zeros(3)},
    ],
)
def test_an_entry_of_another_form_is_made_anew(place, other):
    made()
    wrong = tensors() | other
    write_tensors(place, wrong, {"digest": _cache._digest("x", wrong)})
    assert [made(), made()] == [1, 0]


@pytest.mark.fault(40)
def test_an_entry_without_a_digest_is_made_anew(place):
    place.parent.mkdir()
    save_file(tensors(), place)
    assert [made(), made()] == [1, 0]


@pytest.mark.fault(40)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"garbage")])
def test_what_is_no_entry_is_replaced(place, make):
    place.parent.mkdir()
    make(place)
    assert [made(), made()] == [1, 0]


def test_what_cannot_be_replaced_is_done_without(place):
    place.mkdir(parents=True)
    assert [made(), made()] == [1, 1]


@pytest.mark.parametrize("home", [None, "/dev/null", "/proc"])
def test_without_a_folder_for_it_there_is_no_cache(monkeypatch, home):
    monkeypatch.delenv("PRUNECLI_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    else:  # and a user that the system does not know
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert [made(), made()] == [1, 1]


@pytest.mark.fault(36)
def test_a_shortage_is_not_taken_for_an_entry_that_is_not_there(place, monkeypatch):
    def short(*given):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    made()
    monkeypatch.setattr(os, "open", short)
    with pytest.raises(BadEnvironment, match="too many files are open"):
        made()


@pytest.mark.fault(40)
@pytest.mark.parametrize("label", [-1, 10, 2**62])
def test_digits_of_no_class_are_made_anew(tmp_path, place, label):
    before = digits(tmp_path, "train")
    file = place.with_name("digits-28-1.safetensors")
    wrong = _cache.load("digits-28-1", lambda forms: forms == FORMS)
    wrong["labels"][7] = label
    write_tensors(file, wrong, {"digest": _cache._digest("digits-28-1", wrong)})
    assert torch.equal(digits(tmp_path, "train").labels, before.labels)
