"""Other programs' names for our options."""

ELSEWHERE = {
    "--amount": ["--sparsity"],
    "--arch": ["--model"],
    "--architecture": ["--model"],
    "--data": ["--data-dir", "--dataset"],
    "--gpu": ["--device"],
    "--cuda": ["--device"],
    "--keep": ["--density"],
    "--keep-ratio": ["--density"],
    "--learning-rate": ["--lr"],
    "--out": ["--output"],
    "--pruner": ["--method"],
    "--pruning-ratio": ["--sparsity", "--compression"],
    "--ratio": ["--density", "--sparsity", "--compression"],
    "--wd": ["--weight-decay"],
    "--workers": ["--jobs"],
}
"""Our options by other programs' names; click would only suggest similar spellings."""
