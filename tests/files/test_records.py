"""What a file says of itself is parsed strictly, and written as it was."""

import json
import re
from dataclasses import FrozenInstanceError, replace

import pytest
from attacks import written

from prunecli.errors import BadInput
from prunecli.files.parsing import DEEPEST, Record, parsed, table, with_nulls
from prunecli.files.records import (
    KINDS,
    CheckpointRecord,
    MaskRecord,
    ModelRecord,
    record_of,
)
from prunecli.files.tensors import TensorFile
from prunecli.runtime.facts import canonical

SHA = "0" * 64
MODEL = {"name": "cnn", "options": {"thin": 1.0}, "input_shape": [1, 28, 28], "classes": 10}
SETTINGS = {"epochs": 3, "lr": 0.05, "nesterov": True, "optimizer": "sgd"}
DENSITY = {"kept": {"a": 1}, "overall": 0.5, "per_tensor": {"a": 0.5}}
LEFT_WHOLE = {"tensors": 1, "weights": 9, "reasons": {"biases": [1, 5]}, "beside": ["statistics"]}
METHOD = {"method": "lamp", "options": {"batches": 2}, "seed": 0, "scoring": {"batch_size": 128},
          "left_out": {"ignore": ["a"]}}  # fmt: skip
CHOSEN = {"scope": "global", "rounds": 1, "schedule": "exponential", "asked": 0.5, "total": 9,
          "count": "scored", "kept": 4, "rule": "threshold"}  # fmt: skip
NETWORK = {"seed": 0, "parent": SHA, "model": MODEL, "parameters": 9, "layouts": {"a": "io"},
           "classifier": "a", "versions": {"torch": "2.0"}}  # fmt: skip
SAID = {
    "checkpoint": {
        **NETWORK,
        "dataset": {"name": "digits", "options": {}, "sha256": SHA},
        "settings": SETTINGS,
        "device": "cpu",
        "rewind": SHA,
        "rewound_to": 1,
        "earlier": [SETTINGS, {}],
        "mask": {
            **METHOD, **CHOSEN, "nested": False, "sha256": SHA, "epochs": 3, "critical": True,
        },
        "pruner": {"name": "gmp", "options": {}, "ignore": ["a"], "exclude_classifier": True},
        "adapted": {"strip_prefix": "x", "new_head": False},
        "pretrained": "IMAGENET1K_V1",
        "classes": ["a", "b"],
        "normalisation": {"mean": [0.5], "std": [1]},
        "prunable": ["a"],
        "density": DENSITY,
        "history": [{"epoch": 1, "loss": 0.1}],
        "tied": {"b": "a"},
    },
    "scores": {**NETWORK, **METHOD, "left_whole": LEFT_WHOLE, "mask": SHA, "first": "a"},
    "mask": {
        **NETWORK,
        **METHOD,
        **CHOSEN,
        "left_whole": LEFT_WHOLE,
        "scores": SHA,
        "critical": False,
        "density": DENSITY,
        "mask": SHA,
        "ties": {"equal": 3, "kept": 1},
        "collapse": {
            "dead_layers": ["a"], "dead_inputs": {"a": 3}, "dead_outputs": {"a": 3},
            "live_path": False, "effective_density": 0.0, "max_compression": 9.0, "feasible": True,
        },
        "shapes": {"a": [3, 3]},
    },
    "state": {
        "facts": {"seed": 0},
        "training": {"step": 1, "history": [{}], "scheduler": {"last_epoch": 1},
                     "groups": [{"lr": 0.1}], "tensors": ["model/a"]},
        "digest": SHA,
    },
}  # fmt: skip
"""All that a file of each kind may say."""
FIELDS = [(kind, name) for kind, said in SAID.items() for name in said]


def read(kind, said):
    return record_of({"schema": 1, "kind": kind, **said})


def without(said, name):
    return {key: value for key, value in said.items() if key != name}


def paths(value, place=()):
    """The way to each value in a table, its own and those within."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if value else ()
    for key, item in inner:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from paths(item, (*place, key))


def put(said, place, value):
    changed = said = json.loads(json.dumps(said))
    for key in place[:-1]:
        changed = changed[key]
    changed[place[-1]] = value
    return said


def shown(place):
    """As a message has it: 'mask.shapes.a[0]'."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]


def test_what_is_said_here_is_all_that_there_is():
    assert {kind: set(said) for kind, said in SAID.items()} == {
        kind: set(cls.types()) for kind, cls in KINDS.items()
    }


