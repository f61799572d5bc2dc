"""benchmarks/gpu.py in miniature on the CPU: what is measured on a GPU must work the first time."""

import faulthandler
import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import _gpu_scores  # noqa: E402
import _gpu_several  # noqa: E402
import _gpu_training  # noqa: E402
import gpu  # noqa: E402
from _gpu_job import Job, Setup  # noqa: E402
from _gpu_table import into, table  # noqa: E402
from _paced import Paced, steady  # noqa: E402
from _pixels import MNIST, images  # noqa: E402

CPU = torch.device("cpu")
ON_CPU = ["--quick", "--device", "cpu"]


def results(folder, *options):
    """What a run writes and the tables that it makes of it."""
    output = folder / "gpu.json"
    with redirect_stdout(StringIO()) as said:
        assert gpu.main([*ON_CPU, "--budget", "9999", "-o", str(output), *options]) == 0
    return json.loads(output.read_text()), said.getvalue()


def only(found, **what):
    [row] = [row for row in found["rows"] if what.items() <= row.items()]
    return row


def threaded(stack, setup, network):
    """In place of a process of its own, which would load torch anew."""
    line, end = Pipe()
    Thread(target=_gpu_several._train, args=(end, setup, network), daemon=True).start()
    return stack.enter_context(line)


@pytest.fixture(scope="module")
def whole(environment, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gpu_several, "_started", threaded)
        return results(tmp_path_factory.mktemp("gpu"))


def test_a_run_measures_every_part(whole):
    found, _ = whole
    assert [row for row in found["rows"] if "failed" in row] == []
    assert {row["part"] for row in found["rows"]} == gpu.PARTS.keys() - {"compile"}
    rates = [*only(found, part="several")["images_per_second"].values()]
    rates += [row["images_per_second"] for row in found["rows"] if "memory" in row]
    assert len(rates) == 4
    assert min(rates) > 0
    assert {r["pruner"] for r in found["rows"] if "pruner" in r} == _gpu_training.PRUNERS.keys()
    assert all(row["ms"] > 0 < row["dense_ms"] for row in found["rows"] if "pruner" in row)
    rounds = {row["method"]: row["rounds"] for row in found["rows"] if "method" in row}
    assert rounds == {"snip": 1, "grasp": 1, "synflow": 3}
    for who in ("prunecli", "torch"):
        row = only(found, who=who)
        assert (row["total"], row["kept"]) == (20_000, 2_000)


def test_what_only_a_gpu_can_do_is_skipped_with_the_reason(whole):
    found, _ = whole
    why = {row["mode"]: row.get("skipped") for row in found["rows"] if "mode" in row}
    assert why.pop("eager") is None
    assert "GPU" in why.pop("graph")
    assert "miniature" in why.pop("compile")
    assert not why


def test_a_run_says_what_it_was_made_with(whole):
    about = whole[0]["about"]
    told = "--quick --device cpu --budget 9999 -o gpu.json"
    assert about["command"] == f"python benchmarks/gpu.py {told}"
    assert about["versions"]["torch"] == torch.__version__
    assert {"date", "cores", "processor"} <= about.keys()
    assert about["seconds"] >= sum(row["took"] for row in whole[0]["rows"]) > 0


def test_the_tables_show_every_figure_or_why_there_is_none(whole):
    found, text = whole
    for row in found["rows"]:
        if "skipped" in row:
            assert re.search(
                rf"^- .*{row['label']}.*skipped: {row['skipped']}$", text, re.MULTILINE
            )
    measured = [row for row in found["rows"] if "skipped" not in row]
    lines = [line for line in text.splitlines() if re.match(r"\| (`|\d)", line)]
    assert len(lines) == len(measured)
    for row in measured:
        if row["part"] in ("training", "evaluation"):
            figure = f"{row['images_per_second']:,.0f} ({row['spread']:.1f})"
        elif row["part"] == "several":
            figure = "; ".join(f"{n}: {x:,.0f}" for n, x in row["images_per_second"].items())
        elif row["part"] == "pruners":
            figure = f"| {row['dense_ms']:.3g} | {row['ms']:.3g} | {row['percent_more']:+.1f}%"
        else:
            figure = f"| {row['seconds']:.3g} |"
        assert any(figure in line for line in lines), row


