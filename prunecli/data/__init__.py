"""One data set per file: `def digits(root, split, download, *, options) -> Images`."""
