import pytest
import torch
from safetensors.torch import load_file, save_file

import prunecli
from prunecli import BadUsage, Mismatch, NotFinite
from prunecli.files.tensors import TensorFile

METHODS = ("magnitude", "lamp", "random", "snip", "grasp", "synflow")


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_a_checkpoint_are_the_commands_file(method, checkpoint, prune, tmp_path):
    assert prune("score", "--method", method, checkpoint, "-o", "theirs.safetensors").code == 0
    scores = prunecli.score(prunecli.read_checkpoint(checkpoint), method)
    ours = prunecli.write_scores("ours.safetensors", scores)
    assert ours.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_module_is_scored_as_its_checkpoint_is_and_left_as_it_was(method, net, written):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()
    ours = prunecli.score(net, method, data="digits", seed=3)
    theirs = prunecli.score(prunecli.read_checkpoint(written), method, seed=3)
    assert set(ours) == set(theirs)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-6)
    assert torch.equal(random, torch.get_rng_state())
    assert net.training
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    "asked",
    [
        {"density": 0.05},
        {"sparsity": 0.9, "scope": "layer"},
        {"compression": 16, "scope": "erk", "exclude_classifier": True},
        {"density": 0.2, "scope": "uniform", "dense": ["conv1*"], "count": "model"},
        {"pattern": "2:4", "ignore": ["conv1*"]},
        {"critical": True},
        {"density": 0.1, "rounds": 3, "schedule": "linear"},
    ],
    ids=str,
)
def test_a_mask_is_the_commands_file(asked, checkpoint, prune, tmp_path):
    def words(key, value):
        values = value if isinstance(value, list) else [value]
        flag = f"--{key.replace('_', '-')}"
        return [flag] if value is True else [w for each in values for w in (flag, str(each))]

    given = [word for key, value in asked.items() for word in words(key, value)]
    done = prune("mask", checkpoint, "--method", "snip", *given, "-o", "theirs.safetensors")
    assert done.code == 0, done.err
    mask = prunecli.mask(prunecli.read_checkpoint(checkpoint), "snip", **asked)
    ours = prunecli.write_mask("ours.safetensors", mask)
    assert ours.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_a_mask_of_scores_under_an_earlier_mask_is_the_commands_file(checkpoint, prune, tmp_path):
    prune("score", "--method", "lamp", checkpoint, "-o", "s.safetensors")
    prune("mask", "s.safetensors", "--density", "0.5", "-o", "first.safetensors")
    more = ("--density", "0.1", "--mask", "first.safetensors", "-o", "theirs.safetensors")
    assert prune("mask", "s.safetensors", *more).code == 0
    scores, first = prunecli.read_scores("s.safetensors"), prunecli.read_mask("first.safetensors")
    mask = prunecli.mask(scores, density=0.1, before=first)
    ours = prunecli.write_mask("ours.safetensors", mask)
    assert ours.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert all(bool((first[name] | ~mask[name]).all()) for name in mask)


def test_what_is_never_written_has_the_lineage_that_it_would_have_from_files(net, tmp_path):
    scores = prunecli.score(net, "magnitude")
    mask = prunecli.mask(scores, density=0.1)
    path = prunecli.write_scores("s.safetensors", scores)
    assert mask.record["scores"] == prunecli.read_scores(path).sha256
    dense = prunecli.read_checkpoint(prunecli.write_checkpoint("c.safetensors", net))
    assert scores.record["parent"] == dense.sha256
    of_files = prunecli.mask(prunecli.read_scores(path), density=0.1)
    assert of_files.sha256 == mask.sha256


@pytest.mark.parametrize("density", [0.001, 0.1, 0.37, 0.9999, 1])
def test_exactly_as_many_weights_stay_as_were_asked_for(density, net):
    mask = prunecli.mask(net, "random", density=density)
    assert mask.kept == sum(int(kept.sum()) for kept in mask.values()) == round(density * 430500)
    assert mask.total == 430500
    assert mask.density == mask.kept / mask.total


def test_a_scored_weight_is_minus_infinity_where_a_mask_had_removed_it(net):
    first = prunecli.mask(net, "magnitude", density=0.3)
    for method in ("magnitude", "snip"):
        scores = prunecli.score(net, method, data="digits", mask=first)
        for name, kept in first.items():
            assert torch.equal(scores[name] == -torch.inf, ~kept)


