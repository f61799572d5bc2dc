"""What is run and what is not: with fake tools for the rules, and once for real."""

import json
import random
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, wait
from pathlib import Path

import pytest
import torch
from attacks import DISTURBANCES, in_place
from safetensors.torch import save_file

from prunecli.errors import BadInput, BadOutput, JobsFailed, PruneError
from prunecli.files.reading import Identity
from prunecli.recipe import execute, records
from prunecli.recipe.engine import Here
from prunecli.recipe.execute import Watcher
from prunecli.recipe.plan import Job
from prunecli.recipe.records import Shelf


class Study:
    """Jobs that join the outputs of those they need; each job's name is its output's content."""

    def __init__(self, folder, graph):
        self.folder = folder
        self.jobs = [self.job(folder, name, needs) for name, needs in graph.items()]
        self.options, self.ran, self.broken, self.alias = {}, [], set(), {}

    def job(self, folder, name, needs):
        reads = tuple(folder / need / "out.txt" for need in needs)
        return Job(name, name, "join", [], folder / name / "out.txt", tuple(needs), reads)

    def __getitem__(self, name):
        return next(job for job in self.jobs if job.name == name)

    def inputs(self, job):
        own = [self.alias.get(job.name, job.name), self.options.get(job.name)]
        try:
            return [*own, *(self[n].output.read_bytes().decode() for n in job.needs)]
        except OSError as error:
            raise BadInput(str(error)) from None

    def run(self, job, progress):
        self.ran.append(job.name)
        if job.name in self.broken:
            raise BadInput(f"{job.name} is broken")
        if self.inputs(job) != job.given:
            raise PruneError("changed while the study ran")
        job.output.write_text(f"{job.name} {self.inputs(job)}")
        return {path.name: Identity.of(path.stat()) for path in job.folder.glob("[!.j]*")}

    def go(self, shared=False, watcher=None, engine=None, counted=True, **options):
        """Execute; gives the names of the jobs that were run."""
        self.ran = []
        study = execute.Study(
            self.jobs,
            engine or Here(self.run),
            self.inputs,
            Shelf(self.folder, shared),
            watcher or Watcher(),
            **options,
        )
        assert study.run() == len(self.ran) or not counted
        return self.ran


@pytest.fixture
def study(tmp_path):
    """a <- b <- c, and d on its own."""
    return Study(tmp_path, {"a": [], "b": ["a"], "c": ["b"], "d": []})


def record(job):
    return json.loads((job.output.parent / "job.json").read_text())


def test_what_is_done_is_not_done_again(study):
    assert study.go() == ["a", "b", "c", "d"]
    assert study.go() == []
    assert study["c"].output.read_text().startswith("c ['c', None, ")


@pytest.mark.fault(30)
def test_a_changed_option_runs_what_depends_on_it_and_nothing_else(study):
    study.go()
    study.options["b"] = "changed"
    assert study.go() == ["b", "c"]
    assert study.go() == []


def test_what_depends_on_a_rerun_with_the_same_output_stays(study):
    study.go()
    (study["a"].output.parent / "job.json").unlink()
    assert study.go() == ["a"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("damaged")])
def test_a_damaged_or_missing_output_is_made_again(study, harm):
    study.go()
    before = study["b"].output.read_text()
    harm(study["b"].output)
    assert study.go() == ["b"]
    assert study["b"].output.read_text() == before


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"key": 1}'])
def test_a_damaged_record_counts_as_none(study, content):
    study.go()
    (study["d"].output.parent / "job.json").write_text(content)
    assert study.go() == ["d"]
    assert study.go() == []


def disturbed(study, harm, at):
    """Have `harm` come over the output of 'a' when that job of the study begins."""

    class Disturbing(Watcher):
        def starts(self, job):
            if job.name == at:
                harm(study["a"].output)
            return super().starts(job)

    return Disturbing()


