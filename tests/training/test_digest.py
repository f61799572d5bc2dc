"""A training state is known by its digest: what has changed in it is not gone on from."""

import shutil

import pytest
import torch
from attacks import written

from prunecli.errors import BadEnvironment, BadInput, PruneError
from prunecli.files.artifacts import open_artifact
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps._training_files import TrainingFiles
from prunecli.steps.train import train
from prunecli.training.digest import digest_of

OPTIONS = TrainingSettings(
    model=ModelSettings("cnn", own_options={"thin": "0.2"}),
    data=DataSettings("digits", {"fraction": 0.03}),
    given={"epochs": 2, "batch_size": 19},
    resume=True,
    eval_every_epoch=False,
)


@pytest.fixture
def stopped(tmp_path, stopped_at):
    """The state of a training that was stopped within its second epoch."""
    with stopped_at(4):
        train(OPTIONS, RunOptions(output=tmp_path / "t.safetensors"))
    return tmp_path / "t.state.safetensors"


@pytest.fixture
def files(stopped, monkeypatch):
    """Those of a training that is about to go on from the state."""

    class Met(Exception):
        pass

    def meet(self, progress):
        raise Met(self)

    with monkeypatch.context() as patch, pytest.raises(Met) as met:
        patch.setattr(TrainingFiles, "resume", meet)
        train(OPTIONS, RunOptions(output=stopped.with_name("t.safetensors")))
    return met.value.args[0]


def how_it_ends(files, raw):
    files.state_path.write_bytes(raw)
    try:
        files.resume(Progress())
    except PruneError as error:
        return error.exit_code
    return 0


@pytest.mark.fault(40)
def test_a_bit_that_flips_anywhere_is_seen(files):
    whole = files.state_path.read_bytes()
    data = 8 + int.from_bytes(whole[:8], "little")
    before = {name: t.clone() for name, t in files.state.tensors().items()}
    places = [*range(8, data, 29), *range(data, len(whole), 997)]
    flips = [(place, 1 << number % 8) for number, place in enumerate(places)]
    flips += [(whole.index(b'"format":"pt"') + letter, 1) for letter in range(13)]
    flips += [(whole.index(b"e-"), 32)]  # 1E-05 is the same number
    for place, bit in flips:
        raw = bytearray(whole)
        raw[place] ^= bit
        code = how_it_ends(files, bytes(raw))
        assert code == 3 or (code == 4 and place < data), (place, raw[place - 20 : place + 20])
    assert all(torch.equal(t, before[name]) for name, t in files.state.tensors().items())
    assert how_it_ends(files, whole) == 0
    assert files.state.step == 4


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    ("key", "value"), [("step", 3), ("history", []), ("groups", None), ("scheduler", None)]
)
def test_what_is_said_of_the_training_is_covered(files, key, value):
    file = open_artifact(files.state_path, "state")
    tensors, meta = dict(file), file.meta
    if value is None:
        inner = meta["training"][key][0] if key == "groups" else meta["training"][key]
        inner["lr" if key == "groups" else "_step_count"] *= 2
    else:
        meta["training"][key] = value
    written(files.state_path, "state", tensors, meta)
    with pytest.raises(BadInput, match="it is damaged; start again without --resume"):
        files.resume(Progress())


@pytest.mark.fault(40)
def test_a_state_without_a_digest_is_refused(files):
    file = open_artifact(files.state_path, "state")
    tensors, meta = dict(file), file.meta
    del meta["digest"]
    written(files.state_path, "state", tensors, meta)
    with pytest.raises(BadInput, match="it has no .digest.; start again without --resume"):
        files.resume(Progress())


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        RuntimeError("CUDA error: out of memory"),
        MemoryError(),
        OSError(24, "Too many open files"),
    ],
)
def test_a_state_that_memory_does_not_suffice_for_is_not_called_damaged(
    files, monkeypatch, prune, error
):
    def fail(*given):
        raise error

    arguments = (
        "train --model cnn --model-opt thin=0.2 --dataset digits --dataset-opt fraction=0.03 "
        "--epochs 2 --batch-size 19 --no-eval-epochs --resume -o"
    ).split()
    whole = files.state_path.read_bytes()
    output = files.state_path.with_name("t.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(type(files.state), "restore", fail)
        ended = prune(*arguments, output)
    assert (ended.code, "damaged" in ended.err) == (6, False)
    assert files.state_path.read_bytes() == whole
    assert prune(*arguments, output, "-q").code == 0


def test_it_is_of_names_types_shapes_and_bytes():
    meta = {"facts": {"a": 1}, "training": {"step": 2}}
    tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    digests = [
        digest_of(one, other)
        for one, other in (
            (tensors, meta),
            ({"a": tensors["a"], "c": tensors["b"]}, meta),
            ({**tensors, "a": tensors["a"].view(torch.int32)}, meta),
            ({**tensors, "a": tensors["a"][None]}, meta),
            ({**tensors, "a": torch.tensor([1.0, -2.0])}, meta),
            (tensors, {**meta, "facts": {"a": 2}}),
            (tensors, {**meta, "training": {"step": 3}}),
        )
    ]
    assert len(set(digests)) == len(digests)
    again = {"b": tensors["b"], "a": torch.tensor([[1.0, 2.0], [0.0, 0.0]])[0]}
    assert digest_of(again, dict(reversed(meta.items()))) == digests[0]


@pytest.mark.fault(36)
def test_a_shortage_while_the_state_is_read_is_told(files, monkeypatch):
    monkeypatch.setattr(
        "prunecli.steps._training_files.check_digest",
        lambda *given: (_ for _ in ()).throw(RuntimeError("can't allocate memory")),
    )
    with pytest.raises(BadEnvironment, match="out of memory"):
        files.resume(Progress())


@pytest.mark.fault(40)
def test_a_state_with_bits_of_another_run_is_refused(files, tmp_path):
    other = open_artifact(shutil.copy(files.state_path, tmp_path / "other"), "state")
    tensors = {n: t + 1 if n == "model/conv1.weight" else t for n, t in dict(other).items()}
    written(files.state_path, "state", tensors, other.meta)
    with pytest.raises(BadInput, match="it is damaged; start again without --resume"):
        files.resume(Progress())