class Own(torch.nn.Module):
    """Of no builder's making: it has a branch, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = torch.nn.Linear(784, 16), torch.nn.Linear(16, 16)
        self.last = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = self.first(x.flatten(1)).relu()
        return self.last(x + self.twice(self.twice(x).relu()))


@pytest.mark.parametrize("method", ["magnitude", "snip", "fisher", "activation"])
def test_a_network_of_ones_own_is_scored_and_masked(method):
    images = prunecli.load_images("digits", options={"fraction": 0.2})
    mask = prunecli.mask(Own(), method, density=0.1, data=images)
    assert set(mask) == {"first.weight", "twice.weight", "last.weight"}
    assert mask.kept == round(0.1 * mask.total)


def test_tensors_that_prunecli_never_saw_are_scored_and_masked_as_their_file_is(prune):
    torch.manual_seed(0)
    tensors = {
        "model.embed_tokens.weight": torch.randn(11, 8),
        "model.layers.0.mlp.up_proj.weight": torch.randn(16, 8).bfloat16(),
        "model.layers.0.norm.weight": torch.ones(8),
    }
    save_file(tensors, "llama.safetensors")
    with pytest.warns(UserWarning, match="not pruned"):
        mask = prunecli.mask(tensors, "magnitude", pattern="2:4")
    assert list(mask) == ["model.layers.0.mlp.up_proj.weight"]
    assert mask.density == 0.5
    command = ("mask", "llama.safetensors", "--method", "magnitude", "--pattern", "2:4")
    assert prune(*command, "-o", "theirs.safetensors").code == 0
    [(name, theirs)] = prunecli.read_mask("theirs.safetensors").items()
    assert torch.equal(mask[name], theirs)
    pruned = prunecli.apply(tensors, mask)
    assert torch.equal(pruned[name], tensors[name].masked_fill(~theirs, 0))
    assert tensors[name].count_nonzero() == 128, "what was given stays as it was"


def test_a_module_is_pruned_in_place_to_plus_zero_even_where_it_was_nan(net):
    kept = torch.rand(10, 500) > 0.5
    kept[0], kept[1] = False, True
    with torch.no_grad():
        net.fc2.weight[0] = torch.nan
        net.fc2.weight[2:].neg_()
    before = net.fc2.weight.detach().clone()
    assert prunecli.apply(net, {"fc2.weight": kept}) is net
    assert (net.fc2.weight.view(torch.int32)[~kept] == 0).all()
    assert torch.equal(net.fc2.weight[kept], before[kept])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "give exactly one of --density"),
        ({"density": 0.1, "sparsity": 0.9}, "give exactly one of --density"),
        ({"density": 0}, "--density cannot be 0: 0<x<=1"),
        ({"sparsity": 1}, "--sparsity cannot be 1: 0<=x<1"),
        ({"compression": 0}, "--compression cannot be 0: x>=1"),
        ({"compression": 0.5}, "--compression cannot be 0.5: x>=1"),
        (
            {"density": 0.1, "pattern": "2:4"},
            "--pattern 2:4 decides which weights to keep; leave --density out",
        ),
        ({"density": 0.1, "scope": "glbal"}, "did you mean 'global'"),
        (
            {"density": 0.1, "schedule": "expo", "rounds": 2},
            "--schedule cannot be 'expo'; there are exponential, linear",
        ),
        ({"density": 0.1, "count": "all"}, "--count cannot be 'all'; there are scored, model"),
        ({"density": 0.1, "options": {"nothing": 1}}, "no option 'nothing'"),
        ({"density": 0.1, "ignore": ["fc9*"]}, "no prunable weight matches 'fc9"),
        (
            {"density": 0.5, "before": {"fc2.weight": torch.ones(10, 500).bool()}},
            "in only one of the scores and --mask",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_told(asked, says, net):
    with pytest.raises((BadUsage, Mismatch), match=says):
        prunecli.mask(net, "magnitude", **asked)


def test_wrong_uses_end_in_errors_that_say_the_mend(net, checkpoint):
    with pytest.raises(BadUsage, match="did you mean 'magnitude'"):
        prunecli.score(net, "magnitud")
    with pytest.raises(BadUsage, match="no data set is given"):
        prunecli.score(net, "snip")
    with pytest.raises(BadUsage, match="give Scores, tensors of scores"):
        prunecli.mask(net, density=0.5)
    with pytest.raises(BadUsage, match="leave --sparsity out"):
        prunecli.mask(net, "nonzero", sparsity=0.5)
    with pytest.raises(Mismatch, match="does not have"):
        prunecli.apply(net, {"fc3.weight": torch.ones(2).bool()})
    with pytest.raises(Mismatch, match="not weights of Conv"):
        prunecli.apply(net, {"fc2.bias": torch.ones(10).bool()})
    with pytest.raises(Mismatch, match=r"is \[3\] but"):
        prunecli.apply(prunecli.read_checkpoint(checkpoint), {"fc2.weight": torch.ones(3).bool()})
    with torch.no_grad():
        net.fc2.weight[0, 0] = torch.nan
    with pytest.raises(NotFinite, match=r"fc2\.weight"):
        prunecli.score(net, "snip", data="digits")


def test_what_is_seen_is_told_as_a_warning_of_the_callers_line(net):
    with pytest.warns(UserWarning, match="no weight is left in") as told:
        prunecli.mask(net, "magnitude", compression=400)
    assert {warning.filename for warning in told} == {__file__}


def test_a_checkpoint_is_scored_part_by_part_when_scores_are_read(checkpoint, monkeypatch):
    def never(*_):
        raise AssertionError("a tensor was read")

    file = prunecli.read_checkpoint(checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(TensorFile, "_parts", never)
        scores = prunecli.score(file, "magnitude")
    assert torch.equal(scores["fc2.weight"], load_file(checkpoint)["fc2.weight"].abs())
