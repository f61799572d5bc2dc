import resource
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from prunecli import device
from prunecli.device import autocast, has_fast_bf16, pick_device, pick_precision, place
from prunecli.errors import BadEnvironment, BadUsage

CPU = torch.device("cpu")


def test_auto_is_the_gpu_if_there_is_one(monkeypatch):
    assert pick_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_an_explicit_gpu_never_falls_back(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadEnvironment, match=f"--device {name}: this machine has 0 usable GPUs"):
        pick_device(name)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_of_several_processes_takes_a_gpu_of_its_own(monkeypatch, name):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *a, **k: None)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert [pick_device(name, own) for own in (0, 1)] == taken
    assert taken == [torch.device("cuda", 0), torch.device("cuda", 1)]
    with pytest.raises(BadEnvironment, match="cuda:2: this machine has 2 usable GPUs"):
        pick_device(name, 2)
    with pytest.raises(BadUsage, match="each process takes a GPU of its own; use --device cuda"):
        pick_device("cuda:1", 1)
    assert pick_device("cpu", 1) == CPU


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("avx2 avx512f avx512_bf16", True), ("amx_bf16 amx_tile", True), ("avx2 avx512f", False)],
)
def test_bf16_where_the_processor_multiplies_it(monkeypatch, flags, fast):
    monkeypatch.setattr(device, "processor", lambda: f"flags : {flags}\n")
    assert has_fast_bf16(CPU) is fast
    assert pick_precision("auto", CPU) == ("bf16" if fast else "fp32")
    assert pick_precision("fp32", CPU) == "fp32"
    assert pick_precision("bf16", CPU) == "bf16"


def test_no_processor_description_means_float32(monkeypatch):
    def missing(self):
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", missing)
        said = device.processor.__wrapped__()
    monkeypatch.setattr(device, "processor", lambda: said)
    assert pick_precision("auto", CPU) == "fp32"


def test_autocast_computes_in_the_precision_asked_for():
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with autocast(precision, CPU):
            assert layer(x).dtype == dtype


def test_a_placed_model_is_channels_last():
    model = place(nn.Conv2d(3, 4, 3), CPU)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(sys.platform != "linux", reason="what is told to glibc")
def test_memory_that_a_step_frees_is_there_for_the_next_step():
    def step():
        held = [torch.ones(megabytes << 18) for megabytes in (4, 8, 16, 24, 30)]
        return sum(tensor[0] for tensor in held)

    place(nn.Linear(1, 1), CPU)
    step()
    rounds = []
    for _ in range(3):  # the heap may still grow, and other threads of the process have pages too
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            step()
        rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(rounds) < 82 * 256, "82 MB in pages of 4 KiB, a single time"
