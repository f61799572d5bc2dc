"""Odd networks, each for what it does to whoever takes it for a usual one; and a tiny data set."""

import inspect
import math

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from prunecli.types import Images

SIDE, CLASSES, PER_CLASS = 8, 3, 10


def images(root, split, download=False):
    """Three classes of noise around a mean of their own."""
    draw = torch.Generator().manual_seed(int(split == "test"))
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    noise = torch.randint(0, 150, (len(labels), SIDE, SIDE, 1), generator=draw)
    pixels = (noise + 50 * labels[:, None, None, None]).to(torch.uint8)
    return Images(pixels, labels, list("abc"), [0.5], [0.25])


def colours(root, split, download=False, *, size: int = 32):
    """Two images for each of three classes, for the networks of others."""
    draw = torch.Generator().manual_seed(int(split == "test"))
    pixels = torch.randint(0, 256, (6, size, size, 3), generator=draw, dtype=torch.uint8)
    return Images(pixels, torch.arange(6) % 3, list("abc"), [0.5] * 3, [0.25] * 3)


class Net(nn.Module):
    """A convolution, whatever comes between, and a linear layer."""

    def __init__(self, input_shape, classes, between, channels=4):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], channels, 3, padding=1)
        self.between = between
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.between(F.relu(self.stem(x))).mean((2, 3)))


def _between(make):
    def build(input_shape, classes):
        return Net(input_shape, classes, make())

    return build


def _wrapped(module_type):
    """A builder of networks of that type."""

    def build(input_shape, classes):
        return module_type(input_shape, classes)

    return build


batch_norm = _between(lambda: nn.BatchNorm2d(4))
group_norm = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()))
layer_norm = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.LayerNorm([4, SIDE, SIDE])))
rms_norm = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.RMSNorm([4, SIDE, SIDE])))
instance_norm = _between(lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True))
relu6 = _between(lambda: nn.Sequential(nn.ReLU6(), nn.Conv2d(4, 4, 1)))
hardswish = _between(lambda: nn.Sequential(nn.Hardswish(), nn.Conv2d(4, 4, 1)))
hardsigmoid = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Hardsigmoid()))
gelu = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU()))
silu = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.SiLU(inplace=True)))
prelu = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.PReLU(4)))
dropout = _between(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout(0.5)))
max_pool = _between(lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)))
adaptive_pool = _between(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(4, 4, 1)))
upsample = _between(lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")))
transposed = _between(lambda: nn.ConvTranspose2d(4, 4, 2, stride=2))
grouped = _between(lambda: nn.Conv2d(4, 4, 3, groups=4))
dilated = _between(lambda: nn.Conv2d(4, 4, 3, dilation=2, padding_mode="circular", padding=2))
old_weight_norm = _between(lambda: weight_norm(nn.Conv2d(4, 4, 1)))
old_spectral_norm = _between(lambda: spectral_norm(nn.Conv2d(4, 4, 1)))
new_weight_norm = _between(lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 1)))
new_spectral_norm = _between(lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)))


class Orthogonal(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], 4, 3)
        self.turn = parametrizations.orthogonal(nn.Linear(4, 4))
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.turn(F.relu(self.stem(x)).mean((2, 3))))


orthogonal = _wrapped(Orthogonal)


def frozen(input_shape, classes):
    """A stem that is not to be trained."""
    net = Net(input_shape, classes, nn.Conv2d(4, 4, 1))
    net.stem.requires_grad_(False)
    return net


def all_frozen(input_shape, classes):
    return Net(input_shape, classes, nn.Conv2d(4, 4, 1)).requires_grad_(False)


class Versioned(nn.Module):
    """As MNASNet: what its state_dict does not say it was saved by is refused."""

    _version = 2

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Identity())

    def forward(self, x):
        return self.net(x)

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version", None) not in (1, 2):
            raise ValueError("version should be 1 or 2")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


versioned = _wrapped(Versioned)


class Sequence(nn.Module):
    """Rows of the image one after the other, through a module that also gives its state."""

    def __init__(self, input_shape, classes, make):
        super().__init__()
        self.into = nn.Linear(input_shape[2], 8)
        self.cell = make()
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        out, _ = self.cell(self.into(x[:, 0]))
        return self.head(out[:, -1])


def lstm(input_shape, classes):
    return Sequence(input_shape, classes, lambda: nn.LSTM(8, 8, batch_first=True))


def gru(input_shape, classes):
    return Sequence(input_shape, classes, lambda: nn.GRU(8, 8, batch_first=True))