@pytest.mark.parametrize("kind", SAID)
def test_a_record_is_written_as_it_was_read(kind):
    record = read(kind, SAID[kind])
    assert type(record) is KINDS[kind]
    assert canonical(table(record)) == canonical(SAID[kind])
    assert parsed(KINDS[kind], json.loads(canonical(table(record)))) == record
    assert record.more == {}


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_what_is_missing_or_null_is_none_and_stays_missing_or_null(kind, name):
    missing, null = without(SAID[kind], name), {**SAID[kind], name: None}
    if kind == "state" or name == "total":  # nothing can be gone on from without; nor be kept of
        for said in (missing, null):
            with pytest.raises(ValueError, match=name):
                read(kind, said)
        return
    for said in (missing, null):
        record = read(kind, said)
        assert getattr(record, name) is None
        assert canonical(table(record)) == canonical(said)
        assert canonical(table(replace(record))) == canonical(said)


INNER = [
    ("checkpoint", ("model", "name")), ("checkpoint", ("model", "options")),
    ("checkpoint", ("model", "input_shape")), ("checkpoint", ("model", "classes")),
    ("checkpoint", ("dataset", "name")), ("checkpoint", ("mask", "sha256")),
    ("checkpoint", ("density", "kept")), ("checkpoint", ("density", "per_tensor")),
    ("mask", ("collapse", "dead_layers")), ("mask", ("left_whole", "reasons")),
    ("scores", ("left_whole", "beside")),
    ("state", ("training", "step")), ("state", ("training", "groups")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "place"), INNER)
def test_what_must_be_there_is_named_where_it_is_not(kind, place):
    outer, name = place
    words = re.escape(f"it has no '{outer}.{name}'")
    for said in (without(SAID[kind][outer], name), {**SAID[kind][outer], name: None}):
        with pytest.raises(ValueError, match=f"^{words}$"):
            read(kind, {**SAID[kind], outer: said})


FREE = {"options", "scoring", "left_out", "history", "facts", "scheduler", "groups"}
"""What anything may stand in."""
PLACES = [
    (kind, place)
    for kind, said in SAID.items()
    for place in paths(said)
    if not FREE & {*place[:-1]} or place[:-1] == ("history",)
]


@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_what_is_of_another_type_is_named(kind, place):
    own = SAID[kind]
    for key in place:
        own = own[key]
    odd = [{}] if isinstance(own, dict) else {"odd": []}
    with pytest.raises(ValueError) as caught:
        read(kind, put(SAID[kind], place, odd))
    assert str(caught.value).startswith(f"its '{shown(place)}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("checkpoint", ("model", "classes"), 0),
        ("checkpoint", ("model", "classes"), 1 << 20),
        ("checkpoint", ("model", "classes"), 10.0),
        ("checkpoint", ("model", "classes"), True),
        ("checkpoint", ("model", "input_shape"), [28, 28]),
        ("checkpoint", ("model", "input_shape"), [0, 28, 28]),
        ("checkpoint", ("model", "input_shape"), [1, 1 << 14, 1 << 14]),
        ("checkpoint", ("seed",), 1 << 63),
        ("checkpoint", ("seed",), "0"),
        ("checkpoint", ("seed",), False),
        ("checkpoint", ("parameters",), -1),
        ("checkpoint", ("layouts", "a"), "oo"),
        ("checkpoint", ("density", "kept", "a"), 0.5),
        ("checkpoint", ("density", "overall"), "0.5"),
        ("checkpoint", ("settings", "lr"), None),
        ("checkpoint", ("mask", "asked"), 0),
        ("checkpoint", ("mask", "epochs"), 1.5),
        ("mask", ("asked",), 1.5),
        ("mask", ("asked",), 1e-19),
        ("mask", ("left_whole", "reasons", "biases"), [1]),
        ("mask", ("left_whole", "reasons", "biases"), [1, -1]),
        ("mask", ("shapes", "a"), [-1]),
        ("mask", ("shapes", "a"), [1 << 40, 1 << 40]),
        ("mask", ("mask",), {"sha256": SHA}),
        ("scores", ("first",), 0),
        ("state", ("training", "step"), -1),
        ("state", ("training", "tensors"), ["a", 1]),
    ],
)
def test_what_is_out_of_range_is_named(kind, place, value):
    with pytest.raises(ValueError, match=f"^its '{re.escape(shown(place))}") as caught:
        read(kind, put(SAID[kind], place, value))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kept", [10, 9.0])
