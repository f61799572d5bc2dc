import json
from pathlib import Path

import pytest
import torch
from attacks import written
from safetensors.torch import load_file

from prunecli.errors import BadInput, Mismatch
from prunecli.files.artifacts import open_artifact, write_mask
from prunecli.files.atomic import write_tensors
from prunecli.files.parsing import parsed
from prunecli.files.records import MaskRecord
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

KEYS = """top1 top5 loss density sparsity compression empirical_compression compression_error
nonzero prunable flops_dense flops_sparse dead_layers images_per_second model dataset method scope
seed checkpoint_sha256 mask_sha256""".split()


def evaluated(checkpoint, mask=None, **options):
    path = evaluation(Path(checkpoint), EvalSettings(mask=mask, **options), RunOptions(force=True))
    return json.loads(path.read_text())


def make_mask(dense, density, **options):
    return mask(
        Path(dense),
        MaskSettings(density=density, **options, scoring=ScoringSettings("lamp")),
        RunOptions(force=True),
    )


def test_a_dense_result(dense):
    result = evaluated(dense)
    assert not set(KEYS) - set(result)
    assert (result["density"], result["sparsity"], result["compression_error"]) == (1, 0, 0)
    assert (result["compression"], result["empirical_compression"]) == (1, 1)
    assert result["nonzero"] == result["prunable"] == 430_500
    assert result["parameters"] == 431_080
    # Multiply-adds of the four layers, by hand, two operations each.
    macs = 20 * 24 * 24 * 25 + 50 * 8 * 8 * 20 * 25 + 800 * 500 + 500 * 10
    assert result["flops_dense"] == result["flops_sparse"] == 2 * macs
    assert result["top1"] > 70
    assert result["top1"] == pytest.approx(100 * round(result["top1"] * 3.55) / 355)
    assert result["method"] is None
    assert result["images_per_second"] is None


def test_a_masked_result(dense):
    result = evaluated(dense, make_mask(dense, 1 / 64))
    kept = round(430_500 / 64)
    assert result["nonzero"] == kept
    assert result["density"] == kept / 430_500
    assert result["compression"] == 64
    assert result["empirical_compression"] == 430_500 / kept
    assert result["compression_error"] == pytest.approx((430_500 / kept - 64) / 64)
    assert abs(result["compression_error"]) < 1e-4
    assert (result["method"], result["scope"], result["seed"]) == ("lamp", "global", 3)
    layers = {layer["name"]: layer["kept"] / layer["total"] for layer in result["layers"]}
    macs = {"conv1": 288_000, "conv2": 1_600_000, "fc1": 400_000, "fc2": 5_000}
    sparse = sum(2 * n * layers[f"{name}.weight"] for name, n in macs.items())
    assert result["flops_sparse"] == round(sparse)


def test_a_finetuned_checkpoint_knows_its_mask_without_being_told(dense):
    path = make_mask(dense, 0.05)
    sparse = train(TrainingSettings(checkpoint=dense, mask=path, given={"epochs": 0}), RunOptions())
    assert evaluated(sparse) == evaluated(sparse, path)


def test_applying_a_mask_and_evaluating_under_it_are_the_same(dense):
    path = make_mask(dense, 0.05)
    pruned = apply(Path(dense), path, RunOptions())
    one, two = evaluated(pruned), evaluated(dense, path)
    different = {key for key in one if one[key] != two[key]}
    assert different == {"checkpoint_sha256"}
    tensors = load_file(pruned)
    assert sum(int((tensors[layer["name"]] != 0).sum()) for layer in one["layers"]) == 21_525
    assert not torch.signbit(tensors["fc1.weight"][tensors["fc1.weight"] == 0]).any()


def test_results_are_named_after_what_is_evaluated(dense, tmp_path):
    kept = make_mask(dense, 0.1)
    sparse = train(TrainingSettings(checkpoint=dense, mask=kept, given={"epochs": 0}), RunOptions())
    names = [
        evaluation(Path(checkpoint), EvalSettings(mask=mask), RunOptions()).name
        for checkpoint, mask in ((dense, None), (dense, kept), (sparse, kept))
    ]
    assert names == [
        "dense.eval.json", "dense.lamp.0.1.eval.json", "dense.lamp.0.1.finetuned.eval.json"
    ]  # fmt: skip


