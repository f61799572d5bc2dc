"""What may be said by name has what does it, and nothing else has."""

from prunecli.masks import rounds, scopes
from prunecli.report.figures.kinds import FIGURES
from prunecli.report.tables.kinds import FORMS, TABLES
from prunecli.settings import eval, mask, report, study, training
from prunecli.training import optimizers


def test_names_and_what_they_stand_for_are_the_same():
    assert tuple(optimizers.OPTIMIZERS) == training.OPTIMIZERS
    assert tuple(optimizers.SCHEDULES) == training.LR_SCHEDULES
    assert tuple(scopes.SCOPES) == mask.SCOPES
    assert tuple(rounds.SCHEDULES) == mask.ROUND_SCHEDULES
    assert FIGURES.keys() == report.CAPTIONS.keys()
    assert TABLES.keys() == report.TABLES.keys()
    assert {*FORMS, *report.FIGURES, "csv", "json", "html"} == report.ENDINGS.keys()


def test_words_for_defaults_are_made_of_what_decides_them():
    [batch] = [x for x in study.options(eval.EvalSettings) if x.name == "batch_size"]
    assert batch.otherwise.startswith(f"{eval.EVAL_BATCH}; on a GPU up to {eval.MOST_EVAL_BATCH}")
    numbers = {x.name: x.otherwise for x in study.options(study.TrainSettings)}
    fresh = training.Hyperparameters()
    assert numbers["epochs"] == f"the checkpoint's, else {fresh.epochs}"
    assert numbers["lr"] == f"the checkpoint's, else {fresh.lr}"
    assert numbers["nesterov"] == "the checkpoint's, else nesterov"
    assert numbers["precision"] == fresh.precision


def test_what_a_run_says_and_what_no_output_depends_on():
    said = "output force wait dry-run json quiet verbose resume trust help"
    assert set(said.split()) == study.RESERVED
    idle = "output force wait dry_run json quiet verbose resume trust"
    assert set(idle.split()) | {
        "data_dir", "download", "save_every", "cuda_graphs"
    } == study.NOT_CONTENT  # fmt: skip
