"""A recipe's jobs: which there are, what each is given, and every fault of a recipe at once."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from prunecli.cli.study.steps import STEPS, check
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

        def note(command, options, carried):
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


@pytest.mark.fault(21)
def test_names_of_folders_are_quoted(planned):
    jobs = planned("""
        version: 1
        matrix: {method: ["pkg.mod:fn"], title: ["../x y", "a,b=c"]}
        steps: {r: {report: {results: x, title: "${title}"}}}
    """)
    assert list(jobs) == ["r/title=..%2Fx%20y", "r/title=a%2Cb%3Dc"]
    assert all(job.output.resolve().is_relative_to(FOLDER.resolve()) for job in jobs.values())


def test_a_name_that_no_folder_can_have_is_a_fault(planned, faults):
    text = """
        version: 1
        matrix: {{title: [{}]}}
        steps: {{{}: {{report: {{results: x, title: "${{title}}"}}}}}}
    """
    assert len(*planned(text.format("x" * 249, "r"))) == len("r/title=") + 249
    for long, step in (("x" * 250, "r"), ("\u00e4" * 42, "r"), ("x", "r" * 256)):
        [fault] = faults(text.format(long, step))
        assert fault.startswith(
            f"r.yaml:3: the folder of a job of step {step!r} has a name of over"
        )


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


def test_a_variable_may_refer_to_others_and_to_the_folder_of_the_recipe(given):
    options = given("""
        version: 1
        vars:
          title: "Study of ${net} from ${where}"
          net: "${model}"
          where: "${here}/data"
          model: cnn
          words: ["${more}", "${n}"]
          more: [x, "${model}"]
          options: {size: "${n}"}
          n: 5
        steps:
          s: {eval: {title: "${title}", words: "${words}", opt: "${options}"}}
    """)
    assert options["s"] == {
        "title": "Study of cnn from ./data", "words": ["x", "cnn", 5], "opt": {"size": 5}
    }  # fmt: skip


def test_what_an_axis_sets_may_refer_to_variables_and_set_has_its_say(given):
    text = """
        version: 1
        vars: {model: cnn, title: "of ${model}"}
        matrix: {method: {A: {label: "A ${title}"}, B: {label: B}}}
        steps: {s: {eval: {label: "${label}", title: "${title}"}}}
    """
    assert given(text) == {
        "s/method=A": {"label": "A of cnn", "title": "of cnn"},
        "s/method=B": {"label": "B", "title": "of cnn"},
    }
    assert given(text, {"model": "vgg16"})["s/method=A"]["label"] == "A of vgg16"
    assert given(text, {"title": "${model}!"})["s/method=A"]["label"] == "A cnn!"


LITERAL = """
version: 1
vars:
  a: "@s"
  b: [x, "@s[*]", "@ 5%", a@s]
  c: "${nowhere}"
  d: "on ${seed}"
  e: "by ${scorer}"
matrix:
  seed: [0, "${n}"]
  init: ["@s"]
  method:
    A:
      scorer: "@s"
      other: "${seed}"
  include: [{seed: "${n}"}]
