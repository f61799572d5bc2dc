"""Several processes share one training, and come to what a single one does."""

import json
import os
from contextlib import suppress

import pytest
import torch
from replays import SETTINGS, images, network
from safetensors.torch import load_file
from torch import distributed

from prunecli.errors import BadEnvironment
from prunecli.images.batches import ImageBatches
from prunecli.runtime.world import World, joined
from prunecli.training import loop
from prunecli.training.state import new_state
from prunecli.types import Pruner

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [2, 3])  # of three, one has no row of the batch of two
def test_a_network_with_batch_normalisation_trains_as_in_one_process(together, tmp_path, size):
    import processes

    alone = processes.trained_resnet()
    ended = together("train_resnet", tmp_path, size=size)
    assert [process.code for process in ended] == [0] * size, ended
    expected = alone.model.state_dict()
    assert any(name.endswith("running_var") for name in expected)
    for rank in range(size):
        found = load_file(tmp_path / f"{rank}.safetensors")
        for name, tensor in expected.items():
            # 1e-16 grows by a factor of about a million in these six steps.
            torch.testing.assert_close(found[name], tensor, rtol=1e-7, atol=1e-8, msg=name)
        history = json.loads((tmp_path / f"{rank}.json").read_text())
        for row, own in zip(history, alone.history, strict=True):
            assert row == pytest.approx(own, rel=1e-7)


def test_processes_that_went_astray_are_stopped(together):
    ended = together("go_astray")
    assert [process.code for process in ended] == [0, 0], ended
    assert all("have different weights" in process.out for process in ended)


def test_every_row_is_one_processes():
    rows = list(range(100))
    for size in (1, 2, 3, 7):
        parts = [rows[World(rank, size).rows(10, 31)] for rank in range(size)]
        assert sorted(row for part in parts for row in part) == rows[10:31]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert rows[World(2, 3).rows(98, 100)] == []


def test_each_process_draws_its_own_numbers_in_the_forward_pass_and_afterwards_the_same():
    drawn, after = [], []
    for rank in (0, 1, 1):
        torch.manual_seed(5)
        with World(rank, 2).apart(7, CPU):
            drawn.append(torch.rand(4).tolist())
        after.append(torch.rand(4).tolist())
    assert drawn[0] != drawn[1] == drawn[2]
    assert after[0] == after[1]
    torch.manual_seed(5)
    with World(1, 2).apart(8, CPU):
        assert torch.rand(4).tolist() != drawn[1]


def test_a_process_on_its_own_draws_and_adds_as_ever():
    torch.manual_seed(5)
    expected = torch.rand(2).tolist()
    torch.manual_seed(5)
    with World().apart(7, CPU):
        assert torch.rand(2).tolist() == expected
    one = torch.ones(2)
    World().add_up([one])
    assert one.tolist() == [1, 1]
    assert World().any(True)
    assert not World().any(False)


def test_without_torchrun_a_process_is_on_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as world:
        assert world == World()


def test_half_of_torchruns_environment_is_refused(monkeypatch):
    for name in [name for name in os.environ if name in ("RANK", "MASTER_ADDR")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadEnvironment, match="RANK.*start them with torchrun"), joined():
        pass


@pytest.mark.parametrize(
    ("gpu", "fails", "left"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_nobody_waits_for_nccl_once_something_has_failed(monkeypatch, gpu, fails, left):
    began, ended = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(distributed, "init_process_group", lambda how, **more: began.append(how))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: ended.append(True))
    with suppress(ZeroDivisionError), joined() as world:
        assert world == World(1, 2, 0)
        1 / (0 if fails else 1)
    assert began == ["cpu:gloo,cuda:nccl" if gpu else "gloo"]
    assert ended == [True] * (not left)


def test_every_step_of_a_training_draws_other_numbers():
    seeds = []

    class Listens(World):
        def apart(self, seed, device):
            seeds.append(seed)
            return super().apart(seed, device)

    data = ImageBatches(images(), CPU, SETTINGS.batch_size, Listens())
    state = new_state(network(), SETTINGS, Pruner(), len(data))
    loop.train(state, data, SETTINGS, 1)
    assert len(set(seeds)) == state.step == len(seeds)
