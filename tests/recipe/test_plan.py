"""A recipe's jobs: which there are, what each is given, and every fault of a recipe at once."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from prunecli.cli._steps import STEPS, check
from prunecli.errors import BadUsage
from prunecli.recipe.plan import Checked, plan
from prunecli.recipe.read import read_recipe

FOLDER = Path("out")
GRID = """
version: 1
vars: {model: cnn, dataset: digits}
matrix:
  method: [snip, random]
  density: [0.1, 0.05]
  seed: [0, 1]
  exclude: [{method: random, density: 0.05}]
steps:
  dense: {train: {model: "${model}", dataset: "${dataset}", epochs: 2, seed: "${seed}"}}
  scores: {score: {checkpoint: "@dense", method: "${method}"}}
  mask: {mask: {scores: "@scores", density: "${density}"}}
  sparse: {finetune: {checkpoint: "@dense", mask: "@mask", epochs: 1}}
  result: {eval: {checkpoint: "@sparse", mask: "@mask"}}
  best: {over: [method], report: {results: "@result[*]"}}
  table: {report: {results: "@result[*]", format: html}}
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """The jobs of a recipe, by name. It lies in the current folder as `r.yaml`."""
    monkeypatch.chdir(tmp_path)

    def make(text, overrides=None, checker=check):
        Path("r.yaml").write_text(dedent(text).lstrip())
        jobs = plan(read_recipe(Path("r.yaml"), overrides or {}, STEPS), FOLDER, checker)
        return {job.name: job for job in jobs}

    return make


@pytest.fixture
def given(planned):
    """The options each job would hand to its command, by the job's name."""

    def make(text, overrides=None):
        handed = []

        def note(command, options):
            handed.append(options)
            return Checked([], "x")

        return dict(zip(planned(text, overrides, note), handed, strict=True))

    return make


@pytest.fixture
def faults(planned):
    """The lines that a recipe is refused with."""

    def find(text, overrides=None):
        with pytest.raises(BadUsage) as error:
            planned(text, overrides)
        return str(error.value).splitlines()

    return find


# Axes, names and numbers of jobs


def test_a_grid_has_the_jobs_of_its_axes_less_the_excluded(planned):
    jobs = planned(GRID)
    count = {step: sum(job.step == step for job in jobs.values()) for step in STEP_COUNTS}
    assert count == STEP_COUNTS
    assert len(jobs) == 2 + 4 + 6 + 6 + 6 + 2 + 1
    assert "mask/method=random,density=0.1,seed=0" in jobs
    assert not [name for name in jobs if "method=random,density=0.05" in name]


STEP_COUNTS = {"dense": 2, "scores": 4, "mask": 6, "sparse": 6, "result": 6, "best": 2, "table": 1}


def test_a_job_is_a_command_line_with_its_output_in_the_folder_of_its_name(planned):
    job = planned(GRID)["mask/method=snip,density=0.05,seed=1"]
    assert (job.step, job.command) == ("mask", "mask")
    assert job.output == FOLDER / "mask/method=snip,density=0.05,seed=1/mask.safetensors"
    scores = "out/scores/method=snip,seed=1/scores.safetensors"
    assert job.arguments == ["--output", str(job.output), "--density", "0.05", "--", scores]
    assert job.needs == ("scores/method=snip,seed=1",)


def test_every_job_comes_after_those_it_needs(planned):
    names = list(jobs := planned(GRID))
    assert all(names.index(need) < names.index(name) for name in names for need in jobs[name].needs)


def test_a_single_reference_is_the_output_of_the_same_place(planned):
    job = planned(GRID)["sparse/method=random,density=0.1,seed=1"]
    assert job.needs == ("dense/seed=1", "mask/method=random,density=0.1,seed=1")


def test_a_reference_to_all_takes_every_place_and_over_narrows_it(planned):
    jobs = planned(GRID)
    assert len(jobs["table"].needs) == 6
    assert jobs["best/method=random"].needs == (
        "result/method=random,density=0.1,seed=0",
        "result/method=random,density=0.1,seed=1",
    )
    assert len(jobs["best/method=snip"].needs) == 4
    assert jobs["table"].output == FOLDER / "table/report.html"


