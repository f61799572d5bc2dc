"""A GPU to compute on, and commands that do; see `gpu` for trying these tests without one."""

import warnings

import pytest
import torch
from on_gpu import IS_GPU, NAME, UNREPEATABLE

from prunecli import cli
from prunecli.runtime.device import pick_device


def pytest_runtest_setup(item):
    if IS_GPU and not torch.cuda.is_available():
        pytest.skip("there is no GPU that torch can use")


@pytest.fixture(scope="session")
def device(environment):
    """As commands take it, with kernels that repeat their results."""
    yield pick_device(NAME)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def only_gpu():
    """For what the CPU cannot stand in for."""
    if not IS_GPU:
        pytest.skip("this needs a GPU itself")


@pytest.fixture(autouse=True)
def _all_repeats():
    """Torch does not warn of any kernel that it does not repeat its results."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    assert not [said for each in seen if UNREPEATABLE.search(said := str(each.message))]


@pytest.fixture
def on_gpu(prune):
    """Runs `prunecli ARGUMENTS... --device cuda` in this process, to its good end."""

    def run(*arguments):
        ended = prune(*arguments, "--device", NAME)
        assert ended.code == 0, ended.err
        assert not UNREPEATABLE.search(ended.err)
        return ended

    return run


@pytest.fixture(scope="session")
def dense(device, tmp_path_factory):
    """A `cnn` trained on digits on the GPU. Read-only."""
    path = tmp_path_factory.mktemp("trained") / "dense.safetensors"
    options = ["--model", "cnn", "--dataset", "digits", "--epochs", "2", "--precision", "fp32"]
    where = ["--device", NAME, "-q", "-o", str(path)]
    cli.cli.main(["train", *options, *where], standalone_mode=False)
    return path
