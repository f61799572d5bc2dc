"""torchvision's classifiers by name, with weights from a cache that the test fills."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import models

from prunecli.errors import BadEnvironment, BadUsage, Mismatch
from prunecli.files.artifacts import open_artifact
from prunecli.models import _torchvision
from prunecli.network.adoption import adopt
from prunecli.network.layers import classifier, prunable
from prunecli.plugins.resolve import resolve
from prunecli.runtime.progress import Progress
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train

NAME = "shufflenet_v2_x0_5"


class Listener(Progress):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


@pytest.fixture
def tree(tmp_path):
    """A folder of coloured noise in three classes."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in "abc":
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return DataSettings("folder", data_dir=tmp_path)


@pytest.fixture
def published(monkeypatch):
    """`published(classes)`: makes up the weights that torchvision has for NAME."""

    def publish(classes):
        torch.manual_seed(1)
        tensors = models.get_model(NAME, weights=None, num_classes=classes).state_dict()
        weights = type(models.get_model_weights(NAME)["DEFAULT"])
        monkeypatch.setattr(weights, "get_state_dict", lambda self, **k: dict(tensors))
        return tensors

    return publish


DIGITS = DataSettings("digits")


def options(data=DIGITS, checkpoint=None, **changes):
    model = ModelSettings(**{"name": f"torchvision:{NAME}", "pretrained": True, **changes})
    return TrainingSettings(checkpoint, model=model, data=data, given={"epochs": 0})


def test_a_name_builds_torchvisions_network_for_the_data():
    torch.manual_seed(0)
    ours = resolve("models", "torchvision:resnet18", by_file=False)((3, 64, 64), 7)
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=7)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    assert classifier(ours) == "fc.weight"
    assert len(prunable(ours)) == 21


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_side_exits_give_plain_logits_in_training(name):
    model = resolve("models", f"torchvision:{name}", by_file=False)((3, 299, 299), 5)
    assert not any(key.startswith(("aux", "AuxLogits")) for key in model.state_dict())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet5O", "no classifier 'resnet5O'; did you mean 'resnet50'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no classifier"),
        ("torchvision:", "no classifier ''"),
        ("torchvisio:resnet50", "cannot be imported"),
    ],
)
def test_a_name_that_is_none_is_refused(name, message, trusting):
    trusting(name)
    with pytest.raises(BadUsage, match=message):
        resolve("models", name, by_file=False)


def test_grey_images_are_refused():
    with pytest.raises(Mismatch, match="three channels, not of 1"):
        resolve("models", "torchvision:alexnet", by_file=False)((1, 28, 28), 10)


def test_pretrained_weights_are_the_published_ones(published, tree):
    tensors = published(classes=3)
    output = train(options(tree), RunOptions(output=tree.data_dir / "c.safetensors"))
    saved, meta = load_file(output), open_artifact(output, "checkpoint").meta
    assert saved.keys() == tensors.keys()
    assert all(torch.equal(saved[name], tensors[name]) for name in tensors)
    assert meta["pretrained"] == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"


@pytest.mark.parametrize(("asked", "named"), [("IMAGENET1K_V1", "1"), ("DEFAULT", "2")])
def test_weights_are_chosen_by_their_name_and_the_lineage_says_which(
    monkeypatch, tree, asked, named
):
    """ResNet-50 has two; what was published first is not the best any more."""
    weights = models.get_model_weights("resnet50")

    def state(self, **how):
        torch.manual_seed(int(self.name[-1]))
        return models.resnet50(weights=None, num_classes=3).state_dict()

    monkeypatch.setattr(weights, "get_state_dict", state)
    how = options(tree, name="torchvision:resnet50", pretrained=False, weights=asked)
    output = train(how, RunOptions(output=tree.data_dir / "c.safetensors"))
    saved, meta = load_file(output), open_artifact(output, "checkpoint").meta
    assert meta["pretrained"] == f"ResNet50_Weights.IMAGENET1K_V{named}"
    wanted = state(weights[f"IMAGENET1K_V{named}"])
    assert all(torch.equal(saved[name], wanted[name]) for name in wanted)


