"""Pruners in a training on a device of their own; see `devices`."""

from functools import partial

import pytest
from devices import META, OneDevice, let_train_on_meta

from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

EPOCHS, STEPS = 3, 4  # of each epoch
ALL = range(1, EPOCHS * STEPS + 1)
ENDS = [step for step in ALL if step % STEPS == 0]

OPTIONS = {
    "adaptive": {"density": 0.3, "least": 1},
    "fixed-bs": {"density": 0.3, "least": 1, "eps": 1.0},  # whatever its thresholds leave is fine
    "fixed-ga": {"density": 0.3, "least": 1},
    "gmp": {},
    "gradual": {"density": 0.3, "every": 3},
    "n2nskip": {"density": 0.1},
    "rigl": {"density": 0.3, "every": 3},
    "set": {"density": 0.3, "every": 3},
    "weightmom": {"density": 0.3, "window": 2, "every": 1},
}
LOOKS = {
    "adaptive": [ALL[-1]],  # the mask is made
    "fixed-bs": ALL,  # whether its thresholds still hold
    "fixed-ga": [ALL[-1]],
    "gmp": ENDS,
    "gradual": [3, 6, 9],
    "rigl": [3],  # the mask that it makes there comes back empty, and nothing moves again
    "set": [3],
    "weightmom": [8],  # the window is full
}
"""The steps in which a pruner waits for the device."""
BROUGHT = ("images/batches.py", "masks/mask.py")
"""They bring an epoch's order and new masks to the device."""
MODELS = {
    "n2nskip": partial(resolve("models", "n2nskip", by_file=False), base="alexnet", thin=0.002)
}


@pytest.fixture
def set_up(begin, monkeypatch):
    let_train_on_meta(monkeypatch)

    def make(name, **settings):
        own = {"build": MODELS[name]} if name in MODELS else {}
        with OneDevice(may_look=True):
            return begin(
                name, EPOCHS, device=META, settings=settings, **own, **OPTIONS.get(name, {})
            )

    return make


@pytest.mark.parametrize("name", names("pruners"))
def test_a_training_is_on_one_device_and_waits_for_it_only_when_weights_are_chosen(set_up, name):
    run, waited = set_up(name), []

    def seen():
        new = [place for place in device.looks + device.moves if not place.startswith(BROUGHT)]
        device.looks.clear()
        device.moves.clear()
        return new

    with OneDevice(may_look=True) as device:
        # What the log says of an epoch, and whether the state is finite, is looked at in between.
        run.go(lambda step: waited.append(step) if seen() else None, save=seen)
    assert waited == list(LOOKS.get(name, []))
