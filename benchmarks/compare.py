"""prunecli and what one would use in its place, side by side on the same input.

    pip install torch-pruning        # a peer; without it its row is missing
    python benchmarks/compare.py --data-dir data -o comparison.md

Each comparison takes turns, so that what else the machine does falls on all; the times are medians
of the turns, the ratios medians of the ratios within a turn. Where a peer is no package, its
published algorithm is written down here anew, and its name says so.
"""

from __future__ import annotations

import argparse
import mmap
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import processor
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.models import resnet50

from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ImageBatches, ScoringBatches
from prunecli.masks.select import select
from prunecli.network.layers import prunable
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import pick_precision, put_on
from prunecli.runtime.machine import cores
from prunecli.scoring.by_weights import TensorScores
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.state import new_state
from prunecli.types import Images, Pruner

DENSITY = 0.1
CPU = torch.device("cpu")
Row = tuple[str, str, float, float]
"""What, who, seconds, and how many times ours that is."""


def turns(
    what: str, count: int, peers: Mapping[str, Callable[[], object]], warm_up: int = 1
) -> list[Row]:
    """Time each `count` times in turn, after some to warm up. The first one is ours."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(warm_up + count):
        for name, contestant in peers.items():
            began = time.perf_counter()
            contestant()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - began)
    own = next(iter(times.values()))
    return [
        (
            what,
            name,
            statistics.median(each),
            statistics.median(t / o for t, o in zip(each, own, strict=True)),
        )
        for name, each in times.items()
    ]


def global_magnitude() -> list[Row]:
    """A mask over the weights of a ResNet-50: 25.5 million in 54 tensors."""
    weights = {name: w.detach() for name, w in prunable(resnet50()).items()}

    def ours() -> object:
        return select({name: w.abs() for name, w in weights.items()}, DENSITY)

    def shrinkbench() -> list[np.ndarray]:
        sizes = [w.abs().numpy() for w in weights.values()]
        threshold = np.quantile(np.concatenate([s.ravel() for s in sizes]), 1 - DENSITY)
        return [s > threshold for s in sizes]

    def fresh_clone() -> None:
        for weight in weights.values():
            with mmap.mmap(-1, weight.nbytes) as memory:
                np.copyto(np.frombuffer(memory, np.float32), weight.numpy().ravel())

    peers = {
        "prunecli": ours,
        "`torch.nn.utils.prune.global_unstructured`": lambda: torchs_masks(weights, DENSITY),
        "ShrinkBench's quantile, written anew": shrinkbench,
        "cloning the weights into memory fresh from the system": fresh_clone,
        "cloning them into memory used before": lambda: [w.clone() for w in weights.values()],
        **_torch_pruning(),
    }
    what = "mask of the 25.5 M weights of a ResNet-50, global magnitude, density 0.1"
    return turns(what, 5, peers)


def torchs_masks(weights: Mapping[str, Tensor], density: float) -> list[Tensor]:
    """What torch itself makes of them, which is a mask and a masked copy of each."""
    layers = [nn.Linear(1, 1, bias=False) for _ in weights]
    for layer, weight in zip(layers, weights.values(), strict=True):
        layer.weight = nn.Parameter(weight)
    where = [(layer, "weight") for layer in layers]
    prune.global_unstructured(where, prune.L1Unstructured, amount=1 - density)
    return [layer.weight_mask for layer in layers]


def _torch_pruning() -> dict[str, Callable[[], object]]:
    """What it takes to score the channels of the same network: structured, so of another kind."""
    try:
        peer = import_module("torch_pruning")
    except ImportError:
        return {}
    model = resnet50()
    graph = peer.DependencyGraph().build_dependency(model, torch.randn(1, 3, 224, 224))
    importance = peer.importance.GroupMagnitudeImportance()
    groups = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
    return {"torch-pruning, scoring channels": lambda: [importance(group) for group in groups]}


def lamp_scores() -> list[Row]:
    lamp = resolve("scorers", "lamp", by_file=False)
    weights = {name: w.detach() for name, w in prunable(resnet50()).items()}

    def by_sorting(weight: Tensor) -> Tensor:
        """w^2 over what is left of the sum when all that is smaller is gone, by a full sort."""
        squares = weight.square().flatten()
        rising, order = squares.sort()
        below = torch.zeros_like(rising)
        below[1:] = rising.cumsum(0)[:-1]
        scores = torch.zeros_like(rising)
        scores[order] = rising / (squares.sum() - below)
        return scores.reshape(weight.shape)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "resnet50.safetensors")
        save_file(weights, path)
        file = TensorFile(path)
        peers = {
            "prunecli, with reading them from a file": lambda: (
                TensorScores(file, [*weights], lamp, 0, file.label).remembered
            ),
            "the authors' formula, written anew": lambda: [by_sorting(w) for w in weights.values()],
        }
        return turns("LAMP scores of the same weights", 5, peers)


def scoring_against_a_step() -> list[Row]:
    """SNIP on one batch, against one forward and backward pass of the same."""
    torch.manual_seed(0)
    model = put_on(resolve("models", "resnet20", by_file=False)((3, 32, 32), 10), CPU).eval()
    images = Images(
        torch.randint(0, 256, (512, 32, 32, 3), dtype=torch.uint8),
        torch.randint(0, 10, (512,)),
        [str(label) for label in range(10)],
        [0.5] * 3,
        [0.25] * 3,
    )
    batches = ScoringBatches((3, 32, 32), lambda: images, CPU, 128, 0)
    inputs, labels = next(iter(batches))
    snip = resolve("scorers", "snip", by_file=False)

    def passes() -> None:
        F.cross_entropy(model(inputs), labels).backward()
        model.zero_grad()

    peers = {
        "prunecli": lambda: snip(model, batches),
        "one forward and backward pass": passes,
    }
    return turns("SNIP scores of resnet20 from a batch of 128", 9, peers)


def start_up() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "prunecli"]
        start = Path(folder, "init.safetensors")
        scores = Path(folder, "scores.safetensors")
        train = ["train", "--model", "cnn", "--epochs", "0", "-q", "-o", str(start)]
        subprocess.run(run + train, check=True, capture_output=True)
        score = ["score", "--method", "magnitude", str(start), "--force", "-q", "-o", str(scores)]
        load = [sys.executable, "-c", "import torch"]
        peers = {
            "prunecli": lambda: subprocess.run(run + score, check=True, capture_output=True),
            '`python -c "import torch"`': lambda: subprocess.run(load, check=True),
        }
        what = "`prunecli score --method magnitude` on a small file, from start to end"
        return turns(what, 5, peers)


def mnist_training(data_dir: Path, epochs: int) -> list[Row]:
    """The same network, optimizer and schedule: ours as it trains by default, and a plain loop."""
    load = resolve("data", "mnist", by_file=False)
    train, test = (load(data_dir, split, False) for split in ("train", "test"))
    settings = Hyperparameters(epochs=epochs, precision=pick_precision("auto", CPU))
    evaluated = ImageBatches(test, CPU, 500)
    top1: dict[str, float] = {}

    def new_model() -> nn.Module:
        torch.manual_seed(0)
        return resolve("models", "cnn", by_file=False)((1, 28, 28), 10)

    def ours() -> None:
        model = put_on(new_model(), CPU)
        batches = ImageBatches(train, CPU, settings.batch_size)
        state = new_state(model, settings, Pruner(), len(batches))
        loop.train(state, batches, settings, seed=0)
        top1["ours"] = loop.evaluate(model, evaluated, "fp32", CPU)["top1"]

    def plain() -> None:
        model = new_model()
        optimizer = torch.optim.SGD(
            model.parameters(),
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
        for _ in range(epochs):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                schedule.step()
        top1["plain"] = loop.evaluate(model, evaluated, "fp32", CPU)["top1"]

    with tempfile.TemporaryDirectory() as folder:
        loader = _torchvisions_loader(Path(folder), train, settings.batch_size)
        rows = turns("", 1, {"ours": ours, "plain": plain}, warm_up=0)
    what = f"an epoch of the MNIST `cnn`, of {epochs}"
    names = ["prunecli", "torchvision's MNIST and DataLoader, float32"]
    return [
        (what, f"{name}: test top-1 {score:.2f}%", seconds / epochs, ratio)
        for name, score, (_, _, seconds, ratio) in zip(names, top1.values(), rows, strict=True)
    ]


def _torchvisions_loader(folder: Path, images: Images, batch_size: int) -> DataLoader[Any]:
    """Over torchvision's own data set, whose files are written here from the same images."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    assert isinstance(images.images, Tensor)
    pixels, labels = images.images.numpy(), images.labels.numpy().astype(np.uint8)
    for split in ("train", "t10k"):
        count = len(labels).to_bytes(4, "big")
        sides = b"".join(side.to_bytes(4, "big") for side in pixels.shape[1:3])
        of_images = b"\0\0\x08\x03" + count + sides + pixels.tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(of_images)
        of_labels = b"\0\0\x08\x01" + count + labels.tobytes()
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(of_labels)
    steps = [transforms.ToTensor(), transforms.Normalize(images.mean, images.std)]
    data = datasets.MNIST(folder, train=True, transform=transforms.Compose(steps))
    return DataLoader(data, batch_size, shuffle=True)


def table(rows: list[Row]) -> str:
    """In Markdown, with what it was measured on."""
    packages = ["prunecli", "torch", "torchvision", "numpy", "torch-pruning"]
    lines = [
        f"Measured {datetime.now(timezone.utc):%Y-%m-%d} by `python benchmarks/compare.py` on "
        f"{cores()} cores of {processor()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in packages if _version(name))
        + ".",
        "",
        "| what | who | seconds | times prunecli's |",
        "|---|---|---:|---:|",
    ]
    before = ""
    for what, who, seconds, ratio in rows:
        lines.append(f"| {what if what != before else ''} | {who} | {seconds:.3g} | {ratio:.2f} |")
        before = what
    return "\n".join(lines) + "\n"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="where MNIST is; without it, no training")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    rows = global_magnitude() + lamp_scores() + scoring_against_a_step() + start_up()
    if given.data_dir:
        rows += mnist_training(given.data_dir, given.epochs)
    text = table(rows)
    print(text)
    if given.output:
        given.output.write_text(text)


if __name__ == "__main__":
    main()
