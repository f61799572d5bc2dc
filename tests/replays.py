"""Small trainings whose steps may be replayed, on a tape in place of a GPU's graphs."""

import torch
from tape import Tape
from torch import nn

from prunecli.images.batches import ImageBatches
from prunecli.plugins.resolve import resolve
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.progress import Progress
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.course import TrainingSet, build_pruner
from prunecli.training.state import new_state
from prunecli.types import Images, Pruner

CPU = torch.device("cpu")
SETTINGS = Hyperparameters(epochs=4, batch_size=8, lr=0.05, precision="fp32", lr_every=1)


def images(count=43):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 6, 6, 1), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, 4, (count,), generator=draw)
    return Images(pixels, labels, list("abcd"), [0.5], [0.25], pad=1, flip=True)


def network(middle=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), middle or nn.Dropout(), nn.Flatten(),
        nn.Linear(128, 4),
    ).to(memory_format=torch.channels_last)  # fmt: skip


class Said(Progress):
    def __init__(self):
        self.lines = []

    def detail(self, message):
        self.lines.append(message)


def trained(settings, pruner=None, middle=None, resume=None, saving=None):
    """Gives the state at the end, and what was said on the way."""
    model, said = network(middle), Said()
    data = ImageBatches(images(), CPU, settings.batch_size)
    made = pruner(model, settings) if pruner else Pruner()
    state = new_state(model, settings, made, len(data))
    if resume:
        state.restore(*resume)
    try:
        loop.train(state, data, settings, 1, progress=said, saving=saving and saving(state))
    except KeyboardInterrupt:
        assert saving
    return state, said.lines


def eager():
    """What never replays anything, but finds the learning rate where a recording would."""
    return Tape(lacking="it is not to")


def same(one, two):
    ours, theirs = one.tensors(), two.tensors()
    assert ours.keys() == theirs.keys()
    assert one.position() == two.position()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


REPLAYED = [
    "gradients are replayed as a CUDA graph from here on",
    "updates are replayed as a CUDA graph from here on",
]
# Of 4 epochs of 5 batches of 8 and one of 3. The first 3 times and when it is recorded, which it
# replays once, a half is done as ever, and the updates are counted from there on.
WHOLE = 4 * 5
REPLAYS = (WHOLE - 3) + (WHOLE - 6)


def fixed(model, settings):
    draw = torch.Generator().manual_seed(5)
    names = {n: w for n, w in model.named_parameters() if w.ndim > 1}
    return Fixed({n: torch.rand(w.shape, generator=draw) > 0.5 for n, w in names.items()})


def named(name, **options):
    def build(model, settings):
        plugin = resolve("pruners", name, options, by_file=False)
        return build_pruner(plugin, model, TrainingSet(images(), CPU, 0), settings.epochs)

    return build
