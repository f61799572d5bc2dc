"""`python -m prunecli` and the console script."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the current folder first, where anything may lie that was
    # downloaded, pathlib itself for one. PYTHONPATH=. says that it is meant.
    here = os.path.realpath(sys.path[0])
    if here == os.path.realpath(".") and not os.path.realpath(__file__).startswith(here + os.sep):
        del sys.path[0]

from prunecli.cli import main

if __name__ == "__main__":
    main()
