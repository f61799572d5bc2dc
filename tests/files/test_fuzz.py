"""Whatever is in a file, its readers refuse it in one line, at once and in little memory.

Every input is a valid file with a few faults, or noise. It is given to what opens such files: the
steps, the training that resumes, the planner of recipes.
"""

import json
import random
import resource
import sys
import time
import traceback
import types
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prunecli.cli.inspected import lines_of
from prunecli.cli.study.steps import planned
from prunecli.errors import PruneError
from prunecli.files import atomic
from prunecli.files.header import INDEX
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.inspect import inspect
from prunecli.steps.mask import mask
from prunecli.steps.score import score
from prunecli.steps.train import train
from prunecli.steps.verify import verify
from prunecli.types import Images

KINDS = {"checkpoint": 25_000, "foreign": 22_000, "mask": 12_000, "scores": 12_000}
KINDS |= {"state": 8_000, "index": 15_000, "recipe": 8_000}
"""How many inputs of each kind the slow test tries."""
FEW = 100
SECONDS, MEGABYTES = 1, 100
"""What one input may take of the processor, and all together of memory."""
RECIPE = """
version: 1
name: tiny
vars: {model: cnn, lr: 0.1, data: digits}
matrix: {seed: [0, 1], method: {plain: {scorer: magnitude}, even: {scorer: lamp}}}
steps:
  dense: {train: {model: "${model}", dataset: "${data}", epochs: 2, lr: "${lr}", seed: "${seed}"}}
  mask:
    mask: {checkpoint: "@dense", method: "${scorer}", density: 0.5}
  sparse: {over: [seed, method], finetune: {checkpoint: "@dense", mask: "@mask", epochs: 1}}
  table: {report: {results: "@sparse[*]", format: csv}}
"""


class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width * 36, classes)

    def forward(self, x):
        return self.fc(self.flatten(self.conv(x)))


def net(input_shape, classes, *, width: int = 2):
    return Net(width, classes)


def data(data_dir, split, download):
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(0, 256, (16, 8, 8, 1), generator=generator).to(torch.uint8)
    return Images(images, images[:, 0, 0, 0].long() // 128, ["dark", "light"], [0.5], [0.25])


@pytest.fixture
def plugin(tmp_path, monkeypatch, trusting):
    """The network and the images under the name `tiny`; files need not reach the disk."""
    trusting("tiny")
    module = types.ModuleType("tiny")
    module.net, module.data = net, data
    monkeypatch.setitem(sys.modules, "tiny", module)
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: None)
    monkeypatch.chdir(tmp_path)


TINY = {
    "model": ModelSettings("tiny:net"),
    "data": DataSettings("tiny:data"),
    "eval_every_epoch": False,
}
SETTINGS = {"epochs": 2, "batch_size": 8}
OUT = Path("out.safetensors")
STATE = Path("out.state.safetensors")
OUTPUT = RunOptions(output=OUT, force=True, device="cpu", seed=0)
MAGNITUDE = ScoreSettings("magnitude")


