"""The package itself.

It is imported before `__main__` can see to it that nothing comes from the current folder. So it
imports nothing, Python's own modules included, and `prunecli/__init__.py` nothing else.
"""

NAME = __name__.partition(".")[0]
VERSION = "0.2.0"
FOLDER = __file__.removesuffix("package.py")
"""Where the package lies, with the separator at its end."""
