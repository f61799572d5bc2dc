"""What is not given in Python is what is not given on the command line."""

import inspect

import pytest

import prunecli
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import TrainingSettings

TABLES = {
    "score": (ScoringSettings, RunOptions),
    "mask": (MaskSettings, ScoringSettings, RunOptions),
    "evaluate": (EvalSettings, RunOptions),
    "train": (TrainingSettings,),
}
OWN = {"options", "data", "mask", "what", "model", "settings", "seed"}
"""Objects in place of paths and texts; and a seed that no checkpoint can give to a training."""


@pytest.mark.parametrize("name", TABLES)
def test_defaults_are_those_of_the_table(name):
    given = inspect.signature(getattr(prunecli, name)).parameters
    tables = [table() for table in TABLES[name]]
    told = {key: getattr(t, key) for t in reversed(tables) for key in vars(t) if key not in OWN}
    empty = inspect.Parameter.empty
    shared = [key for key in given if key in told and given[key].default is not empty]
    assert {key: given[key].default for key in shared} == {key: told[key] for key in shared}
    assert shared
