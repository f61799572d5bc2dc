"""The recipes for ImageNet, on an image folder of the same layout."""

import json

import numpy as np
import pytest
from PIL import Image


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


@pytest.mark.parametrize("recipe", ["adaptive_alexnet_imagenet", "adaptive_resnet50_imagenet"])
def test_an_image_folder_goes_all_the_way_to_the_report(recipe, prune, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNECLI_DATA_DIR", str(tree))
    ended = prune(
        "run", f"recipes/{recipe}.yaml", "--output", tmp_path / "study",
        *(word for setting in (
            "model=torchvision:shufflenet_v2_x0_5", "pretrained=false", "size=32", "epochs=1",
        ) for word in ("--set", setting)),
        *(["--set", "density=0.3"] if "resnet" in recipe else []),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    [result] = [
        json.loads(path.read_text())
        for path in (tmp_path / "study").rglob("result.json")
        if "adaptive" in path.read_text()
    ]
    assert result["model"] == "torchvision:shufflenet_v2_x0_5"
    assert result["dataset"] == "folder"
    assert result["density"] < 1
    assert (tmp_path / "study" / "report" / "report.html").exists()
