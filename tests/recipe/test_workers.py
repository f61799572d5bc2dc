"""Worker processes: small ones that speak the protocol for its rules, and the real one once."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from prunecli.cli.study import engines as _engines
from prunecli.cli.study import worker as _worker
from prunecli.errors import BadInput, PruneError
from prunecli.recipe.on_ray import _share
from prunecli.recipe.plan import Job
from prunecli.recipe.workers import Workers
from prunecli.runtime.progress import Progress

FAKE = """
import json, os, signal, sys, time

def do(what, *rest):
    if what == "fail":
        return rest[0]
    if what == "die":
        os.kill(os.getpid(), int(rest[0]))
    if what == "exit":
        os._exit(int(rest[0]))
    if what == "tell":
        for name, *args in rest[0]:
            print(json.dumps({"tell": name, "with": args}), flush=True)
    if what == "note":
        with open(rest[0], "w") as file:
            file.write(str(eval(rest[1])))
    if what == "meet":  # only over once all the others have begun
        open(rest[0], "w").close()
        while not all(os.path.exists(path) for path in rest[1:]):
            time.sleep(0.01)
    if what == "train":
        open(rest[0] + ".began", "w").close()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.5)  # to keep what it can; a second interrupt would end that
            open(rest[0], "w").close()
            return "interrupted"
    if what == "hang":
        signal.signal(signal.SIGINT, lambda *_: open(rest[0] + ".asked", "w").close())
        open(rest[0], "w").close()
        while True:
            time.sleep(60)

