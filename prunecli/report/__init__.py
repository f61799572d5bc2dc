"""From evaluation results to rows, figures and a page. Knows nothing of models or checkpoints."""