def test_dead_layers_are_listed(dense, tmp_path):
    path = tmp_path / "m.safetensors"
    write_mask(path, {"fc2.weight": torch.zeros(10, 500, dtype=torch.bool)},
               parsed(MaskRecord, {"asked": 0.5, "total": 10, "kept": 5}))  # fmt: skip
    result = evaluated(dense, path)
    assert result["dead_layers"] == ["fc2.weight"]
    assert result["top1"] == pytest.approx(100 / 10, abs=2)


def test_a_mask_that_does_not_say_what_was_asked_got_what_it_has(dense, tmp_path):
    path, bits = tmp_path / "m.safetensors", torch.zeros(500, 800, dtype=torch.bool)
    bits[:250] = True
    write_mask(path, {"fc1.weight": bits}, parsed(MaskRecord, {}))
    result = evaluated(dense, path)
    assert result["compression"] == result["empirical_compression"] == 430_500 / 230_500
    assert result["compression_error"] == 0


def test_the_result_is_the_same_bytes_unless_speed_is_asked_for(dense):
    def text(**options):
        return evaluation(Path(dense), EvalSettings(**options), RunOptions(force=True)).read_bytes()

    assert text() == text()
    assert evaluated(dense, throughput=True)["images_per_second"] > 100


def test_the_batch_size_does_not_matter_for_counts(dense):
    one, two = evaluated(dense, batch_size=7), evaluated(dense, batch_size=355)
    assert one["loss"] == pytest.approx(two["loss"], rel=0.01)
    assert abs(one["top1"] - two["top1"]) < 1


def test_a_mask_of_another_network_is_refused(dense, tmp_path):
    path = tmp_path / "m.safetensors"
    write_mask(
        path, {"conv1.weight": torch.ones(64, 3, 3, 3, dtype=torch.bool)}, parsed(MaskRecord, {})
    )
    with pytest.raises(Mismatch, match=r"is \[64, 3, 3, 3\] but .* has \[20, 1, 5, 5\]; rebuild"):
        evaluated(dense, path)


def test_apply_keeps_everything_else(dense):
    path = make_mask(dense, 0.5)
    pruned, before = load_file(apply(Path(dense), path, RunOptions())), load_file(dense)
    assert torch.equal(pruned["fc1.bias"], before["fc1.bias"])
    kept = pruned["fc1.weight"] != 0
    assert torch.equal(pruned["fc1.weight"][kept], before["fc1.weight"][kept])
    meta = open_artifact(Path(dense).with_name("dense.lamp.0.5.pruned.safetensors"), "checkpoint")
    assert meta.meta["mask"]["asked"] == 0.5