@pytest.mark.fault(32)
@pytest.mark.parametrize("harm", DISTURBANCES)
@pytest.mark.parametrize("at", ["d", "c"])
def test_an_output_that_somebody_changes_while_the_study_runs(tmp_path, harm, at):
    study = Study(tmp_path, {"a": [], "d": ["a"], "c": ["a", "d"]})
    words = "changed after it was made|changed while the study ran|No such file"
    with pytest.raises(JobsFailed, match=words):
        study.go(watcher=disturbed(study, harm, at))
    study.go()
    clean = Study(tmp_path / "clean", {"a": [], "d": ["a"], "c": ["a", "d"]})
    clean.go()
    for job in study.jobs:
        assert job.output.read_bytes() == clean[job.name].output.read_bytes()
    assert study.go() == []


@pytest.mark.fault(32)
def test_an_output_that_is_changed_before_it_is_noted_is_not_taken_for_the_job_s(study):
    run = study.run

    def and_changed(job, progress):
        wrote = run(job, progress)
        if job.name == "b":
            time.sleep(0.02)
            in_place(job.output)
        return wrote

    study.run = and_changed
    with pytest.raises(JobsFailed, match=r"job b failed: .*out.txt: it was changed or replaced"):
        study.go(engine=Here(study.run))
    study.run = run
    assert study.go() == ["b", "c", "d"]


@pytest.mark.fault(41)
def test_a_job_that_made_nothing_is_not_done(study):
    study.run = lambda job, progress: {}
    with pytest.raises(JobsFailed, match=r"job a failed: .*out.txt: there is no such file"):
        study.go(engine=Here(study.run))


def test_an_interrupted_job_is_not_done(study, monkeypatch):
    def interrupt(job, progress):
        job.output.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        study.go()
    assert record(study["a"]).keys() == {"key"}
    monkeypatch.undo()
    assert study.go() == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("option", "kept"), [(None, True), ("changed", False)])
def test_a_training_state_is_kept_for_the_same_job_only(study, option, kept):
    study.broken = {"a"}
    with pytest.raises(JobsFailed):
        study.go()
    state = study["a"].output.with_name("out.state.safetensors")
    state.touch()
    study.options["a"] = option
    with pytest.raises(JobsFailed):
        study.go()
    assert state.exists() is kept


@pytest.mark.parametrize(
    ("error", "explains"),
    [
        ("x: it is missing; download it with --download", True),
        ("out of memory; lower --batch-size, or use --wait", True),
        ("x: 'mine:net' is not imported; add --trust mine:net", False),
        ("x: it is foreign; import it with 'prunecli train CKPT --model NAME'", False),
        ("--batch-size is not to blame", False),
        ("b is broken", False),
    ],
)
def test_an_error_that_an_option_mends_says_how_a_recipe_gives_it(
    study, monkeypatch, error, explains
):
    def broken(job):
        raise BadInput(error)

    monkeypatch.setattr(study, "inputs", broken)
    with pytest.raises(JobsFailed) as failure:
        study.go()
    more = " (options are keys of step 'a' in the recipe)" * explains
    assert str(failure.value) == f"job a failed: {error}{more}"


def test_a_failure_stops_the_rest(study):
    study.broken = {"b"}
    with pytest.raises(JobsFailed, match="job b failed: b is broken") as error:
        study.go()
    assert error.value.exit_code == 8
    assert study.ran == ["a", "b"]
    assert not study["d"].output.exists()


def test_keep_going_does_what_does_not_need_the_failed(study):
    study.broken = {"b"}
    with pytest.raises(
        JobsFailed, match="1 of 4 jobs failed, and 1 more did not run. The first, b: b is"
    ):
        study.go(keep_going=True)
    assert study.ran == ["a", "b", "d"]
    study.broken = set()
    assert study.go() == ["b", "c"]


def test_an_unreadable_input_is_a_failed_job(study, monkeypatch):
    def missing(job):
        raise BadInput("x.safetensors: there is no such file")

    monkeypatch.setattr(study, "inputs", missing)
    with pytest.raises(JobsFailed, match="job a failed: x.safetensors: there is no such file"):
        study.go()
    assert study.ran == []


def test_after_an_unreadable_input_nothing_starts(study, monkeypatch):
    def missing(job):
        if job.name == "a":
            raise BadInput("x.safetensors: there is no such file")
        return job.name

    monkeypatch.setattr(study, "inputs", missing)
    with pytest.raises(JobsFailed, match="job a failed"):
        study.go()
    assert study.ran == []
    with pytest.raises(
        JobsFailed, match="1 of 4 jobs failed, and 2 more did not run. The first, a"
    ):
        study.go(keep_going=True)
    assert study.ran == ["d"]


