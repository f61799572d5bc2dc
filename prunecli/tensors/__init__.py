"""Values of tensors: in parts, zero, finite."""
