"""Rows, figures and a page, from evaluation results. Knows nothing of models or checkpoints."""
