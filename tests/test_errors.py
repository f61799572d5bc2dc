import pytest

from prunecli.errors import BadInput, PruneError, with_mend
from prunecli.files.formats import PICKLE_HELP
from prunecli.runtime.shortage import Shortage


@pytest.mark.parametrize(
    ("message", "what", "mend"),
    [
        ("a.json: it is empty", "a.json: it is empty", None),
        ("m: it exists; use --force", "m: it exists", "use --force"),
        ("no option 'x'; did you mean 'y'?", "no option 'x'", "did you mean 'y'?"),
        ("told different things: a; b; start anew", "told different things: a; b", "start anew"),
        ("no layer 'a; b' there", "no layer 'a; b' there", None),
        ("torch's way; run `a; b` on 'c; d'", "torch's way", "run `a; b` on 'c; d'"),
        ("it's so; do 'x'", "it's so", "do 'x'"),
        ("line 1: a; b\nline 2: c; d", "line 1: a; b\nline 2: c; d", None),
    ],
)
def test_a_message_says_what_is_wrong_and_then_what_to_do(message, what, mend):
    assert with_mend(message) == (what, mend)
    assert message == (what if mend is None else f"{what}; {mend}")


def test_a_command_that_mends_it_stays_whole():
    what, mend = with_mend(f"x.pt: {PICKLE_HELP}")
    assert what == "x.pt: it is a pickle, which can run code when read"
    assert mend.startswith("convert it once with `python -c ")


def test_a_special_case_goes_by_the_name_of_its_exit_code():
    assert (PruneError.family(), BadInput.family()) == ("PruneError", "BadInput")
    assert (Shortage.family(), Shortage.exit_code) == ("BadEnvironment", 6)
