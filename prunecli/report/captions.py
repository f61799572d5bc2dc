"""The figures there are, in the order of the page, without what it takes to draw them."""

CAPTIONS = {
    "top1": "Top-1 accuracy over compression",
    "top5": "Top-5 accuracy over compression",
    "degradation": "Top-1 lost to pruning, over sparsity",
    "parameters": "Error over the weights left",
    "options": "Top-1 accuracy by option",
    "options-sparsity": "Sparsity by option",
    "error": "Compression error: reached against asked",
    "density": "Density of each layer",
    "loss": "Training loss over epochs",
    "top1-epochs": "Test accuracy over epochs",
    "sparsity": "Sparsity over epochs",
    "pruned": "Weights pruned over epochs",
    "weights": "Spread of the weights before the last threshold",
}
