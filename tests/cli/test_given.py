"""What a job depends on, in the eyes of the process that does it, is what it was found due with."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunecli.cli.study import steps as _steps
from prunecli.cli.study.steps import check, do, inputs
from prunecli.errors import PruneError
from prunecli.images import source as _data
from prunecli.plugins import blame, code
from prunecli.recipe.plan import Job
from prunecli.runtime.progress import Progress

pytestmark = pytest.mark.fault(32)


@pytest.fixture
def due(checkpoint, monkeypatch):
    """A job that is due, with what it depends on now."""
    monkeypatch.chdir(checkpoint.parent)

    def job(command, **options):
        output = Path("study/job/out.safetensors")
        output.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--output", str(output), *check(command, options, {}).arguments]
        made = Job("job", "job", command, arguments, output, ())
        return replace(made, given=inputs(made))

    return job


def done(job):
    wrote = do(job, Progress())
    assert set(wrote) == {"out.safetensors"}
    return wrote


def test_a_job_says_what_it_wrote(due):
    job = due("mask", checkpoint="dense.safetensors", method="magnitude", density=0.5)
    [identity] = done(job).values()
    assert identity.size == job.output.stat().st_size
    assert identity.inode == job.output.stat().st_ino


def test_an_input_that_is_another_by_now(due):
    job = due("mask", checkpoint="dense.safetensors", method="magnitude", density=0.5)
    with Path("dense.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    with pytest.raises(PruneError, match="'scores' changed while the study ran"):
        do(job, Progress())
    assert not job.output.exists()


def test_an_input_that_is_swapped_while_the_job_is_done_and_swapped_back(due, monkeypatch):
    job = due("mask", checkpoint="dense.safetensors", method="magnitude", density=0.5)
    real, dense, away = _steps.invoke, Path("dense.safetensors"), Path("away.safetensors")

    def swapping(*arguments):
        dense.rename(away)
        shutil.copy(away, dense)
        real(*arguments)
        away.replace(dense)

    monkeypatch.setattr(_steps, "invoke", swapping)
    with pytest.raises(PruneError, match="a file that it reads changed while it ran"):
        do(job, Progress())


def test_code_that_was_edited_before_this_process_imported_it(due, monkeypatch, trusting):
    trusting("mine")
    monkeypatch.syspath_prepend(Path.cwd())
    mine = Path("mine.py")
    mine.write_text("def score(weight): return weight.abs()\n")
    job = due("score", checkpoint="dense.safetensors", method="mine:score")
    done(job)
    # As a worker that starts now, which has not seen the code before.
    mine.write_text("def score(weight): return -weight.abs()\n")
    sys.modules.pop("mine")
    code.forget()
    blame.OTHERS.clear()
    with pytest.raises(PruneError, match="'plugins' changed while the study ran"):
        do(job, Progress())


def test_code_that_is_edited_after_it_was_imported_stays_what_it_is_taken_for(
    due, monkeypatch, trusting
):
    trusting("mine2")
    monkeypatch.syspath_prepend(Path.cwd())
    Path("mine2.py").write_text("def score(weight): return weight.abs()\n")
    job = due("score", checkpoint="dense.safetensors", method="mine2:score")
    Path("mine2.py").write_text("def score(weight): return -weight.abs()\n")
    done(job)  # by the code that this process has, and the key is of that
    code.forget()
    assert inputs(job)["plugins"] != job.given["plugins"]


@pytest.mark.fault(38)
@pytest.mark.parametrize("stream", ["true", "false"])
def test_data_that_are_others_by_now(due, stream):
    def draw(grey):
        for label in "ab":
            folder = Path("images/train", label)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(2):
                picture = np.full((28, 28), grey + number, np.uint8)
                Image.fromarray(picture).save(folder / f"{number}.bmp")

    draw(10)
    options = {"grey": "true", "stream": stream}
    job = due("train", model="cnn", dataset="folder", dataset_opt=options, data_dir="images",
              epochs=0, eval_epochs=False)  # fmt: skip
    done(job)
    draw(20)
    _data._images.cache_clear()  # as in a worker that has not read them yet
    with pytest.raises(PruneError, match="'data' changed while the study ran"):
        do(job, Progress())


def test_a_link_that_would_lead_out_of_the_study(due):
    job = due("mask", checkpoint="dense.safetensors", method="magnitude", density=0.5)
    job.folder.rmdir()
    Path("elsewhere").mkdir()
    job.folder.symlink_to(Path("elsewhere").resolve())
    with pytest.raises(PruneError, match="a link has the name of a job's folder"):
        do(job, Progress())
    assert not list(Path("elsewhere").iterdir())
