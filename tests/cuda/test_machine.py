"""What the GPU has too little of, jobs that share it, and processes that share a training."""

import gc
import multiprocessing
import os
import subprocess
import sys

import on_gpu_processes
import pytest
import torch
from on_gpu import IS_GPU, NAME, UNREPEATABLE
from safetensors.torch import load_file

from prunecli.runtime.world import World

pytestmark = pytest.mark.cuda

LARGE = ["--batch-size", "1442"]  # all images at once
NET = ["--model", "resnet20", "--thin", "1" if IS_GPU else "0.05", "--dataset", "digits"]


@pytest.fixture
def short_of_memory(monkeypatch):
    """`short_of_memory(True)`: the GPU gives 8 MB more and then none, until it is told False."""

    def limit(short):
        if not IS_GPU:
            if short:
                monkeypatch.setattr("torch.nn.functional.cross_entropy", fail)
            else:
                monkeypatch.undo()
            return
        gc.collect()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        most = torch.cuda.memory_reserved() + (8 << 20) if short else total
        torch.cuda.set_per_process_memory_fraction(most / total)

    yield limit
    limit(False)


def fail(*given, **named):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def resnet(on_gpu, tmp_path):
    path = tmp_path / "dense.safetensors"
    on_gpu("train", *NET, "--epochs", "0", "-o", path)
    return path


COMMANDS = {
    "train": lambda path: ["train", *NET, "--epochs", "1", "--no-eval-epochs", *LARGE],
    "finetune": lambda path: ["finetune", path, "--epochs", "1", "--no-eval-epochs", *LARGE],
    "score": lambda path: ["score", path, "--method", "snip", *LARGE],
    "mask": lambda path: ["mask", path, "--method", "snip", "--density", "0.1", *LARGE],
    "eval": lambda path: ["eval", path, *LARGE],
    "grasp": lambda path: ["score", path, "--method", "grasp", "--opt", "per_class=140"],
}
MENDS = {"grasp": "--opt per_class"}
"""Where it is not `--batch-size` that decides how much is held at a time."""


@pytest.mark.parametrize("command", COMMANDS)
def test_too_little_memory_is_told_leaves_nothing_and_is_over_with_the_command(
    on_gpu, prune, resnet, short_of_memory, nothing_written, tmp_path, command
):
    output = tmp_path / "out"
    how = [*COMMANDS[command](resnet), "-o", output]
    with nothing_written():
        short_of_memory(True)
        ended = prune(*how, "--device", NAME)
        short_of_memory(False)
    assert ended.code == 6, ended.err
    assert ended.err.count("error:") == 1
    assert "out of memory" in ended.err
    assert f"lower {MENDS.get(command, '--batch-size')}" in ended.err
    assert ended.out == ""
    on_gpu(*how)
    assert output.exists()


RECIPE = """
version: 1
name: shared
matrix: {{seed: [0, 1, 2]}}
steps:
  dense:
    train: {{model: cnn, dataset: digits, epochs: 2, seed: "${{seed}}", device: {device}}}
  scores:
    score: {{checkpoint: "@dense", method: snip, device: {device}}}
  mask:
    mask: {{scores: "@scores", density: 0.1}}
  sparse:
    finetune: {{checkpoint: "@dense", mask: "@mask", epochs: 1, device: {device}}}
  result:
    eval: {{checkpoint: "@sparse", device: {device}}}
"""


@pytest.mark.long
def test_jobs_that_share_a_gpu_write_what_they_write_one_by_one(device, prune, tmp_path):
    recipe = tmp_path / "shared.yaml"
    recipe.write_text(RECIPE.format(device=NAME))
    made = []
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        ended = prune("run", recipe, "-o", folder, "--jobs", jobs, "--threads", "1")
        assert ended.code == 0, ended.err
        assert not UNREPEATABLE.search(ended.err)
        outputs = [*folder.rglob("*.safetensors"), *folder.rglob("result.json")]
        made.append({path.relative_to(folder): path.read_bytes() for path in outputs})
    one, two = made
    assert len(one) == 3 * 5
    assert one.keys() == two.keys()
    assert [str(name) for name in one if one[name] != two[name]] == []


@pytest.mark.long
def test_torchrun_with_one_process_writes_what_a_plain_command_does(device, prune, tmp_path):
    plain, started = tmp_path / "plain.safetensors", tmp_path / "started.safetensors"
    given = ["train", "--model", "cnn", "--thin", "0.1", "--dataset", "digits", "--epochs", "1",
             "--seed", "1", "--device", NAME, "-o"]  # fmt: skip
    assert prune(*given, plain).code == 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    command = [sys.executable, *torchrun, "-m", "prunecli", *given, str(started)]
    path = os.pathsep.join([str(each) for each in sys.path if each])
    ended = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert not UNREPEATABLE.search(ended.stderr)
    assert started.read_bytes() == plain.read_bytes()


@pytest.fixture
def apart(together):
    """Runs a function of `on_gpu_processes` in so many processes, to their good end.

    They are not forked from one that may have asked for a GPU, which CUDA does not survive.
    """

    def run(function, *arguments, size=1):
        afresh = multiprocessing.get_context("spawn")
        for ended in together(function, NAME, *arguments, size=size, context=afresh):
            assert ended.code == 0, ended.err
            assert not UNREPEATABLE.search(ended.err)

    return run


def test_nccl_carries_every_exchange(device, apart, tmp_path):
    output = tmp_path / "done.safetensors"
    apart(on_gpu_processes.exchange, output)
    assert output.exists()


def test_shared_norms_of_a_gpu_come_to_what_each_does_alone(device, apart, tmp_path):
    output = tmp_path / "norms.safetensors"
    apart(on_gpu_processes.normalise, output)
    tensors = load_file(output)
    ours = [name for name in tensors if "/ours/" in name]
    assert len(ours) >= 20
    for name in ours:
        own = tensors[name.replace("/ours/", "/own/")]
        torch.testing.assert_close(tensors[name], own, rtol=1e-9, atol=1e-9, msg=name)


def test_two_processes_on_one_gpu_train_what_one_does(device, apart, tmp_path):
    apart(on_gpu_processes.train_on_one_gpu, tmp_path, size=2)
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, expected in on_gpu_processes.resnet_on(device, World()).items():
        assert torch.equal(one[name], two[name])
        torch.testing.assert_close(one[name], expected, rtol=1e-7, atol=1e-7, msg=name)
