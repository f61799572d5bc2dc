"""What `import prunecli` offers, and what it costs."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import prunecli
from prunecli import api

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there_and_no_other():
    assert prunecli.__all__ == api.__all__ == sorted(api.__all__)
    for name in prunecli.__all__:
        assert getattr(prunecli, name) is getattr(api, name)
    assert set(prunecli.__all__) <= set(dir(prunecli))
    with pytest.raises(AttributeError, match="'prunecli' has no attribute 'sccore'"):
        _ = prunecli.sccore


def test_the_import_alone_loads_neither_torch_nor_what_prunecli_does():
    told = "import sys, prunecli; print([m for m in sys.modules if 'prunecli.' in m], "
    told += "'torch' in sys.modules, 'score' in dir(prunecli))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "['prunecli.package'] False True\n"


@pytest.mark.slow
def test_a_type_checker_sees_what_is_there_and_what_is_not(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "import prunecli\n"
        "reveal_type(prunecli.read_mask('m').density)\n"
        "reveal_type(prunecli.apply(prunecli.read_checkpoint('c'), {}))\n"
        "prunecli.sccore\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if "own.py" in line]
    assert said == [
        'note: Revealed type is "float"',
        'note: Revealed type is "prunecli.api.artifacts.Checkpoint"',
        'error: Module has no attribute "sccore"; maybe "score"?  [attr-defined]',
    ]


API = (ROOT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("name", prunecli.__all__)
def test_the_docs_say_of_every_public_name_what_its_docstring_says(name):
    found = getattr(prunecli, name)
    if isinstance(found, type) and issubclass(found, prunecli.PruneError):
        assert f"`{name}`" in API
    else:
        assert f"| `{name}` | {inspect.getdoc(found).splitlines()[0]} |" in API


def test_the_reference_has_every_public_name_that_is_no_error():
    reference = (ROOT / "docs" / "python.md").read_text()
    listed = re.findall(r"^::: prunecli\.api\.(\w+)$", reference, re.MULTILINE)
    errors = {n for n in prunecli.__all__ if hasattr(getattr(prunecli, n), "exit_code")}
    assert listed == [name for name in prunecli.__all__ if name not in errors]


def test_the_code_in_the_docs_runs_as_it_stands_from_top_to_bottom():
    blocks = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["again"].kept == round(0.03 * 430500)
