"""What a process of several does on a GPU in a test. It is imported by that process."""

import torch
from processes import NORMS, prepare, trained_resnet
from safetensors.torch import save_file
from torch import distributed
from torch.nn import functional as F

from prunecli.runtime.device import pick_device
from prunecli.runtime.world import World
from prunecli.training.statistics import _SharedStatistics

BACKENDS = {"cuda": "cpu:gloo,cuda:nccl", "cpu": "gloo"}
"""By the name of the device, which is an argument: a process has an environment of its own."""


def exchange(name, output):
    """All exchanges of a world, in a group that has this process alone.

    Being told of two, it exchanges; there being one, all is left as it was.
    """
    device = pick_device(name)
    distributed.init_process_group(BACKENDS[name])
    world = World(0, 2, 0)
    form = {"memory_format": torch.channels_last}
    floats = [torch.randn(3, 4, 2, 2).to(device, **form), torch.randn(5, device=device)]
    counted = [
        torch.arange(2, device=device),
        torch.tensor(0.1, dtype=torch.float64, device=device),
    ]
    before = [tensor.clone() for tensor in (*floats, *counted)]
    world.add_up(floats)
    world.add_up(counted)
    assert all(torch.equal(a, b) for a, b in zip(before, (*floats, *counted), strict=True))
    assert floats[0].is_contiguous(**form)
    world.check_same([*floats, *counted])
    world.check_told({"seed": 1, "name": "é"})
    assert (world.any(True), world.any(False)) == (True, False)
    with world.leader_first(), world.apart(1, device):
        torch.randn(1, device=device)
    save_file({"done": torch.ones(1)}, output)
    distributed.destroy_process_group()


def normalise(name, output):
    """Every kind of norm as processes share it, in a group of one, and as it is by itself."""
    device = pick_device(name)
    distributed.init_process_group(BACKENDS[name])
    draw, tensors = torch.Generator().manual_seed(3), {}
    for kind, norm in NORMS.items():
        shape = (8, 3) if kind == "flat" else (8, 3, 5, 5)
        x, goal = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
        given = x.to(device), goal.to(device)
        shared, alone = (prepare(norm()).to(device) for _ in range(2))
        with _SharedStatistics(World(0, 1), len(x)):
            ours = step(shared, *given)
        tensors |= {f"{kind}/ours/{key}": value for key, value in ours.items()}
        tensors |= {f"{kind}/own/{key}": value for key, value in step(alone, *given).items()}
    save_file(tensors, output)
    distributed.destroy_process_group()


def step(norm, x, goal):
    """What comes out, the gradients of a squared error, and what the norm keeps."""
    x = x.clone().requires_grad_()
    y = norm(x)
    F.mse_loss(y, goal, reduction="sum").backward()
    found = {"y": y.detach(), "x": x.grad}
    found |= {f"grad/{name}": p.grad for name, p in norm.named_parameters()}
    found |= {f"state/{name}": t for name, t in norm.state_dict().items()}
    return {name: tensor.cpu().contiguous().clone() for name, tensor in found.items()}


def train_on_one_gpu(name, folder):
    """Share a training with processes that have the same GPU.

    NCCL refuses that; Gloo takes tensors of a GPU as well.
    """
    device = pick_device(name)
    distributed.init_process_group("gloo")
    world = World(distributed.get_rank(), distributed.get_world_size(), 0)
    save_file(resnet_on(device, world), folder / f"{world.rank}.safetensors")
    distributed.destroy_process_group()


def resnet_on(device, world):
    """The weights of `processes.trained_resnet`, to be written."""
    model = trained_resnet(world, device).model
    return {name: t.cpu().contiguous() for name, t in model.state_dict().items()}
