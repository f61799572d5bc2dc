"""What the tests marked `cuda` share: where they compute, and what they do there.

PRUNECLI_TEST_DEVICE=cpu has them take the CPU for the GPU. That shows nothing of a GPU, but slips
in the tests themselves.
"""

import os
import re
from pathlib import Path

import torch

from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train

NAME = os.environ.get("PRUNECLI_TEST_DEVICE", "cuda")
IS_GPU = NAME == "cuda"
CPU = torch.device("cpu")
UNREPEATABLE = re.compile("deterministic")
"""What torch says of kernels that do not repeat their results, or prunecli in its place."""

OPTIONS = {
    "weightmom": {"window": 2, "every": 1, "events": 2},
    "gradual": {"every": 7},
    "gmp": {"beta": 0.05, "gamma": 0.02, "fraction": 0.25},
    "n2nskip": {"density": 0.1},
    "rigl": {"every": 7},
    "set": {"every": 7},
    "fixed-ga": {"least": 1},
    "fixed-bs": {"least": 1},
    "adaptive": {"least": 1, "rate": 0.1},
}
"""What a pruner needs to act within a short training. All that take a density are given one."""
PRUNERS = list(names("pruners"))
QUARTER = DataSettings("digits", {"fraction": 0.25})
SMALL = {"model": "cnn", "model_options": {"thin": 0.05}}
MODELS = {"n2nskip": {"model": "n2nskip", "model_options": {"base": "alexnet", "thin": 0.002}}}
"""The network of a pruner that needs one of its own; the others get `SMALL`."""


class Listening(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.warnings, self.details = [], []

    def warn(self, message):
        self.warnings.append(message)

    def detail(self, message):
        self.details.append(message)


def options_of(pruner):
    takes = resolve("pruners", pruner, by_file=False).declared
    return ({"density": 0.3} if "density" in takes else {}) | OPTIONS.get(pruner, {})


def pruning(pruner):
    """Options of a training that prunes."""
    own = {"pruner": pruner, "pruner_options": options_of(pruner)}
    return MODELS.get(pruner, SMALL) | own


def trained(
    output, *, model, model_options=(), data=QUARTER, settings=None, device=NAME, **options
):
    """The checkpoint of a training on a quarter of the digits: 3 epochs of 10 steps."""
    given = {"epochs": 3, "batch_size": 36, "precision": "fp32"} | (settings or {})
    network = ModelSettings(model, own_options=dict(model_options))
    how = {"data": data, "eval_every_epoch": False} | options
    run = RunOptions(output=output, seed=3, device=device, progress=Listening())
    train(TrainingSettings(model=network, given=given, **how), run)
    assert not [said for said in run.progress.warnings if UNREPEATABLE.search(said)]
    return output


def files(checkpoint):
    """What a training leaves: the bytes by the end of the name."""
    stem = checkpoint.name.removesuffix("safetensors")
    found = Path(checkpoint).parent.glob(f"{stem}*")
    return {path.name.removeprefix(stem): path.read_bytes() for path in found}


def assert_near(ours, theirs, part, label=""):
    """That they differ by no more than such a part of the largest value."""
    theirs = theirs.double()
    scale = float(theirs.abs().max())
    off = float((ours.detach().cpu().double() - theirs).abs().max())
    assert off <= part * scale, f"{label}: {off / max(scale, 1e-300):.2g} of the largest"
