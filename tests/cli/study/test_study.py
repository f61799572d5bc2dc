"""A study side by side: the same bytes whatever is killed when, and what a person sees of it."""

import json
import os
import random
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from attacks import cut, in_place
from studies import PLUGIN, RECIPE, Forked, outputs, undisturbed, until

from prunecli.cli.study import view as _study
from prunecli.cli.study.view import Forecast, Live, Log, duration, watcher
from prunecli.errors import BadEnvironment
from prunecli.files.claims import is_locked, locked
from prunecli.recipe.plan import Job

DENSE = [Path(f"one/dense/seed={seed}/ckpt.safetensors") for seed in (0, 1)]
KILLS = 3
STATES = [path.with_name("ckpt.state.safetensors") for path in DENSE]


@pytest.fixture(scope="module")
def folder(environment, tmp_path_factory):
    """The recipe, and what it leaves undisturbed, one job after the other, in `reference`."""
    with undisturbed(tmp_path_factory.mktemp("study"), "reference") as left:
        yield left.parent


@pytest.fixture
def reference(folder, tmp_path, monkeypatch):
    """The working folder has the recipe; gives the outputs of the undisturbed run."""
    shutil.copy(folder / "r.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return outputs(folder / "reference")


@pytest.fixture
def run(prune, reference):
    """Runs the recipe in the folder `one`."""
    return lambda *options: prune("run", "r.yaml", "-o", "one", "--threads", 1, *options)


@pytest.fixture
def states(run):
    """What --status says of every job."""
    return lambda *options: json.loads(run("--status", "--json", *options).out)["states"]


def ran(ended):
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["ran"]


def counts(found):
    kinds = [state.partition(":")[0] for state in found.values()]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


# The same bytes


def test_side_by_side_one_by_one_and_as_a_script_leave_the_same_bytes(run, prune, follow):
    cnn = ["--set", "model=cnn", "--set", "epochs=1"]
    assert ran(run("--jobs", 2, "--json", *cnn)) == 9
    assert prune("run", "r.yaml", "-o", "other", "--threads", 1, *cnn).code == 0
    assert len(outputs("one")) == 9
    assert outputs("one") == outputs("other")

    script = prune(
        "run", "r.yaml", "-o", "script", "--jobs", 2, "--threads", 1, "--emit", "sh", *cnn
    )
    assert "export OMP_NUM_THREADS=1" in script.out.splitlines()
    assert [ended.code for ended in follow(script.out)] == [0] * 9
    assert outputs("one") == outputs("script")

    assert ran(run("--jobs", 2, "--json", *cnn)) == 0
    assert ran(run("--jobs", 2, "--json", "--set", "lr=0.2", "--set", "seed=0", *cnn)) == 3
    changed = [name for name, made in outputs("one").items() if made != outputs("other")[name]]
    assert {name.rpartition("/")[0] for name in changed} == {
        *("result/seed=0", "sparse/seed=0", "table"),
    }
    assert ran(run("--json", "--set", "lr=0.2", *cnn)) == 3


def test_what_the_recipe_names_may_lie_in_the_folder_whatever_is_left_to_do(
    run, states, monkeypatch
):
    Path("beside.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(Path.cwd())
    own = ["--set", "model=beside:net"]
    assert run("--only", "dense", *own).code == 0
    # These jobs learn of it from the files of those before, in processes that did not train them.
    assert run("--jobs", 2, *own).err.count("cannot be imported") == 0
    assert counts(states(*own)) == {"done": 9}


def test_status_before_after_and_of_what_a_change_makes_wait(run, states):
    names = [f"{step}/seed={s}" for step in ("dense", "mask", "sparse", "result") for s in (0, 1)]
    assert states() == dict.fromkeys([*names, "table"], "waiting")
    assert run("--status").out == "9 jobs: 9 waiting\n"
    assert not Path("one").exists()
    assert run("-q").code == 0
    assert states() == dict.fromkeys([*names, "table"], "done")
    assert run("--status").out == "9 jobs: 9 done\n"
    assert run("--status", "-v").out.splitlines() == [
        *(f"{name}: done" for name in [*names, "table"]),
        "9 jobs: 9 done",
    ]
    after_finetune = [*names[4:], "table"]
    changed = states("--set", "lr=0.2")
    assert [name for name, state in changed.items() if state == "waiting"] == after_finetune
    assert counts(states("--set", "seed=[0,2]")) == {"done": 4, "waiting": 5}
    assert counts(states("--set", "seed=0", "--only", "result")) == {"done": 4}


def test_status_downloads_nothing(run, monkeypatch):
    asked = []

    def loaded(plugin, root, split, download):
        asked.append(download)
        raise BadEnvironment("it is missing")

    monkeypatch.setattr("prunecli.images.source.loaded", loaded)
    monkeypatch.setenv("PRUNECLI_DOWNLOAD", "1")
    new = ["--set", "epochs=7"]  # what was parsed before is kept
    assert run("--status", *new).out == "9 jobs: 9 waiting\n"
    assert set(asked) == {False}
    assert run("-q", "--only", "dense", *new).code == 8
    assert True in asked


def test_status_after_a_failure(run, states):
    Path("one/mask/seed=0/mask.safetensors").mkdir(parents=True)
    assert run("-q").code == 8
    reason = (
        "one/mask/seed=0/mask.safetensors: a folder has the name of the study's file; remove it"
    )
    assert states()["mask/seed=0"] == f"failed: {reason}"
    assert run("--status").out.splitlines() == [
        f"mask/seed=0: failed: {reason}",
        "9 jobs: 2 done, 1 failed, 6 waiting",
    ]


MISSING = """
version: 1
name: missing
steps:
  init: {train: {model: cnn, dataset: mnist, epochs: 0}}
"""


@pytest.mark.fault(22)
def test_the_mends_of_a_missing_data_set_work_for_a_study(prune, tmp_path, monkeypatch):
    class Downloads:
        def __init__(self, root, train, download):
            if not download:
                raise RuntimeError("Dataset not found")
            self.data = torch.zeros(10, 28, 28, dtype=torch.uint8)
            self.targets, self.classes = torch.arange(10), [str(label) for label in range(10)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchvision.datasets.MNIST", Downloads)
    Path("m.yaml").write_text(MISSING)
    ended = prune("run", "m.yaml", "-q")
    assert ended.code == 8
    assert ended.err.endswith(
        "download it with --download or PRUNECLI_DOWNLOAD=1, or give its folder with --data-dir or "
        "PRUNECLI_DATA_DIR (options are keys of step 'init' in the recipe)\n"
    )
    Path("m.yaml").write_text(MISSING.replace("epochs: 0", "epochs: 0, download: true"))
    assert prune("run", "m.yaml", "-q", "-o", "by-key").code == 0
    Path("m.yaml").write_text(MISSING)
    monkeypatch.setenv("PRUNECLI_DOWNLOAD", "1")
    assert prune("run", "m.yaml", "-q", "-o", "by-environment").code == 0


# Killed


def kill_the_worker_of_the_first():
    """Mid-training, in a thread: once it has saved its training state, be it anew."""

    def kill(before):
        until(lambda: STATES[0].exists() and STATES[0].stat().st_mtime_ns != before)
        lock = DENSE[0].with_name(".ckpt.safetensors.lock").read_text()
        os.kill(int(lock.split()[1]), signal.SIGKILL)

    before = STATES[0].stat().st_mtime_ns if STATES[0].exists() else 0
    killer = threading.Thread(target=kill, args=(before,))
    killer.start()
    return killer


@pytest.mark.fault(27)
def test_a_worker_that_is_killed(run, states, reference, monkeypatch):
    """Only its job is done again, from where its training was."""
    monkeypatch.setenv("NAP", "0.02")
    killed = "its process was killed by SIGKILL"
    for options, message in (
        (
            ["--keep-going"],
            "error: 1 of 9 jobs failed, and 4 more did not run. The first, dense/seed=0: " + killed,
        ),
        ([], f"error: job dense/seed=0 failed: {killed}"),
    ):
        killer = kill_the_worker_of_the_first()
        ended = run("--jobs", 2, *options)
        killer.join()
        assert (ended.code, ended.out) == (8, "")
        assert ended.err.splitlines()[-1] == message
        assert states()["dense/seed=0"] == f"failed: {killed}"
        assert counts(states()) == {"failed": 1, "done": 4, "waiting": 4}
    assert ended.err.count("resumed after step") == 1

    monkeypatch.setenv("NAP", "0")
    again = run("--json")
    assert ran(again) == 5
    assert again.err.count("resumed after step") == 1
    assert outputs("one") == reference


@pytest.fixture
def forked(reference, monkeypatch):
    """The study, two jobs at a time, in a process of its own."""
    begun = []

    def begin(*options, nap=0.05):
        monkeypatch.setenv("NAP", str(nap))
        line = ["run", "r.yaml", "-o", "one", "--threads", "1", "--jobs", "2", *options]
        begun.append(Forked(*line))
        monkeypatch.setenv("NAP", "0")
        return begun[-1]

    yield begin
    for process in begun:
        with suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


def test_an_interrupted_study_goes_on_to_the_same_bytes(forked, run, states, reference):
    process = forked(nap=0.3)
    until(lambda: all(path.exists() for path in STATES))
    assert counts(states()) == {"running": 2, "waiting": 7}
    assert run("--status").out.splitlines()[0] == "dense/seed=0: running"
    assert len(process.children()) == 2
    code, said = process.end(signal.SIGINT)
    assert code == 130
    assert said.count("stopped after step") == 2
    assert "dense/seed=1: stopped after step" in said
    assert said.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in said
    assert counts(states()) == {"stopped": 2, "waiting": 7}
    assert run("--status").out.splitlines()[0] == "dense/seed=0: stopped"

    again = run("--json")
    assert ran(again) == 9
    assert again.err.count("resumed after step") == 2
    assert outputs("one") == reference


def test_a_terminated_study_keeps_its_training(forked, run, states, folder):
    process = forked("--set", "seed=0", "--only", "dense", nap=0.3)
    until(STATES[0].exists)
    assert len(process.children()) == 1  # one is enough for one job
    code, said = process.end(signal.SIGTERM)
    assert code == 143
    assert said.splitlines()[-1].startswith("dense/seed=0: stopped after step")
    assert counts(states()) == {"stopped": 1, "waiting": 8}
    again = run("--set", "seed=0", "--only", "dense")
    assert "resumed after step" in again.err
    assert (
        DENSE[0].read_bytes() == (folder / "reference" / DENSE[0].relative_to("one")).read_bytes()
    )


def test_a_study_killed_at_any_moment_goes_on_to_the_same_bytes(forked, run, states, reference):
    """At first while it starts; then once it trains, or is further still; at last all of it."""
    rng = random.Random(13)
    for kill in range(KILLS):
        process = forked(*["--set", "seed=0"] * (kill < KILLS - 1))
        if kill > 0:
            until(lambda: any(map(is_locked, DENSE)) or "done" in counts(states()))
        time.sleep(rng.uniform(0, 1))
        assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
        assert not any(map(is_locked, [*DENSE, Path("one/study")]))
        assert "running" not in counts(states())
    assert run("-q").code == 0
    assert outputs("one") == reference


# What is seen


def job(name, step=None, command="train"):
    return Job(name, step or name.partition("/")[0], command, [], Path(name) / "out", ())


@pytest.fixture
def clock(monkeypatch):
    """Sets what time it is: `clock(12.5)`."""
    now = [100.0]
    monkeypatch.setattr(_study.time, "monotonic", lambda: now[0])

    def at(seconds):
        now[0] = 100.0 + seconds

    return at


def test_what_is_left_is_reckoned_from_what_has_been(clock):
    names = ["train/1", "train/2", "train/3", "score/1", "score/2", "tune/1"]
    commands = {"train": "train", "score": "score", "tune": "train"}
    jobs = {name: job(name, command=commands[name.partition("/")[0]]) for name in names}
    left = Forecast(list(jobs.values()), slots=2)
    assert left.seconds_left() is None

    left.starts(jobs["train/1"])
    clock(10)
    assert left.seconds_left() is None
    assert left.ends(jobs["train/1"], True) == 10
    # train/2 and 3 as train/1; tune as its command; the scores as all.
    assert left.seconds_left() == 5 * 10 / 2

    left.starts(jobs["score/1"])
    left.starts(jobs["train/2"])
    clock(12)
    left.ends(jobs["score/1"], True)
    # train/2 has had 2 s; train/3 10, score/2 2, tune 10
    assert left.seconds_left() == (8 + 10 + 2 + 10) / 2

    clock(30)  # train/2 takes 20 s, and by now none that is left of it
    assert left.seconds_left() == (0 + 10 + 2 + 10) / 2
    left.ends(jobs["train/2"], True)
    assert left.seconds_left() == (15 + 2 + 15) / 2
    left.ends(jobs["train/3"], False)  # taken: says nothing of how long one takes
    left.ends(jobs["score/2"], False)
    assert left.seconds_left() == 15  # of two slots, one has work
    left.ends(jobs["tune/1"], False)
    assert left.seconds_left() == 0


def test_a_failed_job_says_nothing_of_how_long_one_takes(clock):
    jobs = [job("a"), job("b")]
    left = Forecast(jobs, 1)
    left.starts(jobs[0])
    clock(5)
    assert left.ends(jobs[0], False) == 5
    assert left.seconds_left() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42.4, "42 s"), (89.4, "89 s"), (90, "2 min"), (299, "5 min"),
     (5369, "89 min"), (5400, "1 h 30 min"), (7500, "2 h 05 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def tell(log, jobs, clock):
    """A study of four: one runs, one was done, one is taken, one fails."""
    with log:
        one = log.starts(jobs[0])
        one.say("trained")
        one.detail("on cpu")
        one.warn("odd")
        clock(6)
        one.advance("epoch 1/1", 3, 4)
        log.ends(jobs[0], "ran")
        log.ends(jobs[1], "done")
        log.ends(jobs[2], "taken", "runs/other/c")
        log.starts(jobs[3])
        log.ends(jobs[3], "failed", "no \x1b[2Jroom")


LINES = """\
[1/4] a: train
a: trained
a: on cpu
a: warning: odd
a: epoch 1/1: 3/4
[1/4] a: done in 6 s, about 9 s left
[2/4] b: done already
[3/4] c: taken from runs/other/c
[4/4] d\\x1b[2J: train
warning: [4/4] d\\x1b[2J: no \\x1b[2Jroom
1 jobs done now, 1 were done before, 1 taken from other folders
""".splitlines()
LOUD = ("a: on cpu", "[2/4] b: done already")


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("slots", [1, 2])
def test_lines_name_their_job_where_several_run(clock, capsys, verbose, slots):
    jobs = [job(name) for name in ("a", "b", "c", "d\x1b[2J")]
    log = watcher(jobs, slots, quiet=False, verbose=verbose)
    assert type(log) is Log
    tell(log, jobs, clock)
    lines = [line for line in LINES if verbose or line not in LOUD]
    if slots == 1:
        lines = [line.removeprefix("a: ").replace("9 s left", "18 s left") for line in lines]
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in lines))


def test_quiet_says_nothing(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    jobs = [job(name) for name in "abcd"]
    log = watcher(jobs, 2, quiet=True, verbose=True)
    assert type(log) is Log
    tell(log, jobs, clock)
    assert capsys.readouterr() == ("", "")


def test_a_quick_job_is_over_without_a_word(clock, capsys):
    jobs = [job("a"), job("b")]
    log = Log(jobs, 1, False, False)
    log.starts(jobs[0])
    clock(0.9)
    log.ends(jobs[0], "ran")
    assert capsys.readouterr().err == "[1/2] a: train\n"


def test_no_summary_after_a_failure(capsys):
    with pytest.raises(KeyboardInterrupt), Log([job("a")], 1, False, False):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("slots", [1, 3])
def test_a_terminal_gets_a_bar_for_each_job_and_the_same_lines(clock, capsys, monkeypatch, slots):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    jobs = [job(name) for name in ("a", "b[red]", "c", "d\x1b[2J")]
    log = watcher(jobs, slots, quiet=False, verbose=False)
    assert type(log) is Live
    with log:
        bars = [log.starts(each) for each in jobs[:3]]
        clock(150)
        log.starts(jobs[3])
        for done in range(1, 5):
            for bar in bars:
                bar.advance(f"epoch {done}/4 [b]", done, 4)
        log.bars.refresh()
        names = [task.description for task in log.bars.tasks]
        assert names == ["study", "a", "b[red]", "c", "d\\x1b[2J"]
        assert {(t.completed, t.total, t.fields["note"]) for t in log.bars.tasks[1:4]} == {
            (4, 4, "epoch 4/4 [b]")
        }
        clock(200)
        log.ends(jobs[0], "ran")
        assert log.bars.tasks[0].fields["note"].startswith("about ")
        log.ends(jobs[1], "failed", "[b]no\x1b[2J room")
        log.ends(jobs[2], "done")
        log.ends(jobs[3], "taken", "elsewhere")
        (study,) = log.bars.tasks
        assert (study.completed, study.total, study.fields["note"]) == (4, 4, "1 failed ")
        log.starts(jobs[0])
        log.bars.refresh()
    err = capsys.readouterr().err
    assert "warning: [2/4] b[red]: [b]no\\x1b[2J room" in err
    assert "[4/4] d\\x1b[2J: taken from elsewhere" in err
    assert "epoch 4/4 [b]" in err
    assert "\x1b[2J" not in err
    assert "1 jobs done now, 1 were done before, 1 taken from other folders" in err


# Bad input


@pytest.mark.parametrize("option", ["--jobs", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_of_jobs_or_threads_is_at_least_one(run, nothing_written, option, value):
    with nothing_written():
        ended = run(option, value)
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{'-j' if option == '--jobs' else ''}" in ended.err
    assert option in ended.err


def test_status_of_a_recipe_with_an_error(run):
    Path("r.yaml").write_text(RECIPE.replace("magnitude", "magnitud"))
    ended = run("--status")
    assert (ended.code, ended.out) == (2, "")
    assert "error: r.yaml:11: step 'mask': " in ended.err
    assert "there is no method 'magnitud'; did you mean 'magnitude'?" in ended.err


def test_a_study_is_run_by_one_at_a_time(run, states):
    with locked(Path("one/study"), "one"):
        ended = run("--jobs", 2)
        assert counts(states()) == {"waiting": 9}
    assert ended.code == 5
    assert f"one: process {os.getpid()} on " in ended.err
    assert "use --wait" in ended.err


def test_with_wait_a_study_is_run_once_the_other_is_over(run):
    held, released = threading.Event(), []

    def other():
        with locked(Path("one/study"), "one"):
            held.set()
            time.sleep(0.6)
            released.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    ended = run("--wait", "--only", "dense", "--set", "seed=0", "--set", "epochs=0", "--json")
    thread.join()
    assert ran(ended) == 1
    assert released


def test_studies_below_runs_share_what_they_have_in_common(prune, reference):
    Path("other.yaml").write_text(
        RECIPE.replace("name: tiny", "name: other").replace("0.5", "0.25")
    )
    assert prune("run", "r.yaml", "--threads", 1, "-q").code == 0
    apart = prune("run", "other.yaml", "--threads", 1, "-o", "apart", "--json")
    assert ran(apart) == 9
    ended = prune("run", "other.yaml", "--threads", 1, "--json")
    assert ran(ended) == 7
    assert "[1/9] dense/seed=0: taken from runs/tiny/dense/seed=0\n" in ended.err
    assert "7 jobs done now, 0 were done before, 2 taken from other folders\n" in ended.err
    assert outputs("runs/other") == outputs("apart")
    assert outputs("runs/other/dense") == outputs("runs/tiny/dense")
    assert ran(prune("run", "other.yaml", "--threads", 1, "--json")) == 0


def test_what_to_print_is_asked_for_once(run):
    ended = run("--status", "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --status and --dry-run exclude each other\n"


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    "harm",
    [
        in_place,
        pytest.param(cut, marks=pytest.mark.slow),
        pytest.param(lambda path: path.write_bytes(b"short"), marks=pytest.mark.slow),
    ],
)
def test_a_training_whose_state_is_damaged_is_done_anew(forked, run, reference, harm):
    process = forked("--set", "seed=0", "--only", "dense", nap=0.3)
    until(STATES[0].exists)
    process.end(signal.SIGINT)
    harm(STATES[0])
    ended = run("--json")
    assert ran(ended) == 9
    assert "it is" in ended.err and "restarting the job" in ended.err
    assert outputs("one") == reference
