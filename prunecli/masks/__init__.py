"""From scores to a mask, and from a mask to what remains."""