for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps({"ended": do(*order["arguments"])}), flush=True)
"""
COMMAND = [sys.executable, "-I", "-S", "-c", FAKE]


class Heard(Progress):
    """Keeps what it was told."""

    def __init__(self):
        self.all = []

    def say(self, message):
        self.all.append(message)

    def warn(self, message):
        self.all.append(f"warning: {message}")

    def advance(self, label, done, total, **facts):
        self.all.append((label, done, total))


def order(*arguments):
    return Job("a", "a", "fake", list(arguments), Path("out"), ())


@pytest.fixture
def crew():
    """Workers in so many slots, which are ended even after a test that fails."""
    made = []

    def hire(slots, environment=lambda slot: {}, command=COMMAND):
        made.append(Workers(command, slots, environment))
        return made[-1]

    yield hire
    for workers in made:
        for worker in workers.workers.values():
            worker.process.kill()


def do(workers, *arguments, progress=None):
    """One job, until it is over."""
    return workers.submit(order(*arguments), progress or Progress()).result(timeout=60)


def noted(workers, path, expression="os.getpid()"):
    """What the expression gives in the worker."""
    do(workers, "note", str(path), expression)
    return path.read_text()


def until(happens, seconds=20):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_worker_stays_for_the_next_job_also_after_a_failure(crew, tmp_path):
    with (workers := crew(1)):
        first = noted(workers, tmp_path / "pid")
        with pytest.raises(PruneError, match="^no such file$"):
            do(workers, "fail", "no such file")
        assert noted(workers, tmp_path / "pid") == first
        assert int(first) != os.getpid()
    assert workers.workers[0].process.returncode == 0


def test_jobs_one_after_the_other_keep_to_one_worker(crew, tmp_path):
    """Each start loads torch anew."""
    with (workers := crew(3)):
        assert len({noted(workers, tmp_path / "pid") for _ in range(4)}) == 1
        assert len(workers.workers) == 1


def test_no_worker_is_started_without_a_job(crew):
    with (workers := crew(2)):
        pass
    assert workers.workers == {}


def test_jobs_run_at_the_same_time_in_processes_of_their_own(crew, tmp_path):
    places = [str(tmp_path / name) for name in "abc"]
    with (workers := crew(3)):
        futures = [workers.submit(order("meet", place, *places), Progress()) for place in places]
        assert [future.result(timeout=60) for future in futures] == [{}] * 3
        assert len({worker.process.pid for worker in workers.workers.values()}) == 3
        assert [worker.lives for worker in workers.workers.values()] == [True] * 3
    assert [worker.lives for worker in workers.workers.values()] == [False] * 3


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (("die", str(int(signal.SIGKILL))), "its process was killed by SIGKILL"),
        (("die", str(int(signal.SIGSEGV))), "its process was killed by SIGSEGV"),
        (("exit", "3"), "its process ended with code 3"),
        (("exit", "0"), "its process ended with code 0"),
    ],
)
def test_a_worker_that_died_is_named_for_it_and_replaced(crew, tmp_path, how, reason):
    with (workers := crew(1)):
        first = noted(workers, tmp_path / "pid")
        with pytest.raises(PruneError, match=f"^{reason}$"):
            do(workers, *how)
        assert noted(workers, tmp_path / "pid") != first


def test_a_worker_that_died_between_jobs_is_replaced(crew, tmp_path):
    with (workers := crew(1)):
        first = int(noted(workers, tmp_path / "pid"))
        os.kill(first, signal.SIGKILL)
        workers.workers[0].process.wait(20)
        assert int(noted(workers, tmp_path / "pid")) != first


def test_what_a_job_tells_arrives_in_order(crew):
    heard = Heard()
    with (workers := crew(1)):
        tells = [("say", "ä\n"), ("advance", "epoch 1/2", 3, 4), ("warn", "odd")]
        do(workers, "tell", tells, progress=heard)
    assert heard.all == ["ä\n", ("epoch 1/2", 3, 4), "warning: odd"]


def test_each_slot_has_an_environment_of_its_own(crew, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "stays")
    places = [str(tmp_path / name) for name in "ab"]
    with (workers := crew(2, lambda slot: {"SLOT": str(slot)})):
        both = [workers.submit(order("meet", place, *places), Progress()) for place in places]
        assert [future.result(timeout=60) for future in both] == [{}, {}]
        said = "os.environ['SLOT'] + os.environ['OUTSIDE']"
        notes = {noted(workers, tmp_path / "note", said) for _ in range(2)}
    assert sorted(workers.workers) == [0, 1]
    assert notes <= {"0stays", "1stays"}


def test_after_an_error_jobs_are_asked_to_stop_and_waited_for(crew, tmp_path):
    places = [tmp_path / name for name in "ab"]
    with pytest.raises(KeyboardInterrupt), (workers := crew(3)):
        futures = [workers.submit(order("train", str(place)), Progress()) for place in places]
        idle = workers.submit(order("fail", "over before"), Progress())
        until(lambda: idle.done() and all(Path(f"{place}.began").exists() for place in places))
        raise KeyboardInterrupt
    assert [str(future.exception()) for future in futures] == ["interrupted"] * 2
    assert all(place.exists() for place in places)
    assert [worker.process.returncode for worker in workers.workers.values()] == [0, 0, 0]


def test_a_second_interrupt_kills(crew, tmp_path, monkeypatch):
    stuck = tmp_path / "stuck"
    with pytest.raises(KeyboardInterrupt, match="second"), (workers := crew(1)):
        future = workers.submit(order("hang", str(stuck)), Progress())
        until(stuck.exists)

        def again(futures, timeout):
            until(Path(f"{stuck}.asked").exists)
            raise KeyboardInterrupt("second")

        monkeypatch.setattr("prunecli.recipe.workers.wait", again)
        raise KeyboardInterrupt("first")
    assert str(future.exception()) == "its process was killed by SIGKILL"


# What prunecli starts


@pytest.mark.parametrize(
    ("slot", "threads", "gpus", "variables"),
    [
        (0, None, [], {}),
        (1, 3, [], {"OMP_NUM_THREADS": "3"}),
        (0, None, ["0", "1"], {"CUDA_VISIBLE_DEVICES": "0"}),
        (1, 2, ["4", "GPU-7"], {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "GPU-7"}),
        (2, None, ["4", "GPU-7"], {"CUDA_VISIBLE_DEVICES": "4"}),
        (5, None, ["0", "1"], {"CUDA_VISIBLE_DEVICES": "1"}),
    ],
)
def test_the_threads_and_the_gpu_of_a_slot(slot, threads, gpus, variables):
    assert _engines.surroundings(slot, threads, gpus) == variables


def test_more_jobs_than_gpus_share_them(monkeypatch):
    monkeypatch.setattr(_engines, "gpus", lambda: ["4", "7"])
    workers = _engines.engine("local", 3, 2)
    seen = [workers.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(workers.slots)]
    assert seen == ["4", "7", "4"]
    assert workers.environment(0)["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("slots", "devices", "share"),
    [(4, 0, 0), (1, 1, 1), (2, 4, 1), (4, 1, 1 / 4), (3, 2, 1 / 2), (4, 2, 1 / 2)],
)
def test_more_of_rays_tasks_than_gpus_share_them(slots, devices, share):
    assert _share(slots, devices) == share
    if devices:
        assert devices * int(1 / share) >= slots, "all of them find room"


@pytest.mark.parametrize(
    ("named", "count", "gpus"),
    [(None, 2, ["0", "1"]), ("3,GPU-5", 2, ["3", "GPU-5"]), ("", 0, []), ("-1", 0, []),
     ("1,9,2", 1, ["1"]), ("1, 0", 2, ["1", "0"]), ("MIG-5a1f,MIG-77", 1, ["MIG-5a1f"])],
)  # fmt: skip
def test_the_gpus_that_there_are(monkeypatch, named, count, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert _engines.gpus() == gpus


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (BadInput("x: there is no such file"), "x: there is no such file"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_how_a_job_ended(monkeypatch, error, answer):
    def do(job, progress):
        raise error

    monkeypatch.setattr(_worker, "do", do)
    assert _worker._done(order(), Progress()) == {"ended": answer}


def test_how_far_a_job_is_comes_a_few_times_a_second_and_at_the_end(monkeypatch):
    now = 100.0
    monkeypatch.setattr(_worker, "time", SimpleNamespace(monotonic=lambda: now))
    answers = []
    relay = _worker.Relay(answers.append)
    for done in range(1, 11):
        now = 100 + done * 0.0625
        relay.advance("epoch 1/1", done, 10)
    relay.say("over")
    assert [answer["with"][1] for answer in answers[:-1]] == [1, 5, 9, 10]
    assert answers[-1] == {"tell": "say", "with": ("over",)}


PLUGIN = """
import os, time

