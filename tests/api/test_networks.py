import pytest

import prunecli
from prunecli import BadUsage


@pytest.mark.parametrize(
    ("shape", "classes", "field"),
    [
        *[((1, 28), 10, "input_shape"), ((1, 28.0, 28), 10, "input_shape")],
        *[((1, -28, 28), 10, "input_shape"), ((1, 28, 28), 0, "classes")],
        *[((1, 28, 28), "10", "classes"), ((1, 28, 28), True, "classes")],
    ],
)
def test_a_network_that_no_file_could_hold_is_refused_at_once(shape, classes, field):
    with pytest.raises(BadUsage, match=f"there is no network 'cnn': its '{field}"):
        prunecli.Network("cnn", shape, classes)


def test_a_network_is_named():
    with pytest.raises(BadUsage, match="give a name, not NoneType"):
        prunecli.Network(None, (1, 28, 28), 10)


def test_a_shape_may_be_a_list():
    network = prunecli.Network("cnn", [1, 28, 28], 10)
    assert network.record == prunecli.Network("cnn", (1, 28, 28), 10).record


def test_a_mask_that_covers_nothing_keeps_all():
    path = prunecli.write_mask("none.mask.safetensors", {})
    assert prunecli.read_mask(path).density == 1
