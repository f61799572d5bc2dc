"""The Python API, `import prunecli`: the work of the commands, on objects in place of paths.

Only what `__all__` lists is public, and it is imported from `prunecli` itself.
"""

from prunecli.api.artifacts import Checkpoint, Mask, Scores
from prunecli.api.files import (
    read_checkpoint,
    read_mask,
    read_scores,
    write_checkpoint,
    write_mask,
    write_scores,
)
from prunecli.api.holding import held
from prunecli.api.networks import Network, load_images
from prunecli.api.pruning import apply, mask, score
from prunecli.api.torch_prune import from_torch_prune, to_torch_prune
from prunecli.api.training import Evaluation, Trained, evaluate, train
from prunecli.errors import (
    BadEnvironment,
    BadInput,
    BadOutput,
    BadUsage,
    Mismatch,
    NotFinite,
    PruneError,
)
from prunecli.settings.training import Hyperparameters
from prunecli.types import Images

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
