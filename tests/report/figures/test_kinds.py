"""Which figures there are, by what the results can fill."""

import pytest
from results import drawn, during, gmp, result, sight_of

from prunecli.errors import BadUsage
from prunecli.report.figures import kinds
from prunecli.report.page import as_html
from prunecli.report.reference import Published
from prunecli.report.rows import grouped

DENSE = result(None, 1.0, top1=95.0)


def test_a_page_has_the_figures_that_its_results_can_fill():
    page = as_html(grouped([DENSE, result()]), "t")
    assert "Top-1 lost to pruning" in page
    assert "by option" not in page
    assert "Sparsity over epochs" not in page
    page = as_html(
        grouped([DENSE, during([1.0, 0.1]), gmp(0.1, 0.1, 1, 2), gmp(0.1, 0.2, 1, 2)]), "t"
    )
    for caption in ("accuracy by option", "Sparsity by option", "Weights pruned in total"):
        assert caption in page
    with pytest.raises(BadUsage, match="nothing to show in the figure 'sparsity'"):
        kinds.drawn(sight_of(grouped([DENSE, result()])), "sparsity")
    figure = kinds.drawn(sight_of(grouped([DENSE, result()])), "degradation")
    assert "sparsity reached, %" in drawn(figure)


def test_a_caption_speaks_of_seeds_and_of_published_results_where_there_are_any():
    one = sight_of(grouped([DENSE, result()])).view
    assert kinds.caption("top1", one) == "One seed each."
    results = [DENSE, result(), result(seed=1)]
    assert kinds.caption("top1", sight_of(grouped(results)).view) == kinds.BARS
    reference = [Published(model="cnn", dataset="digits", method="x", compression=4.0, top1=1.0)]
    view = sight_of(grouped(results), reference).view
    assert kinds.caption("top5", view) == f"{kinds.BARS} Hollow: published."
    assert "Hollow" not in kinds.caption("options", view)


def test_a_method_without_a_target_has_no_error_to_show():
    free = grouped([DENSE, gmp(0.05, 0.01, 80, 4)])
    with pytest.raises(BadUsage, match="nothing to show in the figure 'error'"):
        kinds.drawn(sight_of(free), "error")


def test_an_error_of_nought_is_drawn_where_it_is_asked_for_and_not_on_the_page():
    exact = sight_of(grouped([DENSE, result()]))
    assert "compression error, %" in drawn(kinds.drawn(exact, "error"))
    assert "error" not in kinds.there_are(exact.view)
    missed = result("snip", empirical_compression=8.0, compression_error=-0.5)
    assert "error" in kinds.there_are(sight_of(grouped([DENSE, result(), missed])).view)