def test_a_folder_that_cannot_be_made_is_a_failed_job(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobsFailed, match="cannot be written: Not a directory"):
        Study(tmp_path / "file", {"a": []}).go()
    assert BadOutput.exit_code == 5


def test_watchers_are_told_what_is_run_and_what_is_done(study):
    class Loud(Watcher):
        def __init__(self):
            self.said = []

        def starts(self, job):
            self.said.append(f"{job.name} starts")

        def ends(self, job, how, note=""):
            self.said.append(f"{job.name} {how} {note}")

    loud = Loud()
    study.broken = {"b"}
    with pytest.raises(JobsFailed):
        study.go(watcher=loud, keep_going=True)
    assert loud.said == [
        *["a starts", "a ran ", "b starts", "b failed b is broken", "c left needs a failed job"],
        *["d starts", "d ran "],
    ]
    loud.said, study.broken = [], set()
    study.go(watcher=loud)
    assert loud.said == ["a done ", "d done ", "b starts", "b ran ", "c starts", "c ran "]


# Several at a time


class Slots:
    """An engine whose jobs are over when the test says so.

    `ends` is given the names of the jobs under way whenever the study waits for one, and names the
    one that is over then.
    """

    def __init__(self, study, slots, ends):
        self.study, self.slots, self.ends = study, slots, ends
        self.running, self.moments, self.left = {}, [], None

    def __enter__(self):
        pass

    def __exit__(self, kind, *rest):
        self.left = kind

    def submit(self, job, progress):
        assert len(self.running) < self.slots
        assert all(self.study[need].output.exists() for need in job.needs)
        self.running[job.name] = job, Future()
        return self.running[job.name][1]

    def wait(self, futures, return_when):
        assert {future for _, future in self.running.values()} == set(futures)
        self.moments.append(" ".join(self.running))
        job, future = self.running.pop(self.ends(list(self.running)))
        try:
            self.study.run(job, None)
            future.set_result(None)
        except PruneError as error:
            future.set_exception(error)
        return wait(futures, return_when=return_when)


@pytest.fixture
def side_by_side(tmp_path, monkeypatch):
    """Runs a graph of jobs with so many slots; gives the study, and what ran at each moment."""

    def run(graph, slots, ends=lambda names: names[0], study=None, **options):
        study = study or Study(tmp_path, graph)
        engine = Slots(study, slots, ends)
        study.moments = engine.moments
        with monkeypatch.context() as patch:
            patch.setattr(execute, "wait", engine.wait)
            try:
                study.go(engine=engine, **options)
            finally:
                study.left = engine.left
        return study

    return run


def test_jobs_side_by_side_in_the_order_of_the_plan(side_by_side):
    graph = {"a": [], "b": ["a"], "c": [], "d": ["c"], "e": []}
    assert side_by_side(graph, 2).moments == ["a c", "c b", "b d", "d e", "e"]


def test_all_that_is_ready_runs_where_there_is_room(side_by_side):
    study = side_by_side({name: [] for name in "abcde"}, 9, ends=lambda names: names[-1])
    assert study.moments == ["a b c d e", "a b c d", "a b c", "a b", "a"]
    assert study.ran == list("edcba")


@pytest.mark.parametrize("seed", range(20))
def test_no_slot_is_idle_and_no_need_unmet_whatever_is_over_when(side_by_side, seed):
    rng = random.Random(seed)
    names = [f"j{n}" for n in range(12)]
    graph = {
        name: rng.sample(names[:n], min(n, rng.choice([0, 0, 1, 2])))
        for n, name in enumerate(names)
    }
    slots = rng.choice([1, 2, 3, 5])
    over = []

    def ends(running):
        """What ran is worked out anew, from the graph alone."""
        waiting = [n for n in names if n not in over and n not in before]
        ready = [n for n in waiting if set(graph[n]) <= set(over)]
        assert set(running) == {*before, *ready[: slots - len(before)]}
        over.append(rng.choice(running))
        before[:] = [n for n in running if n != over[-1]]
        return over[-1]

    before = []
    assert side_by_side(graph, slots, ends).ran == over
    assert sorted(over) == sorted(names)


