"""The faults that prunecli promises to survive, as docs/faults.md lists them.

A test of one bears `@pytest.mark.fault(number)`; the end of a test run says how all of them went.
"""

import re
from collections import defaultdict
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)


def listed():
    """The faults on the page, by number."""
    return {int(number): fault for number, fault, _ in ROW.findall(PAGE.read_text())}


class Faults:
    """How the tests of each fault went."""

    def __init__(self):
        self.outcomes = defaultdict(list)

    def pytest_itemcollected(self, item):
        # What a report carries comes along from the process that ran the test.
        numbers = [("fault", mark.args[0]) for mark in item.iter_markers("fault")]
        item.user_properties.extend(numbers)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            for name, number in report.user_properties:
                if name == "fault":
                    self.outcomes[number].append(report.outcome)

    def pytest_terminal_summary(self, terminalreporter):
        faults = listed()
        if len(self.outcomes) < len(faults):  # only part of the tests was asked for
            return
        terminalreporter.section("faults survived")
        for number, fault in sorted(faults.items()):
            outcomes = self.outcomes[number]
            passed = outcomes.count("passed")
            verdict = "pass" if passed == len(outcomes) else "FAIL"
            if "skipped" in outcomes and "failed" not in outcomes:
                verdict = "part"
            terminalreporter.line(f"{number:3} {verdict}  {passed}/{len(outcomes)}  {fault}")