steps: {s: {eval: {checkpoint: x}}}
"""


def test_what_would_be_passed_on_as_it_is_spelled_is_refused(faults):
    assert faults(LITERAL) == [
        "r.yaml:3: 'a' cannot hold '@s'; write it in the step",
        "r.yaml:4: 'b' cannot hold '@s[*]'; write it in the step",
        "r.yaml:5: there is no variable 'nowhere'; did you mean 'other'?",
        "r.yaml:6: 'd' cannot hold '${seed}', which an axis sets; write it in the step",
        "r.yaml:7: 'e' cannot hold '${scorer}', which an axis sets; write it in the step",
        "r.yaml:9: 'seed' cannot hold '${n}'; write the value itself, or let the axis set a "
        "variable",
        "r.yaml:10: 'init' cannot hold '@s'; write it in the step",
        "r.yaml:13: 'scorer' cannot hold '@s'; write it in the step",
        "r.yaml:14: 'other' cannot hold '${seed}', which an axis sets; write it in the step",
        "r.yaml:15: 'include' cannot hold '${n}'; write the value itself, or let the axis set a "
        "variable",
    ]


def test_variables_that_need_each_other_are_named(faults):
    [fault] = faults("version: 1\nvars:\n  a: '${a}!'\n" + STEPS_OF_ONE)
    assert fault == "r.yaml:3: the variables form a cycle: a <- a"


def test_variables_do_not_grow_without_end(faults):
    doubled = "".join(f"  v{n}: '${{v{n + 1}}}${{v{n + 1}}}'\n" for n in range(60))
    found = faults(f"version: 1\nvars:\n{doubled}  v60: xy\n" + STEPS_OF_ONE)
    assert "grows over 1,000,000 bytes" in found[-1]


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
    (31, "method 'snip': option 'batches' must be a whole number, not 'many'"),
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


@pytest.mark.fault(19)
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
    assert "'seed' must be a whole number, not 'out/a/ckpt.safetensors'" in faults(steps % "a")[0]


def test_a_cycle_is_named(faults):
    [fault] = faults("""
        version: 1
        steps:
          c: {eval: {checkpoint: x}}
          a: {eval: {checkpoint: "@b"}}
          b: {eval: {checkpoint: "@a"}}
    """)
    assert fault in (
        "r.yaml:4: the steps form a cycle: a <- b <- a",
        "r.yaml:5: the steps form a cycle: b <- a <- b",
    )


def test_a_step_that_needs_itself_is_a_cycle(faults):
    [fault] = faults("version: 1\nsteps:\n  a: {eval: {checkpoint: '@a'}}\n")
    assert fault == "r.yaml:3: the steps form a cycle: a <- a"


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
        ("version: 1\nmatrix:\n  seed: [1]\n  exclude: [{seed: 1}]\n", 4, "removes all jobs"),
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


# Axes that set variables

TABLE = """
version: 1
vars: {scope: global, options: {}, epochs: 3}
matrix:
  method:
    A: {scorer: lamp}
    B: {scorer: snip, options: {init: xavier, batches: 2}}
    C: {scorer: magnitude, scope: layer, epochs: 1}
  seed: [0, 1]
steps:
  dense: {train: {model: cnn, dataset: digits, epochs: 0, seed: "${seed}"}}
  mask:
    mask:
      checkpoint: "@dense"
      method: "${scorer}"
      opt: "${options}"
      scope: "${scope}"
      density: 0.1
  sparse: {finetune: {checkpoint: "@dense", mask: "@mask", epochs: "${epochs}"}}
  table: {report: {results: x, title: "${method} scores by ${scorer}"}}
  all: {report: {results: "@sparse[*]"}}
