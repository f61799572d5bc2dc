"""What every pruner promises, run on each of them by name."""

import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from attacks import written
from safetensors.torch import load_file

from prunecli.errors import BadInput, BadUsage, NotFinite
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.images.source import Source
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train
from prunecli.training import loop
from prunecli.training.digest import digest_of

NAMES = list(names("pruners"))
EPOCHS = 4  # of four steps each
DENSITY = 0.3

OPTIONS = {
    "weightmom": {"window": 2, "every": 1, "events": 2},
    "gradual": {"every": 3},
    "gmp": {"beta": 0.05, "gamma": 0.02, "fraction": 0.25},
    "n2nskip": {"density": 0.1},
    "rigl": {"every": 3},
    "set": {"every": 3},
    "fixed-ga": {"least": 1},
    "fixed-bs": {"least": 1},
    "adaptive": {"least": 1, "rate": 0.1},
}
"""What a pruner needs to act within so short a training. All that take a density are given one."""

MODELS = {"n2nskip": ("n2nskip", {"base": "alexnet", "thin": 0.002})}
"""Name and options of the network, for a pruner that needs one of its own."""

TAKES_DENSITY = [
    name for name in NAMES if "density" in resolve("pruners", name, by_file=False).declared
]
OTHER_GOALS = ["adaptive", "weightmom"]  # those that a density is one of several for
NEEDS_DENSITY = [name for name in TAKES_DENSITY if name not in OTHER_GOALS]
STRAIGHT = ["fixed-ga", "fixed-bs", "adaptive"]  # their weights all train; the mask is made last
REACHES_DENSITY = [name for name in TAKES_DENSITY if name not in {*MODELS, *STRAIGHT}]
NEVER_REVIVES = ["weightmom", "gradual", "gmp"]

SETTINGS = {
    "sgd": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "lr": 0.003, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.1},
}


def options_of(name, density=DENSITY):
    return ({"density": density} if name in TAKES_DENSITY else {}) | OPTIONS.get(name, {})


@pytest.fixture
def how(tiny):
    """`how(pruner, **changes)`: the options of a training."""

    def make(name, *, options=None, settings=None, **changes):
        model, model_options = model_of(name, tiny)
        return TrainingSettings(
            model=ModelSettings(model, own_options=model_options),
            data=DataSettings("digits", {"fraction": 0.1}),
            pruner=name,
            pruner_options=options_of(name) if options is None else options,
            given={"epochs": EPOCHS, "batch_size": 36, "precision": "fp32"} | (settings or {}),
            eval_every_epoch=False,
            **changes,
        )

    return make


def model_of(name, tiny):
    return MODELS.get(name, (tiny, {}))


def start(begin, tiny, name):
    """A training of the pruner's network, set up and not begun."""
    model, options = model_of(name, tiny)
    build = partial(resolve("models", model, by_file=False), **options)
    return begin(name, EPOCHS, build=build, **options_of(name))


