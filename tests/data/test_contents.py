"""Files are hashed once, and again when they may have changed."""

import hashlib
import os

import pytest
import torch

from prunecli.data import _cache, _contents
from prunecli.data._contents import contents
from prunecli.errors import BadInput
from prunecli.files import digest
from prunecli.files.digest import Hashes
from prunecli.files.reading import Identity


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A hundred files, in a tree and with a cache of its own."""
    monkeypatch.setenv("PRUNECLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tree").mkdir()
    paths = [tmp_path / "tree" / str(number) for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * number)
    return paths


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(digest, "TICK", -digest.TICK)


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read."""
    names, real = [], Hashes.of

    def of(self, path, identity=None):
        names.append(path.name)
        return real(self, path, identity)

    monkeypatch.setattr(Hashes, "of", of)
    return names


def hashed(paths):
    identities = [Identity.of(path.stat()) for path in paths]
    found = contents(paths[0].parent, paths.__getitem__, identities)
    assert found == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_files_are_read_once(files, settled, read):
    hashed(files)
    assert sorted(read, key=int) == [path.name for path in files]
    hashed(files)
    assert len(read) == 100


def test_what_is_new_or_changed_is_read(files, settled, read):
    hashed(files[:98])
    files[3].write_bytes(b"other")
    files[5].unlink()
    read.clear()
    hashed([path for path in files if path != files[5]])
    assert sorted(read) == ["3", "98", "99"]
    hashed(files[90:])
    hashed([path for path in files if path != files[5]])
    assert sorted(read) == ["3", "98", "99"]


@pytest.mark.fault(38)
def test_what_was_just_written_is_read_again(files, read, tmp_path):
    for _ in range(2):
        hashed(files)
    assert len(read) == 200
    assert not (tmp_path / "cache").exists()


def test_of_a_tree_that_cannot_be_read_to_the_end_what_is_done_is_kept(files, settled, read):
    aside = files[99].rename(files[99].with_name("aside"))
    files[99].mkdir()
    with pytest.raises(BadInput, match="tree/99: cannot be read: Is a directory"):
        hashed_without_check(files)
    files[99].rmdir()
    aside.rename(files[99])
    read.clear()
    hashed(files)
    assert "99" in read
    assert "0" not in read


def hashed_without_check(paths):
    contents(paths[0].parent, paths.__getitem__, [Identity.of(p.stat()) for p in paths])


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    "table",
    [
        {},
        {"identities": torch.zeros(100, 5), "sha256": torch.zeros(100, 32, dtype=torch.uint8)},
        {
            "identities": torch.zeros(100, 4, dtype=torch.int64),
            "sha256": torch.zeros(100, 32, dtype=torch.uint8),
        },
        {
            "identities": torch.zeros(100, 5, dtype=torch.int64),
            "sha256": torch.zeros(99, 32, dtype=torch.uint8),
        },
        {"identities": torch.zeros((), dtype=torch.int64)},
    ],
)
def test_a_table_of_another_form_is_made_anew(files, settled, read, tmp_path, table):
    hashed(files)
    [place] = (tmp_path / "cache").iterdir()
    _cache.keep(place.name.removesuffix(".safetensors"), table)
    hashed(files)
    hashed(files)
    assert len(read) == 200


@pytest.mark.fault(40)
@pytest.mark.parametrize("at", [-1, -3201])  # of the last hash, and of the last identity
def test_a_bit_that_flips_in_a_table_is_noticed(files, settled, read, tmp_path, at):
    hashed(files)
    [place] = (tmp_path / "cache").iterdir()
    raw = bytearray(place.read_bytes())
    raw[at] ^= 1
    place.write_bytes(raw)
    hashed(files)
    assert len(read) == 200


@pytest.mark.fault(35)
def test_a_pipe_in_place_of_a_table_is_replaced(files, settled, read, tmp_path):
    hashed(files)
    [place] = (tmp_path / "cache").iterdir()
    place.unlink()
    os.mkfifo(place)
    hashed(files)
    hashed(files)
    assert len(read) == 200


@pytest.mark.fault(35)
@pytest.mark.parametrize("name", ["0", "99"])
def test_a_file_that_is_far_too_large_is_not_read(files, read, name):
    with (files[0].parent / name).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match=rf"tree/{name}: it is over 1 GB"):
        hashed_without_check(files)
    assert name not in read


def test_a_tree_has_a_table_of_its_own(files, settled, read, tmp_path):
    hashed(files)
    (tmp_path / "tree").rename(tmp_path / "other")
    hashed([tmp_path / "other" / path.name for path in files])
    assert len(read) == 200
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_identities_of_all_sizes_are_told_apart():
    """Inodes take all 64 bits on some file systems, and times may be of any year."""
    odd = [Identity(1, 2**64 - at, 3, 4, -(10**18)) for at in (1, 2, 3)]
    odd += [Identity(1, 2, 3, 2**70 + at, 5) for at in (1, 2)] + [Identity(1, 2, 3, 4, 5)]
    rows = _contents._cut(_contents._rows(odd), _contents.ROW)
    assert len(set(rows)) == len(odd)
    assert rows[-1] == _contents._rows(odd[-1:])
