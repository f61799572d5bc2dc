"""A checkpoint, its mask and its log are one output."""

import json
import os
from contextlib import suppress

import pytest
from attacks import LINKS

from prunecli.errors import BadOutput
from prunecli.files import atomic
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps import _training_files as module
from prunecli.steps.train import train
from prunecli.steps.verify import verify

pytestmark = pytest.mark.fault(37)
PRUNER = {"pruner": "gradual", "pruner_options": {"density": 0.5, "end": 0.5, "every": 1}}


def trained(folder, force=False, epochs=1, **options):
    digits = DataSettings("digits", {"fraction": 0.05})
    settings = {"epochs": epochs, "batch_size": 16}
    given = TrainingSettings(model=ModelSettings("cnn"), data=digits, given=settings, **options)
    return train(given, RunOptions(output=folder / "m.safetensors", force=force))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def pruned(tmp_path):
    trained(tmp_path, **PRUNER)
    assert contents(tmp_path).keys() == {"m.safetensors", "m.mask.safetensors", "m.log.jsonl"}
    return tmp_path


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_disk_that_is_full_at_any_of_the_files_leaves_all_earlier_ones(
    pruned, monkeypatch, place
):
    before = contents(pruned)
    add, calls = atomic.Files.add, []

    def full(files, path, chunks):
        def until():
            yield from chunks
            if path.suffix == ".jsonl" or ".state." not in path.name:
                calls.append(path.name)
                if len(calls) == place + 1:
                    raise OSError(28, "No space left on device")

        return add(files, path, until())

    monkeypatch.setattr(atomic.Files, "add", full)
    with pytest.raises(BadOutput, match="No space left on device"):
        trained(pruned, force=True, epochs=2, **PRUNER)
    assert len(calls) == place + 1
    left = contents(pruned)
    left.pop("m.state.safetensors")
    assert left == before
    monkeypatch.undo()
    trained(pruned, force=True, epochs=2, resume=True, **PRUNER)
    verify(pruned / "m.safetensors", pruned / "m.mask.safetensors")
    assert contents(pruned).keys() == before.keys()


@pytest.mark.parametrize("name", ["m.log.jsonl", "m.mask.safetensors"])
def test_a_file_of_a_user_s_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadOutput, match=rf"{name}: it exists; overwrite it with --force"):
        trained(tmp_path, **PRUNER)
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("name", ["m.log.jsonl", "m.mask.safetensors"])
def test_nor_by_a_training_that_goes_on(tmp_path, stopped_at, name):
    with stopped_at(2):
        trained(tmp_path, **PRUNER)
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadOutput, match=rf"{name}: it exists; overwrite it with --force"):
        trained(tmp_path, resume=True, **PRUNER)
    assert contents(tmp_path)[name] == b"mine"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_where_one_does_not_get_its_name_the_others_are_put_back(pruned, monkeypatch, place):
    before, take, calls = contents(pruned), atomic.take_name, []

    def immutable(part, path, file):
        calls.append(path.name)
        if ".state." in path.name or ".commit" in path.name:
            calls.pop()
        elif len(calls) == place + 1:
            raise PermissionError(1, "Operation not permitted")
        take(part, path, file)

    monkeypatch.setattr(atomic, "take_name", immutable)
    with pytest.raises(BadOutput, match="Operation not permitted"):
        trained(pruned, force=True, epochs=2, **PRUNER)
    left = contents(pruned)
    left.pop("m.state.safetensors")
    assert left == before


def test_files_of_which_there_was_none_are_taken_away_again(tmp_path, monkeypatch):
    take = atomic.take_name

    def meanwhile(part, path, file):
        if path.name == "m.safetensors":
            path.write_text("theirs")
        take(part, path, file)

    monkeypatch.setattr(atomic, "take_name", meanwhile)
    with pytest.raises(BadOutput, match="another program has created it since"):
        trained(tmp_path, **PRUNER)
    assert {"m.mask.safetensors", "m.log.jsonl"}.isdisjoint(contents(tmp_path))
    assert contents(tmp_path)["m.safetensors"] == b"theirs"


