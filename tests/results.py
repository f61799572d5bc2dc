"""Results as `eval` writes them, without what older versions did not say."""

import re
from statistics import fmean, stdev

from prunecli.files.parsing import parsed
from prunecli.files.results import Result
from prunecli.report.figures.drawing import Panel
from prunecli.report.figures.sight import sights
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


def sight_of(rows):
    """What figures are drawn of, of rows of one network and data set."""
    [sight] = sights(views(rows))
    return sight


def drawn(figure):
    """Labels of the axes and the legend, in order."""
    svg = figure if isinstance(figure, str) else figure.svg()
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def lines(monkeypatch):
    """Records what is plotted, by label, instead of trusting pixels."""
    seen = {}
    line, means = Panel.line, Panel.means

    def note_line(panel, x, y, label, style, **more):
        seen[label] = (list(x), list(y))
        line(panel, x, y, label, style, **more)

    def note_means(panel, x, values, label, style):
        spreads = [stdev(each) if len(each) > 1 else 0.0 for each in values]
        seen[label] = (list(x), [fmean(each) for each in values], spreads)
        means(panel, x, values, label, style)

    monkeypatch.setattr(Panel, "line", note_line)
    monkeypatch.setattr(Panel, "means", note_means)
    return seen
