"""Nothing that ships with prunecli needs an operation that no GPU repeats to the bit.

Which those are was read off torch 2.14: whatever asks `alertNotDeterministic` in its CUDA library.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.network.untouched import untouched
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

DIFFERING = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "avg_pool3d_backward",
    "adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward",
    "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d",
    "max_unpool3d", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "replication_pad1d_backward", "replication_pad2d_backward",
    "replication_pad3d_backward", "upsample_linear1d_backward", "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward", "upsample_trilinear3d_backward",
    "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "nll_loss2d_forward",
    "_ctc_loss_backward", "_embedding_bag_backward", "put_", "histc", "bincount", "median",
    "scatter", "scatter_", "scatter_reduce", "scatter_reduce_", "index_reduce", "index_reduce_",
}  # fmt: skip


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.overloadpacket.__name__)
        return function(*args, **kwargs or {})


class Data:
    input_shape = (3, 32, 32)

    def __iter__(self):
        yield self.per_class(1)

    def per_class(self, count):
        return torch.randn(2, 3, 32, 32), torch.arange(2)


def small(name):
    return resolve("models", name, by_file=False)((3, 32, 32), 2, thin=0.02)


@pytest.mark.parametrize("name", list(names("models")))
def test_a_step_of_training_repeats_on_a_gpu(name):
    model, (images, labels) = small(name), Data().per_class(1)
    with Operations() as used:
        F.cross_entropy(model(images), labels).backward()
    assert "convolution_backward" in used.seen
    assert not used.seen & DIFFERING


@pytest.mark.parametrize("name", ["alexnet", "resnet20"])
@pytest.mark.parametrize(
    "method", [n for n in names("scorers") if resolve("scorers", n, by_file=False).takes_model]
)
def test_scores_repeat_on_a_gpu(method, name):
    model = small(name).eval()
    with untouched(model), Operations() as used:
        resolve("scorers", method, by_file=False)(model, Data())
    assert used.seen
    assert not used.seen & DIFFERING


def test_what_a_gpu_would_not_repeat_is_seen():
    layer = nn.AdaptiveAvgPool2d(2)
    with Operations() as used:
        layer(torch.ones(1, 1, 4, 4, requires_grad=True)).sum().backward()
    assert used.seen & DIFFERING == {"_adaptive_avg_pool2d_backward"}
