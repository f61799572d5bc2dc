"""Finds scorers, pruners, models and data sets by name.

A name is a file: `scorers/snip.py` defines `snip`, and nothing else lists it. Others add names
through the entry-point groups `prunecli.scorers`, `prunecli.pruners`, `prunecli.models` and
`prunecli.data`, or give an import path, `mypkg.mod:function`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cache, wraps
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import prunecli
from prunecli.errors import BadUsage, Mismatch, suggest
from prunecli.plugins.blame import OTHERS
from prunecli.plugins.code import code_of
from prunecli.plugins.conversion import converted
from prunecli.plugins.trust import is_trusted
from prunecli.runtime.interrupts import Terminated
from prunecli.runtime.shortage import raise_shortage

FAMILIES = {"models": {"torchvision": "prunecli.models._torchvision"}}
"""Names of the form FAMILY:NAME, which the module's `family(NAME)` finds, not an import path."""
FORMS = {"models": ["input_shape", "classes"], "data": ["root", "split", "download"]}
"""What functions of a kind are called with; the last two are told by their names."""
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NOT_HERE = "; set PYTHONPATH=. for one that lies in the current folder"
NOUNS = {"scorers": "method", "pruners": "pruner", "models": "model", "data": "data set"}
TWICE: dict[str, dict[str, str]] = {}
"""By kind, the names that two packages define, with where the second has it from."""


@cache
def names(kind: str) -> dict[str, EntryPoint | None]:
    """Every known name of a kind, sorted; the value is None for prunecli's own.

    Of a name that is defined twice it is the first, and `check_name` refuses it.
    """
    folder = Path(prunecli.__file__).parent / kind
    found: dict[str, EntryPoint | None] = {
        path.stem.replace("_", "-"): None for path in folder.glob("[!_]*.py")
    }
    TWICE[kind] = {}
    for point in entry_points(group=f"prunecli.{kind}"):
        if point.name in found:
            TWICE[kind][point.name] = point.value
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


def check_name(kind: str, name: str) -> None:
    """Raise BadUsage for a name that `find` would not know, without importing anything.

    Nor is one that is defined twice known for what is meant.
    """
    if name not in names(kind) and ":" not in name:
        raise BadUsage(f"there is no {NOUNS[kind]} {name!r}{suggest(name, list(names(kind)))}")
    if other := TWICE[kind].get(name):
        raise BadUsage(
            f"the {NOUNS[kind]} {name!r} is defined twice, once by {other}; uninstall one of them"
        )


def find(kind: str, name: str) -> Callable[..., Any]:
    """The function or class of that name.

    Raises BadUsage for one that is not there, and for an import path that the user did not give:
    see `trust`.
    """
    check_name(kind, name)
    prefix, _, rest = name.partition(":")
    if rest and prefix in FAMILIES.get(kind, {}):
        family = importlib.import_module(FAMILIES[kind][prefix]).family
        return typing.cast(Callable[..., Any], family(rest))
    module_name, symbol = _import_path(kind, name)
    check_trusted(kind, name)
    spec = origin(kind, name)
    try:
        if spec:
            code_of(spec)
        found = getattr(importlib.import_module(module_name), symbol)
    except (Exception, SystemExit) as error:  # other people's code: it may raise anything
        if isinstance(error, Terminated):
            raise
        raise_shortage(error)
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and ":" in name:
            why += NOT_HERE
        raise BadUsage(f"{NOUNS[kind]} {name!r} cannot be imported: {why}") from error
    if not callable(found):
        raise BadUsage(f"{NOUNS[kind]} {name!r} is not a function")
    if not is_path(kind, name) and names(kind)[name] is None:
        return typing.cast(Callable[..., Any], found)
    if is_path(kind, name):
        _check_form(kind, name, found)
    for module in (module_name, str(found.__module__)):  # one may give what another defines
        OTHERS[module][f"{NOUNS[kind]} {name!r}"] = found
    return _checked(kind, name, found)


def is_path(kind: str, name: str) -> bool:
    """Whether a name is an import path, and not that of something bundled or installed."""
    family = name.partition(":")[0] in FAMILIES.get(kind, {})
    return ":" in name and not family and name not in names(kind)


def may_find(kind: str, name: str) -> bool:
    """Whether a name is no import path, or one that the user gave; see `trust`."""
    return not is_path(kind, name) or is_trusted(name)


def check_trusted(kind: str, name: str) -> None:
    """Raise BadUsage unless `may_find`."""
    if not may_find(kind, name):
        raise BadUsage(
            f"{NOUNS[kind]} {name!r} is named by a file, and nothing that a file names is "
            f"imported; if you trust that code, add --trust {name}"
        )


def _import_path(kind: str, name: str) -> tuple[str, str]:
    """The module that a name stands for, and what it is called there."""
    point = names(kind).get(name)
    if point is None and ":" not in name:
        symbol = name.replace("-", "_")
        return f"prunecli.{kind}.{symbol}", symbol
    module_name, _, symbol = (point.value if point else name).partition(":")
    return module_name, symbol