class Attention(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.into = nn.Linear(input_shape[2], 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = self.into(x[:, 0])
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


attention = _wrapped(Attention)


class Sdpa(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.into, self.qkv = nn.Linear(input_shape[2], 8), nn.Linear(8, 24)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        q, k, v = self.qkv(self.into(x[:, 0])).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(mixed.mean(1))


sdpa = _wrapped(Sdpa)


def encoder(input_shape, classes):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.into = nn.Linear(input_shape[2], 8)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.head = nn.Linear(8, classes)

        def forward(self, x):
            return self.head(self.encoder(self.into(x[:, 0])).mean(1))

    return Encoder()


class Conv1(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.one, self.two = nn.Conv1d(input_shape[1], 4, 3), nn.Conv1d(4, 4, 3)
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.two(F.relu(self.one(x[:, 0]))))).mean(2))


conv1d = _wrapped(Conv1)


class Conv3(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 4, (1, 3, 3)), nn.Conv3d(4, 4, (1, 3, 3))
        self.norm, self.head = nn.BatchNorm3d(4), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.two(F.relu(self.one(x[:, None]))))).mean((2, 3, 4)))


conv3d = _wrapped(Conv3)


class ExtraTensor(nn.Module):
    """A tensor beside parameters and buffers that is saved with them."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Identity())
        self.scale = torch.tensor(2.0)

    def forward(self, x):
        return self.net(x) * self.scale.to(x)

    def get_extra_state(self):
        return self.scale

    def set_extra_state(self, state):
        self.scale = state


class ExtraDict(ExtraTensor):
    def get_extra_state(self):
        return {"scale": 2.0}

    def set_extra_state(self, state):
        self.scale = torch.tensor(state["scale"])


extra_tensor, extra_dict = _wrapped(ExtraTensor), _wrapped(ExtraDict)


def lazy(input_shape, classes):
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes)
    )


class Tied(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        size = math.prod(input_shape)
        self.one, self.two, self.head = (
            nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, classes),
        )  # fmt: skip
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.head(F.relu(self.two(F.relu(self.one(x.flatten(1))))))


tied = _wrapped(Tied)


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self, input_shape, classes):
        super().__init__()
        size = math.prod(input_shape)
        self.one, self.head = nn.Linear(size, size), nn.Linear(size, classes)

    def forward(self, x):
        return self.head(F.relu(self.one(F.relu(self.one(x.flatten(1))))))


twice = _wrapped(Twice)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, gate=nn.Sigmoid):
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), gate()

    def forward(self, x):
        return x * self.gate(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


gate = _between(Gate)
hard_gate = _between(lambda: Gate(nn.Hardsigmoid))


def zero_head(input_shape, classes):
    net = Net(input_shape, classes, nn.Conv2d(4, 4, 1))
    nn.init.zeros_(net.head.weight)
    return net


class Dense(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)
        self.head = nn.Linear(9, classes)

    def forward(self, x):
        x = torch.cat([x, F.relu(self.one(x))], 1)
        return self.head(torch.cat([x, F.relu(self.two(x))], 1).mean((2, 3)))


dense = _wrapped(Dense)


class Buffers(nn.Module):
    """Buffers of every kind, one that is not saved among them."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Identity())
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.register_buffer("turn", torch.ones(2, dtype=torch.complex64))
        self.register_buffer("order", torch.arange(3))
        self.register_buffer("on", torch.tensor([True, False]))

    def forward(self, x):
        return self.net(x * self.passing)[:, self.order] * self.turn.real[0]


buffers = _wrapped(Buffers)


class Lists(nn.Module):
    """Parameters that no module knows."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Identity())
        self.rows = nn.ParameterList([nn.Parameter(torch.randn(4, 4) / 2) for _ in range(2)])
        self.named = nn.ParameterDict({"weight": nn.Parameter(torch.ones(3))})
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.scalar = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        x = F.relu(self.net.stem(x)).mean((2, 3))
        for row in self.rows:
            x = F.relu(x @ row)
        return self.net.head(x) * self.named["weight"] * self.scalar


lists = _wrapped(Lists)


class Idle(Net):
    """A layer that no output depends on."""

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes, nn.Identity())
        self.idle = nn.Linear(4, 4)


idle = _wrapped(Idle)


class Depth(nn.Module):
    """Stochastic depth: whether a block is run is drawn anew for every batch."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Identity())
        self.block = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.net.stem(x))
        if not self.training or torch.rand(()) > 0.5:
            x = x + self.block(x)
        return self.net.head(x.mean((2, 3)))


stochastic_depth = _wrapped(Depth)


def double(input_shape, classes):
    return Net(input_shape, classes, nn.Identity()).double()


def bfloat16(input_shape, classes):
    return Net(input_shape, classes, nn.Identity()).bfloat16()


def partly_double(input_shape, classes):
    net = Net(input_shape, classes, nn.Identity())
    net.register_parameter("more", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    return net


class Keyword(Net):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes, nn.Conv2d(4, 4, 1))

    def forward(self, *images, scale=1.0, **more):
        return super().forward(images[0]) * scale


keyword = _wrapped(Keyword)


