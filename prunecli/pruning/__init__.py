"""The way from a checkpoint, or its scores, to a mask: in one go, in rounds, or by a pattern."""
