"""torchvision's families, each at its smallest, from the first file to the last."""

import pytest
import torch
from torch.nn import functional as F

from prunecli.errors import Mismatch, NotFinite
from prunecli.files.artifacts import open_artifact
from prunecli.images.batches import ScoringBatches
from prunecli.network.build import load_model
from prunecli.network.layers import prunable
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.plugins.trust import trust
from prunecli.runtime.device import put_on
from prunecli.scoring.by_network import network_scores
from prunecli.scoring.checks import check_scores
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.mask import mask
from prunecli.steps.train import train

SIDES = {
    "alexnet": 64, "convnext_tiny": 64, "densenet121": 32, "efficientnet_b0": 64,
    "efficientnet_v2_s": 64, "googlenet": 64, "inception_v3": 96, "maxvit_t": 224,
    "mnasnet0_5": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "regnet_x_400mf": 64,
    "regnet_y_400mf": 64, "resnet18": 64, "resnext50_32x4d": 64, "shufflenet_v2_x0_5": 64,
    "squeezenet1_0": 64, "swin_t": 64, "swin_v2_t": 64, "vgg11": 64, "vit_b_16": 224,
    "wide_resnet50_2": 64,
}  # fmt: skip
SCORERS = {name: resolve("scorers", name, by_file=False) for name in names("scorers")}
METHODS = [name for name, scorer in SCORERS.items() if scorer.takes_model]
FEW = {"per_class": 2}
QUICK = {"obd": {"probes": 1, "batches": 1}, "grasp": FEW, "grasp-thesis": FEW}
TWICE_AT_ZERO = {("swin_v2_t", method) for method in ("grasp", "grasp-thesis", "obd")}
"""Its windows are padded with zeros, whose length has no second derivative."""
BY_FLOW = {"activation", "lookahead", "synflow"}


def start(name, path):
    trust(["album"])
    source = DataSettings("album:colours", {"size": SIDES[name]})
    said = TrainingSettings(
        model=ModelSettings(f"torchvision:{name}"), data=source, given={"epochs": 0}
    )
    return train(said, RunOptions(output=path, seed=0)), source


def loaded(path):
    return put_on(load_model(open_artifact(path, "checkpoint")), torch.device("cpu")).eval()


def batches(side):
    album = resolve("data", "album:colours", by_file=False)
    given = album(None, "train", size=side)
    return ScoringBatches((3, side, side), lambda: given, torch.device("cpu"), 6, 0)


@pytest.mark.parametrize("name", ["mnasnet0_5", "mobilenet_v3_small"])
def test_what_was_written_is_read_again_and_differentiated_twice(name, tmp_path):
    dense, _ = start(name, tmp_path / "dense.safetensors")
    model = loaded(dense)
    torch.manual_seed(0)
    data = batches(SIDES[name])
    scorer = SCORERS["obd"].bound(QUICK["obd"])
    scores = network_scores(scorer, model, data, {}, 0, "album")
    assert all(scores[each].isfinite().all() for each in prunable(model))
    assert any(scores[each].any() for each in scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_it_goes_all_the_way(name, tmp_path):
    dense, source = start(name, tmp_path / "dense.safetensors")
    model, data = loaded(dense), batches(SIDES[name])
    images, labels = next(iter(data))
    for method in METHODS:
        try:
            scorer = SCORERS[method].bound(QUICK.get(method, {}))
            scores = network_scores(scorer, model, data, {}, 0, "album")
        except Mismatch:
            assert method in BY_FLOW
            continue
        if (name, method) in TWICE_AT_ZERO:
            with pytest.raises(NotFinite, match="hold NaN or infinity"):
                check_scores(scores, scorer, "album")
            continue
        assert all(score.isfinite().all() for score in scores.values())
        if method == "snip":
            _check_snip(model, scores, images, labels)
    out = {each: RunOptions(output=tmp_path / f"{each}.safetensors") for each in "mst"}
    bits = mask(dense, MaskSettings(density=0.5, scoring=ScoringSettings("magnitude")), out["m"])
    sparse = apply(dense, bits, out["s"])
    evaluation(sparse, EvalSettings(data=source), RunOptions(output=tmp_path / "e.json"))
    train(TrainingSettings(checkpoint=dense, mask=bits, given={"epochs": 1}), out["t"])


def _check_snip(model, scores, images, labels):
    F.cross_entropy(model(images), labels).backward()
    for name, weight in prunable(model).items():
        expected = (weight * weight.grad).abs().detach()
        size = float(expected.max())
        torch.testing.assert_close(scores[name], expected, rtol=1e-3, atol=1e-5 * size)
    model.zero_grad()
