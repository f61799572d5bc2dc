"""What the other tests on a GPU take for granted, of torch alone: seconds, to be run first.

Where one of these fails it is the machine or torch, and others may fail for the same reason.
"""

import shutil
import warnings
from importlib import import_module

import pytest
import torch
from on_gpu import NAME
from torch import distributed, nn
from torch.nn import functional as F

pytestmark = pytest.mark.cuda

PACKAGES = "click filelock jinja2 matplotlib numpy PIL rich safetensors sklearn torchvision yaml"


@pytest.mark.parametrize("package", PACKAGES.split())
def test_packages_are_there(package):
    import_module(package)


def test_the_gpu_computes(device):
    x = torch.arange(6.0, device=device).reshape(2, 3)
    assert (x @ x.t()).tolist() == [[5, 14], [14, 50]]
    assert x.device.type == NAME


def test_the_gpu_has_fast_bfloat16_and_room(device, only_gpu):
    told = torch.cuda.get_device_properties(device)
    assert torch.cuda.get_device_capability(device) >= (8, 0), told
    free, _ = torch.cuda.mem_get_info(device)
    assert free > 8 << 30, f"{free >> 20} MB are free of {told}"


def network(device):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 9, 4),
    )  # fmt: skip
    return layers.to(device, memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_a_step_recorded_as_a_graph_comes_to_the_same_bits(device, only_gpu, precision):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(16, 3, 8, 8, generator=draw).to(device, memory_format=torch.channels_last)
    y, found = torch.arange(16, device=device) % 4, []
    for replayed in (False, True):
        net = network(device)
        rate = torch.full((), 0.1, device=device)
        how = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "fused": True}
        optimizer = torch.optim.SGD(net.parameters(), 0.1, **how)
        optimizer.param_groups[0]["lr"] = rate

        def step(net=net, optimizer=optimizer):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == torch.bfloat16):
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()

        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
            graph, again = torch.cuda.CUDAGraph(), step
            if replayed:
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    step()
                again = graph.replay
            rate.fill_(0.05)  # after the recording, which finds it
            for _ in range(4):
                again()
        torch.cuda.synchronize(device)
        found.append({name: t.clone() for name, t in net.state_dict().items()})
    assert [name for name, t in found[0].items() if not torch.equal(t, found[1][name])] == []


def test_what_waits_for_the_gpu_can_be_seen(device, only_gpu):
    x = torch.ones(1, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            x.item()
        (x + 1).fill_(3.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_gpus_memory_can_be_limited_and_is_there_again(device, only_gpu):
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (8 << 20)) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            torch.empty(64 << 20, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.empty(64 << 20, device=device).numel() == 64 << 20


def test_processes_can_exchange(only_gpu):
    assert distributed.is_gloo_available()
    assert distributed.is_nccl_available()


def test_what_compiles_has_what_it_needs(only_gpu):
    import_module("triton")
    assert shutil.which("gcc") or shutil.which("clang"), "triton needs a C compiler"
