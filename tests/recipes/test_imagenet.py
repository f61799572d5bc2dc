"""The recipes for ImageNet, on an image folder of the same layout."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from prunecli.files.artifacts import open_artifact


@pytest.fixture
def tree(tmp_path):
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name in ("n01440764", "n01443537", "n01484850"):
            folder = tmp_path / "imagenet" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{number}.JPEG")
    return tmp_path / "imagenet"


NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def published(monkeypatch):
    """Weights of a small network in place of those that are published."""
    torch.manual_seed(0)
    tensors = models.get_model(NAME, weights=None).state_dict()
    weights = models.get_model_weights(NAME)
    monkeypatch.setattr(weights, "get_state_dict", lambda self, **how: dict(tensors))


@pytest.mark.parametrize("recipe", ["adaptive_alexnet_imagenet", "adaptive_resnet50_imagenet"])
def test_an_image_folder_goes_all_the_way_to_the_report(
    recipe, prune, tree, tmp_path, monkeypatch, published
):
    monkeypatch.setenv("PRUNECLI_DATA_DIR", str(tree))
    more = ["density=0.3", "thin=0.3", "dense_epochs=1"] if "resnet" in recipe else []
    ended = prune(
        "run", f"recipes/{recipe}.yaml", "--output", tmp_path / "study",
        *(word for setting in (
            f"model=torchvision:{NAME}", "size=32", "resize=36", "epochs=1", *more,
        ) for word in ("--set", setting)),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    results = [json.loads(p.read_text()) for p in (tmp_path / "study").rglob("result.json")]
    [pruned] = [result for result in results if result["method"] == "adaptive"]
    assert pruned["model"] == f"torchvision:{NAME}"
    assert pruned["dataset"] == "folder"
    assert pruned["density"] < 1
    thin = [result for result in results if (result["model_options"] or {}).get("thin")]
    assert len(thin) == ("resnet" in recipe)
    assert all(result["parameters"] < pruned["parameters"] / 2 for result in thin)
    [start] = (tmp_path / "study" / "pretrained").rglob("ckpt.safetensors")
    named = open_artifact(start, "checkpoint").meta["pretrained"]
    assert named == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    assert (tmp_path / "study" / "report" / "report.html").exists()
