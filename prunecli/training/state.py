"""Everything that decides the next step of a training run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from prunecli.errors import some
from prunecli.files.parsing import is_a, table
from prunecli.files.records import Position
from prunecli.masks.mask import aligned, apply_
from prunecli.network.layers import prunable
from prunecli.network.modules import fill
from prunecli.settings.training import Hyperparameters
from prunecli.tensors.finite import all_finite
from prunecli.tensors.zeros import zero_
from prunecli.training.optimizers import OPTIMIZERS, SCHEDULES
from prunecli.types import Clock, Mask, Params, Pruner

CHANGING = {"lr", "last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "T_cur"}
"""The state of the optimizer and its schedule that changes from step to step."""


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
    """Sum of the losses of the steps done in the current epoch."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def clock(self, epochs: int) -> Clock:
        return Clock(max(1, self.step), self.steps_per_epoch, epochs)

    @cached_property
    def params(self) -> Params:
        return prunable(self.model)

    def gradients(self) -> list[Tensor]:
        """Gradients of all that is trained, the pruner's parameters too, where there are any."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [p.grad for p in parameters if p.grad is not None]

    @torch.no_grad()
    def forget(self, before: Mask, kept: Mask) -> None:
        """Zero the momentum and other optimizer state of weights that the mask takes back."""
        for name, pruned in ((name, ~bits) for name, bits in before.items()):
            weight = self.params[name]
            grown = pruned & kept[name] if name in kept else pruned
            for value in self.optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    zero_(value, ~grown)

    def settle(self, epochs: int) -> Mask:
        """Zero the weights that the pruner's current mask removes, to +0.0; returns that mask."""
        kept = self.pruner.mask(self.params, self.clock(epochs))
        apply_(self.params, aligned(kept, self.params))
        return kept

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to write; `restore` takes them back."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        for number, name, value in self._optimizer_values():
            tensors[f"optimizer/{number}/{name}"] = value
        tensors |= {f"pruner/{name}": t for name, t in self.pruner.state_dict().items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        if self.loss_sum is not None:
            tensors["loss_sum"] = self.loss_sum
        return tensors

    def not_finite(self) -> list[str]:
        """The names of the tensors that hold NaN or infinity."""
        return _not_finite(self.tensors())

    def position(self) -> Position:
        """The part of the state that is not tensors, for the metadata."""
        groups = self.optimizer.state_dict()["param_groups"]
        return Position(
            step=self.step,
            history=tuple(self.history),
            scheduler={
                name: value
                for name, value in self.scheduler.state_dict().items()
                if isinstance(value, int | float | list)
            },
            groups=tuple({k: v for k, v in g.items() if k != "params"} for g in groups),
            tensors=tuple(sorted(self.tensors())),
        )

    def restore(self, tensors: Mapping[str, Tensor], position: Position) -> None:
        """Resume from a saved state. Raises ValueError, or an error of torch, if it misfits."""
        model, pruner = _part(tensors, "model/"), _part(tensors, "pruner/")
        self._check(tensors, position)
        _check_alike(model, self.model.state_dict())
        _check_alike(pruner, self.pruner.blank_state(pruner))
        if bad := _not_finite(tensors):
            raise ValueError(f"NaN or infinity in {some(bad)}")
        self.step, self.history = position.step, [dict(row) for row in position.history]
        fill(self.model, model)
        self.scheduler.load_state_dict(dict(position.scheduler))
        for group, saved in zip(self.optimizer.param_groups, position.groups, strict=True):
            group.update(saved)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in _part(tensors, "optimizer/").items():
            number, _, name = key.partition("/")
            parameter = parameters[int(number)]
            fitting = () if name == "step" else parameter.shape
            if value.shape != fitting or not value.is_floating_point():
                raise ValueError(f"{key} does not have the shape of a parameter")
            # In the parameter's own memory format: fused kernels walk both side by side.
            same = value.shape == parameter.shape
            buffer = torch.empty_like(parameter if same else value, device=parameter.device)
            self.optimizer.state[parameter][name] = buffer.copy_(value)
        self.pruner.load_state_dict(pruner)
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        if "loss_sum" in tensors:
            self.loss_sum = tensors["loss_sum"].to(self.device)

    def _check(self, tensors: Mapping[str, Tensor], position: Position) -> None:
        """Raise ValueError if anything is missing, or if a constant differs."""
        if sorted(tensors) != [*position.tensors]:
            raise ValueError("tensors are missing or too many")
        if position.scheduler.get("last_epoch") != position.step:
            raise ValueError("the schedule is at another step")
        told, own = json.loads(json.dumps([table(position), table(self.position())]))
        pairs = [(told["scheduler"], own["scheduler"])]
        pairs += zip(told["groups"], own["groups"], strict=True)
        for saved, fresh in pairs:
            for key in saved.keys() | fresh.keys():
                value, before = saved[key], fresh[key]
                same = type(value) is type(before) and (key in CHANGING or value == before)
                if not same or (key == "lr" and value < 0):
                    raise ValueError(f"{key} cannot be {value!r}")
        rates = told["scheduler"]["_last_lr"]
        if not is_a(tuple[float, ...], rates) or len(rates) != len(position.groups):
            raise ValueError("there is no learning rate for each group")
        loss = tensors.get("loss_sum")
        if loss is not None and (loss.shape != () or not loss.is_floating_point()):
            raise ValueError("the loss is not a number")

    def _optimizer_values(self) -> Iterator[tuple[int, str, Tensor]]:
        for number, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    yield number, name, value


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    bad = [name for name, tensor in tensors.items() if not all_finite(tensor)]
    return [name.removeprefix("model/") for name in bad]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensors[n] for n in tensors if n.startswith(prefix)}


def _check_alike(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the names, shapes and types are the same."""
    for name in sorted(saved.keys() | own.keys()):
        forms = [(t.shape, t.dtype) for side in (saved, own) if (t := side.get(name)) is not None]
        if len(forms) < 2 or forms[0] != forms[1]:
            raise ValueError(f"{name!r} is invalid")


def new_state(
    model: nn.Module, settings: Hyperparameters, pruner: Pruner, steps_per_epoch: int
) -> TrainingState:
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if own := list(pruner.parameters()):
        groups.append({"params": own, "lr": settings.lr * pruner.relative_lr, "weight_decay": 0.0})
    optimizer = OPTIMIZERS[settings.optimizer](groups, settings)
    scheduler = SCHEDULES[settings.schedule](optimizer, settings, steps_per_epoch)
    return TrainingState(model, optimizer, scheduler, pruner, steps_per_epoch)