@pytest.fixture
def valid(plugin, stopped_at):
    """A valid file of each kind."""
    dense, half, scored = Path("dense.safetensors"), Path("half"), Path("scored")
    run = {"force": True, "device": "cpu", "seed": 0}
    with stopped_at(1):
        train(TrainingSettings(**TINY, given=SETTINGS), OUTPUT)
    state = STATE.read_bytes()
    train(TrainingSettings(**TINY, given=SETTINGS, resume=True), OUTPUT)
    OUT.rename("whole.safetensors")
    mask(
        Path("whole.safetensors"),
        MaskSettings(density=0.5, scoring=MAGNITUDE),
        RunOptions(half, **run),
    )
    score(Path("whole.safetensors"), MAGNITUDE, RunOptions(scored, **run))
    apply(Path("whole.safetensors"), half, RunOptions(dense, **run))
    save_file({"a.weight": torch.rand(2, 2)}, "one.safetensors")
    save_file({"b.weight": torch.rand(2, 2)}, "two.safetensors")
    index = {"metadata": {"total_size": 32}}
    index["weight_map"] = {"a.weight": "one.safetensors", "b.weight": "two.safetensors"}
    kinds = (torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
    kinds += (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    kinds += (torch.uint16, torch.uint32, torch.uint64)
    foreign = {f"{n}.weight": torch.rand(2, 1).to(kind) for n, kind in enumerate(kinds)}
    foreign |= {"conv.weight": torch.rand(2, 1, 3, 3), "fc.weight": torch.rand(2, 72)}
    save_file({"e.weight": torch.ones(0, 2), **foreign}, "foreign")
    return {
        "checkpoint": dense.read_bytes(),
        "foreign": Path("foreign").read_bytes(),
        "mask": half.read_bytes(),
        "scores": scored.read_bytes(),
        "state": state,
        "index": json.dumps(index).encode(),
        "recipe": RECIPE.encode(),
    }


# What opens a file


def looked_at(path):
    facts = inspect(path)
    json.dumps(facts)
    assert lines_of(facts)


DENSE, HALF = Path("whole.safetensors"), Path("half")
OPENED = {
    "inspect": looked_at,
    "verify": verify,
    "verify with a mask": lambda path: verify(path, HALF),
    "apply": lambda path: apply(path, HALF, OUTPUT),
    "score": lambda path: score(path, MAGNITUDE, OUTPUT),
    "mask": lambda path: mask(path, MaskSettings(density=0.5, scoring=MAGNITUDE), OUTPUT),
    "eval": lambda path: evaluation(path, EvalSettings(), OUTPUT),
    "score a network": lambda path: score(path, ScoreSettings("synflow"), OUTPUT),
    "finetune": lambda path: train(
        TrainingSettings(checkpoint=path, given={"epochs": 1}, eval_every_epoch=False), OUTPUT
    ),
}
OF_MASK = {
    "inspect": looked_at,
    "apply": lambda path: apply(DENSE, path, OUTPUT),
    "eval": lambda path: evaluation(DENSE, EvalSettings(mask=path), OUTPUT),
    "verify": lambda path: verify(Path("dense.safetensors"), path),
    "nest": lambda path: mask(
        DENSE, MaskSettings(density=0.25, scoring=MAGNITUDE, mask=path), OUTPUT
    ),
    "finetune": lambda path: train(
        TrainingSettings(checkpoint=DENSE, mask=path, given=SETTINGS, eval_every_epoch=False),
        OUTPUT,
    ),
}
OF_SCORES = {
    "inspect": looked_at,
    "mask": lambda path: mask(path, MaskSettings(density=0.5), OUTPUT),
    "mask by layer": lambda path: mask(path, MaskSettings(density=0.5, scope="layer"), OUTPUT),
    "critical": lambda path: mask(path, MaskSettings(critical=True), OUTPUT),
    "of all": lambda path: mask(path, MaskSettings(density=0.5, count="model"), OUTPUT),
    "nest": lambda path: mask(path, MaskSettings(density=0.25, mask=HALF), OUTPUT),
}


def resumed(path):
    path.rename(STATE)
    train(TrainingSettings(**TINY, given=SETTINGS, resume=True), OUTPUT)


READERS = {
    "checkpoint": OPENED,
    "foreign": {k: OPENED[k] for k in ("inspect", "verify", "apply", "score", "mask")},
    "mask": OF_MASK,
    "scores": OF_SCORES,
    "state": {"resume": resumed, "inspect": looked_at},
    "index": {k: OPENED[k] for k in ("inspect", "verify", "score", "mask")},
    "recipe": {"plan": lambda path: planned(path, {}, Path("study"))},
}

# Faults


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


def long(number):
    return 10**number


ODD = [None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 2**31, 2**63, 2**64, long(400)]
ODD += [float("nan"), float("inf"), -float("inf"), "", "x", "\x1b[2J", "\u202e", "\n", "\ud800"]
ODD += [[], {}, [[]], [None], {"": None}, [1, 2], [0, 0, 0], [1, 60_000, 60_000], {"x": {}}]
ODD += ["cnn", "adam", "onecycle", "magnitude", "checkpoint", "mask", "scores", "state", deep(30)]
TOKENS = [b'"x"', b"1e999", b"NaN", b"-Infinity", b"9" * 5000, b"[" * 3000, b"{}", b"[]", b"null"]
TOKENS += [rb'"\ud800"', rb'"\u001b"', b'{"a":1,"a":2}', b"\xff", b"\x00", b"\xef\xbb\xbf", b"1.5"]
TOKENS += [b"&a", b"*a", b"!!python/object:os.system", b"${x}", b"@dense[*]", b"@", b": ", b"- "]
TOKENS += [b"\n", b"'", b'"', b"? ", b"|", b">", b"%YAML 9", b"---", b"<<: ", b"\xe2\x80\xa8", b"~"]


def places(value, place=()):
    """Every place in a JSON value but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*place, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*place, key))


def edit(value, rng):
    """Replace, remove, double or add something anywhere in a JSON value, in place."""
    found = list(places(value))
    if not found:
        return
    *above, key = rng.choice(found)
    inside = value
    for step in above:
        inside = inside[step]
    match rng.choice(["set", "set", "set", "copy", "drop", "add", "nudge"]):
        case "set":
            inside[key] = deepcopy(rng.choice(ODD))
        case "copy":
            other = value
            for step in rng.choice(found):
                other = other[step]
            inside[key] = json.loads(json.dumps(other))
        case "drop":
            del inside[key]
        case "add" if isinstance(inside, dict):
            inside[rng.choice(["x", "", "\x1b", "weight", "mask", "tied", "\ud800"])] = deepcopy(
                inside[key]
            )
        case "add":
            inside.append(deepcopy(inside[key]))
        case "nudge" if isinstance(inside[key], int | float):
            inside[key] = rng.choice([-1, 1, 2, 1000, 0.5]) * inside[key] + rng.choice([-1, 0, 1])


def parted(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, tail):
    return len(header).to_bytes(8, "little") + header + tail


def bytes_changed(content, rng):
    """Bits flipped, pieces cut, repeated, put elsewhere; or the end gone; or words replaced."""
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice([1, 4, 16, 100]))
    piece = content[start:end]
    match rng.choice(["flip", "flip", "cut", "end", "repeat", "splice", "noise", "token"]):
        case "flip":
            flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in piece[:1])
            return content[:start] + flipped + content[start + len(flipped) :]
        case "cut":
            return content[:start] + content[end:]
        case "end":
            return content[:start]
        case "repeat":
            return content[:end] + piece * rng.choice([1, 3]) + content[end:]
        case "splice":
            other = rng.randrange(len(content) + 1)
            return content[:other] + piece + content[other:]
        case "noise":
            return content[:start] + rng.randbytes(len(piece)) + content[end:]
        case "token":
            return content[:start] + rng.choice(TOKENS) + content[end:]


def numbers_changed(tail, rng):
    """Tensors with NaN, infinity, or any bytes."""
    odd = rng.choice([b"\xff", b"\x00", b"\x80", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff"])
    start = rng.randrange(len(tail) + 1) & ~3
    return (tail[:start] + odd * rng.choice([1, 4]) + tail[start:])[: len(tail)]


def mutated(kind, content, rng):
    """A valid file with one fault, or a few."""
    how = rng.random()
    if how < 0.05:
        return rng.randbytes(rng.choice([0, 1, 8, 9, 100]))
    if kind == "recipe" or how < 0.2:
        for _ in range(rng.choice([1, 1, 2, 4])):
            content = bytes_changed(content, rng)
        return content
    if kind == "index":
        table = json.loads(content)
        for _ in range(rng.choice([1, 1, 2])):
            edit(table, rng)
        return json.dumps(table).encode()
    header, tail = parted(content)
    metadata = header.get("__metadata__", {})
    for _ in range(rng.choice([1, 1, 2, 3])):
        match rng.choice(["meta", "meta", "meta", "meta", "text", "header", "numbers"]):
            case "meta" if "prunecli" in metadata:
                try:
                    meta = json.loads(metadata["prunecli"])
                except ValueError:  # a fault before broke it
                    continue
                if isinstance(meta, dict):
                    edit(meta, rng)
                metadata["prunecli"] = json.dumps(meta)
            case "text" if "prunecli" in metadata:
                text = metadata["prunecli"].encode(errors="surrogatepass")
                metadata["prunecli"] = bytes_changed(text, rng).decode(errors="replace")
            case "numbers":
                tail = numbers_changed(tail, rng)
            case _:
                part = rng.choice(sorted(header.keys() - {"__metadata__"}))
                edit(header[part], rng)
                if rng.random() < 0.3:
                    header[rng.choice(["x.weight", "\x1b", "../x"])] = header.pop(part)
    raw = json.dumps(header).encode()
    if rng.random() < 0.1:
        raw = bytes_changed(raw, rng)
    return joined(raw, tail)


def peak():
    """The most memory that this process has held so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fault_of(error):
    """What escaped, and from where."""
    last = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in last if "/prunecli/" in frame.filename]
    at = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].line}" if own else ""
    return f"{type(error).__name__}: {error} at {at}"[:300]


