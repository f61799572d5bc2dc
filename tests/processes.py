"""What a process of several does in a test. It is imported by that process, by its name."""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from prunecli import cli
from prunecli.data._subset import subset
from prunecli.data.digits import digits
from prunecli.errors import Mismatch
from prunecli.images.batches import ImageBatches
from prunecli.models.resnet20 import resnet20
from prunecli.runtime.device import put_on
from prunecli.runtime.world import joined
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.state import new_state
from prunecli.training.statistics import shared_statistics
from prunecli.types import Pruner

CPU = torch.device("cpu")

NORMS = {
    "plain": lambda: nn.BatchNorm2d(3),
    "quick": lambda: nn.BatchNorm2d(3, momentum=0.5, eps=1e-3),
    "counting": lambda: nn.BatchNorm2d(3, momentum=None),
    "bare": lambda: nn.BatchNorm2d(3, affine=False),
    "forgetful": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "flat": lambda: nn.BatchNorm1d(3),
}


def start(environment, folder, function, arguments):
    """Be the process that torchrun would have started: in its environment, speaking into files."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    for name, number in (("out", 1), ("err", 2)):
        path = folder / f"{name}.{environment['RANK']}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    function(*arguments)


def prunecli(*arguments):
    sys.argv = ["prunecli", *arguments]
    cli.main()


def batch_norms(inputs, targets, parts, output):
    """Two training steps of every kind of norm on this process's part of the rows."""
    with joined() as world:
        start = sum(parts[: world.rank])
        rows = slice(start, start + parts[world.rank])
        tensors = {}
        for name, norm in NORMS.items():
            x, goal = (t.flatten(2)[..., 0] if name == "flat" else t for t in (inputs, targets))
            tensors |= step(f"{name}/", norm(), x[rows], goal[rows], world)
        save_file(tensors, f"{output}.{world.rank}")


def step(prefix, norm, x, goal, world):
    """What comes out, and the gradients, of a squared error; what the norm keeps of two batches."""
    norm, x = prepare(norm), x.clone().requires_grad_()
    for _ in range(2):
        with shared_statistics(world):
            y = norm(x)
    F.mse_loss(y, goal, reduction="sum").backward()
    found = {"y": y.detach(), "x": x.grad}
    found |= {f"grad/{name}": p.grad for name, p in norm.named_parameters()}
    found |= {f"state/{name}": t for name, t in norm.state_dict().items()}
    return {prefix + name: t.contiguous() for name, t in found.items()}


def prepare(norm):
    """In float64 and with parameters that are not all alike."""
    for number, parameter in enumerate(norm.parameters(), 1):
        nn.init.uniform_(parameter, generator=torch.Generator().manual_seed(number))
    return norm.double().train()


def go_astray():
    """Hold another weight than the process that leads; says what comes of it."""
    with joined() as world:
        world.check_same([torch.ones(3)])
        try:
            world.check_same([torch.ones(3), torch.tensor(float(world.rank))])
        except Mismatch as error:
            print(error)


def train_resnet(folder):
    """Leaves the weights and the log of `trained_resnet` in a folder."""
    with joined() as world:
        state = trained_resnet(world)
        tensors = {name: t.contiguous() for name, t in state.model.state_dict().items()}
        save_file(tensors, folder / f"{world.rank}.safetensors")
        (folder / f"{world.rank}.json").write_text(json.dumps(state.history))


def trained_resnet(world=None, device=CPU):
    """Two epochs in float64, where what remains of rounding is small: batches of 19, 19 and 2."""
    torch.manual_seed(0)
    model = put_on(resnet20((1, 28, 28), 10, thin=0.1), device).double()
    settings = Hyperparameters(epochs=2, batch_size=19, precision="fp32")
    train = doubled(ImageBatches(digits(Path(), "train", fraction=0.03), device, 19, world))
    test = doubled(ImageBatches(subset(digits(Path(), "train"), "train", 0.05), device, 50, world))
    state = new_state(model, settings, Pruner(), len(train))
    loop.train(state, train, settings, 0, test=test)
    return state


def doubled(batches):
    batches.scale, batches.shift = batches.scale.double(), batches.shift.double()
    return batches
