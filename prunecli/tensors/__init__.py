"""Tensors, as numbers: in parts, zero, finite."""