def test_one_mask_after_another_both_count(dense, tmp_path):
    """First half of fc1 goes, then half of conv1; then a mask of fc1 that overlaps the first."""
    files = {}
    for name, shape in (("fc1.weight", (500, 800)), ("conv1.weight", (20, 1, 5, 5))):
        kept = torch.zeros(shape, dtype=torch.bool)
        kept[: shape[0] // 2] = True
        files[name] = tmp_path / f"{name}.mask.safetensors"
        facts = {"asked": 0.5, "total": kept.numel(), "kept": kept.numel() // 2}
        write_mask(files[name], {name: kept}, parsed(MaskRecord, facts))
    once = apply(Path(dense), files["fc1.weight"], RunOptions(output=tmp_path / "1.safetensors"))
    twice = apply(once, files["conv1.weight"], RunOptions(output=tmp_path / "2.safetensors"))
    counts = open_artifact(twice, "checkpoint").meta["density"]["kept"]
    assert counts == {"conv1.weight": 250, "conv2.weight": 25_000, "fc1.weight": 200_000,
                      "fc2.weight": 5_000}  # fmt: skip
    other = torch.ones(500, 800, dtype=torch.bool)
    other[:100] = False
    write_mask(tmp_path / "o.safetensors", {"fc1.weight": other},
               parsed(MaskRecord, {"asked": 0.8, "total": 400_000, "kept": 320_000}))  # fmt: skip
    layers = {
        layer["name"]: layer["kept"]
        for layer in evaluated(twice, tmp_path / "o.safetensors")["layers"]
    }
    assert layers["fc1.weight"] == 150 * 800


def test_other_class_names_are_another_data_set(dense, tmp_path):
    from PIL import Image

    for name in "abcdefghij":
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "test" / name / "0.png")
    source = DataSettings("folder", {"grey": True}, data_dir=tmp_path)
    with pytest.raises(Mismatch, match="classes are not the network's: there is no '0', '1'"):
        evaluation(Path(dense), EvalSettings(data=source), RunOptions())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "cnn"}, "metadata is damaged"),
        (
            {"name": "cnn", "options": {}, "input_shape": ["1"], "classes": 10},
            "metadata is damaged",
        ),
        ({"name": "cnn", "options": {}, "input_shape": [1], "classes": 10}, "metadata is damaged"),
    ],
)
def test_a_damaged_description_of_the_network_is_bad_input(dense, tmp_path, model, words):
    path = tmp_path / "bad.safetensors"
    meta = open_artifact(dense, "checkpoint").meta
    written(path, "checkpoint", load_file(dense), meta | {"model": model})
    with pytest.raises(BadInput, match=words):
        evaluated(path)


def test_a_log_that_is_none_is_refused_before_the_work(dense, tmp_path):
    path, meta = tmp_path / "bad.safetensors", open_artifact(dense, "checkpoint").meta
    lines = [*meta["history"], {"epoch": 3, "loss": "low"}]
    written(path, "checkpoint", load_file(dense), meta | {"history": lines})
    with pytest.raises(BadInput, match=r"bad\.safetensors: its 'history\[2\]\.loss' is 'low'"):
        evaluated(path)


@pytest.mark.fault(10)
def test_density_1_leaves_the_weights_as_they_are(dense):
    pruned, before = (
        load_file(apply(Path(dense), make_mask(dense, 1.0), RunOptions())),
        load_file(dense),
    )
    assert all(pruned[n].numpy().tobytes() == before[n].numpy().tobytes() for n in before)


def test_what_a_mask_counts_may_be_less_than_what_it_covers(tmp_path):
    """The skips of n2nskip are weights beyond those that its density counts."""
    options = TrainingSettings(
        model=ModelSettings("n2nskip", own_options={"base": "resnet20"}),
        data=DataSettings("digits"),
        given={"epochs": 0},
        pruner="n2nskip",
        pruner_options={"density": "0.1"},
    )
    checkpoint = train(options, RunOptions(output=tmp_path / "n.safetensors", seed=0))
    result = evaluated(checkpoint)
    assert result["compression"] == 10
    assert result["empirical_compression"] == pytest.approx(10, rel=1e-5)
    assert abs(result["compression_error"]) < 1e-5
    assert result["density"] == pytest.approx(0.1, rel=1e-5)
    assert result["nonzero"] / result["prunable"] < 0.06


def test_weights_that_were_zero_before_they_were_masked_count_as_the_mask_says(init):
    file = open_artifact(Path(init), "checkpoint")
    tensors = dict(file) | {"conv2.weight": torch.zeros(50, 20, 5, 5)}
    write_tensors(Path(init), tensors, file.shards[Path(init)].metadata)
    kept = mask(
        Path(init),
        MaskSettings(density=0.5, scope="layer", scoring=ScoringSettings("random")),
        RunOptions(),
    )
    pruned = apply(Path(init), kept, RunOptions())
    without, under = evaluated(pruned), evaluated(pruned, kept)
    assert without["nonzero"] == under["nonzero"] == 430_500 // 2
    assert without["flops_sparse"] == under["flops_sparse"]
    assert without["dead_layers"] == under["dead_layers"] == []
    assert under["effective_density"] > 0.49


