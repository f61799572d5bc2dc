"""`python -m prunecli` and the console script."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the current folder first, where anything may lie that was
    # downloaded, pathlib itself for one. PYTHONPATH=. says that it is meant. What is imported
    # before, Python has loaded already.
    here, ours = os.path.realpath(sys.path[0]), os.path.realpath(__file__).rsplit(os.sep, 2)[0]
    if here == os.path.realpath(".") and here != ours:
        del sys.path[0]

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # A Ctrl-C while all is being imported ends that without a word; see `cli.main`.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from prunecli.cli import main

if __name__ == "__main__":
    main()
