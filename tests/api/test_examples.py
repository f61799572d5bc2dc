"""Whatever is public has an example, and it says what comes of it."""

import doctest

import pytest
import torch

import prunecli
from prunecli.errors import PruneError
from prunecli.settings.training import Hyperparameters
from prunecli.types import Images


def is_described_elsewhere(name):
    """Errors say what they are in one table; these two are what commands and plugins know too."""
    found = getattr(prunecli, name)
    return found in (Hyperparameters, Images) or (
        isinstance(found, type) and issubclass(found, PruneError)
    )


SHOWN = [name for name in prunecli.__all__ if not is_described_elsewhere(name)]


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_gives_what_it_says(name):
    found = getattr(prunecli, name)
    [example] = doctest.DocTestFinder(recurse=False).find(
        found, name, module=False, globs={"prunecli": prunecli, "torch": torch}
    )
    assert example.examples, "there is none"
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)
