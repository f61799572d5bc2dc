"""What is a result, and what is refused before rows and figures look into it."""

import json
import os
import re
import tracemalloc
from pathlib import Path

import pytest
from results import LAYER, table

from prunecli.errors import BadInput
from prunecli.files.results import Result, as_json, as_table, read_result

RESULT = table()
LAST = [{"epoch": 1, "loss": 0.5, "weights": [1, 2]}]


@pytest.fixture
def read(tmp_path):
    def one(text):
        path = tmp_path / "r.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return read_result(path)

    return one


def test_what_cannot_be_read_is_named(read, tmp_path):
    with pytest.raises(BadInput, match=r"r\.json: it is not JSON"):
        read("{")
    with pytest.raises(BadInput, match="there is no such file"):
        read_result(tmp_path / "missing.json")
    for text in ("{}", "[1]", "7", "null"):
        with pytest.raises(
            BadInput, match=r"r\.json: not a result: it has no 'density'; give a file"
        ):
            read(text)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"method": None, "scope": None}, {"seed": None}, {"versions": None}, {"history": LAST},
        {"history": None, "options": None, "settings": None}, {"options": {"a": 1, "b": [None]}},
        {"earlier": [{"epochs": 5}], "rewound_to": 2, "scoring": {"fraction": 0.1}},
        {"earlier": None, "rewound_to": None, "scoring": None, "mask_seed": None}, {"new": [{}]},
    ],
)  # fmt: skip
def test_a_result_is_read_as_it_stands(read, more):
    assert as_table(read(RESULT | more)) == RESULT | more


