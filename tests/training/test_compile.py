from dataclasses import replace

import pytest
import torch
from replays import SETTINGS, same, trained

from prunecli.errors import BadEnvironment


def test_a_compiler_that_fails_is_told_with_the_option_to_leave_out(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("there is no compiler")

    monkeypatch.setattr(torch, "compile", lambda net, dynamic: fails)
    settings = replace(SETTINGS, compile=True)
    with pytest.raises(BadEnvironment, match=r"trained with --compile \(RuntimeError: there is"):
        trained(settings)
    # A batch that is not whole is not worth compiling for.
    assert trained(replace(settings, batch_size=44))[0].step == 4


def test_only_whole_batches_are_compiled_and_the_weights_are_trained(monkeypatch):
    shapes = []

    def compiler(net, dynamic):
        def call(model, weights, inputs):
            shapes.append(len(inputs))
            return net(model, weights, inputs)

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    settings = replace(SETTINGS, compile=True, batch_size=12)
    compiled, _ = trained(settings)
    assert shapes == [12] * 12
    assert same(compiled, trained(replace(settings, compile=False))[0])
