"""Batch normalisation over several processes, against the one of torch over all rows at once."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules._functions import SyncBatchNorm

from prunecli.runtime.world import World
from prunecli.training import statistics
from prunecli.training.statistics import _SharedStatistics, shared_statistics

ROWS = 7


def images():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, ROWS, 3, 4, 4, generator=draw, dtype=torch.float64)
    return 1000 + x[0], x[1]  # so far from zero that E[x^2] - m^2 would show


@pytest.mark.parametrize("parts", [(5, 2), (ROWS, 0), (0, 3, 4)])
def test_rows_apart_are_normalised_as_rows_together(together, tmp_path, parts):
    import processes

    inputs, targets = images()
    output = tmp_path / "found"
    ended = together("batch_norms", inputs, targets, parts, output, size=len(parts))
    assert [process.code for process in ended] == [0] * len(parts), ended
    each = [load_file(f"{output}.{rank}") for rank in range(len(parts))]
    for name, norm in processes.NORMS.items():
        x, goal = (t.flatten(2)[..., 0] if name == "flat" else t for t in (inputs, targets))
        for key, expected in processes.step(f"{name}/", norm(), x, goal, World()).items():
            found = [tensors[key] for tensors in each]
            if key.endswith(("/y", "/x")):
                found = [torch.cat(found)]
            elif "/grad/" in key:
                found = [torch.stack(found).sum(0)]
            for tensor in found:
                torch.testing.assert_close(tensor, expected, rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_low_precision_stays_and_its_statistics_are_precise(layout):
    x = torch.randn(9, 3, 4, 4).bfloat16().to(memory_format=layout)
    one, two = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    expected = one(x)
    with _SharedStatistics(World()):
        found = two(x)
    assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(two.state_dict(), one.state_dict())


@pytest.mark.parametrize(("count", "kernels"), [(2, False), (3, True), (4, True)])
def test_the_kernels_of_a_gpu_are_used_only_where_every_process_has_an_image(
    monkeypatch, count, kernels
):
    monkeypatch.setattr(SyncBatchNorm, "apply", lambda *given: "kernels")
    monkeypatch.setattr(statistics, "_batch_norm", lambda *given: "by hand")
    on_gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    shared = shared_statistics(World(0, 3), count)
    used = shared._batch_norm(on_gpu, None, None, training=True)
    assert used == ("kernels" if kernels else "by hand")


def test_a_process_on_its_own_normalises_as_ever():
    norm = torch.nn.BatchNorm2d(3).double()
    x, _ = images()
    with shared_statistics(World()):
        y = norm(x)
    assert torch.equal(y, torch.nn.BatchNorm2d(3).double()(x))


def test_torchs_own_for_gpus_takes_what_it_is_given():
    assert list(inspect.signature(SyncBatchNorm.forward).parameters)[1:] == [
        "input", "weight", "bias", "running_mean", "running_var", "eps", "momentum",
        "process_group", "world_size",
    ]  # fmt: skip