@pytest.mark.parametrize("key", RESULT)
def test_what_every_result_has_may_not_lack(read, key):
    with pytest.raises(BadInput, match=f"not a result: it has no '{key}'"):
        read({name: value for name, value in RESULT.items() if name != key})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("top1", "high"), ("top1", True), ("top1", 101), ("top1", -1),
        ("prunable", 10**400), ("loss", 1e200), ("flops_dense", 0), ("compression", 0),
        ("nonzero", 0.5), ("asked", 2), ("sparsity", "none"), ("nested", 1), ("precision", 16),
        ("layers", []), ("layers", {}), ("dead_layers", 2), ("method", 1), ("scope", []),
        ("seed", [0]), ("seed", 0.5), ("mask_seed", [1]), ("options", []),
        ("options", {"a": 10**400}), ("rounds", "3"), ("settings", [1]), ("model_options", []),
        ("dataset_options", 1), ("left_out", "all"), ("earlier", {}), ("rewound_to", "2"),
        ("scoring", [1]), ("versions", []), ("checkpoint_sha256", 1), ("mask_sha256", []),
        ("history", {}),
    ],
)  # fmt: skip
def test_what_has_another_form_is_refused_by_name(read, place, value):
    with pytest.raises(BadInput, match=f"not a result: its '{place}' is ") as caught:
        read(RESULT | {place: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("layers", [LAYER, LAYER | {"total": 0}], r"its 'layers\[1\].total' is 0"),
        ("layers", [{"name": "a"}], r"it has no 'layers\[0\].total'"),
        ("layers", [1], r"its 'layers\[0\]' is 1"),
        ("dead_layers", ["a", 2], r"its 'dead_layers\[1\]' is 2"),
        ("earlier", [1], r"its 'earlier\[0\]' is 1"),
        ("versions", {"torch": 2}, "its 'versions.torch' is 2"),
        ("history", [1], r"its 'history\[0\]' is 1"),
        ("history", [LAST[0], {"epoch": 1}], r"it has no 'history\[1\].loss'"),
        ("history", [{"loss": 1}], r"it has no 'history\[0\].epoch'"),
        ("history", [{"epoch": 1, "loss": None}], r"it has no 'history\[0\].loss'"),
        ("history", [LAST[0] | {"density": "low"}], r"its 'history\[0\].density' is 'low'"),
        ("history", [LAST[0] | {"weights": 3}], r"its 'history\[0\].weights' is 3"),
        ("history", [LAST[0] | {"top1": 101}], r"its 'history\[0\].top1' is 101"),
    ],
)
def test_what_lies_deeper_is_refused_by_its_place(read, key, value, fault):
    with pytest.raises(BadInput, match=f"not a result: {fault}") as caught:
        read(RESULT | {key: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("key", ["top1", "model", "dataset", "layers"])
def test_what_every_result_has_is_not_null(read, key):
    with pytest.raises(BadInput, match=f"not a result: it has no '{key}'"):
        read(RESULT | {key: None})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_no_result_wherever_it_stands(read, text):
    for more in ({"top1": 7531}, {"settings": {"lr": 7531}}, {"history": [{"lr": 7531}]}):
        with pytest.raises(BadInput, match=f"not a result: it holds {text}"):
            read(json.dumps(RESULT | more).replace("7531", text))


def test_text_that_cannot_be_written_again_is_no_result(read):
    with pytest.raises(BadInput, match="not a result: "):
        read(RESULT | {"model": "\ud800"})
    with pytest.raises(BadInput, match="not a result: "):
        read("[" * 100_000)


@pytest.mark.fault(35)
def test_a_pipe_or_a_device_is_no_result(tmp_path):
    os.mkfifo(tmp_path / "r.json")
    for path, what in ((tmp_path / "r.json", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(BadInput, match=f"{path}: it is {what}; give a regular file"):
            read_result(path)


@pytest.mark.fault(35)
def test_a_file_far_larger_than_any_result_is_not_read_whole(tmp_path):
    with (tmp_path / "r.json").open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    with pytest.raises(BadInput, match="it is over 100,000,000 bytes, which is too large"):
        read_result(tmp_path / "r.json")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 250e6


@pytest.mark.fault(35)
@pytest.mark.parametrize("key", ["model", "dataset", "method", "scope"])
def test_a_name_that_no_line_has_room_for_is_no_result(read, key):
    assert getattr(read(RESULT | {key: "n" * 1000}), key) == "n" * 1000
    for more in ({key: "n" * 1001}, {"layers": [LAYER | {"name": "n" * 5000}]}):
        with pytest.raises(
            BadInput, match=r"not a result: its '(layers\[0\]\.name|[a-z]+)' is "
        ) as caught:
            read(RESULT | more)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("nested", ["[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000])
def test_a_result_that_is_nested_too_deeply_is_refused(read, nested):
    for text in (nested, json.dumps(RESULT | {"settings": 7531}).replace("7531", nested)):
        with pytest.raises(BadInput, match="not a result: it is nested too deeply"):
            read(text)


def test_a_byte_order_mark_is_no_part_of_the_result(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(RESULT), encoding="utf-8-sig")
    assert as_table(read_result(tmp_path / "r.json")) == RESULT


def test_text_in_utf_16_is_called_so(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(RESULT), encoding="utf-16")
    with pytest.raises(BadInput, match=r"r\.json: it is text in UTF-16; save it as UTF-8"):
        read_result(tmp_path / "r.json")


def test_a_result_is_written_as_it_was_read(read):
    """Nulls too, what is not known, and the lines of the log by name."""
    lines = [{"a": None, "epoch": 1, "loss": 2, "z": [0]}, {"b": {}, "epoch": 2, "loss": 0.5}]
    nulls = {key: None for key in Result.types() if key not in RESULT}
    ordered = {key: (nulls | RESULT)[key] for key in Result.types()} | {"history": lines}
    text = json.dumps({**ordered, "new": {"b": 1, "a": None}}, indent=1) + "\n"
    assert as_json(read(text)) == text


def test_nothing_that_was_asked_for_is_not_the_same_as_nothing_said_of_it(read):
    """Methods that decide are younger than other results."""
    assert read(RESULT | {"asked": None}).is_free
    assert not read(RESULT).is_free
    assert not read(RESULT | {"asked": 0.1}).is_free
    assert not read(table(None, 1.0, asked=None)).is_free


def test_the_documentation_has_all_names_in_their_order():
    text = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    [section] = re.findall(r"^## Results\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert [name for row in rows for name in re.findall("`(.*?)`", row)] == list(Result.types())
