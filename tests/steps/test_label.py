"""The label of a result: what `eval` writes, a report can read."""

import pytest

from prunecli.errors import BadUsage
from prunecli.files.results import read_result
from prunecli.settings.eval import EvalSettings
from prunecli.settings.run import RunOptions
from prunecli.steps.eval import evaluation


@pytest.mark.parametrize("label", ["x" * 1001, "half of a pair \udcff"])
def test_a_label_that_no_report_could_read_is_refused_before_anything_is_read(label, tmp_path):
    with pytest.raises(BadUsage, match="--label must be text of at most 1,000 characters"):
        evaluation(tmp_path / "none", EvalSettings(label=label), RunOptions())


def test_a_label_and_the_number_of_classes_are_in_the_result(prune, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    prune("train", "--model", "cnn", "--dataset", "digits", "--epochs", 0, "-o", checkpoint)
    for label in ("x" * 1000, "a\nb\u202e$", None):
        given = ["--label", label] if label else []
        prune("eval", checkpoint, *given, "-o", tmp_path / "r.json", "--force")
        told = read_result(tmp_path / "r.json")
        assert (told.label, told.classes) == (label, 10)
