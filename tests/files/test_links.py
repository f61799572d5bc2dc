"""Links that lie where prunecli writes beside an output: what they lead to stays as it is."""

import json

import pytest
import torch
from attacks import LINKS, device, fifo, symlink
from safetensors.torch import save_file

from prunecli.errors import BadOutput
from prunecli.files import atomic, stages
from prunecli.files.atomic import Files, write_bytes, write_tensors
from prunecli.files.claims import claimed, is_locked, locked
from prunecli.files.folders import claimed_folder, copy_others
from prunecli.files.header import INDEX
from prunecli.files.stages import write_in_stages

pytestmark = pytest.mark.fault(34)
TENSORS = {"w": torch.ones(1000), "b": torch.zeros(1000)}


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"
    assert [entry.name for entry in path.parent.iterdir()] == ["precious"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", [".out.safetensors.00000000.part", "out.safetensors"])
def test_a_file_is_made_anew(out, victim, link, name, monkeypatch):
    guessed = iter(["00000000", "11111111"])
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda size: next(guessed))
    link(out.with_name(name), victim)
    write_bytes(out, [b"new"])
    assert out.read_bytes() == b"new"
    assert not out.is_symlink()


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("note", [None, "forged"])
def test_stages_are_not_written_through_one(out, victim, link, note, monkeypatch):
    monkeypatch.setattr(stages, "STAGE", 1000)
    link(out.with_name(".out.safetensors.begun"), victim)
    if note:
        head, _ = stages.laid_out(TENSORS, {})
        key, digest = (stages.hashlib.sha256(x).hexdigest() for x in (head, b"precious"))
        said = {"key": key, "bytes": len("precious"), "sha256": digest}
        out.with_name(".out.safetensors.begun.json").write_text(json.dumps(said))
    write_in_stages(out, TENSORS, {})
    write_tensors(out.with_name("same"), TENSORS, {})
    assert out.read_bytes() == out.with_name("same").read_bytes()


@pytest.mark.parametrize("kind", [*LINKS, fifo, device])
def test_nor_is_their_note(out, victim, kind, monkeypatch):
    monkeypatch.setattr(stages, "STAGE", 1000)
    kind(out.with_name(".out.safetensors.begun.json"), victim)
    write_in_stages(out, TENSORS, {})
    assert not out.with_name(".out.safetensors.begun.json").exists()


@pytest.mark.parametrize("link", [*LINKS, fifo, device])
def test_one_in_a_lock_s_place_is_refused(out, victim, link):
    link(out.with_name(".out.safetensors.lock"), victim)
    assert not is_locked(out)
    with (
        pytest.raises(BadOutput, match="the lock is a link, or not a regular file; remove it"),
        locked(out, ""),
    ):
        pass


def shards(folder):
    folder.mkdir()
    save_file({"w": torch.ones(2)}, folder / "one.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": "one.safetensors"}}))
    (folder / "config.json").write_text("{}")
    return folder / INDEX


@pytest.mark.parametrize("link", LINKS)
def test_a_folder_is_filled_in_its_own_place(tmp_path, victim, link):
    index = shards(tmp_path / "llama")
    symlink(tmp_path / ".out.part", victim.parent)
    with claimed_folder(tmp_path / "out") as begin:
        mark = begin("text")
    mark = tmp_path / mark.name  # its name is known from now on
    (tmp_path / "out").rmdir()
    symlink(mark, victim.parent)
    with claimed_folder(tmp_path / "out") as begin:
        part = begin("text")
        assert not part.is_symlink()
        copy_others(index.parent, part, [])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {INDEX, "config.json"}


@pytest.mark.parametrize("link", LINKS)
def test_links_in_what_was_begun_are_taken_away(tmp_path, victim, link):
    index = shards(tmp_path / "llama")
    with pytest.raises(KeyboardInterrupt), claimed_folder(tmp_path / "out") as begin:
        left = begin("text")
        raise KeyboardInterrupt
    link(left / "config.json", victim)
    symlink(left / "folder", victim.parent)
    symlink(tmp_path / f".out.{'0' * 16}.part", victim.parent)
    with claimed_folder(tmp_path / "out") as begin:
        part = begin("text")
        assert part == left
        write_bytes(part / "one.safetensors", [b"shard"])
        copy_others(index.parent, part, ["one.safetensors"])
    assert (tmp_path / "out" / "config.json").read_text() == "{}"
    assert not (tmp_path / "out" / "folder").exists()
    assert not list(tmp_path.glob(".*"))


def test_what_comes_while_an_output_is_made_is_not_replaced(out):
    with (
        pytest.raises(BadOutput, match="another program has created it since"),
        claimed(out) as target,
    ):
        out.write_text("theirs")
        write_bytes(target, [b"ours"])
    assert out.read_text() == "theirs"
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    with claimed(out, force=True) as target:
        write_bytes(target, [b"ours"])
    assert out.read_text() == "ours"


def test_without_links_on_the_file_system_it_is_not_replaced_either(out, monkeypatch):
    def unsupported(path, part):
        raise PermissionError

    monkeypatch.setattr(type(out), "hardlink_to", unsupported)
    with claimed(out) as target:
        write_bytes(target, [b"ours"])
    out.unlink()
    with pytest.raises(BadOutput, match="has created it since"), claimed(out) as target:
        out.write_text("theirs")
        write_bytes(target, [b"ours"])
    assert out.read_text() == "theirs"


@pytest.mark.fault(37)
def test_files_that_are_one_output_come_together_or_not_at_all(tmp_path):
    names = [tmp_path / name for name in "abc"]
    names[1].write_text("old")

    def fails():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(BadOutput, match="No space left"), Files() as files:
        files.add(names[0], [b"new"])
        files.add(names[1], [b"new"])
        files.add(names[2], fails())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b": "old"}
    with Files() as files:
        for name in names:
            files.add(name, [b"new"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        "abc", "new"
    )


@pytest.mark.fault(37)
def test_files_beside_an_output_are_claimed_with_it(tmp_path):
    beside = tmp_path / "log"
    beside.write_text("a user's")
    with (
        pytest.raises(BadOutput, match=r"log: it exists; overwrite it with --force"),
        claimed(tmp_path / "out", beside={beside: False}),
    ):
        pass
    with claimed(tmp_path / "out", beside={beside: True}):
        assert is_locked(beside)
        assert is_locked(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
