"""One function per command: paths in, a path out. The command line and recipes call them."""
