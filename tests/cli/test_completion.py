"""What a shell offers on TAB, and that it is quick: nothing is imported for it."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from prunecli.cli import cli
from prunecli.cli.completion import written_options
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.recipe.shipped import shipped


def offered(line):
    *words, last = line.split(" ")
    completion = ShellComplete(cli, {}, "prunecli", "_PRUNECLI_COMPLETE")
    return [item.value for item in completion.get_completions(words, last)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mask x --method sn", ["snip", "snip-thesis"]),
        (
            "train --model resnet",
            ["resnet12", "resnet20", "resnet32", "resnet34", "resnet50", "resnet56"],
        ),
        ("train --dataset cifar", ["cifar10", "cifar100"]),
        ("finetune x --pruner g", ["gmp", "gradual"]),
        ("train --optimizer a", ["adam", "adamw"]),
        ("list methods lo", ["lookahead"]),
        ("list datasets f", ["folder"]),
        ("score x --method snip --opt ba", ["batches="]),
        ("train --pruner gmp --opt del", ["delta="]),
        ("score x --method mine:score --opt b", []),
        ("score x --opt b", []),
        ("report --figure w", ["weights"]),
    ],
)
def test_names_choices_and_options_of_plugins_are_offered(line, words):
    assert offered(line) == words


@pytest.mark.parametrize("line", ["run ", "recipe cp ", "recipe cat ", "verify x --recipe "])
def test_shipped_recipes_are_offered_beside_files(line):
    assert shipped().keys() <= set(offered(line))
    assert "gmp" in offered(f"{line}gm")


@pytest.mark.parametrize("kind", ["scorers", "pruners", "models", "data"])
def test_the_options_that_are_offered_are_those_that_there_are(kind):
    for name in names(kind):
        assert written_options(kind, name) == list(resolve(kind, name, by_file=False).declared)


@pytest.mark.parametrize("line", ["mask x --method s", "score x --method snip --opt b", "run q"])
def test_nothing_that_takes_long_is_imported_for_it(line):
    code = (
        "import sys; from click.shell_completion import ShellComplete as S; "
        "from prunecli.cli import cli; *words, last = sys.argv[1].split(' '); "
        "print(len(S(cli, {}, 'p', 'P').get_completions(words, last)), 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code, line], capture_output=True, text=True)
    count, torch = ended.stdout.split()
    assert int(count) > 0
    assert torch == "False"


@pytest.mark.parametrize("asked", ["bash_complete", "bash_source"])
def test_the_shell_is_answered_and_nothing_else_is_said(asked):
    code = "import sys; sys.argv = ['prunecli']; from prunecli.cli import main; main()"
    words = {"COMP_WORDS": "prunecli score --method la", "COMP_CWORD": "3"}
    told = {**os.environ, **words, "_PRUNECLI_COMPLETE": asked}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=told)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ("plain,lamp" if asked == "bash_complete" else "complete -") in ended.stdout


DOCUMENT = (Path(__file__).parents[2] / "docs" / "completion.md").read_text()
ASK = {
    "bash": "COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
    "_prunecli_completion prunecli 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "fish": "complete -C '{line}' | string match -rg '^(\\S+)'",
}
"""How each shell says what it would offer."""


@pytest.fixture(scope="module", params=["bash", "fish"])
def shell(request, tmp_path_factory):
    """A shell at home where the document's commands were run: from a line to what is offered."""
    name, home = request.param, tmp_path_factory.mktemp("home")
    if not shutil.which(name):
        pytest.skip(f"there is no {name}")
    if name == "fish" and version("click") in ("8.4.0", "8.4.1"):
        pytest.skip("this version of click cannot complete for fish")
    script = home / "bin" / "prunecli"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom prunecli.cli import main\nmain()\n")
    script.chmod(0o755)
    told = {
        **{key: value for key, value in os.environ.items() if not key.startswith("XDG_")},
        **{"HOME": str(home), "PATH": f"{script.parent}:{os.environ['PATH']}"},
    }

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, env=told, cwd=home)

    [commands] = re.findall(rf"^\*\*{name}\*\*.*?```sh\n(.*?)```", DOCUMENT, re.DOTALL | re.M)
    assert run(name, "-c", commands).returncode == 0
    return lambda line: run(name, "-i", "-c", ASK[name].format(line=line)).stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prunecli score --method la", {"lamp"}),
        ("prunecli mask x --method sn", {"snip", "snip-thesis"}),
        ("prunecli run qu", {"quickstart"}),
    ],
)
def test_a_shell_that_was_set_up_as_the_document_says_offers_them(shell, line, words):
    assert set(shell(line)) == words