def test_a_mask_that_keeps_more_than_there_is_is_refused(kept):
    with pytest.raises(ValueError, match=r"^its 'mask(\.kept)?'"):
        read("checkpoint", put(SAID["checkpoint"], ("mask", "kept"), kept))
    with pytest.raises(ValueError, match="^its 'kept' is"):
        read("mask", {**SAID["mask"], "kept": kept})


@pytest.mark.parametrize("place", [("new",), ("model", "new"), ("density", "new")])
def test_what_a_newer_version_says_besides_is_kept(place):
    said = put(SAID["checkpoint"], place, {"any": [None]})
    record = read("checkpoint", said)
    assert canonical(table(record)) == canonical(said)
    assert canonical(table(replace(record, seed=1))) == canonical({**said, "seed": 1})


@pytest.mark.parametrize("name", ["nulls", "more"])
def test_a_key_that_is_called_like_what_a_record_has_of_its_own_is_only_a_key(name):
    said = {**SAID["scores"], name: [1]}
    record = read("scores", said)
    assert (record.more, canonical(table(record))) == ({name: [1]}, canonical(said))


def test_a_file_of_a_kind_that_is_not_known_is_taken_as_it_is():
    record = record_of({"kind": "plan", "model": "any"})
    assert (type(record), table(record)) == (Record, {"model": "any"})


def test_a_new_record_writes_null_but_for_what_is_left_out_by_default():
    record = ModelRecord(name="cnn", options={}, input_shape=(1, 2, 3), classes=4)
    assert table(record) == {"name": "cnn", "options": {}, "input_shape": [1, 2, 3], "classes": 4}
    empty = parsed(CheckpointRecord, {})
    assert table(empty) == {}
    assert table(with_nulls(empty, "model", "seed")) == {"model": None, "seed": None}
    assert table(replace(with_nulls(empty, "model", "seed"), seed=3)) == {"model": None, "seed": 3}
    every = CheckpointRecord(**empty.part(CheckpointRecord))
    left_out = {"adapted", "layouts"}
    assert table(every) == dict.fromkeys(CheckpointRecord.types().keys() - left_out)


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        parsed(MaskRecord, {}).seed = 1


def test_a_file_that_lies_is_refused_with_the_name_of_the_field(tmp_path):
    path = tmp_path / "m.safetensors"
    written(path, "checkpoint", {}, put(SAID["checkpoint"], ("mask", "epochs"), "x"))
    words = "its prunecli metadata is damaged: its 'mask.epochs' is 'x'; write the file again"
    with pytest.raises(BadInput, match=f"m.safetensors: {words}$"):
        TensorFile(path).says(CheckpointRecord)


def test_a_file_says_nothing_of_another_kind(tmp_path):
    path = tmp_path / "m.safetensors"
    written(path, "scores", {}, SAID["scores"])
    file = TensorFile(path)
    assert file.record == read("scores", SAID["scores"])
    assert file.says(CheckpointRecord) == parsed(CheckpointRecord, {})


@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        ("checkpoint", ("model", "options", "thin"), "model.options.thin"),
        ("checkpoint", ("history", 0, "loss"), "history[0].loss"),
        ("checkpoint", ("new",), "new"),
        ("checkpoint", ("model", "new"), "model.new"),
        ("mask", ("left_out", "ignore"), "left_out.ignore"),
        ("state", ("facts", "seed"), "facts.seed"),
    ],
)
@pytest.mark.parametrize("around", ["[{}]", '{{"a":{}}}'])
def test_what_is_nested_too_deeply_to_be_written_again_is_refused(kind, place, name, around):
    def nested(depth):
        text = "1"
        for _ in range(depth):
            text = around.format(text)
        return put(SAID[kind], place, json.loads(text))

    said = nested(DEEPEST)
    assert canonical(table(read(kind, said))) == canonical(said)
    for depth in (DEEPEST + 1, 900):
        with pytest.raises(ValueError, match=f"^its '{re.escape(name)}' is ") as caught:
            read(kind, nested(depth))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("settings", "epochs"), [(SETTINGS, 3), ({"epochs": True}, None), ({}, None), (None, None)]
)
def test_the_epochs_are_a_whole_number_or_not_known(settings, epochs):
    assert parsed(CheckpointRecord, {"settings": settings}).epochs == epochs
