#!/usr/bin/env python3
"""Usage: run.py [WORD...]

Runs the tests with AWS's clients, or only those that have one of these words in their names. LEAT_CP is the program under test.
The last line is "N passed, N failed"; the exit status is 0 when none failed.
"""

import sys
import unittest
from pathlib import Path

import boto3


def flat(suite):
    """The tests of a suite."""
    for test in suite:
        yield from flat(test) if isinstance(test, unittest.TestSuite) else [test]


def main():
    here = str(Path(__file__).parent)
    words = sys.argv[1:]
    tests = [t for t in flat(unittest.defaultTestLoader.discover(here)) if not words or any(w in t.id() for w in words)]
    print(f"boto3 {boto3.__version__}")
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(unittest.TestSuite(tests))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(0 if tests and failed == 0 else 1)


main()
