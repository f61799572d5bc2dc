"""Training under a pruner: what is written, recorded and refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prunecli.errors import BadOutput, BadUsage, Mismatch, NotFinite
from prunecli.files.artifacts import open_artifact, read_mask, write_mask
from prunecli.files.digest import file_sha256
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.images.source import Source
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.train import train
from prunecli.training import loop

PART = DataSettings("digits", {"fraction": 0.1})  # four steps of 36 images an epoch
LAYERS = {"conv1.weight": 500, "conv2.weight": 25_000, "fc1.weight": 400_000, "fc2.weight": 5_000}
SOON = {"density": 0.1, "window": 1, "start": 1, "every": 1, "events": 2}


class Notes(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture
def pruned(dense, tmp_path):
    """`pruned(pruner, options, epochs)`: finetunes the trained network while it is pruned."""

    def run(pruner="weightmom", options=SOON, epochs=3, *, common=None, **changes):
        chosen = TrainingSettings(
            checkpoint=Path(dense),
            data=PART,
            pruner=pruner,
            pruner_options=options,
            given={"epochs": epochs, "batch_size": 36, "precision": "fp32"},
            **{"eval_every_epoch": False, **changes},
        )
        return train(chosen, common or RunOptions(output=tmp_path / "p.safetensors"))

    return run


def history(checkpoint):
    return open_artifact(checkpoint, "checkpoint").meta["history"]


# What is written


def test_the_mask_lies_beside_the_checkpoint_and_is_the_checkpoints(pruned, tmp_path):
    output = pruned()
    assert {path.name for path in tmp_path.glob("p.*")} == {
        "p.safetensors", "p.mask.safetensors", "p.log.jsonl",
    }  # fmt: skip
    mask, _ = read_mask(tmp_path / "p.mask.safetensors")
    weights = load_file(output)
    assert {name: kept.numel() for name, kept in mask.items()} == LAYERS
    for name, kept in mask.items():
        assert torch.equal(weights[name] != 0, kept)
        assert not weights[name][~kept].view(torch.int32).any()
    assert sum(int(kept.sum()) for kept in mask.values()) == 43_050


def test_the_mask_says_how_it_came_about(pruned, tmp_path):
    pruned()
    mask, file = read_mask(tmp_path / "p.mask.safetensors")
    expected = {
        "method": "weightmom", "asked": 0.1, "count": "scored", "total": 430_500, "kept": 43_050,
        "seed": 3, "options": {"window": 1, "start": 1, "every": 1, "events": 2},
    }  # fmt: skip
    assert {key: file.meta.get(key) for key in expected} == expected
    assert file.meta["density"]["kept"] == {name: int(kept.sum()) for name, kept in mask.items()}
    assert file.meta["density"]["overall"] == 0.1


def test_the_mask_holds_what_the_documentation_promises_of_masks(pruned, tmp_path):
    pruned()
    page = Path(__file__).parents[2] / "docs" / "files.md"
    [row] = [line for line in page.read_text().splitlines() if line.startswith("| mask |")]
    promised = row.split("|")[3].replace("`", "").split()
    _, file = read_mask(tmp_path / "p.mask.safetensors")
    assert len(promised) >= 9
    assert [key for key in promised if key not in file.meta] == []


@pytest.mark.parametrize(
    ("pruner", "options", "scope"),
    [
        ("rigl", {"density": 0.1}, "erk"),
        ("rigl", {"density": 0.1, "scope": "layer"}, "layer"),
        ("gradual", {"density": 0.1}, "global"),
        ("gradual", {"density": 0.1, "scope": "layer"}, "layer"),
    ],
)
def test_the_scope_recorded_is_the_one_it_worked_in(pruned, tmp_path, pruner, options, scope):
    pruned(pruner, options, 1)
    mask, file = read_mask(tmp_path / "p.mask.safetensors")
    if scope == "layer":
        assert {n: int(kept.sum()) for n, kept in mask.items()} == {
            n: size // 10 for n, size in LAYERS.items()
        }
    assert file.meta["scope"] == scope


def test_the_checkpoint_says_what_pruned_it(pruned, dense, tmp_path):
    output = pruned()
    meta = open_artifact(output, "checkpoint").meta
    assert meta["pruner"] == {
        "name": "weightmom", "options": SOON, "ignore": [], "exclude_classifier": False,
    }  # fmt: skip
    assert meta["mask"]["sha256"] == file_sha256(tmp_path / "p.mask.safetensors")
    assert meta["mask"]["method"] == "weightmom"
    assert meta["mask"]["epochs"] == 3
    assert meta["density"]["overall"] == 0.1
    assert meta["parent"] == open_artifact(dense, "checkpoint").sha256


def test_options_given_as_text_are_recorded_as_what_they_mean(pruned, tmp_path):
    spelt = {name: str(value) for name, value in SOON.items()}
    meta = open_artifact(pruned(options=spelt), "checkpoint").meta
    assert meta["pruner"]["options"] == SOON


def test_history_and_log_have_the_density_of_every_epoch(pruned, tmp_path):
    # 430,500 sqrt(0.1) = 136,136.1, then 43,050.
    densities = [row["density"] for row in history(pruned())]
    assert densities == pytest.approx([136_136 / 430_500, 0.1, 0.1], abs=1e-12)
    lines = (tmp_path / "p.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["density"] for line in lines] == densities


def test_history_has_what_else_a_pruner_tells(pruned):
    rows = history(pruned("gmp", {"beta": 0.02, "gamma": 0.01, "delta": 2}))
    assert ["below_beta" in row for row in rows] == [False, True, False]
    assert rows[0]["density"] == 1.0
    gone = rows[1]["pruned_now"]
    assert gone > 0
    assert rows[1]["density"] == rows[2]["density"] == pytest.approx(1 - gone / 430_500)


def test_a_training_without_pruner_or_mask_has_no_density_and_no_mask(pruned, tmp_path):
    output = pruned(None, {}, 1)
    assert "density" not in history(output)[0]
    assert not (tmp_path / "p.mask.safetensors").exists()
    meta = open_artifact(output, "checkpoint").meta
    assert (meta["pruner"], meta["mask"]) == (None, None)


def test_names_are_derived_from_the_pruner(pruned, dense, tmp_path):
    assert pruned(epochs=2, common=RunOptions()) == tmp_path / "dense.weightmom.safetensors"
    assert (tmp_path / "dense.weightmom.mask.safetensors").is_file()
    fresh = TrainingSettings(
        model=ModelSettings("cnn"), data=PART, pruner="rigl", pruner_options={"density": 0.1}
    )
    assert train(fresh, RunOptions(dry_run=True)) == Path("cnn.digits.rigl.safetensors")


def test_a_sparse_network_that_is_not_trained_is_pruned_all_the_same(pruned, dense, tmp_path):
    output = pruned("rigl", {"density": 0.05}, 0)
    mask, _ = read_mask(tmp_path / "p.mask.safetensors")
    before, after = load_file(dense), load_file(output)
    assert sum(int(kept.sum()) for kept in mask.values()) == 21_525
    for name, kept in mask.items():
        assert torch.equal(after[name], before[name] * kept)


# What is left alone


def test_ignored_weights_and_the_classifier_are_not_pruned(pruned, tmp_path):
    options = {"density": 0.1, "every": 2, "until": 1.0}
    output = pruned("rigl", options, 2, ignore=("conv*",), exclude_classifier=True)
    mask, file = read_mask(tmp_path / "p.mask.safetensors")
    assert list(mask) == ["fc1.weight"]
    assert (file.meta["total"], file.meta["kept"]) == (400_000, 40_000)
    meta = open_artifact(output, "checkpoint").meta
    assert meta["density"]["kept"] == LAYERS | {"fc1.weight": 40_000}
    assert meta["pruner"]["ignore"] == ["conv*"]
    assert meta["pruner"]["exclude_classifier"] is True
    # Over all weights: 40,000 and the 30,500 that it left alone.
    assert history(output)[-1]["density"] == pytest.approx(70_500 / 430_500, abs=1e-12)
    weights = load_file(output)
    assert all(weights[name].all() for name in ("conv1.weight", "conv2.weight", "fc2.weight"))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ignore": ("conv9*",)}, BadUsage, "no prunable weight matches 'conv9\\*'"),
        ({"ignore": ("fc2.bias",)}, BadUsage, "no prunable weight matches 'fc2.bias'"),
        ({"ignore": ("*",)}, Mismatch, "no weight to prune"),
    ],
)
def test_patterns_that_leave_nothing_or_match_nothing_are_refused(
    pruned, monkeypatch, nothing_written, changes, error, words
):
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("training began"))
    with nothing_written(), pytest.raises(error, match=words):
        pruned(**changes)


# From and to masks


def test_the_mask_of_a_pruner_serves_to_finetune_apply_and_evaluate(pruned, dense, tmp_path):
    output, mask = pruned(), tmp_path / "p.mask.safetensors"
    kept, _ = read_mask(mask)
    settings = {"epochs": 1, "batch_size": 36, "precision": "fp32"}
    options = TrainingSettings(checkpoint=output, mask=mask, data=PART, given=settings)
    tuned = train(options, RunOptions(output=tmp_path / "f.safetensors"))
    assert history(tuned)[0]["density"] == pytest.approx(0.1, abs=1e-12)
    weights, before = load_file(tuned), load_file(output)
    for name, bits in kept.items():
        assert torch.equal(weights[name] != 0, bits)
        assert not torch.equal(weights[name], before[name])
    assert open_artifact(tuned, "checkpoint").meta["mask"]["method"] == "weightmom"

    plain = load_file(apply(Path(dense), mask, RunOptions(output=tmp_path / "a.safetensors")))
    whole = load_file(dense)
    assert all(torch.equal(plain[name], whole[name] * bits) for name, bits in kept.items())

    one = evaluation(output, EvalSettings(mask=mask), RunOptions(output=tmp_path / "one.json"))
    two = evaluation(output, EvalSettings(), RunOptions(output=tmp_path / "two.json"))
    assert one.read_bytes() == two.read_bytes()
    result = json.loads(one.read_text())
    assert (result["method"], result["nonzero"], result["density"]) == ("weightmom", 43_050, 0.1)
    assert result["compression"] == pytest.approx(10)
    assert result["compression_error"] == pytest.approx(0, abs=1e-12)


def test_a_pruner_makes_its_own_mask_and_takes_none(pruned, dense, tmp_path, nothing_written):
    mask = tmp_path / "given.mask.safetensors"
    write_mask(mask, {"fc2.weight": torch.ones(10, 500, dtype=torch.bool)}, parsed(MaskRecord, {}))
    with nothing_written(), pytest.raises(BadUsage, match="makes its own mask; leave --mask out"):
        pruned(mask=mask)


def test_a_sparse_checkpoint_pruned_anew_grows_back_first_and_says_so(pruned, dense, tmp_path):
    sparse, notes = pruned(), Notes()
    options = TrainingSettings(
        checkpoint=sparse,
        data=PART,
        pruner="gradual",
        pruner_options={"density": 0.5, "end": 1.0},
        given={"epochs": 1, "batch_size": 36, "precision": "fp32"},
        eval_every_epoch=False,
    )
    output = train(options, RunOptions(output=tmp_path / "again.safetensors", progress=notes))
    assert ["will grow back" in warning for warning in notes.warnings] == [True]
    mask, _ = read_mask(tmp_path / "again.mask.safetensors")
    assert sum(int(kept.sum()) for kept in mask.values()) == 215_250
    assert open_artifact(output, "checkpoint").meta["density"]["overall"] == 0.5


# Refusals


def test_an_existing_mask_is_replaced_only_by_force(pruned, tmp_path, monkeypatch, nothing_written):
    mask = tmp_path / "p.mask.safetensors"
    mask.write_bytes(b"something of value")
    with nothing_written(), pytest.raises(BadOutput, match="p.mask.safetensors: it exists"):
        pruned()
    pruned(common=RunOptions(output=tmp_path / "p.safetensors", force=True))
    assert read_mask(mask)[1].meta["method"] == "weightmom"


def test_a_mask_that_would_replace_an_input_is_refused(dense, tmp_path, nothing_written):
    start = tmp_path / "p.mask.safetensors"
    start.write_bytes(Path(dense).read_bytes())
    options = TrainingSettings(
        checkpoint=start, data=PART, pruner="rigl", pruner_options={"density": 0.1}
    )
    with nothing_written(), pytest.raises(BadUsage, match="one of the inputs"):
        train(options, RunOptions(output=tmp_path / "p.safetensors", force=True))


@pytest.mark.parametrize(
    ("pruner", "options", "words"),
    [
        ("weigtmom", SOON, "no pruner 'weigtmom'; did you mean 'weightmom'?"),
        ("weightmom", {"densty": 0.1}, "has no option 'densty'; did you mean 'density'?"),
        ("weightmom", {}, "either a density or a threshold"),
        ("weightmom", {"density": "half"}, "'density' must be a finite number, not 'half'"),
        ("weightmom", SOON | {"importance": "size"}, "must be one of 'printed', 'mean', 'none'"),
        ("weightmom", SOON | {"events": 1.5}, "'events' must be a whole number, not 1.5"),
        ("gmp", {"grad_source": "test"}, "must be one of 'held-out', 'train', not 'test'"),
        (
            "gradual",
            {"density": 0.1, "every": "often"},
            "'every' must be a whole number, not 'often'",
        ),
    ],
)
def test_options_are_checked_before_any_data_is_read(pruned, monkeypatch, pruner, options, words):
    monkeypatch.setattr(Source, "load", lambda *a: pytest.fail("data was read"))
    for dry_run in (False, True):
        with pytest.raises(BadUsage, match=words):
            pruned(pruner, options, common=RunOptions(dry_run=dry_run))


def test_a_run_is_taken_up_only_with_the_options_of_its_pruner(pruned, stopped_at):
    with stopped_at(5):
        pruned()
    with pytest.raises(Mismatch, match=r"pruner.options.density was 0.1, now 0.2"):
        pruned(options=SOON | {"density": 0.2}, resume=True)
    with pytest.raises(Mismatch, match=r"pruner.exclude_classifier was False, now True"):
        pruned(exclude_classifier=True, resume=True)
    assert open_artifact(pruned(resume=True), "checkpoint").meta["density"]["overall"] == 0.1


def test_weights_that_are_no_numbers_at_last_leave_no_mask_behind(
    pruned, monkeypatch, nothing_written
):
    def ruined(state, *args, **kwargs):
        state.model.fc2.bias.data[0] = float("nan")

    monkeypatch.setattr(loop, "train", ruined)
    with nothing_written(), pytest.raises(NotFinite, match="'fc2.bias' holds NaN"):
        pruned("rigl", {"density": 0.1})