"""


def test_what_a_row_sets_makes_a_step_vary_on_the_axis(planned):
    count = {}
    for job in planned(TABLE).values():
        count[job.step] = count.get(job.step, 0) + 1
    # Two seeds; three rows by two seeds; three rows; one.
    assert count == {"dense": 2, "mask": 6, "sparse": 6, "table": 3, "all": 1}


def test_jobs_are_called_by_the_names_of_rows(planned):
    jobs = planned(TABLE)
    assert [name for name in jobs if name.startswith("mask/")] == [
        f"mask/method={row},seed={seed}" for row in "ABC" for seed in (0, 1)
    ]
    assert jobs["sparse/method=B,seed=1"].needs == ("dense/seed=1", "mask/method=B,seed=1")


def test_a_row_overrides_vars_and_the_rest_holds_their_defaults(given):
    options = given(TABLE)
    assert options["mask/method=A,seed=0"] == {
        "checkpoint": "out/dense/seed=0/x", "method": "lamp", "opt": {}, "scope": "global",
        "density": 0.1,
    }  # fmt: skip
    assert options["mask/method=B,seed=1"]["opt"] == {"init": "xavier", "batches": 2}
    assert options["mask/method=B,seed=1"]["scope"] == "global"
    assert options["mask/method=C,seed=1"]["scope"] == "layer"
    assert options["mask/method=C,seed=1"]["opt"] == {}
    epochs = [options[f"sparse/method={row},seed=0"]["epochs"] for row in "ABC"]
    assert epochs == [3, 3, 1]
    assert options["table/method=B"] == {"results": "x", "title": "B scores by snip"}


def test_a_table_is_spelled_as_options_of_the_plugin(planned):
    jobs = planned(TABLE)
    line = jobs["mask/method=B,seed=0"].arguments
    pairs = [line[place + 1] for place, word in enumerate(line) if word == "--opt"]
    assert pairs == ["init=xavier", "batches=2"]
    assert "--opt" not in jobs["mask/method=A,seed=0"].arguments
    assert line[line.index("--method") + 1] == "snip"


def test_options_of_a_row_are_checked_against_its_own_plugin(faults):
    [fault] = faults(TABLE.replace("batches: 2", "batchs: 2"))
    assert fault.startswith("r.yaml:14: step 'mask': the method 'snip' has no option 'batchs'")


@pytest.mark.parametrize(
    ("overrides", "rows"), [("A", "A"), (["C"], "C"), (["C", "A"], "CA"), (["A", "B", "C"], "ABC")]
)
def test_set_takes_one_row_or_some(given, overrides, rows):
    options = given(TABLE, {"method": overrides, "seed": 7})
    names = [name for name in options if name.startswith("mask/")]
    assert names == [f"mask/method={row},seed=7" for row in rows]
    scorers = {"A": "lamp", "B": "snip", "C": "magnitude"}
    assert [options[name]["method"] for name in names] == [scorers[row] for row in rows]


def test_set_of_a_default_leaves_the_rows_that_set_it(given):
    options = given(TABLE, {"scope": "erk"})
    assert [options[f"mask/method={row},seed=0"]["scope"] for row in "ABC"] == [
        "erk", "erk", "layer"
    ]  # fmt: skip


ROWS = "version: 1\nmatrix:\n  method:\n    magnitude: {}\n    snip: {}\n" + STEPS_OF_ONE


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"method": "snipp"}, "--set: there is no method 'snipp'; did you mean 'snip'?"),
        ({"method": ["snip", "x"]}, "--set: there is no method 'x'; there are magnitude, snip"),
        ({"method": ["snip", "snip"]}, "the axis 'method' has a value twice"),
        ({"method": {"snip": {}}}, "method"),
        ({"method": []}, "the axis 'method' needs a list of plain values"),
        ({"mehtod": "snip"}, "there is no 'mehtod' in vars or matrix; did you mean 'method'?"),
    ],
)
def test_set_of_a_row_that_is_not_there(faults, overrides, words):
    assert words in faults(ROWS, overrides)[0]


@pytest.mark.parametrize("override", [4, "4"], ids=["number", "text"])
def test_rows_that_look_like_numbers_are_found_all_the_same(given, override):
    """YAML's keys are text here, and what --set reads of '4' is a number."""
    text = """
        version: 1
        matrix:
          ratio:
            4: {density: 0.25}
            16: {density: 0.0625}
          seed: [0, 1]
          exclude: [{ratio: 4, seed: 1}]
        steps: {s: {over: [ratio, seed], eval: {checkpoint: "${density}"}}}
    """
    assert len(given(text)) == 3
    assert given(text, {"ratio": override, "seed": 0}) == {"s/ratio=4,seed=0": {"checkpoint": 0.25}}


def test_excluded_rows_go_by_their_names(planned):
    text = TABLE.replace("seed: [0, 1]\n", "seed: [0, 1]\n  exclude: [{method: B, seed: 1}]\n")
    names = [name for name in planned(text) if name.startswith("mask/")]
    assert names == [f"mask/method={x}" for x in ("A,seed=0", "A,seed=1", "B,seed=0", "C,seed=0",
                                                  "C,seed=1")]  # fmt: skip


def test_a_step_that_uses_nothing_of_the_rows_does_not_vary_on_them(planned):
    jobs = planned("""
        version: 1
        vars: {unused: 1}
        matrix:
          method: {A: {scorer: lamp, unused: 2}, B: {scorer: snip}}
        steps:
          plain: {train: {model: cnn, dataset: digits}}
          after: {eval: {checkpoint: "@plain"}}
          other: {score: {checkpoint: "@plain", method: "${scorer}"}}
    """)
    assert list(jobs) == ["plain", "after", "other/method=A", "other/method=B"]


def test_over_counts_what_a_row_sets_as_the_axis(faults):
    [fault] = faults("""
        version: 1
        matrix: {method: {A: {scorer: lamp}}, seed: [0]}
        steps:
          s:
            over: [seed]
            score: {checkpoint: x, method: "${scorer}"}
    """)
    assert "step 's' uses 'method'; add it to 'over'" in fault