class Flows(nn.Module):
    """Another way for other images."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Conv2d(4, 4, 1))

    def forward(self, x):
        if x.mean() > 100:
            x = x.flip(0)
        return self.net(x)


control_flow = _wrapped(Flows)


class Gives(nn.Module):
    """Gives something else than scores."""

    def __init__(self, input_shape, classes, pack):
        super().__init__()
        self.net, self.pack = Net(input_shape, classes, nn.Identity()), pack

    def forward(self, x):
        return self.pack(self.net(x))


def gives_dict(input_shape, classes):
    return Gives(input_shape, classes, lambda y: {"logits": y})


def gives_tuple(input_shape, classes):
    return Gives(input_shape, classes, lambda y: (y, y))


def gives_more_rows(input_shape, classes):
    return Gives(input_shape, classes, lambda y: y[:, :, None])


def gives_numbers(input_shape, classes):
    return Gives(input_shape, classes, lambda y: y.argmax(1))


class Aux(Gives):
    """Two outputs in training, one in evaluation."""

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes, lambda y: y)

    def forward(self, x):
        return (self.net(x), self.net(x)) if self.training else self.net(x)


aux = _wrapped(Aux)


def hooked(input_shape, classes):
    net = Net(input_shape, classes, nn.Conv2d(4, 4, 1))
    net.stem.register_forward_hook(lambda module, given, out: out * 2)
    net.head.register_forward_pre_hook(lambda module, given: (given[0] + 1,))
    net.head.register_full_backward_hook(lambda module, into, out: None)
    return net


def data_parallel(input_shape, classes):
    return nn.DataParallel(Net(input_shape, classes, nn.Conv2d(4, 4, 1)))


def compiled(input_shape, classes):
    return torch.compile(Net(input_shape, classes, nn.Conv2d(4, 4, 1)), backend="eager")


def scripted(input_shape, classes):
    return torch.jit.script(Net(input_shape, classes, nn.Conv2d(4, 4, 1)))


class Places(nn.Module):
    """Works in place."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.net = Net(input_shape, classes, nn.Conv2d(4, 4, 1))

    def forward(self, x):
        x = self.net.stem(x).mul_(2).relu_()
        return self.net.head(self.net.between(x).add_(1).mean((2, 3)))


class Overwrites(Places):
    """Works in place on what its own gradient needs."""

    def forward(self, x):
        return self.net.head(self.net.stem(x).relu_().add_(1).mean((2, 3)))


in_place, overwrites = _wrapped(Places), _wrapped(Overwrites)


def quant_stubs(input_shape, classes):
    return nn.Sequential(
        QuantStub(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes),
        DeQuantStub(),
    )  # fmt: skip


def no_layer(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(input_shape)))


def no_parameter(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(classes))


def bare_linear(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes, bias=False))


class Embedded(nn.Module):
    """Pixels as words."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.table, self.head = nn.Embedding(16, 4), nn.Linear(4, classes)

    def forward(self, x):
        words = (x.clamp(-2, 1.9) * 4 + 8).long().flatten(1)
        return self.head(self.table(words).mean(1))


embedded = _wrapped(Embedded)


def bilinear(input_shape, classes):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.pair = nn.Linear(math.prod(input_shape), 4), nn.Bilinear(4, 4, classes)

        def forward(self, x):
            x = F.relu(self.into(x.flatten(1)))
            return self.pair(x, x)

    return Two()


def identity_skip(input_shape, classes):
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)

        def forward(self, x):
            return x + self.conv(x)

    return Net(input_shape, classes, Skip())


def standardised(input_shape, classes):
    class Standard(nn.Conv2d):
        def forward(self, x):
            w = self.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            return self._conv_forward(x, w, self.bias)

    return Net(input_shape, classes, Standard(4, 4, 3))


def functional(input_shape, classes):
    class Functional(nn.Module):
        """Uses a layer's weight without calling the layer."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return F.conv2d(x, self.conv.weight)

    return Net(input_shape, classes, Functional())


def named_weight(input_shape, classes):
    class Root(nn.Linear):
        def __init__(self):
            super().__init__(math.prod(input_shape), classes)

        def forward(self, x):
            return super().forward(x.flatten(1))

    return Root()


def real_numbers(input_shape, classes):
    """Computes with real numbers while it is built, as drop path code does."""
    rates = [x.item() for x in torch.linspace(0, 0.1, 3)]
    return Net(input_shape, classes, nn.Sequential(*map(nn.Dropout, rates)))


def round_trip(input_shape, classes):
    net = Net(input_shape, classes, nn.Identity())
    values = net.stem.weight.detach().numpy() * np.float32(0.5)
    net.stem.weight.data = torch.from_numpy(values)
    return net


def looks_at_weights(input_shape, classes):
    net = Net(input_shape, classes, nn.Identity())
    if net.stem.weight.abs().max() > 10:
        raise ValueError("too large")
    return net


def loads_weights(input_shape, classes):
    net = Net(input_shape, classes, nn.BatchNorm2d(4))
    net.load_state_dict({name: torch.ones(t.shape) for name, t in net.state_dict().items()})
    return net


def fails(input_shape, classes):
    """Cannot be built where the weights are wanted without numbers, nor elsewhere."""
    raise RuntimeError(f"no network for {classes} classes here")


def _builders():
    """The networks above, by name."""
    wanted = ["input_shape", "classes"]
    return [
        name
        for name, thing in globals().items()
        if inspect.isfunction(thing) and list(inspect.signature(thing).parameters) == wanted
    ]


BUILDERS = _builders()
