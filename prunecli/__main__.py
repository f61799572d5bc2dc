"""`python -m prunecli` and the console script."""

from prunecli.cli import main

if __name__ == "__main__":
    main()
