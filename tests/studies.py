"""A small study with a plugin of its own, and prunecli in a process that can be killed."""

import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prunecli import cli
from prunecli.plugins import blame, code

PLUGIN = """
import os, time
import torch
from torch import nn
from prunecli.types import Images

class Net(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.fc = nn.Linear(pixels, classes)

    def forward(self, x):
        time.sleep(float(os.environ.get("NAP", 0)) * self.training)
        return self.fc(x.flatten(1))

def net(input_shape, classes):
    return Net(256, classes)

def data(data_dir, split, download):
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(0, 256, (256, 16, 16, 1), generator=generator).to(torch.uint8)
    return Images(images, images[:, 0, 0, 0].long() // 128, ["dark", "light"], [0.5], [0.25])
"""
RECIPE = """
version: 1
name: tiny
vars: {model: "slowly:net", epochs: 6, lr: 0.1}
matrix: {seed: [0, 1]}
steps:
  dense:
    train:
      {model: "${model}", dataset: "slowly:data", epochs: "${epochs}", batch_size: 32,
       seed: "${seed}", eval_epochs: false}
  mask: {mask: {checkpoint: "@dense", method: magnitude, density: 0.5}}
  sparse: {finetune: {checkpoint: "@dense", mask: "@mask", epochs: 1, lr: "${lr}"}}
  result: {eval: {checkpoint: "@sparse"}}
  table: {report: {results: "@result[*]", format: csv}}
"""


def outputs(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in ("job.json", "ckpt.log.jsonl")
    }


def until(happens, seconds=60):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def undisturbed(path, output):
    """In a folder with the recipe and the plugin, what the study leaves, one job after the other.

    Within, that is the current folder, and where the plugin is imported from.
    """
    (path / "slowly.py").write_text(PLUGIN)
    (path / "r.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        patch.chdir(path)
        anew()
        line = f"run r.yaml --threads 1 -q -o {output}"
        cli.cli.main(line.split(), standalone_mode=False)
        yield path / output


def anew():
    """Forget the plugin, as a process that starts does."""
    sys.modules.pop("slowly", None)
    code.forget()
    blame.OTHERS.clear()


class Forked:
    """`prunecli` in a process of its own, which need not load torch anew."""

    def __init__(self, *arguments):
        self.pid = os.fork()
        if self.pid == 0:
            with suppress(BaseException):
                said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                sys.stdout = sys.stderr = os.fdopen(said, "w", buffering=1)
                sys.argv = ["prunecli", *arguments]
                anew()
                try:
                    cli.main()
                except SystemExit as end:
                    os._exit(end.code)
            os._exit(99)

    def children(self):
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.pid:
                    found.append(int(stat.parent.name))
        return found

    def end(self, number):
        """Send a signal; gives the exit code, or minus the signal that it died of."""
        workers = self.children()
        os.kill(self.pid, number)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        until(lambda: not any(map(alive, workers)), seconds=60)
        return code, Path("said").read_text()


def alive(pid):
    """Whether there is such a process, that is not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
