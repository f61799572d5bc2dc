"""From a checkpoint, or its scores, to a mask: in one round, in several, or by a pattern."""
