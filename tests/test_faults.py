"""Every fault on the page has a test, and no test is of one that is not there."""

import re
from pathlib import Path

from faults import listed

TESTS = Path(__file__).parent


def test_every_fault_has_a_test():
    marked = {
        int(number)
        for path in TESTS.rglob("test_*.py")
        for number in re.findall(r"\bpytest\.mark\.fault\((\d+)\)", path.read_text())
    }
    assert marked == set(listed()) == set(range(1, 43))
