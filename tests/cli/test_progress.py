import pytest

from prunecli.cli import progress as _progress
from prunecli.cli import streams as _streams
from prunecli.cli.progress import Bar, Lines, progress


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


@pytest.mark.fault(42)
def test_a_bar_cannot_be_steered_by_its_label(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    watcher = progress(quiet=False, verbose=False)
    for done in range(1, 3):
        watcher.advance("[/nothing] [red]a\x07b", done, 2)
    watcher.close()
    err = capsys.readouterr().err
    assert r"[/nothing] [red]a\x07b" in err
    assert "\x07" not in err


@pytest.mark.fault(42)
def test_an_error_cannot_steer_the_terminal(prune, tmp_path):
    ended = prune("report", tmp_path / "a\x1b[2J\x9b2J\u202e\r.json", "--format", "x\x1b[2J")
    assert ended.code == 2
    assert r"x\x1b[2J" in ended.err
    assert ended.err[:-1].isprintable()


@pytest.mark.fault(42)
def test_a_result_is_legible_on_a_terminal_and_itself_elsewhere(monkeypatch, capsys):
    text = "a\x1b[2J\tb\r\nc\u202e\n"
    _streams.print_text(text)
    assert capsys.readouterr().out == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _streams.print_text(text)
    assert capsys.readouterr().out == "a\\x1b[2J\tb\\r\nc\\u202e\n"