def test_of_two_jobs_that_are_the_same_one_takes_over_from_the_other(side_by_side, tmp_path):
    study = Study(tmp_path, {"a": [], "twin": [], "c": [], "t2": ["twin"]})
    study.alias = {"twin": "a"}
    notes = []
    watcher = Watcher()
    watcher.ends = lambda job, how, note="": notes.append((job.name, how, note))
    side_by_side(None, 3, study=study, watcher=watcher)
    assert study.moments == ["a c", "c t2", "t2"]
    assert study.ran == ["a", "c", "t2"]
    assert notes[:2] == [("a", "ran", ""), ("twin", "taken", str(tmp_path / "a"))]
    assert study["twin"].output.read_bytes() == study["a"].output.read_bytes()
    assert study.go() == []


def test_the_same_job_is_tried_again_where_its_twin_failed(side_by_side, tmp_path):
    study = Study(tmp_path, {"a": [], "twin": []})
    study.alias, study.broken = {"twin": "a"}, {"a"}
    with pytest.raises(JobsFailed, match="1 of 2 jobs failed. The first, a: a is broken"):
        side_by_side(None, 2, study=study, keep_going=True)
    assert study.moments == ["a", "twin"]


def test_after_a_failure_nothing_starts_and_what_runs_is_kept(side_by_side, tmp_path):
    study = Study(tmp_path, {"a": [], "b": [], "c": [], "d": ["a"]})
    study.broken = {"b"}
    with pytest.raises(JobsFailed, match="^job b failed: b is broken$"):
        side_by_side(None, 2, ends=lambda names: names[-1], study=study)
    assert study.moments == ["a b", "a"]
    assert record(study["b"])["error"] == "b is broken"
    assert record(study["a"])["sha256"]
    assert not study["c"].folder.exists()
    assert study.left is None
    study.broken = set()
    assert study.go() == ["b", "c", "d"]


def test_keep_going_does_all_that_does_not_need_the_failed(side_by_side, tmp_path):
    study = Study(tmp_path, {"a": [], "b": [], "c": ["b"], "d": ["c", "a"], "e": ["a"], "f": []})
    study.broken = {"b"}
    with pytest.raises(
        JobsFailed, match="1 of 6 jobs failed, and 2 more did not run. The first, b: b is"
    ):
        side_by_side(None, 2, ends=lambda names: names[-1], study=study, keep_going=True)
    assert study.moments == ["a b", "a f", "a", "e"]
    assert study.ran == ["b", "f", "a", "e"]


def test_the_engine_is_told_of_an_interrupt(side_by_side, tmp_path):
    study = Study(tmp_path, {"a": [], "b": []})

    def interrupt(names):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(None, 2, interrupt, study)
    assert study.left is KeyboardInterrupt
    assert record(study["a"]).keys() == record(study["b"]).keys() == {"key"}


# Sharing


@pytest.fixture
def two(tmp_path):
    """Two studies side by side, below one folder, of the same two jobs."""
    return [Study(tmp_path / "runs" / name, {"a": [], "b": ["a"]}) for name in ("one", "two")]


def shared(study):
    """Run the study, that shares; gives what was run, and what was taken from where."""
    notes, watcher = [], Watcher()
    watcher.ends = lambda job, how, note="": how == "taken" and notes.append((job.name, note))
    return study.go(shared=True, watcher=watcher), notes


def test_what_a_study_beside_has_done_is_taken_over(two):
    one, other = two
    one["a"].folder.mkdir(parents=True)
    one["a"].output.with_name("a.log").write_text("how it went")
    one.go()
    one["a"].output.with_name("jottings").write_text("of a user's")
    assert shared(other) == ([], [(name, str(one[name].folder)) for name in "ab"])
    one["a"].output.with_name("jottings").unlink()
    assert outputs(one.folder) == outputs(other.folder)
    assert set(outputs(other.folder)) == {"a/out.txt", "a/a.log", "b/out.txt"}
    assert record(other["b"]) == record(one["b"])
    assert shared(other) == ([], [])


