"""The way from scores to a mask, and from a mask to what it leaves."""
