"""What a page tells of how its networks were trained."""

import pytest
from results import result

from prunecli.report.page import as_html
from prunecli.report.protocol import differing, shared
from prunecli.report.rows import grouped
from prunecli.report.view import views

SETTINGS = {"epochs": 8, "lr": 0.05, "optimizer": "sgd", "compile": False, "weight_decay": 0.0}


def view(*results):
    [found] = views(grouped(results))
    return found


def test_what_all_pruned_networks_share_is_told_in_one_line():
    dense = result(None, 1.0, settings={"epochs": 99})
    one = result(settings=SETTINGS, dataset_options={"fraction": 0.5}, earlier=[{"epochs": 4}])
    other = result("snip", settings=SETTINGS, dataset_options={"fraction": 0.5},
                   earlier=[{"epochs": 4}])  # fmt: skip
    said = "1,600 prunable weights; epochs 8, earlier epochs 4, optimizer sgd, lr 0.05, "
    assert shared(view(dense, one, other)) == f"{said}data fraction 0.5"
    assert differing(view(dense, one, other)) == {}
    assert said in as_html(grouped([dense, one, other]), "t")


def test_what_sets_them_apart_is_told_apart():
    pair = view(result(settings=SETTINGS), result("snip", settings={**SETTINGS, "lr": 0.1}))
    assert differing(pair) == {"lr": ["0.05", "0.1"]}
    assert "lr" not in shared(pair)


@pytest.mark.parametrize("results", [[result(None, 1.0)], [result()]])
def test_without_settings_only_the_size_is_told(results):
    assert shared(view(*results)) == "1,600 prunable weights"
