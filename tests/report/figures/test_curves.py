"""What the figures of a training's course draw."""

import pytest
from results import during, lines, result, sight_of

from prunecli.report.figures import curves
from prunecli.report.figures.drawing import Panel
from prunecli.report.page import as_html
from prunecli.report.rows import grouped

DENSE = result(None, 1.0, top1=95.0)


def test_sparsity_and_weights_pruned_in_total_by_epoch(monkeypatch):
    seen = lines(monkeypatch)
    rows = sight_of(grouped([DENSE, during([1.0, 0.5, 0.25]), result("snip")]))
    curves.sparsity(rows)
    assert seen == {"weightmom": ([1, 2, 3], [0, 50, 75])}
    curves.pruned(rows)
    assert seen["weightmom"] == ([1, 2, 3], [0, 800, 1200])


def test_what_only_some_epochs_tell_is_not_drawn():
    some = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 1.0, "density": 0.5, "weights": [0]}]
    page = as_html(grouped([DENSE, result(history=some, versions=None)]), "t")
    assert "Training loss over epochs" in page
    assert "Sparsity over epochs" not in page
    assert "Spread of the weights" not in page


def test_a_loss_over_epochs_takes_two_epochs_to_show():
    def page(epochs):
        history = [{"epoch": e, "loss": 1.0} for e in range(1, epochs + 1)]
        return as_html(grouped([result(history=history)]), "one epoch, or two")

    assert "Training loss over epochs" not in page(1)
    assert "Training loss over epochs" in page(2)


def test_accuracy_over_epochs_where_it_was_measured(monkeypatch):
    seen = lines(monkeypatch)
    history = [{"epoch": e, "loss": 1.0, "top1": t} for e, t in enumerate([50.0, 70.0], 1)]
    blind = result("snip", history=[{"epoch": e, "loss": 1.0} for e in (1, 2)])
    results = [result(None, 1.0, history=history), blind, result(history=history)]
    curves.accuracy(sight_of(grouped(results)))
    assert seen == {name: ([1, 2], [50, 70]) for name in ("dense", "lamp")}
    assert "Test accuracy over epochs" in as_html(grouped(results), "t")
    assert "Test accuracy over epochs" not in as_html(grouped([DENSE, blind]), "t")


def looks(monkeypatch, rows):
    """Colour and stroke of each line in the figure of the loss, by label."""
    seen, plain = {}, Panel.line

    def line(panel, x, y, label, style, **more):
        seen[label] = (style["color"], style["linestyle"])
        plain(panel, x, y, label, style, **more)

    monkeypatch.setattr(Panel, "line", line)
    curves.convergence(sight_of(rows))
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize(
    ("methods", "ratios", "drawn"),
    [
        (1, 4, 4), (9, 2, 18),  # all of them: a colour per method, a stroke per ratio
        (1, 5, 1), (3, 5, 3), (1, 30, 1),  # more ratios than strokes
        (10, 3, 10), (30, 1, 30),  # more lines than a figure has room for, or than colours
    ],
)  # fmt: skip
def test_no_two_lines_of_the_loss_look_alike(monkeypatch, methods, ratios, drawn):
    dense = [result(None, 1.0, settings={"epochs": n}) for n in (5, 9)]
    pruned = [result(f"m{m}", 1.0 + r) for m in range(methods) for r in range(1, ratios + 1)]
    seen = looks(monkeypatch, grouped([*dense, *pruned]))
    assert len(set(seen.values())) == len(seen)
    at = f" {1 + ratios}x" if drawn > methods else ""  # or it is said once, above
    assert {f"m{m}{at}" for m in range(methods)} <= set(seen)
    assert len(seen) - len(dense) == drawn


def test_where_all_have_one_compression_it_stands_above_the_lines():
    history = [{"epoch": e, "loss": 1.0} for e in (1, 2)]
    results = [DENSE, result(history=history), result("snip", history=history)]
    one = curves.convergence(sight_of(grouped(results)))
    assert one.panels[0].axes.get_title("left") == "at 16x"
    assert set(one.keys) == {"dense", "lamp", "snip"}
    two = curves.convergence(sight_of(grouped([*results, result("snip", 4.0, history=history)])))
    assert two.panels[0].axes.get_title("left") == ""
    assert set(two.keys) == {"dense", "lamp 16x", "snip 16x", "snip 4x"}
