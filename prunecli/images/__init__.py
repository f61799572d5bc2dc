"""Labelled images: where they come from, and as batches."""
