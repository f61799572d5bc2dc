"""What a plugin is by its function, and its options by theirs."""

from functools import partial
from typing import Literal, Optional

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.runtime.seeds import derive_seed
from prunecli.types import Part, decisive, iterative


def made(function, kind="scorers"):
    return Plugin(kind, function.__name__, function, own=False)


def typed(
    *,
    count: int = 1,
    rate: float = 0.1,
    deep: bool = False,
    word: str = "a",
    limit: int | None = None,
    old: Optional[float] = None,  # noqa: UP045
    label: str | None = None,
    norm: Literal["l1", "l2"] = "l1",
    rank: Literal["all", "none"] | None = None,
    order: Literal[1, 2] = 1,
    bare="x",
):
    pass


def bind(option, value):
    return made(typed).bound({option: value}).options[option]


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("count", "4", 4),
        ("count", -4, -4),
        ("rate", "0.5", 0.5),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("rate", 2, 2.0),
        ("deep", "true", True),
        ("deep", "false", False),
        ("deep", True, True),
        ("word", "b", "b"),
        ("word", "4", "4"),
        ("word", "[", "["),
        ("word", 4, "4"),
        ("limit", "4", 4),
        ("limit", "null", None),
        ("limit", None, None),
        ("old", "4", 4.0),
        ("old", "null", None),
        ("label", "b", "b"),
        ("label", "null", None),
        ("label", None, None),
        ("norm", "l2", "l2"),
        ("rank", "none", "none"),
        ("rank", "all", "all"),
        ("rank", "null", None),
        ("rank", None, None),
        ("order", "2", 2),
        ("order", 2, 2),
        ("bare", "y", "y"),
    ],
)
def test_text_becomes_the_type_of_the_option(option, value, bound):
    assert bind(option, value) == bound
    assert type(bind(option, value)) is type(bound)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("count", "4.0", "must be a whole number, not '4.0'"),
        ("count", "true", "must be a whole number"),
        ("count", "four", "must be a whole number"),
        ("count", "[", "must be a whole number"),
        ("count", "!!python/object:x 1", "must be a whole number"),
        ("count", None, "must be a whole number"),
        ("rate", "fast", "must be a finite number"),
        ("rate", "true", "must be a finite number"),
        ("rate", True, "must be a finite number"),
        ("rate", "nan", "must be a finite number"),
        ("rate", "inf", "must be a finite number"),
        ("deep", "1", "must be true or false"),
        ("deep", "maybe", "must be true or false"),
        ("word", None, "must be text"),
        ("limit", "x", "must be a whole number, not 'x'"),
        ("norm", "l3", "must be one of 'l1', 'l2', not 'l3'"),
        ("order", "3", "must be one of 1, 2, not '3'"),
        ("order", "true", "must be one of 1, 2"),
        ("counts", "4", "has no option 'counts'; did you mean 'count'?"),
    ],
)
def test_what_does_not_fit_is_refused(option, value, words):
    with pytest.raises(BadUsage) as error:
        bind(option, value)
    assert words in str(error.value)
    assert f"'{option}'" in str(error.value)


def test_options_are_the_keyword_only_arguments_but_the_mask():
    def needs(weight, second=2, *, must: int, may: int = 3, mask=None):
        pass

    model = made(needs, "models")
    assert list(model.declared) == ["must", "may"]
    assert model.bound({"must": "1"}).options == {"must": 1}
    with pytest.raises(BadUsage, match="the model 'needs' needs the option 'must'"):
        model.bound({"may": 1})
    for odd in ("second", "mask"):
        with pytest.raises(BadUsage, match=f"has no option '{odd}'"):
            model.bound({odd: 1})


def test_it_is_called_with_its_options_and_what_is_said_besides():
    def scorer(weight, *, power: int = 1, mask=None):
        return weight, power, mask

    bound = made(scorer).bound({"power": "3"})
    assert made(scorer)(2) == (2, 1, None)
    assert bound(2) == (2, 3, None)
    assert bound(2, mask="on", power=4) == (2, 4, "on")


def test_a_seed_is_derived_from_its_own_or_else_from_that_of_the_command():
    def draws(weight, *, seed: int = 0):
        return seed

    def sure(weight):
        return weight

    draw = made(draws)
    assert draw.seeded(7, "fc1.weight")(None) == derive_seed(7, "fc1.weight")
    assert draw.bound({"seed": "3"}).seeded(7, "a")(None) == derive_seed(3, "a")
    assert draw.options == {}
    assert made(sure).seeded(7, "a") == made(sure)


def test_what_a_scorer_takes_is_read_from_its_arguments():
    def whole(weight):
        pass

    def parts(weight: Part):
        pass

    @iterative(rounds=9)
    def network(model, data, *, mask=None):
        pass

    @decisive
    def decides(weight):
        pass

    facts = {
        f.__name__: (s.takes_model, s.takes_part, s.takes_mask, s.rounds, s.decides)
        for f in (whole, parts, network, decides)
        for s in [made(f)]
    }
    assert facts == {
        "whole": (False, False, False, 1, False),
        "parts": (False, True, False, 1, False),
        "network": (True, False, True, 9, False),
        "decides": (False, False, False, 1, True),
    }


def test_a_function_that_does_not_say_its_arguments_is_refused():
    odd = made(torch.abs)
    resolved = partial(resolve, "scorers", "torch:abs", by_file=False)
    for look in (resolved, lambda: odd.takes_model, lambda: odd.declared, lambda: odd.takes_mask):
        with pytest.raises(BadUsage, match="the arguments of .* cannot be read"):
            look()

    def scores(one, two, three):
        pass

    with pytest.raises(BadUsage, match=r"'scores': a scorer takes \(weight\) or \(model, data\)"):
        assert made(scores).takes_model
