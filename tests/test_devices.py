"""That what looks for misplaced tensors finds them."""

from contextlib import suppress

import pytest
import torch
from devices import META, OneDevice

from prunecli.tensors.zeros import zero_


def meta(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype, device=META)


MIXED = {
    "sum": lambda: meta(2) + torch.ones(2),
    "a tensor of no dimensions": lambda: meta(2) * torch.tensor(2.0),
    "index": lambda: meta(2)[torch.tensor([0, 1])],
    "mask": lambda: zero_(meta(2), torch.ones(2, dtype=torch.bool)),
    "list": lambda: torch.cat([meta(2), torch.ones(2)]),
    "backward": lambda: torch.autograd.grad(
        meta(2).requires_grad_(), [meta(2)], torch.ones(2), allow_unused=True
    ),
}
LOOKS = {
    "item": lambda: meta(1).item(),
    "if": lambda: bool(meta(1)),
    "number": lambda: float(meta(2).sum()),
    "list": lambda: meta(2).tolist(),
    "places": lambda: meta(2).nonzero(),
    "some": lambda: meta(2)[meta(2) > 0],
    "close": lambda: torch.allclose(meta(2), meta(2)),
    "equal": lambda: torch.equal(meta(2), meta(2)),
    "cpu": lambda: meta(2).cpu(),
    "copy": lambda: torch.ones(2).copy_(meta(2)),
}
FINE = {
    "one device": lambda: meta(2) * meta(2) + 2.0,
    "the other": lambda: torch.ones(2).sum().item(),
    "to": lambda: torch.ones(2).to(META),
    "copied": lambda: meta(2).copy_(torch.ones(2)),
    "numbers": lambda: meta(2).where(meta(2) > 0, 1.0).clamp(0, 1),
    "anew": lambda: meta(2).new_tensor([1.0, 2.0]),
}


@pytest.mark.parametrize("what", [*MIXED.values(), *LOOKS.values()], ids=[*MIXED, *LOOKS])
def test_what_a_gpu_would_refuse_or_wait_for_is_found(what):
    with pytest.raises((AssertionError, RuntimeError)), OneDevice():
        what()


@pytest.mark.parametrize("what", FINE.values(), ids=FINE)
def test_what_a_gpu_does_by_itself_passes(what):
    with OneDevice():
        what()


def test_where_it_was_is_told():
    told = r"^tensors/zeros.py:\d+ in zero_: mul_ takes tensors of cpu and meta$"
    with pytest.raises(AssertionError, match=told), OneDevice():
        MIXED["mask"]()


def test_what_somebody_caught_is_raised_all_the_same():
    told = "mul takes tensors of cpu and meta"
    with pytest.raises(AssertionError, match=told), OneDevice(), suppress(AssertionError):
        meta(2) * torch.ones(2)


def test_who_may_look_sees_zeros_and_it_is_known_where():
    with OneDevice(may_look=True) as device:
        assert (meta(2) > 0).any().item() is False
        assert float(meta(2).max()) == 0.0
        assert torch.allclose(meta(2), meta(2))
        assert torch.equal(meta(2, dtype=torch.bool).cpu(), torch.zeros(2, dtype=torch.bool))
    assert device.looks == ["the test"] * 4


def test_what_goes_to_the_device_is_told_unless_nobody_waits_for_it():
    with OneDevice() as device:
        torch.ones(2).to(META)
        meta(2).copy_(torch.ones(2))
        torch.ones(2).to(META, non_blocking=True)
        meta(2).copy_(torch.ones(2), non_blocking=True)
        meta(2).copy_(meta(2))
    assert device.moves == ["the test"] * 2
