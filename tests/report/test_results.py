"""What is a result, and what is refused before rows and figures look into it."""

import json

import pytest

from prunecli.errors import BadInput
from prunecli.report.results import read_results

LAYER = {"name": "a.weight", "total": 4, "kept": 1}
RESULT = {
    "top1": 90.0, "top5": 99.0, "loss": 0.3, "density": 0.25, "compression": 4.0,
    "empirical_compression": 4.0, "compression_error": 0.0, "nonzero": 1, "prunable": 4,
    "flops_dense": 2000, "flops_sparse": 500, "dead_layers": [], "layers": [LAYER],
    "model": "cnn", "dataset": "digits", "method": "lamp", "scope": "global", "seed": 0,
}  # fmt: skip
LAST = [{"epoch": 1, "loss": 0.5, "weights": [1, 2]}]


@pytest.fixture
def read(tmp_path):
    def one(text):
        path = tmp_path / "r.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        [result] = read_results([path])
        return result

    return one


def test_what_cannot_be_read_is_named(read, tmp_path):
    with pytest.raises(BadInput, match=r"r\.json: it is not JSON"):
        read("{")
    with pytest.raises(BadInput, match="cannot be read"):
        read_results([tmp_path / "missing.json"])
    for text in ("{}", "[1]", "7", "null"):
        with pytest.raises(BadInput, match=r"r\.json: not a result: it has no 'top1'; give what"):
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
    assert read(RESULT | more) == RESULT | more


@pytest.mark.parametrize("key", RESULT)
def test_what_every_result_has_may_not_lack(read, key):
    with pytest.raises(BadInput, match=f"not a result: it has no '{key}'"):
        read({name: value for name, value in RESULT.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top1", "high"), ("top1", None), ("top1", True), ("top1", 101), ("top1", -1),
        ("prunable", 10**400), ("loss", 1e200), ("flops_dense", 0), ("compression", 0),
        ("layers", []), ("layers", [LAYER | {"total": 0}]), ("layers", [{"name": "a"}]),
        ("layers", {}), ("layers", [1]), ("dead_layers", 2), ("model", None), ("dataset", None),
        ("method", 1), ("scope", []), ("seed", [0]), ("seed", 0.5), ("mask_seed", [1]),
        ("options", []), ("options", {"a": 10**400}), ("rounds", "3"), ("settings", [1]),
        ("model_options", []), ("dataset_options", 1), ("left_out", "all"), ("earlier", {}),
        ("earlier", [1]), ("rewound_to", "2"), ("scoring", [1]), ("versions", []),
        ("versions", {"torch": 2}), ("checkpoint_sha256", 1), ("mask_sha256", []),
        ("history", {}), ("history", [1]), ("history", [{"epoch": 1}]), ("history", [{"loss": 1}]),
        ("history", [{"epoch": 1, "loss": None}]), ("history", [LAST[0] | {"density": "low"}]),
        ("history", [LAST[0] | {"weights": 3}]), ("history", [LAST[0] | {"top1": None}]),
    ],
)  # fmt: skip
def test_what_has_another_form_is_refused_by_name(read, key, value):
    with pytest.raises(BadInput, match=f"not a result: its '{key}' is ") as caught:
        read(RESULT | {key: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_no_result_wherever_it_stands(read, text):
    for more in ({"top1": 7531}, {"settings": {"lr": 7531}}, {"history": [{"lr": 7531}]}):
        with pytest.raises(BadInput, match=f"not a result: {text} stands in it"):
            read(json.dumps(RESULT | more).replace("7531", text))


def test_text_that_cannot_be_written_again_is_no_result(read):
    with pytest.raises(BadInput, match="not a result: "):
        read(RESULT | {"model": "\ud800"})
    with pytest.raises(BadInput, match="not a result: "):
        read("[" * 100_000)