def test_a_result_knows_all_that_led_to_it(dense, init, tmp_path):
    batch = ScoringSettings("snip", data=DataSettings(None, {"fraction": "0.5"}), batch_size=16)
    kept = mask(Path(dense), MaskSettings(density=0.5, scoring=batch), RunOptions(seed=8))
    options = TrainingSettings(
        checkpoint=Path(dense), mask=kept, rewind=Path(init), given={"epochs": 1}
    )
    sparse = train(options, RunOptions(output=tmp_path / "sparse.safetensors"))
    result = evaluated(sparse)
    assert [settings["epochs"] for settings in result["earlier"]] == [2]
    assert (result["rewound_to"], result["seed"], result["mask_seed"]) == (0, 3, 8)
    assert result["scoring"] == {"dataset": "digits", "batch_size": 16, "fraction": 0.5}
    more = TrainingSettings(checkpoint=sparse, mask=kept, given={"epochs": 3})
    result = evaluated(train(more, RunOptions(output=tmp_path / "more.safetensors")))
    assert [settings["epochs"] for settings in result["earlier"]] == [2, 1]
    assert result["rewound_to"] is None
    assert evaluated(init)["earlier"] is None


def test_histograms_are_of_what_the_mask_left_and_are_there_where_asked_for(dense):
    plain, whole = evaluated(dense), evaluated(dense, histograms=True)
    assert "weights" not in plain["layers"][0]
    tensors = load_file(dense)
    for layer in whole["layers"]:
        weight = tensors[layer["name"]]
        assert layer["sigma"] == pytest.approx(weight.std().item(), rel=1e-5)
        assert layer["mean"] == pytest.approx(weight.mean().item(), rel=1e-4)
        assert len(layer["weights"]) == 80
        assert weight.numel() * 0.99 <= sum(layer.pop("weights")) <= weight.numel()
        assert "threshold" not in layer
        del layer["sigma"], layer["mean"]
    assert whole == plain
    mask = make_mask(dense, 0.1)
    kept = load_file(mask)
    for layer in evaluated(dense, mask, histograms=True)["layers"]:
        assert sum(layer["weights"]) <= layer["kept"]
        weight = tensors[layer["name"]].flatten()
        assert layer["kept"] < weight.numel()
        used = weight[weight.abs().argsort(descending=True)[: layer["kept"]]]
        assert layer["sigma"] == pytest.approx(used.std().item(), rel=1e-4)
    assert kept


@pytest.mark.parametrize("pruner", ["fixed-ga", "fixed-bs", "adaptive"])
def test_of_a_straight_through_network_they_are_of_what_the_threshold_was_applied_to(
    tmp_path, pruner
):
    def trained(name, **more):
        options = {"density": 0.3, "least": 400, **more}
        return train(
            TrainingSettings(
                model=ModelSettings("cnn"),
                data=DataSettings("digits", options={"fraction": 0.1}),
                pruner=pruner,
                pruner_options=options,
                given={"epochs": 1},
            ),
            RunOptions(output=tmp_path / f"{name}.safetensors"),
        )

    plain, told = trained("plain"), trained("told", spread=True)
    assert "spread" not in open_artifact(plain, "checkpoint").meta["history"][-1]
    before, after = (evaluated(path, histograms=True)["layers"] for path in (plain, told))
    tensors = load_file(told)
    for left, layer in zip(before, after, strict=True):
        assert sum(left["weights"]) <= left["kept"] < layer["total"]
        assert layer["total"] * 0.99 <= sum(layer["weights"]) <= layer["total"]
        assert "threshold" not in left
        weight = tensors[layer["name"]]
        cut = layer["threshold"] * layer["sigma"]
        assert weight[weight != 0].abs().min() >= cut * (1 - 1e-6)
        # In the bins beyond the threshold is just what is left.
        edges = [abs(-4 + 0.1 * (bin + 0.5)) for bin in range(80)]
        beyond = sum(
            n for n, at in zip(layer["weights"], edges, strict=True) if at > layer["threshold"]
        )
        assert beyond == pytest.approx(layer["kept"], rel=0.15)
