"""One pruner a file, named like it. Files that start with an underscore are shared helpers."""
