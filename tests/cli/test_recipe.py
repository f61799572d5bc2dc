"""Recipes by name: listed, printed, copied, checked, and described for editors."""

import json
import os
from pathlib import Path

import pytest
import yaml

from prunecli.cli.study.schema import recipe_schema
from prunecli.cli.study.steps import STEPS
from prunecli.recipe import shipped
from prunecli.recipe.parse import load_yaml

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SCHEMA = recipe_schema(STEPS)


def test_those_that_come_with_it_are_named_with_their_purpose(prune):
    table = json.loads(prune("recipe", "list", "--json").out)["recipes"]
    assert list(table) == [path.stem for path in RECIPES]
    assert table["weightmom"].startswith("WeightMom against SNIP")
    line = next(x for x in prune("recipe", "list").out.splitlines() if x.startswith("gmp "))
    assert line.endswith(table["gmp"])


@pytest.mark.parametrize("name", ["gmp", "gmp.yaml", "recipes/gmp.yaml"])
def test_a_recipe_goes_by_its_name_wherever_one_is(prune, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert prune("recipe", "cat", name).out == (ROOT / "recipes" / "gmp.yaml").read_text()
    jobs = prune("run", name, "--dry-run")
    assert jobs.code == 0
    Path("gmp.yaml").write_text("version: 1\n")  # a file of that name comes first
    own = "gmp.yaml" if name == "gmp.yaml" else "gmp"
    assert (prune("recipe", "cat", own).out == "version: 1\n") == (name == "gmp.yaml")


def test_a_copy_has_all_that_it_needs(prune, tmp_path):
    ended = prune("recipe", "cp", "adaptive_sparsity_quick", tmp_path / "mine")
    assert ended.out == f"{tmp_path / 'mine' / 'adaptive_sparsity_quick.yaml'}\n"
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "adaptive_sparsity.csv", "adaptive_sparsity.yaml", "adaptive_sparsity_quick.yaml"
    ]  # fmt: skip
    jobs = prune("run", tmp_path / "mine" / "adaptive_sparsity_quick.yaml", "--dry-run").out
    assert f"--reference {tmp_path}/mine/adaptive_sparsity.csv" in jobs


def test_a_copy_replaces_nothing_unless_told_to(prune, tmp_path):
    (tmp_path / "gmp.yaml").write_text("mine")
    ended = prune("recipe", "cp", "gmp_quick", tmp_path)
    assert (ended.code, ended.out) == (5, "")
    assert "gmp.yaml: it already exists; overwrite it with --force" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["gmp.yaml"]
    assert prune("recipe", "cp", "gmp_quick", tmp_path, "--force").code == 0
    assert (tmp_path / "gmp.yaml").read_text() != "mine"


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/none"])
def test_a_copy_that_cannot_be_written_ends_with_5(prune, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    ended = prune("recipe", "cp", "gmp", folder)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.startswith(f"error: {folder}: cannot be written: ")
    assert ended.err.count("\n") == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_copy_onto_itself_leaves_it(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("version: 1\n")
    assert prune("recipe", "cp", "r.yaml", ".", "--force").code == 0
    assert Path("r.yaml").read_text() == "version: 1\n"


@pytest.mark.parametrize("command", ["cat", "cp"])
def test_a_recipe_that_cannot_be_read_ends_with_3(prune, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("folder.yaml").mkdir()
    Path("latin.yaml").write_bytes(b"# \xe9\n")
    for name, why in (
        ("folder.yaml", "it is a folder; give the recipe in it"),
        ("latin.yaml", "not UTF-8 at byte"),
    ):
        ended = prune("recipe", command, name, *["new"] * (command == "cp"))
        assert (ended.code, ended.out) == (3, "")
        assert f"error: {name}: " in ended.err and why in ended.err
    assert not Path("new").exists()


def test_a_recipe_is_checked_without_being_run(prune, tmp_path):
    assert prune("recipe", "validate", "imp_quick").out.startswith("imp-quick: ")
    facts = json.loads(prune("recipe", "validate", "gmp", "--json", "--set", "seed=0").out)
    assert (facts["name"], facts["steps"], facts["jobs"]) == ("gmp", 19, 76)
    (tmp_path / "r.yaml").write_text("version: 1\nsteps:\n  a: {train: {modl: cnn, lr: -1}}\n")
    ended = prune("recipe", "validate", tmp_path / "r.yaml")
    assert ended.code == 2
    assert "r.yaml:3: step 'a': there is no option 'modl'; did you mean 'model'?" in ended.err


def test_an_installation_finds_them_among_its_own_files(monkeypatch, tmp_path):
    place = tmp_path / "share" / "prunecli" / "recipes"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text("# A recipe.\n")

    class File(type(Path())):
        def locate(self):
            return tmp_path / self

    installed = [File(f"share/prunecli/recipes/{n}") for n in ("mine.yaml", "mine.csv")]
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "lib" / "p")
    monkeypatch.setattr(shipped, "files", lambda name: [File("prunecli/cli/run.py"), *installed])
    assert shipped.shipped() == {"mine": place / "mine.yaml"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_schema_takes_every_recipe(path):
    jsonschema.validate(load_yaml(path)[0], SCHEMA)


@pytest.mark.parametrize(
    "step",
    [
        "{trian: {model: cnn}}",
        "{eval: {checkpoint: x, batchsize: 3}}",
        "{train: {model: cnn, epochs: many}}",
        "{train: {model: cnn, optimizer: sgdd}}",
        "{train: {model: cnn, lr: 0}}",
        "{train: {model: cnn, download: 3}}",
        "{eval: {checkpoint: x}, ovr: [seed]}",
    ],
)
def test_the_schema_refuses_what_the_commands_refuse(step):
    document = yaml.safe_load(f"version: 1\nsteps: {{a: {step}}}\n")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_schema_leaves_room_for_variables_and_outputs(prune):
    text = """
        version: 1
        vars: {n: 3}
        steps:
          a: {train: {model: cnn, epochs: "${n}", lr: "${x}", weight_decay: 0.1}}
          b: {score: {checkpoint: "@a", method: snip, batches: 4}}
    """
    jsonschema.validate(yaml.safe_load(text), json.loads(prune("recipe", "schema").out))


def test_a_copy_keeps_sub_folders(prune, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "r.yaml").write_text("version: 1\nbase: sub/b.yaml\n")
    (tmp_path / "sub" / "b.yaml").write_text(
        "version: 1\nsteps: {a: {report: {results: ['${here}/x y.csv', '${here}/../z.csv']}}}\n"
    )
    (tmp_path / "sub" / "x y.csv").write_text("x")
    (tmp_path / "z.csv").write_text("z")
    assert prune("recipe", "cp", tmp_path / "r.yaml", tmp_path / "new").code == 0
    copied = {p.relative_to(tmp_path / "new") for p in (tmp_path / "new").rglob("*.*")}
    assert copied == set(map(Path, ["r.yaml", "sub/b.yaml", "sub/x y.csv", "z.csv"]))


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("base: ../x.yaml", "'../x.yaml'"),
        ("base: /etc/x.yaml", "'/etc/x.yaml'"),
        ("steps: {a: {report: {results: '${here}/../x.csv'}}}", "'../x.csv'"),
        ("steps: {a: {report: {results: '${here}/sub/../../x.csv'}}}", "'sub/../../x.csv'"),
    ],
)
def test_what_is_not_below_the_recipes_folder_is_not_copied(prune, tmp_path, text, named):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "r.yaml").write_text(f"version: 1\n{text}\n")
    (tmp_path / "x.yaml").write_text("version: 1\n")
    (tmp_path / "x.csv").write_text("x")
    ended = prune("recipe", "cp", tmp_path / "in" / "r.yaml", tmp_path / "new")
    assert (ended.code, ended.out) == (2, "")
    assert f"r.yaml: {named} is not below the recipe's folder" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.fault(34)