def killed_at(place, folder):
    """A training in a process that ends, as by `kill -9`, when so many files have their names."""
    take, names = atomic.Files._take_name, []

    def until(files, path, taken):
        if files.journal and len(names) == place:
            os._exit(9)
        take(files, path, taken)
        names.extend([path.name] * bool(files.journal))
        if len(names) == place == 3:
            os._exit(9)

    if (pid := os.fork()) == 0:
        with suppress(BaseException):
            atomic.Files._take_name = until
            trained(folder, force=True, epochs=2, **PRUNER)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.fault(12)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("then", ["force", "resume", "epochs 0"])
def test_a_kill_between_their_names_is_made_good_by_whoever_comes_next(
    pruned, tmp_path_factory, place, then
):
    clean = tmp_path_factory.mktemp("clean")
    trained(clean, epochs=2, **PRUNER)
    killed_at(place, pruned)
    assert (pruned / ".m.safetensors.commit").exists()
    if then == "resume":
        with pytest.raises(BadOutput, match="it exists"):  # for it is complete
            trained(pruned, resume=True, epochs=2, **PRUNER)
        there = contents(pruned)
        assert {name: there[name] for name in there if name[0] != "."} == contents(clean)
    elif then == "force":
        trained(pruned, force=True, epochs=2, **PRUNER)
        assert contents(pruned) == contents(clean)
    else:
        trained(pruned, force=True, epochs=0)
        there = {name for name in contents(pruned) if not name.endswith(".lock")}
        assert there == {"m.safetensors"}


def test_a_planted_journal_is_not_believed(tmp_path):
    trained(tmp_path, epochs=0)
    before = contents(tmp_path)
    part = tmp_path / ".m.safetensors.00000000.part"
    part.write_text("theirs")
    (tmp_path / "notes").write_text("mine")
    guess = [0, 0, 6, 0, 0]
    for parts in ([["m.safetensors", part.name, guess]], [["notes", "../x", guess]], "x", [[1]]):
        said = {"parts": parts, "outdated": [["notes", guess]]}
        (tmp_path / ".m.safetensors.commit").write_text(json.dumps(said))
        with pytest.raises(BadOutput, match="it exists"):
            trained(tmp_path, epochs=0)
        left = contents(tmp_path)
        assert left.pop("notes") == b"mine"
        assert {name: left[name] for name in before} == before


def test_one_that_is_in_nobody_s_way_stays(tmp_path):
    for name in ("m.log.jsonl", "m.mask.safetensors"):
        (tmp_path / name).write_text("mine")
    trained(tmp_path, epochs=0)
    trained(tmp_path, epochs=0, force=True)
    assert contents(tmp_path)["m.log.jsonl"] == b"mine"
    assert contents(tmp_path)["m.mask.safetensors"] == b"mine"


def test_what_came_with_the_checkpoint_goes_with_it(pruned):
    trained(pruned, epochs=0, force=True)
    assert contents(pruned).keys() == {"m.safetensors"}


def test_a_mask_that_comes_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    finish = module.TrainingFiles.finish

    def meanwhile(files, data):
        (tmp_path / "m.mask.safetensors").write_text("theirs")
        finish(files, data)

    monkeypatch.setattr(module.TrainingFiles, "finish", meanwhile)
    with pytest.raises(BadOutput, match="another program has created it since"):
        trained(tmp_path, **PRUNER)
    left = contents(tmp_path)
    assert left.pop("m.mask.safetensors") == b"theirs"
    assert left.keys() == {"m.state.safetensors"}  # to go on from


@pytest.mark.fault(34)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("end", ["state.safetensors", "log.jsonl", "mask.safetensors"])
def test_none_is_written_through_a_link(tmp_path, link, end):
    victim = tmp_path / "elsewhere"
    victim.write_text("precious")
    link(tmp_path / f"m.{end}", victim)
    trained(tmp_path, force=True, **PRUNER)
    assert victim.read_text() == "precious"


def test_beside_the_target_of_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "m.safetensors").symlink_to(tmp_path / "store" / "real.safetensors")
    (tmp_path / "store" / "real.log.jsonl").write_text("mine")
    with pytest.raises(BadOutput, match=r"real.log.jsonl: it exists"):
        trained(tmp_path)