def test_several_references_to_all_make_one_list(given):
    options = given("""
        version: 1
        matrix: {seed: [0, 1]}
        steps:
          a: {eval: {checkpoint: x}}
          b: {eval: {checkpoint: y, batch_size: "${seed}"}}
          c: {report: {results: ["@a", "@b[*]", z]}}
    """)
    assert options["c"] == {"results": ["out/a/x", "out/b/seed=0/x", "out/b/seed=1/x", "z"]}


def test_over_adds_an_axis_that_is_not_used(planned):
    jobs = planned("""
        version: 1
        matrix: {seed: [0, 1], method: [lamp, random]}
        steps:
          s: {over: [method, seed], score: {checkpoint: x, method: "${method}"}}
    """)
    assert list(jobs) == [f"s/seed={s},method={m}" for s in (0, 1) for m in ("lamp", "random")]


def test_a_step_without_axes_is_one_job(planned):
    [job] = planned("version: 1\nsteps: {e: {eval: {checkpoint: x}}}\n").values()
    assert (job.name, job.output, job.needs) == ("e", FOLDER / "e/result.json", ())


def test_names_of_folders_are_quoted(planned):
    jobs = planned("""
        version: 1
        matrix: {method: ["pkg.mod:fn"], title: ["../x y", "a,b=c"]}
        steps: {r: {report: {results: x, title: "${title}"}}}
    """)
    assert list(jobs) == ["r/title=..%2Fx%20y", "r/title=a%2Cb%3Dc"]
    assert all(job.output.resolve().is_relative_to(FOLDER.resolve()) for job in jobs.values())


# Variables


def test_a_variable_alone_keeps_its_type_and_is_text_within_text(given):
    options = given("""
        version: 1
        vars: {n: 5, x: 1e-3, yes: true, words: [a, b]}
        matrix: {seed: [7]}
        steps:
          s:
            score:
              number: "${n}"
              small: "${x}"
              flag: "${yes}"
              words: ["${words}", c]
              text: "n${n} of ${x}, ${yes}, ${seed}"
              plain: $n
              opt: {seed: "${seed}"}
    """)
    assert options == {
        "s/seed=7": {
            "number": 5,
            "small": 0.001,
            "flag": True,
            "words": ["a", "b", "c"],
            "text": "n5 of 0.001, True, 7",
            "plain": "$n",
            "opt": {"seed": 7},
        }
    }


def test_what_a_variable_holds_is_not_expanded_again(given):
    options = given("""
        version: 1
        vars: {a: "${b}", b: "@s"}
        steps: {s: {eval: {x: "${a}", y: "${b}"}}}
    """)
    assert options["s"] == {"x": "${b}", "y": "@s"}


def test_set_replaces_variables_and_axes(given):
    text = """
        version: 1
        vars: {epochs: 5}
        matrix: {seed: [0, 1, 2], density: [0.1]}
        steps: {s: {train: {epochs: "${epochs}", seed: "${seed}", density: "${density}"}}}
    """
    options = given(text, {"epochs": 1, "seed": [4, 5], "density": 0.5})
    assert options == {
        "s/seed=4,density=0.5": {"epochs": 1, "seed": 4, "density": 0.5},
        "s/seed=5,density=0.5": {"epochs": 1, "seed": 5, "density": 0.5},
    }


# Faults

