"""Who catches errors of other people's code lets a shortage pass, and takes it for nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prunecli.errors import BadEnvironment
from prunecli.files.artifacts import open_artifact
from prunecli.files.records import CheckpointRecord, ModelRecord
from prunecli.models import _torchvision
from prunecli.network import build as _network
from prunecli.network import diagnosis as _diagnosis
from prunecli.network.collapse import diagnosis
from prunecli.network.graph import trace
from prunecli.recipe import inputs
from prunecli.runtime import device, world
from prunecli.runtime.shortage import raise_shortage

FULL = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes")
DESCRIBED = ModelRecord(name="cnn", options={}, input_shape=(1, 28, 28), classes=10)


def fail(*given, **named):
    raise FULL


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return fail(x)


class Late(Net):
    """Can be traced; fails where amounts flow through it."""

    def forward(self, x):
        return torch.relu(self.fc(x))


def collapse(monkeypatch, checkpoint):
    monkeypatch.setattr(_diagnosis, "build_model", fail)
    file = open_artifact(checkpoint, "checkpoint")
    mask = {n: torch.ones(file.shapes[n], dtype=torch.bool) for n in file.meta["prunable"]}
    _diagnosis.collapse_facts(mask, file.says(CheckpointRecord).model, file.shapes)


def described(monkeypatch, checkpoint):
    monkeypatch.setattr(_network, "build_model", fail)
    _network.check_described(DESCRIBED, open_artifact(checkpoint, "checkpoint"))


def takes(monkeypatch, checkpoint):
    monkeypatch.setattr(_network, "_shape_of_one", fail)
    _network.load_model(open_artifact(checkpoint, "checkpoint"))


def flowing(monkeypatch, checkpoint):
    monkeypatch.setattr("prunecli.network.collapse.functional_call", fail)
    diagnosis({"fc.weight": torch.ones(4, 4, dtype=torch.bool)}, Late(), (4,))


def precision(monkeypatch, checkpoint):
    monkeypatch.setattr(device.Path, "read_text", lambda path: exec("raise OSError(24, 'many')"))
    device.processor.cache_clear()
    try:
        device.processor()
    finally:
        device.processor.cache_clear()


def chosen(monkeypatch, checkpoint):
    monkeypatch.setattr(inputs, "pick_device", lambda name: SimpleNamespace(type="cpu"))
    monkeypatch.setattr(inputs, "pick_precision", lambda *given: raise_shortage(FULL))
    inputs._chosen({"device": "cpu", "precision": None})


def published(monkeypatch, checkpoint):
    weights = SimpleNamespace(url="http://a/b.pth", get_state_dict=fail)
    found = SimpleNamespace(__members__={"DEFAULT": weights})
    monkeypatch.setattr(_torchvision.models, "get_model_weights", lambda name: found)
    _torchvision.pretrained("resnet18")


def joining(monkeypatch, checkpoint):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(world.distributed, "init_process_group", fail)
    with world.joined():
        pytest.fail("they met")


def exchanging(monkeypatch, checkpoint):
    monkeypatch.setattr(world.distributed, "all_reduce", fail)
    world.World(0, 2).add_up([torch.ones(1)])


SITES = {
    "the collapse of a mask": collapse,
    "a network that is described": described,
    "images that go through it": takes,
    "a forward that is tried": lambda *given: _network.check_trainable(Net(), DESCRIBED),
    "a forward that is traced": lambda *given: trace(Net(), (1, 3)),
    "what flows through a network": flowing,
    "what the processor has": precision,
    "what this machine takes for auto": chosen,
    "published weights": published,
    "processes that join": joining,
    "an exchange": exchanging,
}


@pytest.mark.fault(36)
@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_a_shortage_passes(monkeypatch, checkpoint, site):
    said = "too many files are open" if site is precision else "out of memory: 4.0 KiB more were"
    with pytest.raises(BadEnvironment, match=said):
        site(monkeypatch, checkpoint)


@pytest.mark.fault(36)
def test_a_mask_is_not_written_without_its_diagnosis(prune, checkpoint, monkeypatch, tmp_path):
    output = tmp_path / "m.safetensors"
    mask = ["mask", checkpoint, "--method", "magnitude", "--density", "0.1", "-o", output]
    with monkeypatch.context() as patch:
        patch.setattr(_diagnosis, "_covered", fail)
        ended = prune(*mask)
    assert ended.code == 6
    assert ended.err == (
        "error: out of memory: 4.0 KiB more were needed; allow more (ulimit -v, the container)\n"
    )
    assert not output.exists()
    assert prune(*mask, "-q").code == 0
    assert open_artifact(output, "mask").meta["collapse"]["live_path"] is True


WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB"
GPU_FULL = {
    "tensors": torch.OutOfMemoryError(WORDS),
    "a work space": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas`"),
}
BATCH = "lower --batch-size, or use --device cpu"
CLASSES = "lower --opt per_class, or use --device cpu"
LOWERED = {
    "train --model cnn --dataset digits --epochs 1": BATCH,
    "train --model cnn --dataset digits --epochs 1 --pruner gmp": BATCH,
    "finetune dense.safetensors --epochs 1": BATCH,
    "eval dense.safetensors": BATCH,
    "score dense.safetensors --method snip": BATCH,
    "score dense.safetensors --method grasp": CLASSES,
    "score dense.safetensors --method fisher --opt per_class=2": CLASSES,
    "mask dense.safetensors --method snip --density 0.1": BATCH,
    "mask dense.safetensors --method synflow --density 0.1": "use --device cpu",
}


def full(monkeypatch, error, *places):
    def fail(*given, **named):
        raise error

    for place in places:
        monkeypatch.setattr(place, fail)


@pytest.mark.fault(36)
@pytest.mark.parametrize("error", GPU_FULL.values(), ids=GPU_FULL)
@pytest.mark.parametrize("command", LOWERED)
def test_of_a_full_gpu_it_is_said_what_to_lower_and_nothing_is_written(
    prune, checkpoint, monkeypatch, error, command
):
    monkeypatch.chdir(checkpoint.parent)
    full(monkeypatch, error, "torch.nn.functional.cross_entropy", "torch.autograd.grad")
    ended = prune(*command.split(), "-q", "-o", "made.safetensors")
    wanted = ": 2.00 GiB more were needed" if "GiB" in str(error) else ""
    assert ended.err == f"error: the GPU is out of memory{wanted}; {LOWERED[command]}\n"
    assert ended.code == 6
    assert [path.name for path in checkpoint.parent.iterdir()] == ["dense.safetensors"]


@pytest.mark.fault(36)
@pytest.mark.parametrize("place", ["prunecli.images.batches._held", "prunecli.steps.train.put_on"])
def test_a_gpu_that_is_full_before_the_first_step_is_told_too(prune, monkeypatch, tmp_path, place):
    monkeypatch.chdir(tmp_path)
    full(monkeypatch, GPU_FULL["tensors"], place)
    ended = prune("train", "--model", "cnn", "--dataset", "digits", "-q", "-o", "d.safetensors")
    assert (ended.code, ended.err) == (
        6, f"error: the GPU is out of memory: 2.00 GiB more were needed; {BATCH}\n"
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
