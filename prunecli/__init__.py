"""prunecli: prune neural networks, from the shell or from Python.

What `__all__` lists is the public Python API; see docs/api.md. It is imported when it is first
asked for, and torch with it.
"""

from prunecli.package import VERSION

TYPE_CHECKING = False  # which a type checker takes for true; see `package` on imports
if TYPE_CHECKING:
    from prunecli.api import (
        BadEnvironment,
        BadInput,
        BadOutput,
        BadUsage,
        Checkpoint,
        Evaluation,
        Hyperparameters,
        Images,
        Mask,
        Mismatch,
        Network,
        NotFinite,
        PruneError,
        Scores,
        Trained,
        apply,
        evaluate,
        from_torch_prune,
        held,
        load_images,
        mask,
        read_checkpoint,
        read_mask,
        read_scores,
        score,
        to_torch_prune,
        train,
        write_checkpoint,
        write_mask,
        write_scores,
    )

__version__ = VERSION
__all__ = [
    "BadEnvironment",
    "BadInput",
    "BadOutput",
    "BadUsage",
    "Checkpoint",
    "Evaluation",
    "Hyperparameters",
    "Images",
    "Mask",
    "Mismatch",
    "Network",
    "NotFinite",
    "PruneError",
    "Scores",
    "Trained",
    "apply",
    "evaluate",
    "from_torch_prune",
    "held",
    "load_images",
    "mask",
    "read_checkpoint",
    "read_mask",
    "read_scores",
    "score",
    "to_torch_prune",
    "train",
    "write_checkpoint",
    "write_mask",
    "write_scores",
]

if not TYPE_CHECKING:  # or a type checker would believe that everything is there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'prunecli' has no attribute {name!r}")
        from importlib import import_module

        found = globals()[name] = getattr(import_module("prunecli.api"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
