"""What only a file names is imported if the user's word covers it, and not otherwise."""

import sys
from pathlib import Path

import pytest

from prunecli.errors import BadUsage
from prunecli.plugins.names import NOUNS
from prunecli.plugins.origin import code, origin
from prunecli.plugins.resolve import resolve
from prunecli.plugins.trust import trust


@pytest.mark.fault(33)
@pytest.mark.parametrize("options", [None, {}])
@pytest.mark.parametrize("kind", NOUNS)
def test_an_import_path_that_nobody_gave_is_not_followed(mine, kind, trusting, options):
    trusting("min", "mine.net", "mine:data", "mine2", "mine:")
    with pytest.raises(BadUsage) as error:
        resolve(kind, "mine:net", options, by_file=True)
    assert str(error.value) == (
        f"{NOUNS[kind]} 'mine:net' is named by a file only, so it is not "
        "imported; if you trust its code, add --trust mine:net"
    )
    assert origin(kind, "mine:net", by_file=True) is None
    assert code(kind, "mine:net", by_file=True) is None
    assert not Path("imported").exists()
    assert "mine" not in sys.modules


@pytest.mark.fault(33)
def test_that_the_user_gave_it_here_is_no_word_for_what_a_file_says(mine):
    assert resolve("models", "mine:net", by_file=False).call.__name__ == "net"
    with pytest.raises(BadUsage, match="is named by a file"):
        resolve("models", "mine:net", by_file=True)
    trust(["mine:net"])  # as a command does with what its options name
    assert resolve("models", "mine:net", by_file=True).call.__name__ == "net"


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mypkg", "mypkg.mod:scorer"),
        ("mypkg.mod", "mypkg.mod:scorer"),
        ("mypkg.mod:scorer", "mypkg.mod:scorer"),
    ],
)
def test_a_package_a_module_or_one_path_may_be_trusted(plugin, trusting, name, path):
    trusting(name)
    assert resolve("scorers", path, by_file=True).call.__name__ == "scorer"
    with pytest.raises(BadUsage, match="is named by a file"):
        resolve("scorers", "mypkg2.mod:scorer", by_file=True)


def test_names_that_are_no_paths_need_no_trust(plugin, installed):
    installed(("mine", "mypkg.mod:scorer"))
    assert resolve("scorers", "mine", by_file=True).call.__name__ == "scorer"
    assert resolve("models", "cnn", by_file=True).call.__name__ == "cnn"
    resnet = resolve("models", "torchvision:resnet18", by_file=True)
    assert resnet((3, 32, 32), 2) is not None