def test_a_study_that_does_not_share_takes_nothing(two):
    one, other = two
    one.go()
    assert other.go(shared=False) == ["a", "b"]


def test_only_what_is_the_same_is_taken(two):
    one, other = two
    one.go()
    other.options["b"] = "another"
    assert shared(other) == (["b"], [("a", str(one["a"].folder))])


def test_within_a_study_a_renamed_job_is_taken_over(two, tmp_path):
    one, _ = two
    one.go()
    one.jobs = [one.job(one.folder, name, []) for name in ("later/x=1", "later/x=2")]
    one.alias = {"later/x=1": "a"}
    assert one.go() == ["later/x=2"]
    one.jobs = [one.job(one.folder, "last", [])]
    one.alias = {"last": "later/x=2"}
    assert one.go() == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("damaged")])
def test_what_is_damaged_is_not_taken(two, harm):
    one, other = two
    one.go()
    before = one["a"].output.read_text()
    harm(one["a"].output)
    assert shared(other) == (["a"], [("b", str(one["b"].folder))])
    assert other["a"].output.read_text() == before


def test_what_failed_or_is_under_way_is_not_taken(two):
    one, other = two
    one.broken = {"b"}
    with pytest.raises(JobsFailed):
        one.go()
    one["b"].output.write_text("half")
    assert shared(other) == (["b"], [("a", str(one["a"].folder))])
    records.start(one["a"], "another key")
    (other["a"].folder / "job.json").unlink()
    assert shared(other) == (["a"], [])


def test_nothing_is_taken_of_what_has_become_another_job(two):
    """The other's training state would be resumed from, in vain."""
    one, other = two
    one.go()

    def change(job, progress):
        if job.name == "first":
            records.start(one["a"], "another key")
            one["a"].output.with_name("out.state.safetensors").touch()
        job.output.write_text(f"{job.name} {other.inputs(job)}")

    other.jobs = [other.job(other.folder, name, []) for name in ("first", "a")]
    other.run = change
    other.go(shared=True, counted=False)
    assert set(outputs(other["a"].folder)) == {"out.txt"}


def test_a_copy_that_fails_is_a_failed_job(two, monkeypatch):
    def full(path, chunks):
        raise BadOutput(f"{path.name}: cannot be written: No space left on device")

    one, other = two
    one.go()
    monkeypatch.setattr(records, "write_bytes", full)
    with pytest.raises(JobsFailed, match="job a failed: out.txt: cannot be written: No space"):
        other.go(shared=True)
    assert execute.states(other.jobs, other.inputs) == {
        "a": "failed: out.txt: cannot be written: No space left on device",
        "b": "waiting",
    }


# For real

CANARY = "$(touch canary) `touch canary`; touch canary | touch canary > canary"
RECIPE = f"""
version: 1
name: tiny
vars: {{epochs: 1, title: "{CANARY}"}}
matrix: {{method: [magnitude, random], density: [0.1]}}
steps:
  dense: {{train: {{model: cnn, dataset: digits, epochs: "${{epochs}}", eval_epochs: false}}}}
  scores: {{score: {{checkpoint: "@dense", method: "${{method}}"}}}}
  mask: {{mask: {{scores: "@scores", density: "${{density}}"}}}}
  pruned: {{apply: {{checkpoint: "@dense", mask: "@mask"}}}}
  result: {{eval: {{checkpoint: "@pruned", mask: "@mask"}}}}
  table: {{report: {{results: "@result[*]", format: csv, title: "${{title}}"}}}}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, prune):
    """Runs the tiny recipe with a study folder; gives what it printed, and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)

    def run(folder, *options, code=0):
        ended = prune("run", "r.yaml", "--output", folder, *options)
        assert ended.code == code, ended.err
        return ended.out, ended.err

    return run


@pytest.fixture
def ran(run):
    """Runs the tiny recipe; gives how many of its jobs were run."""
    return lambda *options: json.loads(run(*options, "--json")[0])["ran"]


def outputs(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in ("job.json", "ckpt.log.jsonl")
    }