def test_tables_can_be_made_of_an_earlier_run(tmp_path, capsys):
    _, text = results(tmp_path, "--only", "evaluation")
    assert gpu.main(["--read", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("text", ["{}", "[1]", "3", "{"])
def test_a_file_without_figures_is_refused_in_words(text, tmp_path, capsys):
    (tmp_path / "odd.json").write_text(text)
    assert gpu.main(["--read", str(tmp_path / "odd.json")]) == 1
    assert capsys.readouterr().err.startswith("gpu.py: ")


def test_runs_in_the_same_place_are_joined_row_by_row():
    about = gpu.about(Setup(CPU), ["-o", "a"]) | {"seconds": 2.0}
    skipped, failed = {"skipped": "the time was up"}, {"failed": "no memory"}
    first = [{"label": "a", "n": 1}, {"label": "b"} | skipped, {"label": "c"} | failed]
    second = [{"label": "a", "n": 2}, {"label": "b", "n": 3}, {"label": "c"} | skipped]
    runs = [{"about": dict(about), "rows": rows} for rows in (first, [*second, {"label": "d"}])]
    whole = gpu.joined(runs)
    assert whole["rows"] == [*second[:2], first[2], {"label": "d"}]
    assert whole["about"]["seconds"] == 4
    assert whole["about"]["command"] == "`, `".join(["python benchmarks/gpu.py -o a"] * 2)
    runs[1]["about"]["gpu"] = "another"
    with pytest.raises(ValueError, match="they differ in gpu"):
        gpu.joined(runs)


def test_the_document_has_a_place_for_the_tables(tmp_path):
    page = tmp_path / "speed.md"
    before = (ROOT / "docs" / "speed.md").read_text()
    page.write_text(before)
    for text in ("| a |\n", "| \\1 |\n\n| b |\n"):  # and again
        into(page, text)
        assert f"<!-- gpu table -->\n{text}<!-- end -->" in page.read_text()
    assert page.read_text().partition("<!-- gpu")[0] == before.partition("<!-- gpu")[0]
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for the table"):
        into(page, "text")


def test_a_row_that_fails_says_why_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(*arguments):
        raise torch.OutOfMemoryError("no memory is left\nbut this line is of no use")

    monkeypatch.setattr(_gpu_scores, "torchs_masks", broken)
    found, text = results(tmp_path, "--only", "masks")
    assert only(found, who="torch")["failed"] == "OutOfMemoryError: no memory is left"
    assert only(found, who="prunecli")["seconds"] > 0
    assert "- masks small torch cpu: failed: OutOfMemoryError: no memory is left\n" in text


@pytest.mark.slow
def test_processes_train_side_by_side_or_one_says_why_not():
    setup = Setup(CPU, quick=True)
    figures = _gpu_several._side_by_side(setup, "cnn")
    assert figures["images_per_second"].keys() == {"1", "2"}
    assert min(figures["images_per_second"].values()) > 0
    with pytest.raises(RuntimeError, match="one of the processes failed: BadUsage: .*no-such-net"):
        _gpu_several._side_by_side(setup, "no-such-net")


def test_a_process_that_has_ended_or_says_nothing_is_told_from_one_that_failed(monkeypatch):
    line, other = Pipe()
    other.send("OutOfMemoryError: no memory is left")
    with pytest.raises(RuntimeError, match="one of the processes failed: OutOfMemoryError: no"):
        _gpu_several._heard(line)
    monkeypatch.setattr(_gpu_several, "PATIENCE", 0.0)
    with pytest.raises(RuntimeError, match="one of the processes hangs"):
        _gpu_several._heard(line)
    other.close()
    with pytest.raises(RuntimeError, match="one of the processes was killed"):
        _gpu_several._heard(line)


def test_a_row_that_hangs_ends_the_run_and_is_there_as_one_that_came_to_no_end(
    tmp_path, monkeypatch
):
    armed, there = [], []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *a, **o: armed.append((a, o)))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: armed.append(None))

    def look():
        there.append(json.loads((tmp_path / "gpu.json").read_text())["rows"])
        return {"skipped": "no"}

    jobs = [Job("masks", {"scores": 1}, 10, look)]
    monkeypatch.setitem(gpu.PARTS, "masks", lambda setup: jobs)
    found, _ = results(tmp_path, "--only", "masks")
    assert armed == [((gpu.PATIENCE + 20,), {"exit": True, "file": sys.__stderr__}), None]
    assert [[row["failed"] for row in rows] for rows in there] == [["it came to no end"]]
    assert "failed" not in only(found, scores=1)


