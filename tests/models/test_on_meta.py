"""The bundled models on a device of their own; see `devices`."""

import pytest
import torch
from devices import META, OneDevice
from torch.nn import functional as F

from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import put_on

MODELS = list(names("models"))


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_a_model_touches_one_device_and_looks_at_nothing(name):
    model = put_on(resolve("models", name, by_file=False)((3, 32, 32), 10), META)
    with OneDevice():
        logits = model(torch.empty(4, 3, 32, 32, device=META))
        F.cross_entropy(logits, torch.empty(4, dtype=torch.long, device=META)).backward()
    assert all(p.grad is not None and p.grad.device == META for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_placed_model_leaves_nothing_behind(name):
    model = put_on(resolve("models", name, by_file=False)((3, 32, 32), 10), META)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device for tensor in tensors} == {META}
    formats = [t.is_contiguous(memory_format=torch.channels_last) for t in tensors if t.dim() == 4]
    assert all(formats)
