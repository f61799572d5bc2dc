"""The plugin that a scorer's, pruner's, model's or data set's name stands for, imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import reduce, wraps
from typing import Any

from prunecli.errors import BadUsage, Mismatch
from prunecli.package import NAME
from prunecli.plugins.arguments import positional
from prunecli.plugins.blame import OTHERS
from prunecli.plugins.names import NOUNS, check_name, family_of, import_path, is_path, names
from prunecli.plugins.origin import code
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.trust import check_may_follow
from prunecli.runtime.interrupts import Terminated
from prunecli.runtime.shortage import raise_shortage

FORMS = {"models": ["input_shape", "classes"], "data": ["root", "split", "download"]}
"""What functions of a kind are called with; the last two are told by their names."""
NOT_HERE = "; set PYTHONPATH=. for one in the current folder"


def resolve(
    kind: str, name: str, options: Mapping[str, Any] | None = None, *, by_file: bool
) -> Plugin:
    """The plugin of that name, with these options; None looks at what it is and binds none yet.

    `by_file` says who gave the name: a file, whoever made it, or the user, in this command or in
    the recipe that is run. There is no default, since importing a module runs it: an import path
    that a file gives is followed only on the user's word; see `trust`.

    Raises BadUsage for a plugin that is not there, is not trusted or cannot be imported, and for
    options that it does not take.
    """
    check_name(kind, name)
    check_may_follow(kind, name, by_file=by_file)
    plugin = _family(kind, name) or _imported(kind, name)
    return plugin if options is None else plugin.bound(options)


def _family(kind: str, name: str) -> Plugin | None:
    module = family_of(kind, name)
    if module is None:
        return None
    return Plugin(kind, name, importlib.import_module(module).family(name.partition(":")[2]), True)


def _imported(kind: str, name: str) -> Plugin:
    module, _ = import_path(kind, name)
    own = module.partition(".")[0] == NAME
    found = Plugin(kind, name, _attribute(kind, name), own)
    if ":" not in name and names(kind)[name] is None:
        return found
    if is_path(kind, name):
        _check_form(found)
    for origin in (module, str(getattr(found.call, "__module__", ""))):
        # One may give what another defines.
        OTHERS[origin][found.label] = found.call
    return Plugin(kind, name, _checked(found), found.own)


def _attribute(kind: str, name: str) -> Callable[..., Any]:
    """The function that a name stands for, of the very code that `code` tells."""
    module, symbol = import_path(kind, name)
    label = f"{NOUNS[kind]} {name!r}"
    try:
        code(kind, name, by_file=False)
        found = reduce(getattr, symbol.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:  # other people's code: it may raise anything
        if isinstance(error, Terminated):
            raise
        raise_shortage(error)
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and ":" in name:
            why += NOT_HERE
        raise BadUsage(f"{label} cannot be imported: {why}") from error
    if not callable(found):
        raise BadUsage(f"{label} is not a function")
    return found


def _check_form(plugin: Plugin) -> None:
    """Raise BadUsage for a function that was not written to be called as its kind is.

    An import path may lead to any function at all, one that deletes folders among them.
    """
    form = FORMS.get(plugin.kind, [])
    given = [parameter.name for parameter in positional(plugin.call)]
    if form and given[len(form) - 2 :][:2] != form[-2:]:
        raise BadUsage(
            f"{plugin.label} has the wrong signature: its first arguments must be "
            f"{' and '.join(form[-2:])}, as in def {plugin.name.partition(':')[2]}"
            f"({', '.join(form)}, *, options)"
        )


def _checked(plugin: Plugin) -> Callable[..., Any]:
    """The plugin's function, which raises Mismatch if it gives other things than its kind does.

    What is prunecli's own has types that say so, which are checked before it is run.
    """

    @wraps(plugin.call)
    def call(*args: Any, **kwargs: Any) -> Any:
        found = plugin.call(*args, **kwargs)
        noun, wanted = _product(plugin)
        if not isinstance(found, wanted):
            raise Mismatch(f"{plugin.label} gives {type(found).__name__}, not {noun}")
        return found

    return call


def _product(plugin: Plugin) -> tuple[str, type]:
    """What a plugin of that kind gives."""
    from torch import Tensor, nn

    from prunecli.types import Images, Pruner

    if plugin.kind == "scorers":
        return ("a dict of scores", dict) if plugin.takes_model else ("a Tensor", Tensor)
    products = {
        "models": ("a torch.nn.Module", nn.Module),
        "data": ("prunecli.types.Images", Images),
        "pruners": ("a prunecli.types.Pruner", Pruner),
    }
    return products[plugin.kind]