def tried(kind, content, count, seed):
    """How many inputs were refused, and every fault of a reader with how often it was seen."""
    rng, refused, faults = random.Random(f"{kind} {seed}"), 0, {}
    readers = READERS[kind]
    folder = Path("sharded") if kind == "index" else Path()
    for number in range(count):
        path = folder / (INDEX if kind == "index" else "input")
        path.unlink(missing_ok=True)  # writing over it would wait for the disk
        given = mutated(kind, content, rng)
        path.write_bytes(given)
        how = rng.choice(list(readers))
        for left in (OUT, STATE):
            left.unlink(missing_ok=True)
        began, before, fault = time.process_time(), peak(), None
        try:
            readers[how](path)
        except PruneError as error:
            refused += 1
            lines = str(error).split("\n")
            if not all(line.isprintable() and line for line in lines):
                fault = f"not printable: {error!r} {fault_of(error)}"
            elif len(lines) > 1 and kind != "recipe" and not how.startswith("verify"):
                fault = f"many lines: {error!r}"
        except Exception as error:
            fault = fault_of(error)
        if (took := time.process_time() - began) > SECONDS:
            fault = f"{took:.1f} seconds {fault}"
        if (grew := peak() - before) > MEGABYTES:
            fault = f"{grew:.0f} megabytes {fault}"
        if fault:
            faults.setdefault((how, fault), []).append(number)
    return refused, faults


SLOW = [pytest.param(kind, count, 1, marks=pytest.mark.slow) for kind, count in KINDS.items()]


@pytest.mark.parametrize(("kind", "count", "seed"), [*((kind, FEW, 0) for kind in KINDS), *SLOW])
def test_nothing_but_a_refusal_of_one_line_comes_of_a_mutated_file(kind, count, seed, valid):
    Path("sharded").mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        Path(name).rename(Path("sharded", name))
    content = valid[kind]
    path = Path("sharded", INDEX) if kind == "index" else Path("input")
    for reader in READERS[kind].values():  # the first time is the slowest
        path.write_bytes(content)
        reader(path)
    before = peak()
    refused, faults = tried(kind, content, count, seed)
    assert not faults, "\n".join(f"{len(n)}x, first {n[0]}: {f}" for f, n in faults.items())
    print(f"{count:,} mutations of a {kind}, {refused:,} refused")
    assert count * 0.3 < refused < count  # many are faulty, some are still sound
    assert peak() - before < MEGABYTES