def test_two_axes_may_set_what_is_theirs(given):
    options = given("""
        version: 1
        matrix:
          protocol: {slow: {epochs: 9}, fast: {epochs: 1}}
          method: {A: {scorer: lamp}, B: {scorer: snip}}
        steps: {s: {score: {checkpoint: "${epochs}", method: "${scorer}"}}}
    """)
    assert options == {
        f"s/protocol={p},method={m}": {"checkpoint": epochs, "method": scorer}
        for p, epochs in (("slow", 9), ("fast", 1))
        for m, scorer in (("A", "lamp"), ("B", "snip"))
    }


@pytest.mark.parametrize(
    ("head", "line", "words"),
    [
        ("matrix:\n  m:\n    A: {x: 1}\n    B: {}\n", 5, "m 'B' does not set 'x', and vars do not"),
        (
            "matrix:\n  m: {A: {x: 1}}\n  n:\n    B: {x: 2}\n",
            4,
            "'x' is set by two axes, or is an axis itself",
        ),
        ("matrix:\n  x: [1]\n  m:\n    A: {x: 1}\n", 4, "'x' is set by two axes, or is an axis"),
        ("matrix:\n  m:\n    A: {m: 1}\n", 3, "'m' is set by two axes, or is an axis itself"),
        ("vars: {m: 1}\nmatrix:\n  m: {A: {}}\n", 4, "'m' is in vars too; rename one of them"),
        ("matrix:\n  m: {A: {x: 1}, B: 2}\n", 3, "'m' needs a list of plain values"),
        ("matrix:\n  m: {A: {x: 1}, B: }\n", 3, "'m' needs a list of plain values"),
        ("matrix:\n  m: {}\n", 3, "'m' needs a list of plain values"),
        ("matrix:\n  m: {A: {}, A: {}}\n", 3, "the key 'A' appears twice"),
        ("matrix:\n  m: {A: {}}\n  exclude: [{m: A}]\n", 4, "'exclude' removes all jobs"),
    ],
)
def test_rows_that_are_wrong(faults, head, line, words):
    [fault] = faults("version: 1\n" + head + STEPS_OF_ONE)
    assert fault.startswith(f"r.yaml:{line}: "), fault
    assert words in fault


def test_a_variable_that_no_row_sets_is_unknown_and_the_nearest_is_said(faults):
    [fault] = faults(TABLE.replace('${scorer}"\n', '${scorre}"\n'))
    assert fault == "r.yaml:14: there is no variable 'scorre'; did you mean 'scorer'?"


def test_an_axis_may_have_null_among_its_values(given):
    options = given("""
        version: 1
        matrix: {init: [null, xavier], seed: [0]}
        steps: {s: {eval: {checkpoint: "${init}", seed: "${seed}"}}}
    """)
    assert options == {
        "s/init=None,seed=0": {"checkpoint": None, "seed": 0},
        "s/init=xavier,seed=0": {"checkpoint": "xavier", "seed": 0},
    }
    assert list(given("version: 1\nmatrix: {x: [null]}\nsteps: {s: {eval: {c: '${x}'}}}\n")) == [
        "s/x=None"
    ]


def chosen(given, which, **overrides):
    text = GRID + f'  some: {{over: [], report: {{results: "@result[{which}]"}}}}\n'
    [results] = [o["results"] for name, o in given(text, overrides).items() if name == "some"]
    return [path.split("/")[2] for path in results]


def test_a_reference_may_choose_by_the_values_of_axes(given):
    assert chosen(given, "density=0.05") == [
        f"method=snip,density=0.05,seed={seed}" for seed in (0, 1)
    ]
    assert chosen(given, "method=r*, seed=1") == ["method=random,density=0.1,seed=1"]
    assert len(chosen(given, "method=*")) == len(chosen(given, "*")) == 6


