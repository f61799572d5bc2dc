"""Training and evaluation on a device of their own; see `devices`."""

import pytest
import torch
from devices import META, OneDevice, let_train_on_meta
from torch import nn

from prunecli.images.batches import ImageBatches
from prunecli.network.layers import prunable
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.device import put_on
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.optimizers import OPTIMIZERS, SCHEDULES
from prunecli.training.state import new_state
from prunecli.types import Images, Pruner


@pytest.fixture(autouse=True)
def _meta(monkeypatch):
    let_train_on_meta(monkeypatch)


def images(batch_size, count=10):
    pixels, labels = torch.zeros(count, 8, 8, 3, dtype=torch.uint8), torch.arange(count) % 6
    data = Images(pixels, labels, [*"abcdef"], [0.5] * 3, [0.2] * 3, pad=2, flip=True)
    return ImageBatches(data, META, batch_size)


def network():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6)
    )
    return put_on(net, META)


def fixed(model):
    return Fixed({n: torch.ones(w.shape, dtype=torch.bool) for n, w in prunable(model).items()})


def waits_in_steps(pruner, settings):
    """Where the steps of a training of three epochs of three would have to wait for the device."""
    model = network()
    state, found, asked = new_state(model, settings, pruner(model), 3), [], []

    def seen():
        new = [place for place in device.looks + device.moves if "batches.py" not in place]
        device.looks.clear()
        device.moves.clear()
        return new

    def after_a_step():
        if state.step not in asked:  # at the end of an epoch it is asked once more
            found.extend(seen())
        asked.append(state.step)
        return False

    with OneDevice(may_look=True) as device:
        saving = loop.Saving(lambda: seen() and None, after_a_step)
        loop.train(state, images(4), settings, 0, saving=saving)
    assert state.step == 9
    return found


CHOICES = [(optimizer, "cosine") for optimizer in OPTIMIZERS]
CHOICES += [("sgd", schedule) for schedule in SCHEDULES if schedule != "cosine"]


@pytest.mark.parametrize(("pruner", "moves"), [(lambda model: Pruner(), 0), (fixed, 2)])
@pytest.mark.parametrize(("optimizer", "schedule"), CHOICES)
def test_a_step_is_on_one_device_and_waits_for_it_only_to_bring_a_mask_once(
    optimizer, schedule, pruner, moves
):
    how = Hyperparameters(epochs=3, optimizer=optimizer, schedule=schedule, precision="fp32")
    found = waits_in_steps(pruner, how)
    assert len(found) == moves  # of two weights
    assert all(place.startswith("masks/mask.py") for place in found)


class Looking(Pruner):
    def observe(self, params, clock):
        if clock.step == 2:
            float(params["0.weight"].detach().sum())


class Bringing(Pruner):
    def observe(self, params, clock):
        if clock.step == 2:
            params["0.weight"].grad.copy_(torch.ones(4, 3, 3, 3))


@pytest.mark.parametrize("pruner", [Looking, Bringing])
def test_a_step_that_waits_for_the_device_would_be_seen(pruner):
    found = waits_in_steps(lambda model: pruner(), Hyperparameters(epochs=3, precision="fp32"))
    assert len(found) == 1


def test_an_evaluation_looks_at_the_device_when_all_batches_are_done():
    looks = []
    for batch_size in (10, 2):
        with OneDevice(may_look=True) as device:
            loop.evaluate(network(), images(batch_size), "fp32", META)
        looks.append(device.looks)
    assert looks[0] == looks[1]
    assert all(look.endswith(" in evaluate") for look in looks[0])
