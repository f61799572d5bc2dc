"""What a GPU cannot repeat is said once by each command, however often torch warns of it."""

import warnings

import pytest
from torch.nn import functional as F

TORCH = (
    "nll_loss2d_forward_out_cuda_template does not have a deterministic implementation, but you "
    "set 'torch.use_deterministic_algorithms(True, warn_only=True)'. You can file an issue ..."
)
SAID = (
    "warning: nll_loss2d_forward: this operation is not deterministic on a GPU, so --resume, or "
    "the same command again, can give other bytes; --device cpu gives the same"
)


@pytest.mark.parametrize(
    "command",
    [
        "train --model cnn --dataset digits --epochs 2",
        "eval dense.safetensors --batch-size 100",
        "score dense.safetensors --method snip --opt batches=2",
        "mask dense.safetensors --method snip --density 0.1 --rounds 3",
    ],
)
def test_a_warning_for_each_step_is_a_line_for_all(prune, checkpoint, monkeypatch, command):
    own, calls = F.cross_entropy, []

    def loss(*given, **named):
        warnings.warn(TORCH, UserWarning, stacklevel=1)
        calls.append(named)
        return own(*given, **named)

    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setattr(F, "cross_entropy", loss)
    for _ in range(2):  # as two jobs of a study, in a process that did one before
        ended = prune(*command.split(), "-o", "made.safetensors", "--force")
        assert ended.code == 0
        assert ended.err.splitlines().count(SAID) == 1
        assert "UserWarning" not in ended.err
    assert len(calls) >= 4