def test_a_copy_follows_no_link_out_of_its_folder(prune, tmp_path):
    for folder in ("in/sub", "new", "out"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "in" / "r.yaml").write_text("version: 1\nbase: sub/b.yaml\n")
    (tmp_path / "in" / "sub" / "b.yaml").write_text("version: 1\n")
    (tmp_path / "new" / "sub").symlink_to(tmp_path / "out")
    ended = prune("recipe", "cp", tmp_path / "in" / "r.yaml", tmp_path / "new", "--force")
    assert (ended.code, ended.out) == (5, "")
    assert "sub/b.yaml: a link there leads out of the folder; remove it" in ended.err
    (tmp_path / "new" / "sub").unlink()
    (tmp_path / "new" / "r.yaml").symlink_to(tmp_path / "out" / "r.yaml")
    assert prune("recipe", "cp", tmp_path / "in" / "r.yaml", tmp_path / "new").code == 5
    assert [*(tmp_path / "out").iterdir()] == []
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["r.yaml"]


def test_a_folder_hides_no_recipe_of_its_name(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gmp").mkdir()
    assert prune("recipe", "validate", "gmp").out == "gmp: 19 steps, 222 jobs, no faults\n"
    ended = prune("run", "./gmp/.", "--dry-run", "-o", "x")
    assert ended.code == 0
    Path("mine").mkdir()
    ended = prune("run", "mine", "--dry-run")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "error: mine: it is a folder; give the recipe in it, a file\n"


@pytest.mark.fault(35)
@pytest.mark.parametrize("command", [["recipe", "cat"], ["recipe", "cp"], ["recipe", "validate"]])
def test_a_pipe_or_a_device_is_no_recipe(prune, tmp_path, command):
    os.mkfifo(tmp_path / "r.yaml")
    for path, what in ((tmp_path / "r.yaml", "a named pipe"), ("/dev/zero", "a device")):
        ended = prune(*command, path)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == f"error: {path}: it is {what}; give a regular file\n"


@pytest.mark.fault(34)
@pytest.mark.parametrize("command", [["run", "gmp_quick", "-q", "-o"], ["recipe", "cp", "gmp"]])
def test_what_is_no_folder_is_called_what_it_is(prune, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    Path("file").write_text("mine")
    Path("link").symlink_to("file")
    os.mkfifo("pipe")
    for name, what in {
        "dangling": "a broken link", "file": "not a folder", "link": "not a folder",
        "pipe": "not a folder",
    }.items():  # fmt: skip
        ended = prune(*command, name)
        assert (ended.code, ended.out) == (5, "")
        assert ended.err == f"error: {name}: cannot be written: {name} is {what}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "file", "link", "pipe"]
