"""One data set a file, named like it: `def digits(root, split, download, *, options) -> Images`."""
