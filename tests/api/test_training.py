import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import prunecli
from prunecli import BadUsage, Hyperparameters, Mismatch, NotFinite

ONE = Hyperparameters(epochs=1, precision="fp32")


def test_a_training_comes_to_the_weights_and_the_log_of_the_command(net, prune):
    words = ("train", "--model", "cnn", "--dataset", "digits", "--epochs", "1", "--lr", "0.02")
    assert prune(*words, "--precision", "fp32", "-o", "t.safetensors").code == 0
    settings = Hyperparameters(epochs=1, lr=0.02, precision="fp32")
    trained = prunecli.train(net, "digits", settings, test="digits")
    theirs = load_file("t.safetensors")
    assert all(torch.equal(own, theirs[name]) for name, own in net.state_dict().items())
    assert list(trained.history) == prunecli.read_checkpoint("t.safetensors").record["history"]
    assert trained.mask is None


def test_a_finetuning_under_a_mask_comes_to_the_weights_of_the_command(checkpoint, prune):
    prune("mask", checkpoint, "--method", "magnitude", "--density", "0.1", "-o", "m.safetensors")
    tuned = ("--mask", "m.safetensors", "--epochs", "1", "--precision", "fp32")
    assert prune("finetune", checkpoint, *tuned, "-o", "t.safetensors").code == 0
    model = prunecli.read_checkpoint(checkpoint).model()
    mask = prunecli.read_mask("m.safetensors")
    trained = prunecli.train(model, "digits", ONE, mask=mask)
    theirs = load_file("t.safetensors")
    assert all(torch.equal(own, theirs[name]) for name, own in model.state_dict().items())
    assert trained.mask is mask
    for name, kept in mask.items():
        assert (model.get_parameter(name).view(torch.int32)[~kept] == 0).all()


def test_a_pruner_leaves_its_mask_and_zeros_under_it(net):
    settings = Hyperparameters(epochs=1, batch_size=128, precision="fp32")
    trained = prunecli.train(
        net, "digits", settings, pruner="rigl", options={"density": 0.1, "every": 3}
    )
    assert trained.mask.kept == round(0.1 * 430500)
    assert trained.mask.record["method"] == "rigl"
    assert trained.history[-1]["density"] == pytest.approx(0.1)
    for name, kept in trained.mask.items():
        assert (net.get_parameter(name).view(torch.int32)[~kept] == 0).all()


def test_the_mask_of_a_pruner_says_what_that_of_the_command_does(net, prune):
    words = ("train", "--model", "cnn", "--dataset", "digits", "--epochs", "1", "--lr", "0.02")
    acts = (
        "--pruner",
        "rigl",
        "--opt",
        "density=0.1",
        "--ignore",
        "conv1*",
        "--exclude-classifier",
    )
    assert prune(*words, *acts, "--precision", "fp32", "-o", "t.safetensors").code == 0
    settings = Hyperparameters(epochs=1, lr=0.02, precision="fp32")
    left = {"ignore": ["conv1*"], "exclude_classifier": True}
    options = {"density": 0.1}
    made = prunecli.train(net, "digits", settings, pruner="rigl", options=options, **left).mask
    theirs = prunecli.read_mask("t.mask.safetensors")
    assert all(torch.equal(made[name], kept) for name, kept in theirs.items())
    ours, told = dict(made.record), dict(theirs.record)
    network = {"live_path": None, "effective_density": None}  # which only the command can build
    assert ours.pop("collapse") == told.pop("collapse") | network
    assert ours == told


class Dropping(nn.Module):
    """A network of one's own, with random numbers in it."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(784, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.out(nn.functional.dropout(self.hidden(x.flatten(1)).relu(), 0.5, self.training))


def test_a_network_of_ones_own_trains_alike_each_time_and_leaves_random_numbers_alone():
    images = prunecli.load_images("digits")
    first, second = Dropping(), Dropping()
    second.load_state_dict(first.state_dict())
    second.eval()
    for model in (first, second):
        torch.rand(3)
        before = torch.get_rng_state()
        prunecli.train(model, images, ONE, seed=5)
        assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert (first.training, second.training) == (True, False)


def test_an_evaluation_says_what_the_command_says(checkpoint, prune):
    assert prune("eval", checkpoint, "-o", "e.json").code == 0
    found = prunecli.evaluate(prunecli.read_checkpoint(checkpoint))
    for name in ("top1", "top5", "loss"):
        assert f'"{name}": {getattr(found, name)!r}' in checkpoint.with_name("e.json").read_text()
    assert found.images == 355


def test_an_evaluation_counts_by_hand_and_leaves_the_module_as_it_was():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.arange(10.0))

        def forward(self, x):
            return self.bias.expand(len(x), 10)

    model, images = Constant(), prunecli.load_images("digits", "test")
    found = prunecli.evaluate(model, images, precision="fp32")
    share = [100 * int((images.labels >= low).sum()) / 355 for low in (9, 5)]
    assert [found.top1, found.top5] == share
    loss = nn.functional.cross_entropy(model.bias.expand(355, 10), images.labels)
    assert found.loss == pytest.approx(loss.item())
    assert model.training


def test_what_cannot_be_trained_or_evaluated_is_told(net):
    with pytest.raises(BadUsage, match="a pruner makes its own mask"):
        prunecli.train(net, "digits", mask={"fc2.weight": torch.ones(10, 500)}, pruner="rigl")
    with pytest.raises(BadUsage, match="no data set 'digit'"):
        prunecli.train(net, "digit")
    with pytest.raises(BadUsage, match="no pruner 'rgl'"):
        prunecli.train(net, "digits", ONE, pruner="rgl")
    with pytest.raises(Mismatch, match="not 10 classes"):
        prunecli.train(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), "digits", ONE)
    with pytest.raises(Mismatch, match="no weight"):
        prunecli.train(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784)), "digits", ONE)
    for wrong in ({"options": {"density": 0.1}}, {"ignore": ["fc*"]}, {"exclude_classifier": True}):
        with pytest.raises(BadUsage, match="need pruner="):
            prunecli.train(net, "digits", ONE, **wrong)
    with pytest.raises(BadUsage, match="no data set is given"):
        prunecli.train(net, None)
    with pytest.raises(BadUsage, match="no data set is given"):
        prunecli.evaluate(net)
    for size in (-1, 0):
        with pytest.raises(BadUsage, match="--batch-size cannot be"):
            prunecli.evaluate(net, "digits", batch_size=size)
    with pytest.raises(BadUsage, match="--precision cannot be 'fp16'"):
        prunecli.evaluate(net, "digits", precision="fp16")
    with torch.no_grad():
        net.fc2.weight.fill_(torch.inf)
    with pytest.raises(NotFinite):
        prunecli.evaluate(net, "digits")
    with pytest.raises(BadUsage, match="no split 'validation'"):
        prunecli.load_images("digits", "validation")
