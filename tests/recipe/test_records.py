"""What a job's folder says of it, from before it is started until it is done or has failed."""

import json
import threading
import time

import pytest
from attacks import DISTURBANCES, LINKS, device, fifo, symlink

from prunecli.errors import BadInput, BadOutput
from prunecli.files.claims import locked
from prunecli.files.digest import file_sha256
from prunecli.files.reading import Identity
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
    records.finish(job, "k", {"out.txt": None})
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
    records.finish(job, "k", {"out.txt": None})
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


@pytest.fixture
def masked(job):
    """The job, done with a mask and a log beside its output."""
    records.start(job, "k")
    for name in ("out.txt", "ckpt.mask.safetensors", "ckpt.log.jsonl"):
        (job.folder / name).write_text(name)
    (job.folder / "notes.txt").write_text("a user's")
    names = ("out.txt", "ckpt.mask.safetensors", "ckpt.log.jsonl")
    records.finish(job, "k", {name: Identity.of((job.folder / name).stat()) for name in names})
    return job


@pytest.mark.fault(40)
@pytest.mark.parametrize("name", ["ckpt.mask.safetensors", "ckpt.log.jsonl", "out.txt"])
@pytest.mark.parametrize("harm", [*DISTURBANCES, lambda path: path.write_text("another")])
def test_what_came_with_the_output_belongs_to_what_is_done(masked, harm, name):
    assert records.is_done(masked, "k")
    (masked.folder / "notes.txt").write_text("other notes")
    assert records.is_done(masked, "k")
    harm(masked.folder / name)
    assert not records.is_done(masked, "k")
    assert records.state(masked, "k") == "waiting"


BAD = "[" * 5000 + "]" * 5000
ODD = [
    {"beside": value}
    for value in (None, ["ckpt.mask.safetensors"], "x", {"../none": "1"}, {"/etc/passwd": "1"},
                  {"x" * 5000: "1"}, {"\0": "1"}, {"\ud800": "1"}, {"": "1"}, {"a": 1})
] + [{"key": 1}, {"sha256": None}, {"error": []}, {"output": {}}]  # fmt: skip


@pytest.mark.fault(35)
@pytest.mark.parametrize("odd", [*ODD, BAD, "", "[]", '{"key": "k", "key": "k"}', " " * 2_000_000])
def test_a_record_that_can_be_none_counts_as_not_done(masked, odd):
    text = json.dumps(record(masked) | odd) if isinstance(odd, dict) else odd
    (masked.folder / "job.json").write_text(text)
    assert not records.is_done(masked, "k")
    assert records.state(masked, "k") == "waiting"


@pytest.mark.fault(35)
@pytest.mark.parametrize("kind", [fifo, device])
def test_nor_does_what_is_no_file(masked, kind):
    (masked.folder / "job.json").unlink()
    kind(masked.folder / "job.json")
    assert not records.is_done(masked, "k")
    records.start(masked, "k")
    assert record(masked) == {"key": "k"}


@pytest.mark.fault(32)
@pytest.mark.parametrize("harm", DISTURBANCES)
def test_what_was_changed_since_it_was_written_is_not_taken_for_done(job, harm):
    records.start(job, "k")
    job.output.write_text("made")
    wrote = {"out.txt": Identity.of(job.output.stat())}
    time.sleep(0.02)
    harm(job.output)
    with pytest.raises(BadInput, match=r"out.txt: (it was changed|there is no such file)"):
        records.finish(job, "k", wrote)
    assert record(job) == {"key": "k"}


@pytest.mark.fault(34)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["out.txt", "job.json", "ckpt.state.safetensors"])
def test_a_link_in_a_job_s_folder_leads_nowhere(job, tmp_path, link, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    job.folder.mkdir()
    link(job.folder / name, victim)
    with records.occupied(job):
        records.start(job, "k")
        assert record(job) == {"key": "k"}
        assert not (job.folder / name).is_symlink()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["out.txt", "job.json"])
def test_a_folder_in_a_file_s_place_is_told_and_a_pipe_goes(job, name):
    (job.folder / name).mkdir(parents=True)
    with pytest.raises(BadOutput, match=rf"{name}: a folder has the name of the study's file"):
        records.start(job, "k")
    (job.folder / name).rmdir()
    fifo(job.folder / name)
    records.start(job, "k")
    assert {path.name for path in job.folder.iterdir()} == {"job.json"}


@pytest.mark.fault(34)
def test_a_link_in_the_place_of_a_job_s_folder_is_refused(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "m.state.safetensors").touch()
    folder = tmp_path / "study" / "step"
    folder.mkdir(parents=True)
    job = Job("step/seed=0", "step", "join", [], folder / "seed=0" / "out.txt", ())
    for place in (folder / "seed=0", folder):
        if place.is_dir():
            place.rmdir()
        symlink(place, victim)
        for use in (lambda: records.start(job, "k"), lambda: records.occupied(job).__enter__()):
            with pytest.raises(BadOutput, match="a link has the name of a job's folder"):
                use()
        place.unlink()
    assert [path.name for path in victim.iterdir()] == ["m.state.safetensors"]


def test_a_record_of_an_earlier_version_stays_good(masked):
    older = {key: value for key, value in record(masked).items() if key != "beside"}
    (masked.folder / "job.json").write_text(json.dumps(older))
    (masked.folder / "ckpt.mask.safetensors").unlink()
    assert records.is_done(masked, "k")


def test_what_a_killed_writer_left_is_removed_once_the_job_is_held(job):
    job.folder.mkdir()
    left = [".job.json.9999.part", ".out.txt.99999.part", ".out.txt.mask.safetensors.1.part"]
    kept = [
        ".mydata.v2.12345678.part",
        ".out.txt.begun",
        ".out.txt.x.part",
        "out.txt.9.part",
        "notes.part",
        "out.txt",
    ]
    for name in left + kept:
        (job.folder / name).touch()
    with locked(job.output, "someone by hand"), records.occupied(job):
        assert all((job.folder / name).exists() for name in left + kept)
    with records.occupied(job):
        assert {path.name for path in job.folder.iterdir()} == {*kept, ".job.json.lock"}


def test_states_from_first_to_last(job):
    seen = [records.state(job, "k")]
    records.start(job, "k")
    seen.append(records.state(job, "k"))
    with records.occupied(job):
        seen.append(records.state(job, "k"))
    seen.append(records.state(job, "k"))
    records.fail(job, "k", "no room")
    seen.append(records.state(job, "k"))
    records.start(job, "k")
    job.output.write_text("made")
    records.finish(job, "k", {"out.txt": None})
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
    with pytest.raises(BadOutput, match="cannot be written: Not a directory"):
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
            with records.occupied(job):
                pass
    finally:
        over.set()
        asker.join()
    assert set(asked) <= {"stopped", "running"}
