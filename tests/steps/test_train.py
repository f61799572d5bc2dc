import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prunecli.data.digits import digits
from prunecli.errors import BadUsage, Mismatch, NotFinite
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.files.atomic import write_tensors
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
from prunecli.images.source import Source
from prunecli.models.cnn import cnn
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.mask import mask
from prunecli.steps.train import train
from prunecli.training import loop

DIGITS = DataSettings("digits")


class Notes(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def make_mask(checkpoint, density=0.1, method="magnitude"):
    output = Path(checkpoint).with_name(f"{method}.{density}.mask.safetensors")
    return mask(
        Path(checkpoint),
        MaskSettings(density=density, scoring=ScoringSettings(method)),
        RunOptions(output=output, seed=0),
    )


def test_the_checkpoint_is_a_plain_state_dict(dense):
    model = cnn((1, 28, 28), 10)
    model.load_state_dict(load_file(dense))
    test = digits(Path(), "test")
    images = (test.images.permute(0, 3, 1, 2) / 255 - test.mean[0]) / test.std[0]
    hits = (model.eval()(images).argmax(1) == test.labels).float().mean()
    assert hits > 0.7


def test_metadata_says_where_it_comes_from(dense, init):
    meta = open_artifact(dense, "checkpoint").meta
    assert meta["model"] == {
        "name": "cnn", "options": {}, "input_shape": [1, 28, 28], "classes": 10
    }  # fmt: skip
    assert meta["dataset"]["name"] == "digits"
    assert meta["seed"] == 3
    assert meta["settings"]["lr"] == 0.05
    assert meta["density"]["overall"] == 1.0
    assert meta["prunable"] == ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    assert meta["classifier"] == "fc2.weight"
    assert [row["epoch"] for row in meta["history"]] == [1, 2]
    assert meta["history"][1]["loss"] < meta["history"][0]["loss"]
    text = Path(dense).read_bytes()
    assert b"/tmp" not in text
    assert open_artifact(init, "checkpoint").meta["history"] == []


def test_the_log_holds_a_line_per_epoch(trained):
    lines = (trained / "dense.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert not list(trained.glob("*state*"))
    assert not (trained / "init.log.jsonl").exists()


@pytest.mark.fault(26)
def test_training_again_gives_the_same_bytes(dense, tmp_path):
    options = TrainingSettings(model=ModelSettings("cnn"), data=DIGITS, given={"epochs": 2})
    again = train(options, RunOptions(output=tmp_path / "again.safetensors", seed=3))
    assert again.read_bytes() == Path(dense).read_bytes()
    other = train(options, RunOptions(output=tmp_path / "other.safetensors", seed=4))
    assert other.read_bytes() != Path(dense).read_bytes()


def test_masked_weights_are_plus_zero_in_the_file_and_the_rest_trains(dense, tmp_path):
    path = make_mask(dense)
    output = train(TrainingSettings(checkpoint=dense, mask=path, given={"epochs": 1}), RunOptions())
    assert output == tmp_path / "magnitude.0.1.finetuned.safetensors"
    tensors, before = load_file(output), load_file(dense)
    kept, _ = read_mask(path)
    for name, bits in kept.items():
        masked = tensors[name][~bits]
        assert not masked.any()
        assert not torch.signbit(masked).any()
        assert (tensors[name] != 0).sum() == bits.sum()
        assert not torch.equal(tensors[name][bits], before[name][bits])
    meta = open_artifact(output, "checkpoint").meta
    assert meta["density"]["kept"] == {name: int(bits.sum()) for name, bits in kept.items()}
    assert meta["mask"]["method"] == "magnitude"
    assert meta["mask"]["asked"] == 0.1
    assert meta["parent"] == open_artifact(dense, "checkpoint").sha256


def test_finetuning_takes_over_what_is_not_said(dense, tmp_path):
    options = TrainingSettings(checkpoint=dense, given={"epochs": 1, "lr": 0.01})
    meta = open_artifact(train(options, RunOptions()), "checkpoint").meta
    assert meta["settings"] == open_artifact(dense, "checkpoint").meta["settings"] | {
        "epochs": 1, "lr": 0.01
    }  # fmt: skip
    assert meta["seed"] == 3


def test_rewinding_starts_from_the_other_checkpoints_weights(dense, init, tmp_path):
    path = make_mask(dense)
    options = TrainingSettings(checkpoint=dense, mask=path, rewind=init, given={"epochs": 0})
    output = train(options, RunOptions(output=tmp_path / "rewound.safetensors"))
    kept, _ = read_mask(path)
    rewound, start = load_file(output), load_file(init)
    for name, bits in kept.items():
        assert torch.equal(rewound[name], start[name] * bits)
    meta = open_artifact(output, "checkpoint").meta
    assert meta["rewind"] == open_artifact(init, "checkpoint").sha256


def test_a_masked_checkpoint_trained_without_its_mask_is_warned_of(dense, tmp_path):
    sparse = train(
        TrainingSettings(checkpoint=dense, mask=make_mask(dense), given={"epochs": 0}), RunOptions()
    )
    notes = Notes()
    train(
        TrainingSettings(checkpoint=sparse, given={"epochs": 1}),
        RunOptions(dry_run=True, progress=notes),
    )
    assert ["will grow back" in warning for warning in notes.warnings] == [True]


def test_a_foreign_state_dict_is_adopted_by_naming_its_model(dense, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    write_tensors(foreign, load_file(dense), {})
    settings = {"epochs": 0}
    with pytest.raises(BadUsage, match="its metadata names no network; import it"):
        train(TrainingSettings(checkpoint=foreign, given=settings), RunOptions())
    with pytest.raises(BadUsage, match="no data set is given"):
        train(
            TrainingSettings(model=ModelSettings("cnn"), checkpoint=foreign, given=settings),
            RunOptions(),
        )
    with pytest.raises(Mismatch, match="foreign.*do not match the network: missing 'conv.weight'"):
        train(
            TrainingSettings(
                model=ModelSettings("resnet20"), checkpoint=foreign, data=DIGITS, given=settings
            ),
            RunOptions(),
        )
    adopted = train(
        TrainingSettings(
            model=ModelSettings("cnn"), checkpoint=foreign, data=DIGITS, given=settings
        ),
        RunOptions(),
    )
    ours, theirs = load_file(adopted), load_file(dense)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_untrained_checkpoint_does_not_pass_its_zero_epochs_on(init):
    with pytest.raises(BadUsage, match="set the number of epochs"):
        train(TrainingSettings(checkpoint=init), RunOptions())


@pytest.mark.fault(23)
def test_data_that_does_not_fit_is_refused_before_the_first_batch(dense, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("a batch was trained"))
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split / "only").mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / split / "only" / "0.png")
    source = DataSettings("folder", {"grey": "true"}, data_dir=tmp_path)
    with pytest.raises(Mismatch, match="1x28x28 images of 10 classes, but.*1 classes"):
        train(TrainingSettings(checkpoint=dense, data=source, given={"epochs": 1}), RunOptions())


def interrupted_copy(stopped_at, options, output, step, seed=3):
    """Train until `step` as if Ctrl-C came then; the state stays beside the output."""
    with stopped_at(step):
        train(options, RunOptions(output=output, seed=seed))
    assert not output.exists()


@pytest.mark.parametrize("step", [1, 12, 17])
def test_resume_ends_in_the_same_bytes(dense, tmp_path, stopped_at, step):
    kept = make_mask(dense)
    whole = TrainingSettings(checkpoint=dense, mask=kept, given={"epochs": 2})
    expected = train(whole, RunOptions(output=tmp_path / "whole.safetensors"))
    output = tmp_path / "parts.safetensors"
    interrupted_copy(stopped_at, whole, output, step, seed=None)
    train(replace(whole, resume=True), RunOptions(output=output))
    assert output.read_bytes() == expected.read_bytes()
    assert (tmp_path / "parts.log.jsonl").read_text() == (tmp_path / "whole.log.jsonl").read_text()
    assert not list(tmp_path.glob("*state*"))


@pytest.mark.fault(15)
def test_resume_with_other_options_lists_the_differences(tmp_path, stopped_at):
    options = TrainingSettings(model=ModelSettings("cnn"), data=DIGITS, given={"epochs": 2})
    output = tmp_path / "a.safetensors"
    interrupted_copy(stopped_at, options, output, 5)
    other = TrainingSettings(
        model=ModelSettings("cnn"), data=DIGITS, given={"epochs": 2, "lr": 0.5}, resume=True
    )
    with pytest.raises(Mismatch, match=r"seed was 3, now 4; settings\.lr was 0\.05, now 0\.5"):
        train(other, RunOptions(output=output, seed=4))


@pytest.mark.fault(28)
def test_a_diverging_run_writes_nothing(tmp_path):
    options = TrainingSettings(
        model=ModelSettings("cnn"), data=DIGITS, given={"epochs": 2, "lr": 1e20}
    )
    with pytest.raises(NotFinite, match="epoch 1, step"):
        train(options, RunOptions(output=tmp_path / "a.safetensors"))
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_mask_on_something_else_than_weights_is_refused(dense, tmp_path):
    from prunecli.files.artifacts import write_mask

    path = tmp_path / "odd.mask.safetensors"
    write_mask(path, {"conv1.bias": torch.ones(20, dtype=torch.bool)}, parsed(MaskRecord, {}))
    with pytest.raises(Mismatch, match="'conv1.bias'"):
        train(TrainingSettings(checkpoint=dense, mask=path, given={"epochs": 1}), RunOptions())


def test_options_are_checked_before_any_data_is_read(dense, monkeypatch):
    monkeypatch.setattr(Source, "load", lambda *a: pytest.fail("data was read"))
    with pytest.raises(BadUsage, match="no option 'width'"):
        train(
            TrainingSettings(model=ModelSettings("cnn", own_options={"width": "2"})), RunOptions()
        )
    with pytest.raises(BadUsage, match="no model is given"):
        train(TrainingSettings(data=DIGITS), RunOptions(dry_run=True))


def test_an_output_whose_state_would_replace_an_input_is_refused(dense, tmp_path):
    shutil.copy(dense, tmp_path / "a.state.safetensors")
    options = TrainingSettings(checkpoint=tmp_path / "a.state.safetensors", given={"epochs": 1})
    with pytest.raises(BadUsage, match="one of the inputs"):
        train(options, RunOptions(output=tmp_path / "a.safetensors"))


def test_copies_of_a_checkpoint_are_the_same_parent(dense, tmp_path):
    copy = shutil.copy(dense, tmp_path / "elsewhere.safetensors")
    one, two = (
        train(
            TrainingSettings(checkpoint=path, given={"epochs": 0}),
            RunOptions(output=tmp_path / f"{i}.safetensors"),
        )
        for i, path in enumerate((dense, copy))
    )
    assert one.read_bytes() == two.read_bytes()
