"""From a checkpoint and a method to scores."""
