"""One pruner per file, with the file's name. Files that start with "_" are shared helpers."""
