"""What a job's folder says of it, from before it is started until it is done or has failed."""

import json
import threading

import pytest

from prunecli.errors import BadOutput
from prunecli.files.digest import file_sha256
from prunecli.recipe import records
from prunecli.recipe.plan import Job
from prunecli.recipe.records import job_key


@pytest.fixture
def job(tmp_path):
    return Job("a", "a", "join", [], tmp_path / "a" / "out.txt", ())


@pytest.fixture
def done(job):
    """The same job, done under the key 'k'."""
    records.start(job, "k")
    job.output.write_text("made")
    records.finish(job, "k")
    return job


def record(job):
    return json.loads((job.folder / "job.json").read_text())


def test_a_key_is_of_the_command_and_the_inputs_in_any_order():
    key = job_key("mask", {"density": 0.1, "scope": "global"})
    assert key == job_key("mask", {"scope": "global", "density": 0.1})
    others = [
        job_key("score", {"density": 0.1, "scope": "global"}),
        job_key("mask", {"density": 0.2, "scope": "global"}),
        job_key("mask", {"density": 0.1}),
    ]
    assert len({key, *others}) == 4
    assert len(key) == 64


def test_what_is_recorded_when(job):
    records.start(job, "k")
    assert record(job) == {"key": "k"}
    job.output.write_text("made")
    records.finish(job, "k")
    assert record(job) == {"key": "k", "output": "out.txt", "sha256": file_sha256(job.output)}
    records.fail(job, "k", "no\nroom")
    assert record(job) == {"key": "k", "error": "no\nroom"}
    records.start(job, "k")
    assert record(job) == {"key": "k"}


def test_a_job_is_done_while_key_and_output_are_what_they_were(done):
    assert records.is_done(done, "k")
    assert not records.is_done(done, "another")
    done.output.write_text("made by someone else")
    assert not records.is_done(done, "k")


def test_states_from_first_to_last(job):
    seen = [records.state(job, "k")]
    records.start(job, "k")
    seen.append(records.state(job, "k"))
    with records.held(job):
        seen.append(records.state(job, "k"))
    seen.append(records.state(job, "k"))
    records.fail(job, "k", "no room")
    seen.append(records.state(job, "k"))
    records.start(job, "k")
    job.output.write_text("made")
    records.finish(job, "k")
    seen.append(records.state(job, "k"))
    assert seen == ["waiting", "stopped", "running", "stopped", "failed: no room", "done"]


def test_another_key_or_output_makes_a_job_wait_again(done):
    assert records.state(done, "another") == "waiting"
    done.output.write_text("damaged")
    assert records.state(done, "k") == "waiting"
    done.output.unlink()
    assert records.state(done, "k") == "waiting"


def test_the_lock_that_a_killed_process_left_is_not_held(job):
    records.start(job, "k")
    job.output.with_name(".out.txt.lock").write_text("process 1 on elsewhere\n")
    assert records.state(job, "k") == "stopped"


def test_asking_for_the_state_changes_nothing(done, nothing_written):
    with nothing_written():
        assert records.state(done, "k") == "done"
        assert records.state(done, "another") == "waiting"


def test_a_training_state_stays_for_its_own_key_only(job):
    records.start(job, "k")
    state = job.folder / "ckpt.state.safetensors"
    state.touch()
    (job.folder / "ckpt.log.jsonl").touch()
    records.start(job, "k")
    assert state.exists()
    records.start(job, "another")
    assert {path.name for path in job.folder.iterdir()} == {"ckpt.log.jsonl", "job.json"}


def test_a_failure_that_cannot_be_noted_is_let_go(tmp_path):
    (tmp_path / "file").touch()
    job = Job("a", "a", "join", [], tmp_path / "file" / "a" / "out.txt", ())
    records.fail(job, "k", "no room")
    with pytest.raises(BadOutput, match="cannot be made: Not a directory"):
        records.start(job, "k")
    assert records.state(job, "k") == "waiting"


def test_whoever_asks_does_not_get_in_the_way_of_a_job_that_starts(job):
    records.start(job, "k")
    lock = job.folder / ".job.json.lock"
    over, asked = threading.Event(), []

    def ask():
        while not over.is_set():
            asked.append(records.state(job, "k"))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(300):
            lock.touch()  # as a killed process leaves it
            with records.held(job):
                pass
    finally:
        over.set()
        asker.join()
    assert set(asked) <= {"stopped", "running"}