def code(kind: str, name: str) -> str | None:
    """The hash of a plugin's code, as this process has or would have it; see `origin`."""
    spec = origin(kind, name)
    return code_of(spec) if spec else None


def origin(kind: str, name: str) -> ModuleSpec | None:
    """Where `find` has somebody else's plugin from: its top-level module, which is not run for it.

    None for prunecli's own and Python's own, which versions tell apart, and for what is not there.
    """
    if name.partition(":")[0] in FAMILIES.get(kind, {}):
        return None
    if not may_find(kind, name):
        return None
    top = _import_path(kind, name)[0].partition(".")[0]
    if not top or top in sys.stdlib_module_names or top == prunecli.__name__:
        return None
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise_shortage(error)
        return None


def _check_form(kind: str, name: str, function: Callable[..., Any]) -> None:
    """Raise BadUsage for a function that was not written to be called as this kind is.

    An import path may lead to any function at all, one that deletes folders among them.
    """
    given = [n for n, p in _parameters(function).items() if p.kind in POSITIONAL]
    if kind in FORMS and given[len(FORMS[kind]) - 2 :][:2] != FORMS[kind][-2:]:
        raise BadUsage(
            f"{NOUNS[kind]} {name!r} is not written as one: its first arguments must be "
            f"{' and '.join(FORMS[kind][-2:])}, as in def {name.partition(':')[2]}"
            f"({', '.join(FORMS[kind])}, *, options)"
        )


def _checked(kind: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which must give what its kind does. It raises Mismatch if it gives other things.

    What is prunecli's own has types that say so, which are checked before it is run.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        noun, wanted = _product(kind, function)
        if not isinstance(found, wanted):
            raise Mismatch(f"{NOUNS[kind]} {name!r} gives {type(found).__name__}, not {noun}")
        return found

    return call


def _product(kind: str, function: Callable[..., Any]) -> tuple[str, type]:
    """What a function of that kind gives."""
    from torch import Tensor, nn

    from prunecli.types import Images, Pruner

    if kind == "scorers":
        return ("a dict of scores", dict) if takes_model(function) else ("a Tensor", Tensor)
    products = {
        "models": ("a torch.nn.Module", nn.Module),
        "data": ("prunecli.types.Images", Images),
        "pruners": ("a prunecli.types.Pruner", Pruner),
    }
    return products[kind]


def summary(kind: str, name: str) -> str:
    """The first line of the documentation."""
    return (inspect.getdoc(find(kind, name)) or "").partition("\n")[0]


def options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments but `mask`: what `--opt` may set, with types and defaults."""
    named = _named(function)
    return {name: option for name, option in named.items() if name != "mask"}


def takes_mask(scorer: Callable[..., Any]) -> bool:
    """Whether a scorer is to be given the mask that is on while it scores, besides its options."""
    return "mask" in _named(scorer)


def _named(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = _parameters(function)
    return {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def default(option: inspect.Parameter) -> Any:
    """The option's default; 'REQUIRED' where it has none."""
    return "REQUIRED" if option.default is option.empty else option.default


def takes_model(scorer: Callable[..., Any]) -> bool:
    """Whether a scorer takes a model and data; a tensor scorer takes one weight."""
    count = sum(parameter.kind in POSITIONAL for parameter in _parameters(scorer).values())
    if count not in (1, 2):
        raise BadUsage(f"{_name(scorer)!r}: a scorer takes (weight) or (model, data)")
    return count == 2


def takes_part(scorer: Callable[..., Any]) -> bool:
    """Whether a tensor scorer takes any part of a weight, `types.Part`, not only the whole."""
    from prunecli.types import Part  # which torch comes with

    return next(iter(_parameters(scorer).values())).annotation is Part


def own_rounds(scorer: Callable[..., Any]) -> int:
    """In how many rounds a scorer prunes unless told otherwise; see `types.iterative`."""
    return int(getattr(scorer, "rounds", 1))


def decides(scorer: Callable[..., Any]) -> bool:
    """Whether a scorer says by itself what stays; see `types.decisive`."""
    return bool(getattr(scorer, "decisive", False))


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except Exception as error:  # annotations are other people's code too
        raise_shortage(error)
        raise BadUsage(f"the arguments of {_name(function)!r} cannot be told: {error}") from None


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def bind(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against the function's own arguments, and convert their text to its types.

    Raises BadUsage naming an unknown option (with the nearest known one) or a value that does not
    fit.
    """
    known = options(find(kind, name))
    bound = {}
    for option, value in given.items():
        if option not in known:
            raise BadUsage(
                f"the {NOUNS[kind]} {name!r} has no option {option!r}{suggest(option, list(known))}"
            )
        try:
            bound[option] = converted(value, known[option].annotation)
        except ValueError as error:
            raise BadUsage(f"{NOUNS[kind]} {name!r}: option {option!r} {error}") from None
    missing = [n for n, p in known.items() if p.default is p.empty and n not in bound]
    if missing:
        raise BadUsage(f"the {NOUNS[kind]} {name!r} needs the option {missing[0]!r}")
    return bound