def noisy(weight):
    os.write(1, b"written past Python\\n")
    print("printed")
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}\\n")
    return weight.abs()

def faulty(weight):
    raise RuntimeError("a fault of its own")

def silent(weight):
    open(os.environ["NOTES"] + ".silent", "w").close()
    time.sleep(15)

def spoilt(weight):
    import torch
    def fail(*given):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    torch.cuda.is_initialized, torch.cuda.empty_cache = (lambda: True), fail
    fail()
"""


def test_the_real_worker(crew, checkpoint, tmp_path, monkeypatch, capfd, trusting):
    """What is printed does not get in the way, nor is the working folder imported from.

    Once nobody is left to give it orders it ends, whatever it does.
    """

    def orphaned(process):
        until((tmp_path / "notes.silent").exists)
        process.stdin.close()

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "scoring.py").write_text(PLUGIN)
    (tmp_path / "yaml.py").write_text("raise SystemExit('from the working folder')")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "plugins"), *filter(None, sys.path)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    trusting("scoring")
    heard = Heard()

    def score(method, path=checkpoint):
        output = str(tmp_path / "scores.safetensors")
        job = Job("s", "s", "score", ["-o", output, str(path), "--method", method], Path(), ())
        return workers.submit(job, heard).result(timeout=120)

    with (workers := crew(1, lambda slot: {"OMP_NUM_THREADS": "2"}, _engines.worker())):
        with pytest.raises(PruneError, match="^gone.safetensors: there is no such file$"):
            score("magnitude", "gone.safetensors")
        score("scoring:noisy")
        (tmp_path / "scores.safetensors").rename(tmp_path / "first.safetensors")
        with pytest.raises(PruneError, match="'scoring:faulty' failed: RuntimeError: a fault of"):
            score("scoring:faulty")
        score("scoring:noisy")
        orphan = threading.Thread(target=orphaned, args=(workers.workers[0].process,))
        orphan.start()
        with pytest.raises(PruneError, match="^its process ended with code 0$"):
            score("scoring:silent")
        orphan.join()
    first, second = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("first", "scores"))
    assert first == second
    notes = set((tmp_path / "notes").read_text().splitlines())
    assert notes == {f"{workers.workers[0].process.pid} 2"}
    out, err = capfd.readouterr()
    assert out == ""
    assert "written past Python" in err
    assert workers.workers[0].process.returncode == 0


def test_a_worker_that_a_fault_on_the_gpu_has_spoilt_is_replaced(
    crew, checkpoint, tmp_path, monkeypatch, trusting
):
    (tmp_path / "scoring.py").write_text(PLUGIN)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *filter(None, sys.path)])
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trusting("scoring")
    heard = Heard()

    def score(method):
        line = ["-o", str(tmp_path / f"{method[8:]}.safetensors"), str(checkpoint)]
        job = Job("s", "s", "score", [*line, "--method", method], Path(), ())
        return workers.submit(job, heard).result(timeout=120)

    with (workers := crew(1, command=_engines.worker())):
        with pytest.raises(PruneError, match="^its process ended with code 1$"):
            score("scoring:spoilt")
        score("scoring:noisy")
    assert (tmp_path / "noisy.safetensors").exists()
    failed = "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert [line for line in heard.all if failed in line and "warning: " in line]


def test_a_worker_that_is_interrupted_while_it_starts_says_nothing(crew, capfd, tmp_path):
    marker, command = tmp_path / "starts", _engines.worker()
    slow = f"open({str(marker)!r}, 'w').close(); import time; time.sleep(60)\nfrom prunecli"
    command[-1] = command[-1].replace("from prunecli", slow, 1)
    with pytest.raises(KeyboardInterrupt), (workers := crew(1, command=command)):
        future = workers.submit(order(), Progress())
        until(marker.exists)
        raise KeyboardInterrupt
    assert str(future.exception()) == "its process was killed by SIGINT"
    assert capfd.readouterr().err == ""
