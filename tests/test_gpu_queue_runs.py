"""The means of the queue of GPU studies: a run that ends in time, archives of data."""

import signal
import sys
import time
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import _queue_results as queue_results
    import gpu_queue

NAP = """
import signal, sys, time
def stop(*_):
    print("asked", file=open("said", "a"))
    sys.exit(7) if sys.argv[1] == "good" else None
signal.signal(signal.SIGINT, stop)
open("said", "w").close()
end = time.monotonic() + 20
while time.monotonic() < end:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("kind", "code"), [("good", 7), ("bad", -signal.SIGKILL)])
def test_a_run_is_asked_to_stop_before_its_time_is_over_and_killed_then(
    kind, code, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_queue, "ASKED", 0.5)
    monkeypatch.setattr(gpu_queue, "EVERY", 0.1)
    looks, began = [], time.monotonic()
    command = [sys.executable, "-S", "-c", NAP, kind]
    assert gpu_queue.timed(command, 1.5, lambda: looks.append(1)) == code
    assert Path("said").read_text() == "asked\n"
    assert 0.7 < time.monotonic() - began < 10
    assert len(looks) >= 2


def test_after_ctrl_c_a_run_waits_for_what_it_began(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_queue, "EVERY", 0.1)
    slow = "import time; time.sleep(0.5); open('saved', 'w')"

    def ctrl_c():
        monkeypatch.setattr(gpu_queue, "EVERY", 20)
        raise KeyboardInterrupt

    command = [sys.executable, "-S", "-c", slow]
    assert gpu_queue.timed(command, 60, ctrl_c) == 130
    assert Path("saved").exists()


def test_archives_of_a_data_set_are_unpacked_once_each(tmp_path):
    members = {f"noise/train/a/{n}.png": tmp_path / f"{n}.png" for n in "12"}
    for number, (name, path) in enumerate(members.items()):
        path.write_bytes(b"%d" % number)
        queue_results.archive(tmp_path / f"parts/noise-train-{number}.tar.gz", {name: path})
    queue_results.archive(tmp_path / "parts/noise2-train-0.tar.gz", {})
    first, second = (tmp_path / "parts" / f"noise-train-{n}.tar.gz" for n in "01")
    late, there = second.rename(tmp_path / "late"), tmp_path / "there"
    assert queue_results.unpack(tmp_path / "parts", there, "noise") == [first.name]
    late.rename(second)
    assert queue_results.unpack(tmp_path / "parts", there, "noise") == [second.name]
    assert queue_results.unpack(tmp_path / "parts", there, "noise") == []
    assert all((there / name).read_bytes() == path.read_bytes() for name, path in members.items())
