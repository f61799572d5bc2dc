import json
import multiprocessing
import os
import signal

import pytest
import torch

from prunecli.errors import BadOutput
from prunecli.files import stages
from prunecli.files.atomic import write_tensors
from prunecli.files.claims import claimed
from prunecli.files.stages import write_in_stages
from prunecli.tensors.parts import Made

FORK = multiprocessing.get_context("fork")
TENSORS = {f"w{i}": torch.full((1000,), float(i)) for i in range(6)}


@pytest.fixture(autouse=True)
def _a_stage_is_two_tensors(monkeypatch):
    monkeypatch.setattr(stages, "STAGE", 7000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "big"


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole" / "big"
    path.parent.mkdir()
    write_tensors(path, TENSORS, {"a": "b"})
    return path.read_bytes()


def watched(made, stop=None, error=KeyboardInterrupt):
    """The tensors, each of which says when it is made; making `stop` raises `error`."""

    def parts(name):
        if name == stop:
            raise error("stopped")
        made.append(name)
        return [TENSORS[name]]

    return {name: Made(torch.float32, (1000,), lambda name=name: parts(name)) for name in TENSORS}


def beside(path):
    return sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())


def test_the_bytes_are_those_of_the_usual_writer(path, whole):
    write_in_stages(path, TENSORS, {"a": "b"})
    assert path.read_bytes() == whole
    assert beside(path) == ["big"]


def goes_on(path, whole, stop):
    """To the same bytes, from the stage before the tensor at which an earlier call was stopped."""
    assert not path.exists()
    made = []
    write_in_stages(path, watched(made), {"a": "b"})
    assert made == list(TENSORS)[stop // 2 * 2 :]
    assert path.read_bytes() == whole
    assert beside(path) == ["big"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("stop", range(6))
def test_what_was_stopped_goes_on_after_its_last_stage(path, whole, stop, error):
    with pytest.raises(error):
        write_in_stages(path, watched([], f"w{stop}", error), {"a": "b"})
    goes_on(path, whole, stop)


def test_what_was_stopped_within_its_first_stage_leaves_nothing(path):
    with pytest.raises(KeyboardInterrupt):
        write_in_stages(path, watched([], "w1"), {})
    assert beside(path) == []


@pytest.mark.fault(12)
@pytest.mark.parametrize("stop", range(6))
def test_kill_9_leaves_the_last_stage_to_go_on_from(path, whole, stop):
    def work():
        def killed(_):
            os.kill(os.getpid(), signal.SIGKILL)

        write_in_stages(path, watched([], f"w{stop}", killed), {"a": "b"})

    process = FORK.Process(target=work)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    goes_on(path, whole, stop)


@pytest.mark.fault(11)
def test_a_fault_leaves_nothing_and_the_earlier_file(path):
    path.write_bytes(b"old")
    for error, shown in ((OSError, BadOutput), (RuntimeError, RuntimeError)):
        with pytest.raises(shown, match="stopped"):
            write_in_stages(path, watched([], "w5", error), {})
        assert beside(path) == ["big"]
        assert path.read_bytes() == b"old"


def change_metadata(path):
    return {"a": "other"}


def cut_short(path):
    begun = path.with_name(".big.begun")
    os.truncate(begun, begun.stat().st_size // 2)
    return {"a": "b"}


def lose_the_data(path):
    path.with_name(".big.begun").unlink()
    return {"a": "b"}


def garble(text):
    def change(path):
        path.with_name(".big.begun.json").write_text(text)
        return {"a": "b"}

    return change


@pytest.mark.parametrize(
    "change",
    [change_metadata, cut_short, lose_the_data, garble("{"), garble("[]"), garble("{}")],
)
def test_what_is_of_something_else_or_damaged_is_begun_anew(path, change):
    with pytest.raises(KeyboardInterrupt):
        write_in_stages(path, watched([], "w5"), {"a": "b"})
    assert beside(path) == [".big.begun", ".big.begun.json"]
    metadata, made = change(path), []
    write_in_stages(path, watched(made), metadata)
    assert made == list(TENSORS)
    assert beside(path) == ["big"]


def test_what_is_behind_the_last_stage_is_not_trusted(path, whole):
    with pytest.raises(KeyboardInterrupt):
        write_in_stages(path, watched([], "w5"), {"a": "b"})
    begun = path.with_name(".big.begun")
    size = json.loads(path.with_name(".big.begun.json").read_text())["bytes"]
    begun.write_bytes(begun.read_bytes()[:size] + b"never synced" * 100)
    write_in_stages(path, TENSORS, {"a": "b"})
    assert path.read_bytes() == whole


def test_only_a_writer_in_stages_keeps_what_was_begun(path):
    with pytest.raises(KeyboardInterrupt):
        write_in_stages(path, watched([], "w5"), {})
    with claimed(path, in_stages=True):
        assert beside(path) == [".big.begun", ".big.begun.json", ".big.lock"]
    with claimed(path):
        assert beside(path) == [".big.lock"]