def test_what_it_chooses_may_be_a_variable(given):
    text = GRID.replace("model: cnn", "model: cnn, left: 0.05")
    text += '  some: {over: [], report: {results: "@result[density=${left}]"}}\n'
    assert all("density=0.05" in path for path in given(text)["some"]["results"])
    assert all("density=0.1" in path for path in given(text, {"left": 0.1})["some"]["results"])
    text = text.replace("over: [], ", "").replace("${left}", "${density}")
    some = {name: o["results"] for name, o in given(text).items() if name.startswith("some")}
    assert {name: len(paths) for name, paths in some.items()} == {
        "some/density=0.1": 4, "some/density=0.05": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("dnsity=0.1", r"'result' does not vary on 'dnsity'; did you mean 'density'\?"),
        ("density=0.7", r"'@result\[density=0.7\]' is not the output of any job"),
        ("density", r"'@result\[density\]' is not of the form @step, @step\[\*\] or @step\[axis="),
        ("density=0.1,*", "is not of the form"),
        ("density=${lft}", "there is no variable 'lft'"),
    ],
)
def test_a_choice_that_cannot_be_is_a_fault_at_its_line(given, which, message):
    with pytest.raises(BadUsage, match=rf"r\.yaml:16: .*{message}"):
        chosen(given, which)


def results(planned, matrix, overrides=None):
    text = GRID.replace("  exclude: [{method: random, density: 0.05}]\n", matrix)
    return [name for name in planned(text, overrides) if name.startswith("result/")]


def test_what_is_included_is_added_once_with_all_values_of_the_other_axes(planned):
    assert results(planned, "  include: [{method: snip, density: 0.02}]\n")[8:] == [
        f"result/method=snip,density=0.02,seed={seed}" for seed in (0, 1)
    ]
    assert len(results(planned, "  include: [{method: snip, density: 0.1}]\n")) == 8
    both = "  include: [{method: random, density: 0.05}]\n  exclude: [{method: random}]\n"
    assert [name for name in results(planned, both) if "random" in name] == [
        f"result/method=random,density=0.05,seed={seed}" for seed in (0, 1)
    ]


def test_an_axis_set_anew_keeps_of_what_is_included_what_lies_on_it(planned):
    matrix = "  include: [{method: lamp, density: 0.02}]\n"
    assert results(planned, matrix, {"density": [0.1], "seed": 0}) == [
        f"result/method={method},density=0.1,seed=0" for method in ("snip", "random")
    ]
    assert "result/method=lamp,density=0.02,seed=7" in results(planned, matrix, {"seed": 7})
    with pytest.raises(BadUsage, match="the axis 'density' needs a list of plain values"):
        results(planned, matrix, {"density": []})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{methd: snip}", "there is no axis 'methd'; did you mean 'method'"),
        ("{method: [snip]}", "'include' takes one value of 'method' at a time"),
        ("3", "'include' needs a list of tables"),
    ],
)
def test_what_cannot_be_included_is_a_fault_at_its_line(planned, entry, message):
    with pytest.raises(BadUsage, match=rf"r\.yaml:7: .*{message}"):
        results(planned, f"  include: [{entry}]\n")


def test_a_value_with_a_name_must_have_it_to_be_included(planned):
    text = """
        version: 1
        matrix:
          net:
            small: {model: cnn}
            large: {model: vgg16}
          seed: [0]
          include: [{net: %s, seed: 3}]
        steps:
          dense: {train: {model: "${model}", epochs: 1, seed: "${seed}"}}
    """
    jobs = planned(text % "large")
    assert [*jobs][2:] == ["dense/net=large,seed=3"]
    with pytest.raises(BadUsage, match=r"r\.yaml:7: there is no net 'big'; there are small, large"):
        planned(text % "big")


def test_what_a_job_writes_is_read_by_reference_only(faults):
    assert faults("""
        version: 1
        steps:
          a: {mask: {scores: out/a/mask.safetensors, density: 0.5}}
          b: {mask: {scores: ./out/c/mask.safetensors, density: 0.5}}
          c: {mask: {scores: elsewhere/mask.safetensors, density: 0.5}}
          d: {apply: {checkpoint: x.safetensors, mask: "@c"}}
    """) == [
        "r.yaml:3: step 'a' reads 'out/a/mask.safetensors', which step 'a' writes; "
        "name another file",
        "r.yaml:4: step 'b' reads './out/c/mask.safetensors', which step 'c' writes; "
        "refer to it as '@c'",
    ]
