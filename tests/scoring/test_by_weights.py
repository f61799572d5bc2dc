"""Scores by weights alone: one runner, for files and for networks in memory."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from prunecli.errors import Mismatch, NotFinite
from prunecli.files.tensors import TensorFile
from prunecli.plugins.names import names
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.scoring.by_weights import TensorScores
from prunecli.tensors.parts import InMemory, in_memory
from prunecli.types import Part, decisive

OWN = {name: resolve("scorers", name, by_file=False) for name in names("scorers")}
OF_WEIGHTS = [name for name, scorer in OWN.items() if not scorer.takes_model]


def made(function):
    return Plugin("scorers", function.__name__, function, own=False)


def scores_of(weights, scorer, mask=None, seed=0):
    before = InMemory(mask) if mask else None
    return in_memory(
        TensorScores(InMemory(weights), [*weights], scorer, seed, "the network", before)
    )


@pytest.fixture
def weights():
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(7, 9, generator=draw) for name in ("a", "b")}


@pytest.mark.parametrize("method", OF_WEIGHTS)
def test_a_network_in_memory_scores_as_its_file_does(weights, tmp_path, method):
    save_file(weights, tmp_path / "w.safetensors")
    file = TensorFile(tmp_path / "w.safetensors")
    mask = {"a": torch.rand(7, 9) > 0.5}
    for before in (None, mask):
        made = TensorScores(
            file, ["a", "b"], OWN[method], 3, file.label, InMemory(before) if before else None
        )
        ours, theirs = in_memory(made), scores_of(weights, OWN[method], before, 3)
        assert all(torch.equal(ours[name], theirs[name]) for name in "ab")
    by_hand = {n: w * mask[n] if n in mask else w for n, w in weights.items()}
    for name, weight in by_hand.items():
        expected = OWN[method].seeded(3, name)(weight.clone())
        assert torch.equal(theirs[name], expected)


def magnitude(weight: Tensor) -> Tensor:
    return weight.abs()


def magnitude_by_part(weight: Part) -> Tensor:
    return weight.abs()


BOTH = [magnitude, magnitude_by_part]


@pytest.mark.parametrize("scorer", BOTH)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_told_unless_it_is_masked(weights, scorer, value):
    weights["b"][0, 0] = value
    with pytest.raises(NotFinite, match="the network: 'b' holds NaN or infinity"):
        scores_of(weights, made(scorer))
    mask = {"b": torch.ones(7, 9, dtype=torch.bool)}
    mask["b"][0, 0] = False
    assert scores_of(weights, made(scorer), mask)["b"][0, 0] == 0


@pytest.mark.parametrize("scorer", BOTH)
def test_a_double_beyond_the_range_of_float32_is_told(weights, scorer):
    weights["a"] = torch.full((2, 2), 1e300, dtype=torch.float64)
    with pytest.raises(NotFinite, match="'a' holds values beyond the range of float32"):
        scores_of(weights, made(scorer))


def test_who_decides_by_what_is_zero_sees_doubles_as_they_are():
    @decisive
    def there(weight: Part) -> Tensor:
        return (weight != 0).float()

    def there_in_float32(weight: Part) -> Tensor:
        return (weight != 0).float()

    weights = {"a": torch.full((2, 2), 1e-60, dtype=torch.float64)}
    assert scores_of(weights, made(there))["a"].sum() == 4
    assert scores_of(weights, made(there_in_float32))["a"].sum() == 0


def test_scores_that_rank_nothing_are_told(weights):
    def odd(weight):
        return weight / 0 * 0

    with pytest.raises(NotFinite, match="odd: the scores of 'a' hold NaN or infinity; check the n"):
        scores_of(weights, made(odd))


@pytest.mark.parametrize("given", [None, torch.zeros(3), torch.zeros(7, 9, dtype=torch.cfloat)])
def test_what_is_no_score_of_each_weight_is_told(weights, given):
    def odd(weight):
        return given

    with pytest.raises(Mismatch, match="the method 'odd' gives scores of 'a' that are"):
        scores_of(weights, made(odd))
