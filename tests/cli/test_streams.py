"""Standard output and error that are closed, full, a terminal, or of another encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRUNECLI = f"{sys.executable} -m prunecli"
RUN = """
version: 1
name: tiny
matrix: {density: [0.5, 0.1]}
steps:
  init: {train: {model: cnn, dataset: digits, epochs: 0}}
  mask: {mask: {checkpoint: "@init", method: magnitude, density: "${density}"}}
"""


@pytest.fixture
def shell(tmp_path):
    """Runs 'prunecli LINE' in a shell, in `tmp_path`: its exit code, stdout and stderr."""

    def run(line, **environment):
        ended = subprocess.run(
            ["sh", "-c", line.replace("prunecli", PRUNECLI, 1)],
            cwd=tmp_path, env=os.environ | environment, capture_output=True,
        )  # fmt: skip
        return ended.returncode, ended.stdout, ended.stderr.decode()

    return run


NOBODY = ["2>&-", "2>/dev/full"]


@pytest.mark.fault(31)
@pytest.mark.parametrize("stderr", NOBODY)
def test_work_is_done_though_nobody_listens(shell, checkpoint, stderr):
    line = "prunecli mask dense.safetensors --method magnitude --critical -v -o m.safetensors"
    assert shell(f"{line} {stderr}")[:2] == (0, b"m.safetensors\n")
    assert checkpoint.with_name("m.safetensors").stat().st_size > 0


def test_jobs_are_done_though_nobody_listens(shell, tmp_path):
    (tmp_path / "r.yaml").write_text(RUN)
    code, out, _ = shell("prunecli run r.yaml --jobs 2 --threads 1 2>&-")
    assert code == 0
    assert all((tmp_path / path).is_file() for path in out.decode().splitlines())


@pytest.mark.parametrize("stderr", [*NOBODY, "2>&- >&- <&-"])
def test_nobody_who_listens_leaves_the_exit_code(shell, stderr):
    assert shell(f"prunecli recipe cat none {stderr}", PRUNECLI_DEBUG="1")[0] == 3
    assert shell(f"prunecli {stderr}")[0] == 2


@pytest.mark.fault(31)
@pytest.mark.parametrize("command", ["recipe list", "recipe cat gmp", "mask --help", "--version"])
def test_a_result_that_there_is_no_room_for_ends_with_5(shell, command):
    why = "error: standard output: cannot be written: No space left on device\n"
    assert shell(f"prunecli {command} >/dev/full") == (5, b"", why)


ODD_NAMES = ["a\u00a0b", "a\nb", os.fsdecode(b"a\xff")]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_program_is_given_the_very_path(shell, name):
    """The shell itself takes the path, as in `x=$(prunecli ...)`."""
    line = 'x=$(prunecli recipe cp gmp "$name") && test -f "$x"'
    assert shell(line, name=name, PYTHONIOENCODING="latin-1") == (0, b"", "")


def test_a_program_is_given_the_very_paths_of_a_study(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RUN)
    ended = prune("run", "r.yaml", "-q", "-o", "a\u00a0b")
    wanted = [f"a\u00a0b/mask/density={d}/mask.safetensors\n" for d in ("0.5", "0.1")]
    assert (ended.code, ended.out) == (0, "".join(wanted))


def test_a_script_names_the_very_paths(shell, tmp_path):
    (tmp_path / "r.yaml").write_text(RUN)
    code, out, _ = shell('prunecli run r.yaml --emit sh -o "$name"', name=ODD_NAMES[2])
    assert code == 0
    assert b"mkdir -p -- 'a\xff/init'\n" in out


@pytest.mark.parametrize(
    ("name", "shown"), [*zip(ODD_NAMES, [r"a\xa0b", r"a\nb", r"a\udcff"], strict=True)]
)
def test_a_person_is_shown_a_path_that_is_safe(prune, tmp_path, monkeypatch, name, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert prune("recipe", "cp", "gmp", name).out == f"{shown}/gmp.yaml\n"
    assert Path(name, "gmp.yaml").is_file()


def test_text_that_the_encoding_lacks_is_escaped(shell, tmp_path):
    (tmp_path / "r.yaml").write_text("# \u20ac \u00e9\n", encoding="utf-8")
    ended = shell("prunecli recipe cat r.yaml", PYTHONIOENCODING="latin-1")
    assert ended == (0, b"# \\u20ac \xe9\n", "")
