from __future__ import annotations

from typing import Literal

from prunecli.errors import BadUsage
from prunecli.masks.mask import exact_count
from prunecli.masks.select import keep_highest
from prunecli.models.n2nskip import Skip
from prunecli.pruners._masked import Masked, check_density, check_left
from prunecli.types import Course, Mask, Pruner, planned


def check(epochs: int, *, density: float) -> None:
    check_density(density)


@planned(check)
def n2nskip(
    course: Course, *, density: float, sequential: Literal["snip", "random"] = "snip"
) -> Pruner:
    """Sparse skip convolutions: half of the kept weights in the network, half in its skips.

        K_seq + K_skip = round(density N),   K_seq = K_skip, or one more than it

    N is the number of weights of the network without its skips. Before training, the skips keep
    K_skip random weights, and the network keeps the K_seq weights of highest connection sensitivity
    with those skips in place (`sequential=snip`), or K_seq random ones. Needs the model `n2nskip`.

    Raises BadUsage for another model, or if the skips have fewer than K_skip weights.

    Source: Subramaniam & Sharma, N2NSkip, BMVC 2020, section 3
    """
    check_left(density, course.params)
    return N2NSkip(course, density, sequential)


class N2NSkip(Masked):
    def __init__(self, course: Course, density: float, sequential: str) -> None:
        super().__init__(course)
        skips = tuple(
            f"{name}." for name, module in course.model.named_modules() if isinstance(module, Skip)
        )
        skipping = [name for name in self.params if name.startswith(skips)]
        along = [name for name in self.params if not name.startswith(skips)]
        if not skips:
            raise BadUsage("the pruner 'n2nskip' needs skips to prune; use --model n2nskip")
        room = sum(self.params[name].numel() for name in skipping)
        self.counted = sum(self.params[name].numel() for name in along)
        keep = exact_count(density, self.counted)
        half = keep // 2
        if not 0 < half <= room:
            raise BadUsage(
                f"density={density:g} keeps {half:,} weights in the skips, which have {room:,}"
            )
        random = course.scorer("random")({})
        mask: Mask = keep_highest({name: random[name] for name in skipping}, half)
        scores = random if sequential == "random" else course.scorer(sequential)(mask)
        self.keep(mask | keep_highest({name: scores[name] for name in along}, keep - half))
