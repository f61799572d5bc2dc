"""A study that somebody disturbs while it runs: it ends right, or says what is not."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from attacks import DISTURBANCES, LINKS, NO_FILES, dangling
from studies import PLUGIN, RECIPE, Forked, anew, outputs, undisturbed

from prunecli.files.claims import is_plain

ROUNDS = [pytest.param(seed, marks=[] if seed < 2 else pytest.mark.slow) for seed in range(100)]
GUESSED = (
    "ckpt.safetensors", "mask.safetensors", "result.json", "job.json", ".job.json.lock",
    "ckpt.state.safetensors", "ckpt.log.jsonl", ".ckpt.safetensors.lock", "report.csv",
    ".ckpt.safetensors.begun", ".mask.safetensors.begun.json", ".ckpt.safetensors.00000000.part",
)  # fmt: skip
"""What prunecli calls its files, as anybody can look up."""


@pytest.fixture(scope="module")
def reference(environment, tmp_path_factory):
    """What the study leaves undisturbed."""
    with undisturbed(tmp_path_factory.mktemp("undisturbed"), "one") as left:
        return outputs(left)


THEIRS = {
    name: f"their own {name}"
    for name in ("precious", *(name for name in GUESSED if not name.startswith(".")))
}
"""What lies where links lead, and has to stay."""


class Disturber:
    """Does one thing after the other to a study's files and processes, by chance."""

    def __init__(self, seed, process, victim):
        self.chance, self.process, self.victim = random.Random(seed), process, victim
        self.done = []
        self.acts = [self.edits] * 6 + [self.kills, self.plants, self.plants, self.moves]
        self.acts += [self.recodes]

    def act(self):
        with suppress(OSError):
            self.chance.choice(self.acts)()

    def edits(self):
        # Not through a link that was planted: then it would be this that harms the victim.
        files = [path for path in sorted(Path("one").rglob("*")) if is_plain(path)]
        files = [path for path in files if path.is_file()]
        path, harm = self.chance.choice(files or [Path("none")]), self.chance.choice(DISTURBANCES)
        self.done.append(f"{harm.__name__} {path}")
        harm(path)

    def kills(self):
        worker = self.chance.choice(self.process.children() or [0])
        self.done.append("kill")
        if worker:
            os.kill(worker, signal.SIGKILL)

    def folders(self):
        return [path for path in sorted(Path("one").rglob("*")) if path.is_dir()] or [Path("one")]

    def plants(self):
        kind = self.chance.choice([*LINKS, *NO_FILES, dangling])
        path = self.chance.choice(self.folders()) / self.chance.choice(GUESSED)
        self.done.append(f"{kind.__name__} {path}")
        kind(path, self.victim / "precious")

    def moves(self):
        folder = self.chance.choice(self.folders())
        self.done.append(f"move {folder}")
        folder.rename(folder.with_name(f"{folder.name}.away"))
        if self.chance.random() < 0.5:
            folder.symlink_to(self.victim)

    def recodes(self):
        self.done.append("edit the plugin")
        with Path("slowly.py").open("a") as file:
            file.write(f"# {len(self.done)}\n")


def over(process):
    """The exit code of a process that has ended, else None."""
    pid, status = os.waitpid(process.pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


@pytest.mark.fault(32)
@pytest.mark.fault(34)
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_disturbed_study_ends_right_or_says_what_is_not(
    reference, tmp_path, monkeypatch, prune, record_property, seed
):
    victim = tmp_path / "victim"
    victim.mkdir()
    for name, text in THEIRS.items():
        (victim / name).write_text(text)
    work = tmp_path / "work"
    work.mkdir()
    (work / "slowly.py").write_text(PLUGIN)
    (work / "r.yaml").write_text(RECIPE)
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(work)
    monkeypatch.setenv("NAP", "0.01")
    chance = random.Random(seed)
    line = ["run", "r.yaml", "-o", "one", "--threads", "1", "--jobs", str(chance.choice([1, 2]))]
    process = Forked(*line, *["--keep-going"] * chance.choice([0, 1]))
    disturber = Disturber(seed, process, victim)
    time.sleep(chance.uniform(0, 3))
    end = time.monotonic() + 120
    for _ in range(chance.randint(1, 8)):
        disturber.act()
        time.sleep(chance.uniform(0, 0.5))
    while (code := over(process)) is None:
        assert time.monotonic() < end, disturber.done
        time.sleep(0.02)
    said = Path("said").read_text()
    monkeypatch.setenv("NAP", "0")
    what = f"{disturber.done}\n{said}"
    record_property("ended", f"exit {code}")

    assert code in (0, 2, 3, 5, 8), what
    assert "Traceback" not in said, what
    assert "this is a bug" not in said, what
    assert code == 0 or "error: " in said, what
    for name, text in THEIRS.items():
        assert (victim / name).read_text() == text, what
    anew()
    states = json.loads(prune("run", "r.yaml", "-o", "one", "--status", "--json").out)["states"]
    there = outputs("one")
    for name, state in states.items():
        if state == "done":
            made = {path: bytes for path, bytes in reference.items() if path.startswith(f"{name}/")}
            assert made.items() <= there.items(), f"{name}\n{what}"

    # Undisturbed, it goes on to the very same bytes, once what is in the way is gone.
    for path in sorted(Path("one").rglob("*")):
        if path.is_dir() and not path.is_symlink():
            if path.name.endswith(".away"):
                shutil.rmtree(path)
        elif not is_plain(path):
            path.unlink()
    ended = prune("run", "r.yaml", "-o", "one", "--threads", 1)
    assert ended.code == 0, f"{what}\n{ended.err}"
    assert reference.items() <= outputs("one").items(), what