ALL_WRONG = """
version: 1
stpes: {}
vars:
  model: cnn
matrix:
  seed: [0, one]
  method: [lamp, snipp]
  lists: [[1], [2]]
  same: [1, 1]
  exclude:
    - {sed: 1}
    - {seed: [0]}
steps:
  unknown_command:
    trian: {model: cnn}
  unknown_option:
    finetune:
      checkpoint: "@unknown_command"
      mask: m
      epoch: 3
  unknown_scorer_option:
    score:
      checkpoint: x
      method: snip
      batchs: 4
  nested_option:
    score:
      checkpoint: x
      method: snip
      opt:
        batches: many
  unknown_variable:
    train:
      model: "${modle}"
  no_such_step:
    eval:
      checkpoint: "@denes"
  refused_by_command:
    train:
      model: cnn
      seed: "${seed}"
  refused_method:
    score: {checkpoint: x, method: "${method}"}
  over_lacks:
    over: [seed]
    score:
      checkpoint: "@refused_method"
      method: lamp
  over_unknown:
    over: [method, sed]
    eval: {checkpoint: x}
  over_odd:
    over: [[seed]]
    eval: {checkpoint: x}
  two_commands:
    eval: {checkpoint: x}
    train: {model: cnn}
  not_a_table: 3
  no_options:
    eval: [x]
  bad name: {eval: {checkpoint: x}}
  two_densities:
    mask: {scores: x, density: 0.1, sparsity: 0.9}
"""
EXPECTED = [
    (2, "there is no key 'stpes'; did you mean 'steps'?"),
    (8, "the axis 'lists' needs a list of plain values"),
    (9, "the axis 'same' has a value twice"),
    (11, "there is no axis 'sed'; did you mean 'seed'?"),
    (12, "'exclude' takes one value of 'seed' at a time"),
    (15, "there is no command 'trian'; did you mean 'train'?"),
    (20, "'unknown_option': there is no option 'epoch'; did you mean 'epochs'?"),
    (25, "the method 'snip' has no option 'batchs'; did you mean 'batches'?"),
    (31, "method 'snip': option 'batches' must be of type int, not 'many'"),
    (34, "there is no variable 'modle'; did you mean 'model'?"),
    (37, "there is no step 'denes'"),
    (41, "Invalid value for '--seed': 'one' is not a valid integer"),
    (43, "there is no method 'snipp'; did you mean 'snip'?"),
    (46, "step 'over_lacks' uses 'method'; add it to 'over'"),
    (50, "'over' needs a list of axes"),
    (53, "'over' needs a list of axes"),
    (55, "step 'two_commands' needs exactly one command, not 2"),
    (58, "step 'not_a_table' must be a table with one command"),
    (59, "step 'no_options': the options of 'eval' must be a table"),
    (61, "the step name 'bad name' must be letters"),
    (63, "give exactly one of --density, --sparsity, --compression and --critical"),
]


def test_all_faults_come_at_once_in_order_with_lines_and_suggestions(faults):
    found = faults(ALL_WRONG)
    for fault, (line, words) in zip(found, EXPECTED, strict=True):
        assert fault.startswith(f"r.yaml:{line}: ")
        assert words in fault


def test_a_reference_within_a_table_is_found(faults, planned):
    steps = """
        version: 1
        steps:
          a: {train: {model: cnn}}
          b: {score: {checkpoint: x, method: random, opt: {seed: "@%s"}}}
    """
    assert "r.yaml:4: there is no step 'nowhere'" in faults(steps % "nowhere")[0]
    assert "'seed' must be of type int, not 'out/a/ckpt.safetensors'" in faults(steps % "a")[0]


def test_a_cycle_is_named(faults):
    [fault] = faults("""
        version: 1
        steps:
          c: {eval: {checkpoint: x}}
          a: {eval: {checkpoint: "@b"}}
          b: {eval: {checkpoint: "@a"}}
    """)
    assert fault in (
        "r.yaml:4: the steps need each other: a <- b <- a",
        "r.yaml:5: the steps need each other: b <- a <- b",
    )


def test_a_step_that_needs_itself_is_a_cycle(faults):
    [fault] = faults("version: 1\nsteps:\n  a: {eval: {checkpoint: '@a'}}\n")
    assert fault == "r.yaml:3: the steps need each other: a <- a"


STEPS_OF_ONE = "steps: {a: {eval: {checkpoint: x}}}\n"