@pytest.mark.fault(26)
def test_a_study_end_to_end(run, ran):
    out, err = run("one")
    assert out == "one/table/report.csv\n"
    assert "[10/10] table: report" in err
    assert len(outputs("one")) == 10

    out, err = run("one", "--json")
    facts = json.loads(out)
    assert (facts["output"], facts["outputs"]) == ("one", ["one/table/report.csv"])
    assert (facts["jobs"], facts["ran"]) == (10, 0)
    assert err == "0 jobs done now, 10 were done before\n"

    assert ran("two") == 10
    assert outputs("one") == outputs("two")
    assert {path.name for path in Path().iterdir()} == {"r.yaml", "one", "two"}

    assert ran("one", "--set", "density=0.2", "--only", "mask") == 2
    assert ran("one", "--set", "method=random") == 1  # the table, of fewer results
    mask = Path("one/mask/method=random,density=0.1/mask.safetensors")
    mask.write_bytes(mask.read_bytes()[:-1])
    assert ran("one") == 2  # the mask, and the table of all results
    assert outputs("two").items() <= outputs("one").items()


@pytest.mark.fault(20)
def test_what_a_shell_would_expand_is_passed_on_as_it_is(run, nothing_written):
    with nothing_written():
        out, err = run("one", "--dry-run")
    *_, table = map(shlex.split, out.splitlines())
    results = [f"one/result/method={m},density=0.1/result.json" for m in ("magnitude", "random")]
    options = ["--output", "one/table/report.csv", "--format", "csv", "--title", CANARY]
    assert table == ["prunecli", "report", *options, "--", *results]
    assert json.loads(run("one", "--dry-run", "--json")[0])["commands"] == out.splitlines()
    assert err == ""


def test_a_job_that_fails_and_those_that_need_it(run):
    Path("one/scores/method=random/scores.safetensors").mkdir(parents=True)
    out, err = run("one", "--keep-going", code=8)
    assert out == ""
    assert "scores.safetensors: a folder has the name of the study's file" in err
    assert (
        "error: 1 of 10 jobs failed, and 4 more did not run. The first, scores/method=random" in err
    )
    assert Path("one/result/method=magnitude,density=0.1/result.json").is_file()
    assert not Path("one/table").exists()


def test_only_an_unknown_step(run):
    assert (
        "there is no step 'msak'; did you mean 'mask'?" in run("one", "--only", "msak", code=2)[1]
    )


def test_an_input_counts_by_what_is_in_it(ran, checkpoint):
    Path("r.yaml").write_text(
        "version: 1\nsteps: {s: {score: {checkpoint: dense.safetensors, method: magnitude}}}\n"
    )
    assert [ran("one"), ran("one")] == [1, 0]
    checkpoint.touch()
    assert ran("one") == 0
    save_file({"fc.weight": torch.ones(2, 2)}, checkpoint)
    assert [ran("one"), ran("one")] == [1, 0]


def test_an_interrupted_study_goes_on_mid_training_to_the_same_bytes(run):
    Path("r.yaml").write_text(
        "version: 1\nsteps: {t: {train: {model: cnn, dataset: digits, epochs: 3}}}\n"
    )
    state = Path("one/t/ckpt.state.safetensors")
    line = [sys.executable, "-m", "prunecli", "run", "r.yaml", "-o", "one", "-q"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not state.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.split()) == (130, b"", [b"error:", b"interrupted"])
    assert state.exists()

    assert "resumed after step" in run("one")[1]
    assert not state.exists()
    run("two")
    assert outputs("one") == outputs("two")


def test_a_mask_that_a_pruner_left_is_made_again_when_it_is_gone(ran):
    Path("r.yaml").write_text(
        "version: 1\nsteps:\n  t: {train: {model: cnn, dataset: digits, epochs: 1,"
        " pruner: gradual, density: 0.5}}\n"
    )
    assert [ran("one"), ran("one")] == [1, 0]
    mask = Path("one/t/ckpt.mask.safetensors")
    before = mask.read_bytes()
    mask.unlink()
    assert [ran("one"), ran("one")] == [1, 0]
    assert mask.read_bytes() == before
