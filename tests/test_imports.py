"""Imports point one way, and only the command line knows click and rich."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import prunecli

ROOT = Path(prunecli.__file__).parent

# From the top down. A module may import those of its own layer and of the layers below it.
LAYERS = [
    ["__main__"],
    ["cli", "__init__"],
    ["recipe"],
    ["steps", "api"],
    ["training", "report", "pruning"],
    ["scoring"],
    ["scorers", "pruners", "models", "data"],
    ["images", "network"],
    ["masks"],
    ["plugins"],
    ["files"],
    ["tensors", "types", "settings"],
    ["runtime"],
    ["errors", "package"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in ROOT.rglob("*.py")}


def part(module):
    """The name in LAYERS: 'prunecli.files.atomic' -> 'files'; of the package itself '__init__'."""
    return [*module.split("."), "__init__"][1]


def imported(module, everywhere=True):
    """What a module imports, wherever that stands or only while it is itself imported."""
    found = set()
    waiting = [ast.parse(FILES[module].read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= within & FILES.keys() or {node.module}
        elif everywhere or not delayed(node):
            waiting += ast.iter_child_nodes(node)
    return found


def delayed(node):
    """Whether what is in it runs later, or only for the type checker."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, functions) or for_types


def test_every_module_has_a_layer():
    assert {part(module) for module in FILES} <= LEVEL.keys()
    assert len(FILES) > 50


@pytest.mark.parametrize("module", FILES)
def test_nothing_is_imported_from_above(module):
    everywhere = module != "prunecli"  # which tells type checkers what it gives when asked
    own = [name for name in imported(module, everywhere) if name.split(".")[0] == "prunecli"]
    above = [name for name in own if LEVEL[part(name)] < LEVEL[part(module)]]
    assert above == []


@pytest.mark.parametrize("module", [m for m in FILES if part(m) not in ("cli", "__main__")])
def test_only_the_command_line_knows_click_and_rich(module):
    assert {name.split(".")[0] for name in imported(module)}.isdisjoint({"click", "rich"})


def test_the_commands_and_the_python_api_do_not_know_each_other():
    for module in FILES:
        known = {part(name) for name in imported(module) if name.split(".")[0] == "prunecli"}
        if part(module) in ("steps", "api"):
            assert known.isdisjoint({"steps", "api"} - {part(module)})


def test_there_are_no_cycles():
    graph = {m: imported(m, everywhere=False) & FILES.keys() - {m} for m in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def test_recipes_do_not_know_the_commands_nor_commands_torch():
    for module in FILES:
        known = {name.split(".")[0] for name in imported(module)}
        if part(module) == "recipe":
            assert not [name for name in imported(module) if part(name) == "steps"]
        if part(module) in ("cli", "recipe"):
            assert "torch" not in known