@pytest.mark.parametrize(
    ("head", "line", "words"),
    [
        ("", 1, "a recipe needs 'version: 1'"),
        ("version: 2\n", 1, "a recipe needs 'version: 1'"),
        ("version: 1\nname: a/b\n", 2, "a name is letters"),
        ("version: 1\nname: ../up\n", 2, "a name is letters"),
        ("version: 1\nvars: [1]\n", 2, "'vars' must be a table"),
        ("version: 1\nmatrix: 3\n", 2, "'matrix' must be a table"),
        ("version: 1\nmatrix:\n  seed: 1\n", 3, "'seed' needs a list of plain values"),
        ("version: 1\nmatrix:\n  seed: []\n", 3, "'seed' needs a list of plain values"),
        ("version: 1\nmatrix:\n  seed: [1]\n  exclude: {seed: 1}\n", 4, "needs a list of tables"),
        ("version: 1\nmatrix:\n  seed: [1]\n  exclude: [{}]\n", 4, "needs a list of tables"),
        ("version: 1\nmatrix:\n  seed: [1]\n  exclude: [{seed: 1}]\n", 4, "leaves nothing to do"),
        ("version: 1\nvars: {seed: 1}\nmatrix:\n  seed: [1]\n", 4, "'seed' is in vars too"),
    ],
)
def test_a_head_that_is_wrong(faults, head, line, words):
    [fault] = faults(head + STEPS_OF_ONE)
    assert fault.startswith(f"r.yaml:{line}: ")
    assert words in fault


@pytest.mark.parametrize("text", ["", "- a\n", "word\n"])
def test_a_recipe_must_be_a_table(faults, text):
    assert faults(text) == ["r.yaml: a recipe is a table with the keys name and steps"]


@pytest.mark.parametrize("steps", ["", "steps: {}\n", "steps:\n"])
def test_a_recipe_needs_steps(faults, steps):
    [fault] = faults("version: 1\n" + steps)
    assert "a recipe needs steps" in fault


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"sed": 1}, "--set: there is no 'sed' in vars or matrix; did you mean 'seed'?"),
        ({"seed": []}, "the axis 'seed' needs a list of plain values"),
        ({"seed": [1, 1]}, "the axis 'seed' has a value twice"),
        ({"seed": {"a": 1}}, "the axis 'seed' needs a list of plain values"),
    ],
)
def test_set_is_checked_too(faults, overrides, words):
    [fault] = faults("version: 1\nmatrix: {seed: [0]}\n" + STEPS_OF_ONE, overrides)
    assert words in fault


@pytest.mark.parametrize(
    ("step", "line", "words"),
    [
        ("mask:\n  scores: x\n  densty: 0.1", 6, "no option 'densty'; did you mean 'density'?"),
        ("mask:\n  scores: x", 4, "give exactly one of --density"),
        ("mask:\n  scores: x\n  sparsity: 1", 6, "1 is not at least 0 and below 1"),
        ("eval:\n  checkpoint: x\n  mask: null", 6, "'mask' needs one value"),
        ("eval:\n  checkpoint: x\n  batch_size: [1, 2]", 6, "'batch-size' needs one value"),
        ("eval:\n  checkpoint: x\n  throughput: 1", 6, "'throughput' must be true or false"),
        ("eval:\n  checkpoint: x\n  force: true", 6, "'force' is set by 'prunecli run'"),
        ("eval:\n  checkpoint: x\n  output: /etc/x", 6, "'output' is set by 'prunecli run'"),
        ("apply:\n  maks: y\n  mask: m\n  checkpoint: x", 5, "did you mean 'mask'?"),
        ("apply:\n  checkpoint: x", 4, "Missing option '--mask'"),
        ("score:\n  method: lamp\n  checkpoint: x\n  bits: 3", 7, "'lamp' has no option 'bits'"),
    ],
)
def test_a_fault_is_shown_at_the_line_of_its_option(faults, step, line, words):
    [fault] = faults("version: 1\nsteps:\n  s:\n" + indent(step, "    "))
    assert fault.startswith(f"r.yaml:{line}: step 's': ")
    assert words in fault
