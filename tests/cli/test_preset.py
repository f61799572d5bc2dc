"""Options of `mask` that bear on each other: the explicit one wins, none is passed over."""

import json
import shlex

import pytest

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def here(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def meta_of(prune, words):
    line = f"mask dense.safetensors --method magnitude --density 0.1 --json {words}"
    done = prune(*shlex.split(line))
    assert done.code == 0, done.err
    return json.loads(done.out)["meta"]


@pytest.mark.parametrize(
    ("words", "count", "classifier"),
    [
        ("", "scored", False),
        ("--count model", "model", False),
        ("--preset thesis", "model", True),
        ("--preset thesis --count model", "model", True),
        ("--preset thesis --count scored", "scored", True),
        ("--preset thesis --exclude-classifier", "model", True),
    ],
)
def test_what_is_said_wins_over_the_preset(prune, words, count, classifier):
    meta = meta_of(prune, words)
    assert meta["count"] == count
    assert meta["left_out"] == ({"exclude_classifier": True} if classifier else {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--method lamp --density 0.1 --schedule linear",
            "--schedule needs several rounds; set --rounds",
        ),
        ("--method lamp --density 0.1 --dense 'fc*'", "--dense needs --scope uniform"),
        ("--method lamp --pattern 2:4 --schedule linear", "leave --schedule out"),
        ("--method lamp --pattern 2:4 --count scored", "leave --count out"),
        ("--method lamp --pattern 2:4 --dense fc*", "leave --dense out"),
    ],
)
def test_what_would_be_passed_over_is_refused(prune, words, message):
    done = prune(*shlex.split(f"mask dense.safetensors {words}"))
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("words", ["--rounds 1", "--rounds 3"])
def test_a_schedule_goes_with_rounds_however_many(prune, words):
    meta = meta_of(prune, f"{words} --schedule linear")
    assert meta["schedule"] == (None if words == "--rounds 1" else "linear")
