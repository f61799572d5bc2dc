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
        "compression_error": 0.0, "nonzero": round(1600 / compression), "prunable": 1600,
        "flops_dense": 2000, "flops_sparse": 500, "dead_layers": [], "layers": [LAYER],
        "model": "cnn", "dataset": "digits", "method": method,
        "scope": None if method is None else "global", "seed": 0, **more,
    }  # fmt: skip


def result(method="lamp", compression=16.0, **more) -> Result:
    return parsed(Result, table(method, compression, **more))


def gmp(beta, gamma, top1, compression, seed=0, **more):
    """A result of a method that was asked for no density."""
    options = {"beta": beta, "gamma": gamma}
    return result("gmp", compression, top1=top1, seed=seed, options=options, asked=None, **more)


def during(densities, **more):
    """A result of a method that prunes from epoch to epoch."""
    history = [{"epoch": e, "loss": 1.0, "density": d} for e, d in enumerate(densities, 1)]
    return result("weightmom", compression=1 / densities[-1], history=history, **more)


def sight_of(rows, reference=()):
    """What figures are drawn of, of rows of one network and data set."""
    [sight] = sights(views(rows, reference))
    return sight


def drawn(figure):
    """Labels of the axes and the legend, in order."""
    svg = figure if isinstance(figure, str) else figure.svg()
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def lines(monkeypatch):
    """Records what is plotted, by label, instead of trusting pixels."""
    seen = {}
    line, means, steps = Panel.line, Panel.means, Panel.steps

    def note_line(panel, x, y, label, style, **more):
        seen[label] = (list(x), list(y))
        line(panel, x, y, label, style, **more)

    def note_means(panel, x, values, label, style, *limits):
        spreads = [stdev(each) if len(each) > 1 else 0.0 for each in values]
        seen[label] = (list(x), [fmean(each) for each in values], spreads)
        means(panel, x, values, label, style, *limits)

    def note_steps(panel, values, edges, label, style):
        seen[label] = (list(values), list(edges))
        steps(panel, values, edges, label, style)

    monkeypatch.setattr(Panel, "line", note_line)
    monkeypatch.setattr(Panel, "means", note_means)
    monkeypatch.setattr(Panel, "steps", note_steps)
    return seen
