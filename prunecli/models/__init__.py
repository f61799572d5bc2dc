"""One architecture family a file. Each builds from an input shape, a class count and options."""