def files(checkpoint):
    """What a training leaves: the bytes by the end of the name."""
    stem = checkpoint.name.removesuffix("safetensors")
    return {
        path.name.removeprefix(stem): path.read_bytes()
        for path in checkpoint.parent.glob(f"{stem}*")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole(options)`: a training that nothing interrupted; done once per pruner. Read-only."""
    folder, done = tmp_path_factory.mktemp("whole"), {}

    def run(options):
        if options.pruner not in done:
            output = folder / options.pruner / "t.safetensors"
            done[options.pruner] = train(options, RunOptions(output=output, seed=3))
        return done[options.pruner]

    return run


@pytest.mark.parametrize("optimizer", SETTINGS)
@pytest.mark.parametrize("name", NAMES)
def test_what_the_mask_excludes_is_plus_zero_to_the_bit_in_the_checkpoint(
    how, tmp_path, name, optimizer
):
    output = tmp_path / "t.safetensors"
    train(how(name, settings=SETTINGS[optimizer]), RunOptions(output=output, seed=1))
    tensors, meta = load_file(output), open_artifact(output, "checkpoint").meta
    mask, _ = read_mask(tmp_path / "t.mask.safetensors")
    assert any(kept.any() for kept in mask.values())
    assert not all(kept.all() for kept in mask.values())
    for weight, kept in mask.items():
        assert not tensors[weight][~kept].view(torch.int32).any()
        if name in NEVER_REVIVES:
            assert torch.equal(tensors[weight] != 0, kept)
    assert meta["density"]["kept"] == {weight: int(kept.sum()) for weight, kept in mask.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_holds_after_every_step(begin, tiny, name):
    run = start(begin, tiny, name)
    pruned = []

    def look(step):
        pruned.append(0)
        for weight, kept in run.mask().items():
            masked = run.state.params[weight].detach()[~kept]
            assert not masked.view(torch.int32).any(), (step, weight)
            pruned[-1] += int((~kept).sum())

    run.go(look)
    assert len(pruned) == run.state.step >= 12
    assert pruned[-1] > 0


@pytest.mark.parametrize("name", REACHES_DENSITY)
def test_the_density_asked_for_is_reached_exactly(whole, how, name):
    output = whole(how(name))
    mask, file = read_mask(output.with_name("t.mask.safetensors"))
    assert sum(kept.numel() for kept in mask.values()) == file.meta["total"] == 1340
    assert sum(int(kept.sum()) for kept in mask.values()) == file.meta["kept"] == 402
    meta = open_artifact(output, "checkpoint").meta
    assert meta["density"]["overall"] == DENSITY
    assert meta["history"][-1]["density"] == pytest.approx(DENSITY, abs=1e-12)


@pytest.mark.parametrize("name", NEVER_REVIVES)
def test_what_is_pruned_never_comes_back(begin, tiny, name):
    run = start(begin, tiny, name)
    seen = []
    run.go(lambda step: seen.append(run.mask()))
    for before, after in pairwise(seen):
        assert all(not (after[n] & ~before[n]).any() for n in after)
    counts = [sum(int(kept.sum()) for kept in mask.values()) for mask in seen]
    assert len(set(counts)) > 2  # it went down in more than one go


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_never_changed_once_it_was_given(begin, tiny, name):
    run = start(begin, tiny, name)
    seen = []

    def look(step):
        mask = run.mask()
        assert run.mask() is mask
        seen.append((mask, {weight: kept.clone() for weight, kept in mask.items()}))

    run.go(look)
    for mask, copy in seen:
        assert all(torch.equal(mask[weight], copy[weight]) for weight in copy)


@pytest.mark.parametrize("step", [1, 6, 8, 11])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_stopped_anywhere_ends_in_the_same_files(
    whole, how, tmp_path, stopped_at, name, step
):
    options, output = how(name), tmp_path / "t.safetensors"
    with stopped_at(step):
        train(options, RunOptions(output=output, seed=3))
    assert not output.exists()
    assert not (tmp_path / "t.mask.safetensors").exists()
    train(how(name, resume=True), RunOptions(output=output, seed=3))
    ours, expected = files(output), files(whole(options))
    assert ours.keys() == expected.keys() == {"safetensors", "mask.safetensors", "log.jsonl"}
    assert [kind for kind in expected if ours[kind] != expected[kind]] == []


DAMAGES = {
    "missing": lambda name, tensor: {},
    "one more": lambda name, tensor: {name: tensor, f"{name}.more": tensor},
    "another name": lambda name, tensor: {f"{name}.more": tensor},
    "another shape": lambda name, tensor: {name: tensor.flatten().repeat(2)},
    "a shape that broadcasts": lambda name, tensor: {name: tensor[None]},
    "no shape": lambda name, tensor: {name: tensor.flatten()[0] if tensor.dim() else tensor[None]},
    "another type": lambda name, tensor: {name: tensor.to(torch.float16)},
    "bytes for bits": lambda name, tensor: {name: tensor.to(torch.uint8)},
    "not finite": lambda name, tensor: {name: torch.full_like(tensor, float("nan"))},
}


def damaged_states(whole):
    """The tensors of a training state, one of them damaged."""
    for key, tensor in whole.items():
        for damage, change in DAMAGES.items():
            # A weight that is not finite ends the training by itself.
            nan = key.startswith("pruner/") and tensor.is_floating_point()
            if key.startswith(("pruner/", "model/")) and (damage != "not finite" or nan):
                yield key, damage, {n: whole[n] for n in whole if n != key} | change(key, tensor)


@pytest.mark.fault(1)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_state_is_refused_and_changes_nothing(begin, tiny, name):
    run, other = start(begin, tiny, name), start(begin, tiny, name)
    run.go()
    whole = {key: tensor.clone() for key, tensor in run.state.tensors().items()}
    before = {key: tensor.clone() for key, tensor in other.state.tensors().items()}
    for key, damage, tensors in damaged_states(whole):
        position = replace(run.state.position(), tensors=tuple(sorted(tensors)))
        with pytest.raises(ValueError):
            other.state.restore(tensors, position)
            pytest.fail(f"{key}: {damage}")
    after = other.state.tensors()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)
    other.state.restore(whole, run.state.position())
    assert all(torch.equal(t, whole[n]) for n, t in other.state.tensors().items())


@pytest.mark.fault(1)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_not_resumed_from_another_pruners_tensors(how, tmp_path, stopped_at, name):
    output, state = tmp_path / "t.safetensors", tmp_path / "t.state.safetensors"
    with stopped_at(6):
        train(how(name), RunOptions(output=output, seed=3))
    tensors = load_file(state) | {"pruner/more": torch.ones(1)}
    meta = open_artifact(state, "state").meta
    meta["training"]["tensors"] = sorted(tensors)
    meta["digest"] = digest_of(tensors, meta)
    written(state, "state", tensors, meta)
    with pytest.raises(BadInput, match="it is damaged; start again without --resume"):
        train(how(name, resume=True), RunOptions(output=output, seed=3))
    assert not output.exists()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_is_told_to_leave_alone_stays_whole(how, whole, tmp_path, name):
    built = open_artifact(whole(how(name)), "checkpoint").meta
    names, first, classifier = built["prunable"], built["prunable"][0], built["classifier"]
    output = tmp_path / "t.safetensors"
    train(how(name, ignore=(first,), exclude_classifier=True), RunOptions(output=output, seed=1))
    mask, file = read_mask(tmp_path / "t.mask.safetensors")
    assert set(mask) == set(names) - {first, classifier}
    tensors, meta = load_file(output), open_artifact(output, "checkpoint").meta
    assert tensors[first].all()
    assert tensors[classifier].all()
    reached = meta["density"]["overall"]
    if name == "n2nskip":  # which counts over the network without its skips
        reached = file.meta["kept"] / file.meta["total"]
    assert meta["history"][-1]["density"] == pytest.approx(reached, abs=1e-12)
    if name in REACHES_DENSITY:
        assert file.meta["kept"] == round(DENSITY * (216 + 864))


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_it_has_not_is_refused_before_any_data_is_read(how, monkeypatch, name):
    monkeypatch.setattr(Source, "load", lambda *a: pytest.fail("data was read"))
    known = list(resolve("pruners", name, by_file=False).declared)
    for option in known:
        slip = option[:-1] + "_"
        if slip in known:
            continue
        with pytest.raises(BadUsage, match=f"{name!r} has no option {slip!r}; did you mean "):
            train(how(name, options=options_of(name) | {slip: "1"}), RunOptions())
    with pytest.raises(BadUsage, match="has no option 'xyzzy'; there are "):
        train(how(name, options=options_of(name) | {"xyzzy": "1"}), RunOptions())


@pytest.mark.parametrize("name", NEEDS_DENSITY)
def test_a_density_is_needed(how, monkeypatch, name):
    monkeypatch.setattr(Source, "load", lambda *a: pytest.fail("data was read"))
    options = {k: v for k, v in options_of(name).items() if k != "density"}
    with pytest.raises(BadUsage, match=f"{name!r} needs the option 'density'"):
        train(how(name, options=options), RunOptions())


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan"), 1e-9])
@pytest.mark.parametrize("name", TAKES_DENSITY)
def test_a_density_that_leaves_no_network_is_refused_before_the_training(
    how, tmp_path, monkeypatch, nothing_written, name, density
):
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("training began"))
    with nothing_written(), pytest.raises(BadUsage, match="density"):
        train(
            how(name, options=options_of(name) | {"density": density}),
            RunOptions(output=tmp_path / "t.safetensors"),
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_diverges_says_so_and_writes_nothing(
    how, tmp_path, within, nothing_written, name
):
    # Pruned as often as it can be, with most weights kept: selection meets the NaN.
    often = {"window": 1, "every": 1, "events": 4, "until": 1.0, "end": 4.0}
    takes = resolve("pruners", name, by_file=False).declared
    options = options_of(name, 0.9) | {k: v for k, v in often.items() if k in takes}
    settings = {"lr": 1e30, "momentum": 0, "schedule": "constant"}
    output = tmp_path / "t.safetensors"
    with within(3), nothing_written(), pytest.raises(NotFinite):
        train(how(name, options=options, settings=settings), RunOptions(output=output))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_mask_serves_every_command_that_takes_one(whole, how, tmp_path, name):
    output = whole(how(name))
    mask = Path(shutil.copy(output.with_name("t.mask.safetensors"), tmp_path))
    copy = Path(shutil.copy(output, tmp_path))
    options = TrainingSettings(
        checkpoint=copy, mask=mask, given={"epochs": 1}, eval_every_epoch=False
    )
    again = train(options, RunOptions(output=tmp_path / "again.safetensors"))
    kept, _ = read_mask(mask)
    tensors, before = load_file(again), load_file(output)
    for weight, bits in kept.items():
        assert not tensors[weight][~bits].any()
        assert not torch.equal(tensors[weight], before[weight])
    meta = open_artifact(again, "checkpoint").meta
    assert meta["mask"]["method"] == name
    assert meta["mask"]["kept"] == sum(int(bits.sum()) for bits in kept.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_pruner_says_what_it_is_and_where_it_is_from(name):
    assert resolve("pruners", name, by_file=False).summary.endswith(".")
    assert "Source:" in resolve("pruners", name, by_file=False).text
