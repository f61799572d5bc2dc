import pytest

import prunecli


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def net():
    """The `cnn` as `train` initialises it under the seed 0."""
    return prunecli.Network("cnn", (1, 28, 28), 10).build()


@pytest.fixture
def written(net):
    """That network in a file, which says which it is and its data set."""
    network = prunecli.Network("cnn", (1, 28, 28), 10)
    return prunecli.write_checkpoint("net.safetensors", net, network=network, data="digits")
