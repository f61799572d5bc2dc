import shutil

import pytest

from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A `cnn` trained on digits for two epochs, and its initialisation."""
    folder = tmp_path_factory.mktemp("trained")
    for name, epochs in (("init", 0), ("dense", 2)):
        options = TrainingSettings(
            model=ModelSettings("cnn"), data=DataSettings("digits"), given={"epochs": epochs}
        )
        train(options, RunOptions(output=folder / f"{name}.safetensors", seed=3))
    return folder


@pytest.fixture
def dense(trained, tmp_path):
    return shutil.copy(trained / "dense.safetensors", tmp_path / "dense.safetensors")


@pytest.fixture
def init(trained, tmp_path):
    return shutil.copy(trained / "init.safetensors", tmp_path / "init.safetensors")
