"""Results as `eval` writes them, without what older versions did not say."""

from prunecli.files.parsing import parsed
from prunecli.files.results import Result
from prunecli.report.view import views

LAYER = {"name": "a.weight", "total": 4, "kept": 1}


def table(method="lamp", compression=16.0, **more):
    """What the file of a result holds."""
    return {
        "top1": 90.0, "top5": 99.0, "loss": 0.3, "density": 1 / compression,
        "compression": compression, "empirical_compression": compression,
        "compression_error": 0.0, "nonzero": 100, "prunable": 1600, "flops_dense": 2000,
        "flops_sparse": 500, "dead_layers": [], "layers": [LAYER], "model": "cnn",
        "dataset": "digits", "method": method, "scope": None if method is None else "global",
        "seed": 0, **more,
    }  # fmt: skip


def result(method="lamp", compression=16.0, **more) -> Result:
    return parsed(Result, table(method, compression, **more))


def view_of(rows):
    """What figures are drawn of, of rows of one network and data set."""
    [view] = views(rows)
    return view