def test_a_recipe_with_weights_that_there_are_not_is_refused_when_it_is_planned(prune, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "version: 1\nname: r\nsteps:\n  a:\n    train: {model: 'torchvision:alexnet', "
        "weights: IMAGENET1K_V2, dataset: folder, epochs: 0}\n"
    )
    ended = prune("run", recipe, "--dry-run")
    assert ended.code == 2
    assert "torchvision has no weights 'IMAGENET1K_V2' for 'alexnet'" in ended.err
    assert "it has IMAGENET1K_V1, DEFAULT" in ended.err


def test_without_them_the_lineage_says_so(tree):
    output = train(
        options(tree, pretrained=False), RunOptions(output=tree.data_dir / "c.safetensors")
    )
    assert open_artifact(output, "checkpoint").meta["pretrained"] is None


def test_a_classifier_for_other_classes_starts_anew():
    network = resolve("models", "torchvision:resnet18", by_file=False)((3, 32, 32), 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(5)
    given = models.resnet18(num_classes=1000).state_dict()
    listener = Listener()
    adopt(network, given, "W", listener, head="fitting")
    assert listener.said == ["W: initialised 'fc' anew, for the classes of the data"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] if name.startswith("fc.") else given[name])


def test_weights_of_another_network_are_refused():
    network = resolve("models", "torchvision:resnet18", by_file=False)((3, 32, 32), 3)
    given = models.resnet34(num_classes=1000).state_dict()
    given["layer1.0.conv1.weight"] = torch.zeros(1)
    with pytest.raises(Mismatch, match=r"W: its tensors .*'layer1\.0\.conv1\.weight' is \[1\]"):
        adopt(network, given, "W", Listener(), head="fitting")


def test_weights_that_cannot_be_had_name_the_command_that_gets_them(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(BadEnvironment, match="no route to host") as caught:
        _torchvision.pretrained(NAME)
    url = models.get_model_weights(NAME)["DEFAULT"].url
    place = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    assert str(caught.value).endswith(f"curl --create-dirs -o {place} {url}")


def test_weights_from_torchvisions_cache_need_no_network(monkeypatch, tmp_path):
    import hashlib

    state = models.get_model(NAME, weights=None).state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    (folder / "weights.pth").rename(folder / f"shufflenet-{digest}.pth")
    weights = models.get_model_weights(NAME)["DEFAULT"]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    value = weights.value
    changed = type(value)(f"https://nowhere.invalid/shufflenet-{digest}.pth", value.transforms, {})
    monkeypatch.setattr(weights, "_value_", changed)
    name, tensors = _torchvision.pretrained(NAME)
    assert name == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    assert all(torch.equal(tensors[key], state[key]) for key in state)


@pytest.mark.fault(33)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_in_torchvisions_cache_that_are_code_do_not_run(monkeypatch, tmp_path, zipped):
    class Canary:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    file = planted(monkeypatch, tmp_path)
    torch.save({"conv": Canary()}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadEnvironment, match=rf"more than weights.*{file.name}"):
        _torchvision.pretrained(NAME)
    assert not (tmp_path / "canary").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "canary").exists()  # it would have been


@pytest.mark.fault(35)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, Path.touch])
def test_what_is_no_file_of_weights_in_torchvisions_cache_is_named(monkeypatch, tmp_path, make):
    file = planted(monkeypatch, tmp_path)
    make(file)
    with pytest.raises(BadEnvironment, match=rf"cannot be read.*{file.name}"):
        _torchvision.pretrained(NAME)


def planted(monkeypatch, home):
    """Where torchvision looks for its weights first."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    url = models.get_model_weights(NAME)["DEFAULT"].url
    file = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "cnn"}, "--pretrained needs --model torchvision:NAME"),
        (
            {"name": "cnn", "pretrained": False, "weights": "DEFAULT"},
            "--weights needs --model torchvision:NAME",
        ),
        ({"name": None}, "--pretrained needs --model|no model is given"),
        ({"own_options": {"thin": 0.5}}, "needs the full network; leave thin out"),
        ({"thin": 0.5}, "needs the full network; leave thin out"),
        ({"weights": "DEFAULT"}, "--pretrained is short for --weights DEFAULT; leave one"),
        (
            {"pretrained": False, "weights": "IMAGENET1K_V7"},
            f"no weights 'IMAGENET1K_V7' for '{NAME}'; it has IMAGENET1K_V1, DEFAULT",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fetched(monkeypatch, changes, message):
    monkeypatch.setattr(_torchvision, "pretrained", lambda *given: pytest.fail("fetched"))
    with pytest.raises(BadUsage, match=message):
        train(options(**changes), RunOptions())
