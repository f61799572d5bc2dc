"""YAML without its traps: every refusal names the file and the line, and comes at once."""

import errno
import math
import os
import time
from pathlib import Path

import pytest

from prunecli.errors import BadEnvironment, BadInput, BadUsage
from prunecli.recipe.parse import MAX_BYTES, load_yaml, scalar

ALIAS_BOMB = "a0: &a0 [lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.fixture
def load(tmp_path):
    """Loads text as a recipe; the path that messages name is `r.yaml`'s."""

    def write_and_load(text):
        path = tmp_path / "r.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_yaml(path)

    return write_and_load


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E4", 50000.0),
        ("-2.5e+1", -25.0),
        ("1.e2", 100.0),
        ("0.05", 0.05),
        ("160", 160),
        ("true", True),
        ("null", None),
        ("'1e-3'", "1e-3"),
        ("vgg16", "vgg16"),
        ("1e-3x", "1e-3x"),
        ("2024-01-31", "2024-01-31"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("-.5", -0.5),
        ("0", 0),
        ("9" * 5000, math.inf),
        ("~", None),
        ("[1, 2e1, x]", [1, 20.0, "x"]),
    ],
)
def test_a_value_is_what_it_looks_like(load, text, value):
    document, _ = load(f"lr: {text}\n")
    assert document == {"lr": value}
    assert type(document["lr"]) is type(value)
    assert scalar(text) == value


def test_every_place_has_its_line(load):
    document, lines = load("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    places = [("a",), ("b",), ("b", 0), ("b", 1), ("b", 1, "c"), ("b", 1, "d")]
    assert [lines[place] for place in places] == [1, 2, 3, 4, 4, 5]


def test_an_empty_document_is_none(load):
    assert load("")[0] is None


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' appears twice"),
        ("a: {x: 1,\n  x: 2}\n", 2, "'x' appears twice"),
        ("a: 1\nb: &here 2\n", 2, "anchors and aliases"),
        ("a: 1\nb: *here\n", 2, "anchors and aliases"),
        ("a:\n  <<: {x: 1}\n", 2, "a key must be a plain word"),
        ("a:\n  [1, 2]: x\n", 2, "a key must be a plain word"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "python/object:os.system' is not allowed"),
        ("a: !!str 1\n", 1, "is not allowed"),
        ("a: !mine 1\n", 1, "'!mine' is not allowed"),
        ("a:\n  b: 1\n c: 2\n", 3, "expected <block end>"),
        ('a: 1\nb: ["x\\0"]\n', 2, r"the character '\x00' is not allowed"),
        ('a: 1\nb: "\\ud800"\n', 2, r"the character '\ud800' is not allowed"),
        ('"\\udc00": 1\n', 1, r"the character '\udc00' is not allowed"),
        ("a: [1, 2\n", 2, "expected ',' or ']'"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
        ("a: " + "[" * 5000 + "]" * 5000, 1, "nested too deeply"),
        ("a: " + "{a: " * 5000 + "1" + "}" * 5000, 1, "nested too deeply"),
        ("\n" + "- " * 5000 + "1", 2, "nested too deeply"),
        ("\n".join(" " * n + "a:" for n in range(1000)), 21, "nested too deeply"),
        (ALIAS_BOMB, 1, "anchors and aliases"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_traps_are_refused_at_once_with_file_and_line(load, text, line, words):
    began = time.perf_counter()
    with pytest.raises(BadUsage) as error:
        load(text)
    assert time.perf_counter() - began < 1
    [message] = str(error.value).splitlines()
    assert f"r.yaml:{line}: " in message
    assert words in message


@pytest.mark.fault(19)
def test_faults_of_a_document_come_together(load):
    with pytest.raises(BadUsage) as error:
        load("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    first, second = str(error.value).splitlines()
    assert "r.yaml:2: the key 'a'" in first
    assert "r.yaml:3: the key 'c'" in second


@pytest.mark.fault(23)
def test_what_is_not_text_is_refused_with_the_byte(load):
    with pytest.raises(BadUsage, match=r"r\.yaml: it is not UTF-8 at byte 6$"):
        load(b"name: \xff\xfe\n")


def test_a_terminal_escape_is_not_passed_on(load):
    with pytest.raises(BadUsage) as error:
        load('"\\e[31m": 1\n"\\e[31m": 2\n')
    assert "\\x1b[31m" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_control_character_is_refused_in_one_line(load):
    with pytest.raises(BadUsage, match="special characters are not allowed") as error:
        load("a: \x07\n")
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInput, match=r"none\.yaml: there is no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)


def test_a_file_that_is_no_recipe_is_not_read_whole(load):
    with pytest.raises(BadUsage, match="over 1,000,000 bytes is too large"):
        load(b"#" * (MAX_BYTES + 1))
    assert load(b"#" * MAX_BYTES)[0] is None


@pytest.mark.parametrize("text", ["[", "*a", "&a 1", "!!python/object:x 1", "{a: 1, a: 2}"])
def test_a_value_on_the_command_line_must_be_plain(text):
    with pytest.raises(BadUsage, match="is not a plain YAML value"):
        scalar(text)


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2),
        ('a: "\\U00110000"\n', 1),
        ("%YAML 1." + "9" * 6000 + "\n---\na: 1\n", 1),
        ("%YAML " + "9" * 6000 + ".1\n---\na: 1\n", 1),
    ],
    ids=["a character beyond all", "the first beyond all", "minor version", "major version"],
)
def test_what_the_yaml_library_fails_at_is_refused_with_its_line(load, text, line):
    with pytest.raises(BadUsage, match=rf"r\.yaml:{line}: it is not YAML: ") as error:
        load(text)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(BadUsage, match="is not a plain YAML value"):
        scalar(text)


@pytest.mark.fault(35)
def test_a_pipe_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "r.yaml")
    with pytest.raises(BadInput, match=r"r\.yaml: it is a named pipe; give a regular file"):
        load_yaml(tmp_path / "r.yaml")
    with pytest.raises(BadInput, match="/dev/zero: it is a device; give a regular file"):
        load_yaml(Path("/dev/zero"))


@pytest.mark.fault(36)
def test_too_many_open_files_are_no_fault_of_the_recipe(monkeypatch):
    def refuse(*args):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BadEnvironment, match="too many files are open"):
        load_yaml(Path("r.yaml"))
