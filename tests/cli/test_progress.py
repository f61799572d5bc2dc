import pytest

from prunecli.cli import _progress
from prunecli.cli._progress import Bar, Lines, progress


def test_plain_lines_come_every_few_seconds(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    lines = Lines(verbose=False)
    for second in range(12):
        now = 100.0 + second
        lines.advance("epoch 1/2", second, 12)
    assert capsys.readouterr().err == "epoch 1/2: 5/12\nepoch 1/2: 10/12\n"


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [(False, False, ["said", "warning: odd"]), (False, True, ["more", "said", "warning: odd"]),
     (True, False, [])],
)  # fmt: skip
def test_how_much_is_said(capsys, quiet, verbose, shown):
    watcher = progress(quiet, verbose)
    watcher.detail("more")
    watcher.say("said")
    watcher.warn("odd")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == shown
    assert captured.out == ""


def test_messages_cannot_steer_the_terminal(capsys):
    Lines(verbose=False).say("a\x1b[2Jb")
    assert capsys.readouterr().err == "a\\x1b[2Jb\n"


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    watcher = progress(quiet=False, verbose=False)
    assert isinstance(watcher, Bar)
    for label in ("epoch 1/2", "epoch 2/2"):
        for done in range(1, 4):
            watcher.advance(label, done, 3)
        watcher.say(f"{label} is over")
    captured = capsys.readouterr()
    assert "epoch 2/2 is over" in captured.err
    assert captured.out == ""
