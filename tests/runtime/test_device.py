import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from prunecli.errors import BadEnvironment, BadUsage
from prunecli.runtime import device
from prunecli.runtime.device import (
    autocast,
    has_fast_bf16,
    has_room,
    let_go,
    pick_device,
    pick_precision,
    put_on,
    unrepeatable,
)

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


@pytest.fixture
def two_gpus(monkeypatch):
    """As far as choosing one goes. Gives the list of those that were current, the first being 0."""
    current = [0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield current
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_of_several_processes_takes_a_gpu_of_its_own(two_gpus, name):
    taken = [pick_device(name, own) for own in (0, 1)]
    assert taken == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert two_gpus == [0, 1]
    with pytest.raises(BadEnvironment, match="cuda:2: this machine has 2 usable GPUs"):
        pick_device(name, 2)
    with pytest.raises(BadUsage, match="each process takes a GPU of its own; use --device cuda"):
        pick_device("cuda:1", 1)
    assert pick_device("cpu", 1) == CPU


def test_the_gpu_that_is_picked_is_the_current_one_whichever_was_before(two_gpus):
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    pick_device("cuda")
    assert two_gpus == [0, 1, 0]


def test_a_gpu_repeats_its_results_and_computes_in_float32(two_gpus):
    pick_device("cuda")
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    # Both of torch's ways to ask: it refuses to answer where they contradict each other.
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


NO_WAY = "{} does not have a deterministic implementation, but you set 'torch.use_det...'"
UNREPEATABLE = {
    NO_WAY.format("adaptive_avg_pool2d_backward_cuda"): "adaptive_avg_pool2d_backward",
    NO_WAY.format("upsample_bilinear2d_backward_out_cuda"): "upsample_bilinear2d_backward",
    NO_WAY.format("median CUDA with indices output"): "median CUDA with indices output",
    "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly "
    "enable determinism call torch.use_...": "Memory Efficient attention",
    "Deterministic behavior was enabled with either `torch...`, but this operation is not "
    "deterministic because it uses CuBLAS and you have CUDA >= 10.2.": "CuBLAS",
}  # fmt: skip


@pytest.mark.parametrize("words", UNREPEATABLE)
def test_what_a_gpu_cannot_repeat_is_said_once_in_each_job_in_words_of_ours(words):
    told = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as shown, unrepeatable(told.append):
            for _ in range(3):
                warnings.warn(words, UserWarning, stacklevel=1)
        assert not shown
    assert told == 2 * [
        f"{UNREPEATABLE[words]}: this operation is not deterministic on a GPU, so --resume, or the "
        "same command again, can give other bytes; --device cpu gives the same"
    ]


def test_torchs_own_warning_is_understood_also_of_a_backward_pass(two_gpus):
    class Puts(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient.clone().put_(torch.tensor([0]), torch.ones(1))

    told, x = [], torch.ones(2, requires_grad=True)
    pick_device("cuda")
    with unrepeatable(told.append):
        Puts.apply(x).sum().backward()
        Puts.apply(x).sum().backward()
    assert [line.partition(":")[0] for line in told] == ["put_"]


def test_other_warnings_stay_what_they_are():
    with pytest.warns(DeprecationWarning, match="an old way"), unrepeatable(pytest.fail):
        warnings.warn("an old way", DeprecationWarning, stacklevel=1)


def test_data_has_room_where_a_quarter_of_the_gpu_is_left_over(monkeypatch):
    sizes = {"mem_get_info": (300, 1000), "memory_reserved": 200, "memory_allocated": 100}
    for name, value in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    gpu = torch.device("cuda")
    assert has_room(gpu, 100), "300 are free, and 100 more held for nothing"
    assert not has_room(gpu, 101)
    assert has_room(CPU, 1 << 60)


@pytest.mark.parametrize("started", [False, True])
def test_what_a_job_held_is_let_go_where_a_gpu_was_in_use(monkeypatch, started):
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    let_go()
    assert emptied == [True] * started


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
    model = put_on(nn.Conv2d(3, 4, 3), CPU)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(sys.platform != "linux", reason="what is told to glibc")
def test_memory_that_a_step_frees_is_there_for_the_next_step():
    def step():
        held = [torch.ones(megabytes << 18) for megabytes in (4, 8, 16, 24, 30)]
        return sum(tensor[0] for tensor in held)

    put_on(nn.Linear(1, 1), CPU)
    step()
    rounds = []
    for _ in range(3):  # the heap may still grow, and other threads of the process have pages too
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            step()
        rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(rounds) < 82 * 256, "82 MB in pages of 4 KiB, a single time"


STEPS_BY_TWO_THREADS = """
import torch
from torch import nn
from prunecli.runtime.device import put_on

torch.set_num_threads(2)
network = put_on(nn.Conv2d(8, 16, 1, 2), torch.device("cpu"))
image = torch.randn(13, 28, 28, 8).permute(0, 3, 1, 2).requires_grad_()
for _ in range(30):
    network(image).square().sum().backward()
"""


def test_a_narrow_convolution_that_skips_pixels_writes_to_its_own_memory_only():
    how = {"capture_output": True, "text": True}
    ended = subprocess.run([sys.executable, "-c", STEPS_BY_TWO_THREADS], **how)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_network_that_is_put_there_again_is_watched_once():
    network = put_on(put_on(nn.Conv2d(8, 16, 1, 2), CPU), CPU)
    assert len(network._forward_pre_hooks) == 1
    assert not put_on(nn.Conv2d(16, 16, 1, 2), CPU)._forward_pre_hooks
