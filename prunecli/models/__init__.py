"""One architecture per file, built from an input shape, a number of classes and options."""
