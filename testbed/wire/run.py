"""Runs the tests of this directory against an appliance that is up and has no configuration yet. `testbed/tests/wire.rs` starts it.

    run.py --api SOCKET --clients NAMESPACE DEVICE --targets NAMESPACE DEVICE [PATTERN...]

A PATTERN, such as test_tcp.Handshake or syn, leaves only the tests whose names have it in them. Prints a line per test and, for one that
fails, what was wrong and what went over the links; the last line is the sum. Exit status 1 when one failed.
"""

import argparse
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
# Nothing is to be written into the source tree.
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

from bed import Bed  # noqa: E402 (the path is set above)
from case import WireCase  # noqa: E402


class Result(unittest.TextTestResult):
    """Adds to every failure what went over the links."""

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._add_log(self.failures, test)

    def addError(self, test, err):
        super().addError(test, err)
        self._add_log(self.errors, test)

    @staticmethod
    def _add_log(found, test):
        if isinstance(test, WireCase):
            found[-1] = (test, f"{found[-1][1]}On the links:\n{test.log_text()}\n")


def tests_of(suite):
    """The tests of a suite of suites."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from tests_of(part)
        else:
            yield part


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--api", required=True)
    parser.add_argument("--clients", required=True, nargs=2)
    parser.add_argument("--targets", required=True, nargs=2)
    parser.add_argument("patterns", nargs="*")
    arguments = parser.parse_args()

    found = unittest.TestLoader().discover(HERE, pattern="test_*.py", top_level_dir=HERE)
    patterns = arguments.patterns
    chosen = [test for test in tests_of(found) if not patterns or any(it in test.id() for it in patterns)]
    if not chosen:
        sys.exit(f"no test has any of {patterns} in its name")
    WireCase.bed = Bed(arguments.api, arguments.clients, arguments.targets)
    WireCase.bed.configure()
    runner = unittest.TextTestRunner(sys.stdout, descriptions=False, verbosity=2, resultclass=Result)
    sys.exit(0 if runner.run(unittest.TestSuite(chosen)).wasSuccessful() else 1)


if __name__ == "__main__":
    main()
