"""Everything that decides the next step of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from prunecli.masks import prunable
from prunecli.training.settings import OPTIMIZERS, SCHEDULES, Settings
from prunecli.types import Clock, Params, Pruner


@dataclass
class TrainingState:
    """Everything that decides the next step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: lr_scheduler.LRScheduler
    pruner: Pruner
    steps_per_epoch: int
    step: int = 0
    """Optimizer steps done."""
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: Tensor | None = None
    """Sum of the losses of the steps done in the epoch under way."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def clock(self, epochs: int) -> Clock:
        return Clock(max(1, self.step), self.steps_per_epoch, epochs)

    @cached_property
    def params(self) -> Params:
        return prunable(self.model)

    def gradients(self) -> list[Tensor]:
        """Of all that is trained, the pruner's own parameters among it, where there is one."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [p.grad for p in parameters if p.grad is not None]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to write; `restore` takes them back."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        for place, name, value in self._optimizer_values():
            tensors[f"optimizer/{place}/{name}"] = value
        tensors |= {f"pruner/{name}": t for name, t in self.pruner.state_dict().items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        if self.loss_sum is not None:
            tensors["loss_sum"] = self.loss_sum
        return tensors

    def facts(self) -> dict[str, Any]:
        """The rest, as JSON."""
        groups = self.optimizer.state_dict()["param_groups"]
        return {
            "step": self.step,
            "history": self.history,
            "scheduler": {
                name: value
                for name, value in self.scheduler.state_dict().items()
                if isinstance(value, int | float | list)
            },
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in groups],
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.step, self.history = facts["step"], list(facts["history"])
        self.model.load_state_dict(_part(tensors, "model/"))
        self.scheduler.load_state_dict(dict(facts["scheduler"]))
        for group, saved in zip(self.optimizer.param_groups, facts["groups"], strict=True):
            group.update(saved)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in _part(tensors, "optimizer/").items():
            place, _, name = key.partition("/")
            parameter = parameters[int(place)]
            # In the parameter's own memory format: fused kernels walk both side by side.
            same = value.shape == parameter.shape
            buffer = torch.empty_like(parameter if same else value, device=parameter.device)
            self.optimizer.state[parameter][name] = buffer.copy_(value)
        self.pruner.load_state_dict(_part(tensors, "pruner/"))
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        if "loss_sum" in tensors:
            self.loss_sum = tensors["loss_sum"].to(self.device)

    def _optimizer_values(self) -> Iterator[tuple[int, str, Tensor]]:
        for place, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    yield place, name, value


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensors[n] for n in tensors if n.startswith(prefix)}


def new_state(
    model: nn.Module, settings: Settings, pruner: Pruner, steps_per_epoch: int
) -> TrainingState:
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if own := list(pruner.parameters()):
        groups.append({"params": own, "lr": settings.lr * pruner.relative_lr, "weight_decay": 0.0})
    optimizer = OPTIMIZERS[settings.optimizer](groups, settings)
    scheduler = SCHEDULES[settings.schedule](optimizer, settings, steps_per_epoch)
    return TrainingState(model, optimizer, scheduler, pruner, steps_per_epoch)
