"""Settings that a damaged checkpoint may hand on are refused, and every real one is taken."""

import math

import pytest

from prunecli.errors import BadInput
from prunecli.settings.training import Hyperparameters
from prunecli.training.optimizers import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_the_command_line_can_say_is_taken(optimizer, schedule):
    Hyperparameters(epochs=0, lr=1, optimizer=optimizer, schedule=schedule, weight_decay=0).check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("epochs", "3"), ("epochs", -1), ("epochs", True), ("epochs", 1.5)],
        *[("batch_size", 0), ("lr", "0.1"), ("lr", -1.0), ("lr", math.nan), ("lr", math.inf)],
        *[("nesterov", 1), ("optimizer", "sgdx"), ("schedule", 3), ("lr_every", 0)],
        *[("epochs", 1_000_001), ("batch_size", 10**7)],
    ],
)
def test_what_cannot_be_is_named(name, value):
    with pytest.raises(BadInput, match=name):
        Hyperparameters(**{name: value}).check()
