import json
import math
import sys
from pathlib import Path

import pytest
import torch
from attacks import written
from safetensors.torch import load_file

from prunecli.errors import BadUsage, Mismatch, NotFinite
from prunecli.files import stages
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.files.atomic import write_tensors
from prunecli.plugins.plugin import Plugin
from prunecli.scorers.lamp import lamp
from prunecli.scoring import by_weights as _tensor_scores
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.steps.mask import mask
from prunecli.steps.score import score


def scored(path, method="magnitude", mask=None, common=None, **options):
    return score(
        Path(path), ScoreSettings(method, **options, mask=mask), common or RunOptions(force=True)
    )


def test_scores_are_float32_under_the_weights_names(dense, tmp_path):
    output = scored(dense, "lamp")
    assert output == tmp_path / "dense.lamp.scores.safetensors"
    weights, scores = load_file(dense), load_file(output)
    assert set(scores) == {"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"}
    for name in scores:
        assert torch.equal(scores[name], lamp(weights[name]))
    meta = open_artifact(output, "scores").meta
    assert (meta["method"], meta["parent"]) == ("lamp", open_artifact(dense, "checkpoint").sha256)


@pytest.mark.fault(26)
@pytest.mark.parametrize("method", ["magnitude", "random", "lamp", "snip"])
def test_the_same_command_twice_writes_the_same_bytes(dense, method):
    assert scored(dense, method).read_bytes() == scored(dense, method).read_bytes()


def test_random_scores_differ_between_tensors_and_seeds(dense):
    one = load_file(scored(dense, "random", common=RunOptions(seed=1, force=True)))
    two = load_file(scored(dense, "random", common=RunOptions(seed=2, force=True)))
    assert not torch.equal(one["conv1.weight"], two["conv1.weight"])
    assert one["conv1.weight"].flatten()[0] != one["fc2.weight"].flatten()[0]


def test_a_seed_of_the_methods_own_still_differs_between_tensors(dense):
    scores = load_file(scored(dense, "random", options={"seed": "5"}))
    first = scores["conv1.weight"].flatten()
    assert not torch.equal(first, scores["fc1.weight"].flatten()[: len(first)])


def test_the_folder_one_stands_in_can_be_scored(tmp_path, monkeypatch):
    folder = tmp_path / "llama"
    folder.mkdir()
    write_tensors(folder / "a.safetensors", {"a.weight": torch.rand(2, 2)}, {})
    index = {"weight_map": {"a.weight": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    monkeypatch.chdir(folder)
    output = scored(".")
    assert output == tmp_path / "llama.magnitude.scores.safetensors"
    with pytest.raises(BadUsage, match="one of the inputs"):
        scored(".", common=RunOptions(output=folder / "a.safetensors", force=True))


def test_a_file_prunecli_never_saw_is_scored_by_its_weights_alone(tmp_path):
    path = tmp_path / "llm.safetensors"
    torch.manual_seed(0)
    weight = torch.randn(8, 6, dtype=torch.bfloat16)
    write_tensors(path, {"a.weight": weight, "a.bias": torch.ones(8)}, {})
    scores = load_file(scored(path, "lamp"))
    assert list(scores) == ["a.weight"]
    assert torch.equal(scores["a.weight"], lamp(weight.float()))
    with pytest.raises(Mismatch, match="import it with 'prunecli train CKPT --model"):
        scored(path, "snip")


def test_a_mask_zeroes_weights_while_scoring_and_marks_them(dense, tmp_path):
    path = mask(
        Path(dense),
        MaskSettings(density=0.5, scoring=ScoringSettings("magnitude")),
        RunOptions(output=tmp_path / "m.safetensors"),
    )
    kept, _ = read_mask(path)
    plain, masked = load_file(scored(dense, "snip")), load_file(scored(dense, "snip", path))
    for name, bits in kept.items():
        assert (masked[name][~bits] == -math.inf).all()
        assert torch.isfinite(masked[name][bits]).all()
    bits = kept["conv1.weight"]
    assert not torch.equal(masked["conv1.weight"][bits], plain["conv1.weight"][bits])


@pytest.mark.parametrize("method", ["magnitude", "lamp", "snip"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_named(dense, tmp_path, method, bad):
    tensors = load_file(dense)
    tensors["fc1.weight"][0, 0] = bad

    path = tmp_path / "bad.safetensors"
    written(path, "checkpoint", tensors, open_artifact(dense, "checkpoint").meta)
    with pytest.raises(NotFinite, match=r"'fc1\.weight' holds NaN or infinity"):
        scored(path, method)
    assert not list(tmp_path.glob("*scores*"))


def test_ignored_weights_are_not_scored(dense):
    assert "fc2.weight" not in load_file(scored(dense, exclude_classifier=True))
    assert set(load_file(scored(dense, ignore=("conv*",)))) == {"fc1.weight", "fc2.weight"}


def test_options_are_checked_and_typed(dense):
    output = scored(dense, "snip", options={"batches": "2"}, batch_size=32)
    assert open_artifact(output, "scores").meta["options"] == {"batches": 2}
    with pytest.raises(BadUsage, match="no option 'batch'; did you mean 'batches'"):
        scored(dense, "snip", options={"batch": "2"})


def test_a_scorer_of_ones_own_by_import_path(dense, tmp_path, monkeypatch, trusting):
    trusting("mine:negated")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(
        "def negated(weight, *, power: int = 1):\n    return -weight**power\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    output = scored(dense, "mine:negated", options={"power": "3"})
    assert output.name == "dense.mine.negated.scores.safetensors"
    weights, scores = load_file(dense), load_file(output)
    assert torch.equal(scores["fc1.weight"], -(weights["fc1.weight"] ** 3))


class Stopping:
    """A method of weights alone that is stopped at its second weight, once."""

    def __init__(self):
        self.seen = []

    def __call__(self, weight):
        self.seen.append(weight.numel())
        if len(self.seen) == 2:
            raise KeyboardInterrupt
        return weight.abs()


@pytest.mark.parametrize(("own", "again"), [(True, 3), (False, 4)])
def test_a_stopped_score_goes_on_if_its_method_is_known(dense, monkeypatch, own, again):
    method = Stopping()
    plugin = Plugin("scorers", "stopping", method, own=own)
    monkeypatch.setattr("prunecli.scoring.scored.resolve", lambda *_, **__: plugin)
    monkeypatch.setattr(_tensor_scores, "REMEMBERED", 0)
    monkeypatch.setattr(stages, "STAGE", 1)
    with pytest.raises(KeyboardInterrupt):
        scored(dense, "stopping")
    method.seen = [0, 0]
    output = scored(dense, "stopping")
    assert len(method.seen) == 2 + again
    weights = load_file(dense)
    assert all(torch.equal(s, weights[name].abs()) for name, s in load_file(output).items())
    assert not list(output.parent.glob(".*"))


@pytest.mark.parametrize("method", ["snip", "snip-thesis"])
def test_weights_drawn_anew_are_all_but_those_that_the_mask_removed(init, method):
    file = open_artifact(init, "checkpoint")
    tensors = dict(file) | {"fc2.weight": torch.zeros(10, 500)}
    write_tensors(init, tensors, file.shards[init].metadata)
    kept = mask(
        init,
        MaskSettings(density=0.5, scope="layer", scoring=ScoringSettings("random")),
        RunOptions(),
    )
    scores = load_file(scored(init, method, kept, options={"init": "xavier"}))
    bits, _ = read_mask(kept)
    for name, own in scores.items():
        assert torch.equal(own == -math.inf, ~bits[name])
        assert (own[bits[name]] > 0).float().mean() > 0.3
