"""The queue of GPU studies: its table is sound, what is cut off goes on elsewhere and adds up."""

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from queued import MINIATURE, RECIPE

from prunecli.errors import BadUsage
from prunecli.training import loop

ROOT = Path(__file__).parent.parent
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "benchmarks")
    import _queue_results as queue_results
    import _queue_table as queue_table
    import gpu_queue

NOW = datetime(2030, 1, 2, tzinfo=timezone.utc)
TABLE = ROOT / "benchmarks" / "gpu_queue.yaml"
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def entries(environment, tmp_path_factory):
    return queue_table.read_queue(TABLE, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A queue of two small studies that share a folder, and the current folder."""
    for name, text in (("benchmarks/small.yaml", MINIATURE), ("recipes/tiny.yaml", RECIPE)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNECLI_DEVICE", "cpu")
    monkeypatch.setenv("PRUNECLI_DATA_DIR", "data")
    return tmp_path / "benchmarks" / "small.yaml"


def given(table):
    return ["--queue", str(table), "--results", "results", "--runs", "runs"]


def rows():
    """Of the table of all results that were collected."""
    return list(csv.DictReader(Path("results/tiny/results.csv").open()))


def test_the_document_is_up_to_date_with_the_table_and_the_results(entries):
    text = (ROOT / "benchmarks" / "gpu_queue.md").read_text()
    assert queue_table.MARK in text
    assert queue_table.page(text, entries, RESULTS) == text


def test_the_document_says_of_the_data_what_the_table_says():
    text = (ROOT / "benchmarks" / "gpu_queue.md").read_text()
    for name, data in yaml.safe_load(TABLE.read_text())["data"].items():
        assert f"| `{name}` | {data['train']:,} + {data['test']:,} |" in text
    assert f"{queue_table.PER_JOB} seconds for every job" in text
    assert f"and {queue_table.TO_START} seconds of a run" in text
    assert f"every {gpu_queue.EVERY} seconds" in text


def test_every_study_ends_in_a_report_of_its_results_and_each_of_them_fits_into_a_run(entries):
    there = [entry for entry in entries if entry.jobs]
    assert len(there) >= 8
    for entry in there:
        assert entry.jobs[-1].command == "report"
        commands = {job.name: job.command for job in entry.jobs}
        assert {commands[name] for name in entry.wanted} == {"eval"}
        for name in entry.wanted:
            alone = queue_table.TO_START + entry.seconds(entry.in_turn([name]))
            assert alone < 60 * queue_table.MINUTES, name


def test_results_lie_in_one_place_each_and_only_entries_of_one_recipe_share_a_folder(entries):
    recipes = {entry.folder: entry.recipe for entry in entries}
    assert [recipes[entry.folder] for entry in entries] == [entry.recipe for entry in entries]
    for entry in entries:
        places = [entry.place(name) for name in entry.wanted]
        assert len(set(places)) == len(places)


def test_the_command_in_the_document_does_the_jobs_of_the_queue(entries, prune, monkeypatch):
    monkeypatch.chdir(ROOT)
    for entry in (entries[0], entries[2]):
        tool, *words = shlex.split(entry.command)
        ended = prune(*words, "--dry-run")
        assert (tool, ended.code) == ("prunecli", 0)
        dry = [shlex.split(line) for line in ended.out.splitlines()]
        assert [line[1] for line in dry] == [job.command for job in entry.jobs]
        for line, job in zip(dry, entry.jobs, strict=True):
            assert line[line.index("--output") + 1].endswith(f"/{job.name}/{job.output.name}")


def test_a_result_is_done_before_the_next_one_begins_and_seeds_come_one_by_one(small):
    entry = queue_table.read_queue(small, Path("runs"))[0]
    steps = [name.partition("/")[0] for name in entry.wanted]
    assert steps == ["baseline", "result", "result", "baseline", "result"]
    assert [job.name for job in entry.in_turn(entry.wanted)][:5] == [
        "dense/seed=0",
        "baseline/seed=0",
        "mask/method=magnitude,seed=0",
        "sparse/method=magnitude,seed=0",
        "result/method=magnitude,seed=0",
    ]


def test_how_long_a_study_takes_is_worked_out_from_its_epochs(small):
    entry = queue_table.read_queue(small, Path("runs"), ["second"])[0]
    # A dense network and a sparse one, of an epoch of 1,442 images each; five jobs in all.
    jobs = entry.in_turn(entry.wanted)
    assert len(jobs) == 5
    assert entry.seconds(jobs) == pytest.approx(2 * 1.442 + 5 * 3)
    assert queue_table.cost(entry) == "0 minutes, 1 run of 8"


def test_a_recipe_that_is_to_come_is_waited_for_and_a_study_that_is_not_there_refused(small):
    small.write_text(MINIATURE.replace("recipes/tiny", "recipes/later"))
    entry = queue_table.read_queue(small, Path("runs"))[0]
    assert queue_table.status(entry, Path("results")) == "waits for recipes/later.yaml"
    assert entry.wanted == entry.missing(Path("results")) == []
    with pytest.raises(SystemExit, match="there is no study 'third'; there are first, second"):
        queue_table.read_queue(small, Path("runs"), ["third"])
    small.write_text(MINIATURE.replace("method: random", "metod: random"))
    with pytest.raises(BadUsage, match="metod"):
        queue_table.read_queue(small, Path("runs"))


@pytest.fixture
def cut(monkeypatch):
    """`with cut(number):` has the time be over when that training begins."""

    real = loop.train

    @contextmanager
    def at(number):
        begun = []

        def until(*arguments, **options):
            begun.append(1)
            if len(begun) == number:
                raise KeyboardInterrupt
            real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "train", until)
            yield

    return at


@pytest.fixture
def here(monkeypatch):
    """A run does its work in this process: another one would load torch anew."""

    def timed(command, seconds, meanwhile):
        python, program, *arguments = command
        assert (python, Path(program)) == (sys.executable, ROOT / "benchmarks" / "gpu_queue.py")
        assert seconds == 120
        return gpu_queue.main(arguments)

    monkeypatch.setattr(gpu_queue, "timed", timed)


def test_a_study_that_is_cut_goes_on_elsewhere_and_two_of_one_folder_add_up(
    small, cut, here, capsys
):
    small.write_text(MINIATURE.replace("set: {", "set: {seed: 0, "))
    with cut(3):  # SNIP's, after the dense one and magnitude's
        assert gpu_queue.main(["work", *given(small)]) == 130
    entries = queue_table.read_queue(small, Path("runs"))
    results = Path("results")
    found = queue_results.gather(entries, Path("runs"), results, Path("one.tar.gz"), NOW)
    done = ["baseline/seed=0", "result/method=magnitude,seed=0"]
    assert list(map(str, found)) == [f"tiny/results/{name}.json" for name in done]
    assert gpu_queue.main(["collect", *given(small), "one.tar.gz"]) == 0
    assert [row["method"] for row in rows()] == ["dense", "magnitude"]
    assert "`first`: 2 of 3 results, 2030-01-02" in small.with_suffix(".md").read_text()

    # Another machine has no checkpoints, and makes again what is still needed, but no result.
    shutil.rmtree("runs")
    assert gpu_queue.main(["run", "first", *given(small), "--minutes", "2"]) == 0
    made = [path.name for path in Path("runs/tiny/sparse").iterdir()]
    assert made == ["method=snip,seed=0"]
    assert gpu_queue.main(["work", "second", *given(small)]) == 0
    capsys.readouterr()
    queue_results.gather(entries[1:], Path("runs"), results, Path("two.tar.gz"), NOW)
    assert gpu_queue.main(["collect", *given(small), "came.tar.gz", "two.tar.gz"]) == 0
    assert [row["method"] for row in rows()] == ["dense", "magnitude", "random", "snip"]
    assert "Three methods" in Path("results/tiny/report.html").read_text()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("first: 3 of 3 results, 20")
    assert second.startswith("second: 2 of 2 results, 2030-01-02")
    assert list(Path("results").rglob("*.safetensors")) == []

    # All is there: nothing is left to do, and nothing to give.
    Path("came.tar.gz").unlink()
    with cut(1):
        assert gpu_queue.main(["work", *given(small)]) == 0
    assert queue_results.gather(entries, Path("runs"), results, Path("came.tar.gz"), NOW) == {}
    assert not Path("came.tar.gz").exists()


@pytest.mark.slow
def test_a_run_does_its_work_in_a_process_that_it_can_end(small):
    how = [sys.executable, gpu_queue.__file__, "run", "second", *given(small), "--minutes", "2"]
    ended = subprocess.run(how, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
                           capture_output=True)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"^ *[\d.]+%  tiny/results/", ended.stdout, re.MULTILINE)) == 2
    assert Path("came.tar.gz").exists()


def test_an_archive_with_anything_else_is_not_unpacked(small):
    (small.parent / "x").write_text("{}")
    for number, name in enumerate(["docs/x.json", "tiny/x.py", "../x.json"]):
        path = Path(f"{number}.tar.gz")
        queue_results.archive(path, {name: small.parent / "x"})
        with pytest.raises(SystemExit, match="is not of a study of the queue"):
            gpu_queue.main(["collect", *given(small), str(path)])
    assert not Path("results").exists()
    queue_results.archive(path, {"tiny/../../x.json": small.parent / "x"})
    with pytest.raises(SystemExit, match="it cannot be read .*outside the destination"):
        gpu_queue.main(["collect", *given(small), str(path)])
    path.write_bytes(path.read_bytes()[:40])
    Path("torn.tar.gz").write_text("no archive")
    for odd in (path, "torn.tar.gz", "none.tar.gz"):
        with pytest.raises(SystemExit, match="it cannot be read"):
            gpu_queue.main(["collect", *given(small), str(odd)])


def test_after_a_failure_the_rest_of_a_study_and_the_next_ones_are_done(small, capsys):
    small.write_text(MINIATURE.replace('"[magnitude,snip]"', "snip"))
    entries = queue_table.read_queue(small, Path("runs"))
    Path("runs/tiny/mask/method=snip,seed=0/mask.safetensors").mkdir(parents=True)
    assert gpu_queue.main(["work", *given(small)]) == 1
    assert "first: 1 of 5 jobs failed" in capsys.readouterr().err
    files = queue_results.gather(entries, Path("runs"), Path("results"), Path("o.tar.gz"), NOW)
    done = [str(place.relative_to("tiny/results")) for place in files]
    assert done == ["baseline/seed=0.json", "result/method=random,seed=0.json"]


@pytest.mark.parametrize(
    ("ended", "code"), [(0, 0), (1, 1), (2, 1), (130, 130), (-signal.SIGKILL, 130), (-11, 1)]
)
def test_a_run_that_crashed_is_told_from_one_whose_time_was_over(small, monkeypatch, ended, code):
    monkeypatch.setattr(gpu_queue, "timed", lambda *arguments: ended)
    assert gpu_queue.main(["run", *given(small)]) == code


def test_a_study_is_left_out_until_all_of_its_data_is_there(small, capsys, cut):
    small.write_text(MINIATURE.replace("train: 1442", "train: 50000"))
    with cut(1):
        assert gpu_queue.main(["work", *given(small)]) == 1
    assert "first: left out: 1,442 of the 50,000 train images of digits" in capsys.readouterr().err
    small.write_text(MINIATURE.replace("digits", "cifar10"))
    entry = queue_table.read_queue(small, Path("runs"))[0]
    assert "data set 'cifar10' under none" in gpu_queue.lacking(entry, Path("none"))
