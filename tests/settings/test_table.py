"""A table says everything once: what is asked, what is read back, what is told of it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from prunecli.cli import cli
from prunecli.cli.answers import Answer
from prunecli.cli.base import command
from prunecli.cli.options import Setting
from prunecli.errors import BadUsage
from prunecli.settings.kinds import File, OneOf, Plain, PluginName, Real, Switch, Whole
from prunecli.settings.run import Form, RunOptions
from prunecli.settings.table import (
    check,
    flag_said,
    group,
    option,
    option_of,
    options,
    read,
    some_of,
)


@dataclass(frozen=True)
class Oven:
    heat: float = option("How hot.", Real(0, 300), 180)
    rack: int = option("Counted from below.", Whole(1, 4), 2)
    fan: bool = option("Move the air.", Switch(negates=True), True)


@dataclass(frozen=True)
class Dough:
    flour: str = option("Which grain.", OneOf(("rye", "wheat")), "rye", envvar="SCRATCH_FLOUR")
    seeds: tuple[str, ...] = option("On top; repeatable.", Plain.TEXTS, metavar="SEED")


@dataclass(frozen=True)
class Bread:
    """A scratch table, of all that there may be in one."""

    start: Path | None = None
    dough: Dough = group(Dough)
    notes: Mapping[str, str] = option("Said of it; repeatable.", Plain.PAIRS, flag="--opt")
    salt: int | None = option("Grams.", Whole(0, 50), unset="as the sea has it")
    plain: bool = option("No seeds.", Switch())
    given: Mapping[str, object] = some_of(Oven, lambda x: f"the last bread's, else {x.otherwise}")
    into: Path = option("Where.", File(), flag="--tin", required=True)


@pytest.fixture
def bake():
    """`bake(*words)`: the table that a command of one's own is given, or click's complaint."""
    found = []

    @command("bake")
    @click.argument("start", type=click.Path(path_type=Path))
    def run(settings: Bread, form: Form) -> Answer | None:
        """Bake."""
        found.append(settings)

    def invoke(*words, env=None):
        ended = CliRunner().invoke(run, words, env=env)
        return found.pop() if found else ended.output

    return invoke


def test_what_is_not_said_is_as_the_table_has_it(bake):
    assert bake("s", "--tin", "t") == Bread(start=Path("s"), into=Path("t"))


def test_what_is_said_is_read_back_with_its_type(bake):
    words = (
        "s --tin t --flour wheat --seeds a --seeds b --opt k=v --salt 0 --plain --rack 3 --no-fan"
    )
    assert bake(*words.split()) == Bread(
        Path("s"), Dough("wheat", ("a", "b")), {"k": "v"}, 0, True, {"rack": 3, "fan": False},
        Path("t"),
    )  # fmt: skip


def test_an_environment_variable_stands_for_its_option(bake):
    assert bake("s", "--tin", "t", env={"SCRATCH_FLOUR": "wheat"}).dough == Dough("wheat")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("s", "Missing option '--tin'"),
        ("s --tin t --flour oats", "'oats' is not one of 'rye', 'wheat'"),
        ("s --tin t --heat 301", "301 is not above 0 and at most 300"),
        ("s --tin t --rack 5", "5 is not in the range 1<=x<=4"),
        ("s --tin t --opt k=1 --opt k=2", "the same key is given twice"),
    ],
)
def test_what_the_table_does_not_allow_is_refused(bake, words, complaint):
    assert complaint in bake(*words.split())


def test_help_says_each_default_choice_and_limit(bake):
    text = " ".join(bake("--help").split())
    for line in (
        "--flour [rye|wheat] Which grain. [default: rye; env: SCRATCH_FLOUR]",
        "--opt K=V Said of it; repeatable.",
        "--salt INTEGER RANGE Grams. [default: as the sea has it; 0<=x<=50]",
        "--plain No seeds.",
        "--heat NUMBER How hot. [default: the last bread's, else 180; 0<x<=300]",
        "--fan / --no-fan Move the air. [default: the last bread's, else fan]",
        "--tin PATH Where. [required]",
    ):
        assert line in text


def test_options_stand_in_the_order_of_the_fields():
    names = "flour seeds opt salt plain heat rack fan tin"
    assert [row.name for row in options(Bread)] == names.split()


def test_only_fields_with_a_parameter_are_read():
    assert read(Dough, {"flour": "wheat", "heat": 3}) == Dough("wheat")


def test_a_field_is_called_by_its_flag_where_it_is_told_of():
    assert option_of(Bread, "into").flag == "--tin"
    assert flag_said(Bread(notes={"a": "b"}, plain=True), "salt", "notes", "plain") == "--opt"
    assert flag_said(Bread(), "salt", "notes", "plain") == ""


def test_tables_are_frozen():
    with pytest.raises(FrozenInstanceError):
        RunOptions().force = True


def test_importing_every_table_loads_neither_torch_nor_click():
    code = (
        "import importlib, pkgutil, sys, prunecli.settings as s; "
        "names = [m.name for m in pkgutil.iter_modules(s.__path__)]; "
        "[importlib.import_module(f'prunecli.settings.{n}') for n in names]; "
        "print(len(names), sorted({'torch', 'numpy', 'click', 'rich'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    count, _, loaded = told.strip().partition(" ")
    assert int(count) > 10
    assert json.loads(loaded) == []


def commands(of, path=()):
    for name, each in of.commands.items():
        own = (*path, name)
        yield from commands(each, own) if isinstance(each, click.Group) else [(own, each)]


ALL = dict(commands(cli))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_of_every_command_comes_from_a_table_and_says_what_it_is(path):
    for param in ALL[path].params:
        if isinstance(param, click.Option):
            assert isinstance(param, Setting)
            assert param.row.help.endswith(".")
            assert "[default" not in param.row.help


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_what_sets_a_plugins_options_names_an_option_that_names_the_plugin(path):
    rows = {p.row.name: p.row for p in ALL[path].params if isinstance(p, Setting)}
    for row in rows.values():
        if row.sets:
            assert isinstance(rows[row.sets].kind, PluginName)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Bread(salt=51), "--salt cannot be 51: 0<=x<=50"),
        (Bread(plain="yes"), "--plain cannot be 'yes': true or false"),
        (Bread(dough=Dough(flour="ry")), "--flour cannot be 'ry'; did you mean 'rye'?"),
    ],
)
def test_what_no_command_line_would_take_is_refused_in_groups_too(settings, message):
    with pytest.raises(BadUsage) as told:
        check(settings)
    assert str(told.value) == message
    check(Bread(salt=50, plain=True, dough=Dough("wheat")))
