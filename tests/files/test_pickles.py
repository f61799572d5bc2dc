"""The command that converts a pickle is run as it stands in the message, on each kind there is."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from prunecli.errors import BadInput
from prunecli.files.tensors import TensorFile


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up, self.down = nn.Conv2d(2, 3, 3), nn.Linear(4, 5), nn.Linear(4, 5)
        self.down.weight = self.up.weight
        self.conv.to(memory_format=torch.channels_last)


def message(path):
    with pytest.raises(BadInput) as caught:
        TensorFile(path)
    return str(caught.value)


def converted(folder, *inputs, code=None):
    found = code or re.search(r'`python -c "(.+)" OUT', message(inputs[0]))[1]
    output, argv = folder / "out.safetensors", sys.argv
    sys.argv = ["-c", str(output), *map(str, inputs)]
    try:
        exec(found, {})
    finally:
        sys.argv = argv
    return TensorFile(output)


def saved(path, content):
    torch.save(content, path)
    return path


def optimizer(net):
    made = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net.up(torch.ones(1, 4)).sum().backward()
    made.step()
    return made.state_dict()


KINDS = {
    "state_dict": lambda net: net.state_dict(),
    "lightning": lambda net: {"epoch": 3, "state_dict": net.state_dict()},
    "model": lambda net: {"model": net.state_dict(), "optimizer": optimizer(net)},
    "model_state_dict": lambda net: {"loss": 0.1, "model_state_dict": net.state_dict()},
    "with a step": lambda net: {**net.state_dict(), "step": 7},
}


@pytest.mark.fault(24)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_pickle_gives_all_of_the_networks_tensors(tmp_path, kind):
    net = Net()
    file = converted(tmp_path, saved(tmp_path / "in.pt", KINDS[kind](net)))
    assert set(file) == set(net.state_dict())
    assert all(torch.equal(file[name], tensor) for name, tensor in net.state_dict().items())


def test_shards_become_one_file(tmp_path):
    tensors = list(Net().state_dict().items())
    halves = [dict(tensors[:2]), dict(tensors[2:])]
    inputs = [saved(tmp_path / f"{i}.bin", half) for i, half in enumerate(halves)]
    assert set(converted(tmp_path, *inputs)) == set(dict(tensors))


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net}])
def test_a_whole_module_is_refused_by_torch_and_read_by_whoever_trusts_it(tmp_path, wrap):
    path = saved(tmp_path / "in.pt", wrap(Net()))
    with pytest.raises(Exception, match="[Ww]eights.only"):
        converted(tmp_path, path)
    code = re.search(r'`python -c "(.+)" OUT', message(path))[1]
    trusting = code.replace("weights_only=True", "weights_only=False")
    assert set(converted(tmp_path, path, code=trusting)) == set(Net().state_dict())


def test_a_shell_takes_the_command_as_it_stands(tmp_path):
    path = saved(tmp_path / "IN.pt", Net().state_dict())
    command = re.search(r"`(.+?)`", message(path))[1].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert len(TensorFile(tmp_path / "OUT.safetensors")) == 6