def test_what_the_time_does_not_suffice_for_is_not_begun(tmp_path, monkeypatch):
    begun = []

    def jobs(setup):
        for needed in (100, 201, 50):
            figures = {"total": needed, "kept": 1, "seconds": 1.0}
            what = {"scores": needed, "who": "torch", "where": "cpu"}
            yield Job("masks", what, needed, lambda f=figures: begun.append(f["total"]) or f)

    monkeypatch.setitem(gpu.PARTS, "masks", jobs)
    found, text = results(tmp_path, "--only", "masks", "--budget", "200")
    assert begun == [100, 50]
    assert only(found, scores=201)["skipped"] == "the time was up"
    assert "- masks 201 torch cpu: skipped: the time was up\n" in text


def test_steps_that_were_eager_against_the_wish_are_told(whole):
    rows = [dict(row) for row in whole[0]["rows"]]
    [row, other] = [row for row in rows if row.get("pruner") in ("rigl", "masked")]
    row["notes"] = ["gradients are not replayed as a CUDA graph: it waits"]
    other["notes"] = ["gradients are replayed as a CUDA graph from here on"]
    text = table(whole[0] | {"rows": rows})
    told = f"Eager although graphs were asked for:\n\n- {row['label']}: {row['notes'][0]}\n"
    assert told in text
    assert other["notes"][0] not in text


def test_results_are_there_after_every_row(tmp_path, monkeypatch):
    kept = []

    def jobs(setup):
        for number in range(2):
            yield Job("masks", {"scores": number}, 0, lambda: kept.append(1) or {"skipped": "no"})
            assert len(json.loads((tmp_path / "gpu.json").read_text())["rows"]) == number + 1

    monkeypatch.setitem(gpu.PARTS, "masks", jobs)
    results(tmp_path, "--only", "masks")
    assert len(kept) == 2


def test_steps_by_graph_stand_beside_eager_ones():
    row = {"part": "training", "label": "", "network": "vgg16", "batch": 512, "spread": 1.0}
    row |= {"mode": "graph", "memory": 3 << 30, "images_per_second": 130_000.0}
    eager = row | {"mode": "eager", "images_per_second": 65_000.0, "memory": 2 << 30}
    rows = [each | {"precision": "bf16"} for each in (row, eager)]
    about = gpu.about(Setup(CPU), ["-o", "gpu.json"]) | {"driver": "driver 1, CUDA 13.0"}
    text = table({"about": about | {"gpu": "NVIDIA H100 80GB HBM3"}, "rows": rows})
    line = "| `vgg16` | 512 | bf16 | 65,000 (1.0) | 130,000 (1.0) |  | 2.00 | 3.0 |"
    assert line in text.splitlines()
    assert "one NVIDIA H100 80GB HBM3 (driver 1, CUDA 13.0)" in text


def test_without_a_gpu_the_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["-o", str(tmp_path / "gpu.json")]) == 1
    assert "--device cuda: this machine has 0 usable GPUs" in capsys.readouterr().err


def test_a_paced_training_is_the_training_that_the_command_does():
    data, settings = images(**MNIST | {"count": 20}), steady(8, "fp32")
    weights = {}
    for name, goes in {"at once": [7], "paced": [2, 1, 4]}.items():
        with Paced("cnn", data, settings, CPU) as paced:
            for count, steps in enumerate(goes, 1):
                paced.go(steps)
                assert paced.state.step == sum(goes[:count])
            assert paced.seen() == 2 * 20 + 8
        weights[name] = paced.state.model.state_dict()
    assert all(torch.equal(w, weights["paced"][n]) for n, w in weights["at once"].items())


def test_a_paced_training_raises_what_goes_wrong_in_it():
    data = images(**MNIST | {"count": 20})
    with Paced("cnn", data, steady(8, "fp32"), CPU) as paced:
        paced.go(1)
        paced.state.model.fc1.weight.data = torch.zeros(3, 3)
        with pytest.raises(Exception, match="the network cannot be trained"):
            paced.go(1)


def test_networks_are_given_images_of_their_data_set():
    setup = Setup(CPU, quick=True)
    assert setup.images("cnn").input_shape == (1, 28, 28)
    colour = setup.images("vgg16")
    assert (colour.input_shape, colour.pad, colour.flip) == ((3, 32, 32), 4, True)
