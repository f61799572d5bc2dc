"""Every recipe to its reports, on images of noise, with networks and epochs as few as it takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunecli.cli.study.steps import STEPS
from prunecli.recipe.read import read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}
ON_IMAGENET = {"adaptive_alexnet_imagenet", "adaptive_resnet50_imagenet"}
"""They are in `test_imagenet`."""
FORESIGHT = {"epochs": 1, "compression": 32, "seed": 42}
THIN = {
    "thin": 0.0156,
    "epochs": 4,
    "window": 2,
    "start": [2],
    "every": 1,
    "density": 0.1,
    "seed": 0,
}
GMP = {
    "grid_alpha": 0.25, "grid_depth": 1, "alpha": 0.125, "depth": [1, 2], "epochs": 2,
    "delta": [1, 2], "beta": [0.01, 0.05], "gamma": 0.01, "seed": 0,
}  # fmt: skip
IMP = {"epochs": 1, "rewind": 1, "density": 0.1, "seed": 0}
ADAPTIVE = {
    "widen": 0.5, "equivalent": 0.25, "epochs": 2, "restart": 1, "density": 0.3, "lam": 1,
    "thin": 0.3, "seed": 0,
}  # fmt: skip
SETTINGS = {
    "quickstart": {"method": "lamp", "compression": 4, "seed": 0},
    "critical": {"network": "cnn", "method": ["GlobalMag", "LayerAct", "SNIP"], "seed": 42},
    "foresight_mnist": FORESIGHT,
    "foresight_vgg16_cifar10": FORESIGHT | {"model": "resnet20"},
    "foresight_vgg16_cifar100": FORESIGHT | {"model": "resnet20", "protocol": "thesis"},
    "foresight_resnet56_cifar10": FORESIGHT,
    "foresight_resnet56_cifar100": FORESIGHT | {"model": "resnet20", "protocol": "thesis"},
    "weightmom": THIN | {"network": "vgg16", "dataset": "cifar10"},
    "weightmom_quick": THIN,
    "gmp": GMP,
    "gmp_quick": GMP | {"fraction": 1},
    "imp": IMP | {"thin": 0.0156},
    "imp_quick": IMP,
    "adaptive_sparsity": ADAPTIVE | {"dataset": "cifar10"},
    "adaptive_sparsity_quick": ADAPTIVE | {"fraction": 1},
}
"""What makes each recipe small."""
LONG = {
    "foresight_vgg16_cifar10", "foresight_vgg16_cifar100", "foresight_resnet56_cifar10",
    "foresight_resnet56_cifar100", "gmp", "weightmom", "imp", "adaptive_sparsity",
    "adaptive_sparsity_quick",
}  # fmt: skip


def tree(root, classes, shape, counts):
    """An image-folder tree of noise."""
    draw = np.random.default_rng(0)
    for split, count in counts.items():
        for number in range(classes):
            folder = root / split / f"class{number:03}"
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = draw.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{image}.png")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Data sets of noise, ten images of a class to train on, as GraSP takes, and two to test."""
    root, counts = tmp_path_factory.mktemp("data"), {"train": 10, "test": 2}
    tree(root / "mnist", 10, (28, 28), counts)
    tree(root / "cifar10", 10, (32, 32, 3), counts)
    tree(root / "cifar100", 100, (32, 32, 3), counts)
    return root


def said(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_every_recipe_has_a_miniature():
    assert SETTINGS.keys() | ON_IMAGENET == RECIPES.keys()


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in SETTINGS],
)
def test_a_recipe_goes_all_the_way_to_its_reports(recipe, prune, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNECLI_DATA_DIR", str(data_dir))
    settings = [f"{key}={said(value)}" for key, value in SETTINGS[recipe].items()]
    sets = [word for setting in settings for word in ("--set", setting)]
    ended = prune("run", RECIPES[recipe], "--output", tmp_path / "study", *sets)
    assert ended.code == 0, ended.err
    steps = read_recipe(RECIPES[recipe], {}, STEPS).steps.values()
    pages = {page.relative_to(tmp_path / "study").parts[0] for page in tmp_path.rglob("*.html")}
    assert pages == {step.name for step in steps if step.command == "report"}
