"""Rows, figures and a page from evaluation results; independent of models and checkpoints."""
