"""The way from a checkpoint and a method to scores."""
