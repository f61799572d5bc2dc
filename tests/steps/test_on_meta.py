"""Commands on a device of their own, from file to file; see `devices`."""

import json
from dataclasses import replace

import pytest
from devices import META, OneDevice, let_train_on_meta

from prunecli.files.artifacts import open_artifact
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.scoring import scored
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings, ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps import _preparation, eval, score
from prunecli.steps.mask import mask
from prunecli.steps.train import train

PRUNERS = {
    "adaptive": {"density": 0.5},
    "rigl": {"density": 0.5, "every": 3},
    "weightmom": {"density": 0.5, "window": 1},
}
"""With parameters, masks and past weights in their state."""


@pytest.fixture(autouse=True)
def _meta(monkeypatch):
    let_train_on_meta(monkeypatch)
    for step in (_preparation, eval, scored):
        monkeypatch.setattr(step, "pick_device", lambda *arguments: META)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_training_is_saved_resumed_and_written_from_one_device(tmp_path, stopped_at, pruner):
    options = TrainingSettings(
        model=ModelSettings("cnn"),
        data=DataSettings("digits", {"fraction": 0.1}),
        given={"epochs": 2, "batch_size": 36, "precision": "fp32"},
        pruner=pruner,
        pruner_options=PRUNERS[pruner],
        eval_every_epoch=False,
    )
    common = RunOptions(output=tmp_path / "t.safetensors", seed=1)
    with OneDevice(may_look=True), stopped_at(6):
        train(options, common)
    with OneDevice(may_look=True):
        train(replace(options, resume=True), common)
    assert len(open_artifact(common.output, "checkpoint").meta["history"]) == 2


@pytest.fixture
def magnitudes(checkpoint):
    scoring = ScoringSettings("magnitude")
    return mask(checkpoint, MaskSettings(density=0.5, scoring=scoring), RunOptions(force=True))


OF_MODELS = [n for n in names("scorers") if resolve("scorers", n, by_file=False).takes_model]


@pytest.mark.parametrize("method", OF_MODELS)
def test_a_checkpoint_is_scored_under_a_mask_on_one_device(checkpoint, magnitudes, method):
    scoring = ScoreSettings(method, {"batches": 1} if method == "obd" else {}, mask=magnitudes)
    with OneDevice(may_look=True):
        path = score.score(checkpoint, scoring, RunOptions())
    assert open_artifact(path, "scores").meta["method"] == method


def test_a_checkpoint_is_evaluated_under_a_mask_on_one_device(checkpoint, magnitudes):
    with OneDevice(may_look=True):
        path = eval.evaluation(
            checkpoint, EvalSettings(mask=magnitudes, precision="fp32"), RunOptions()
        )
    assert json.loads(path.read_text())["density"] == 0.5
