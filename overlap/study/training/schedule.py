"""How fast to learn: the rate at a step, and the optimiser."""

import math
from typing import TYPE_CHECKING, Any

from overlap.base.config import TrainingConfig

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def learning_rate(step: int, settings: TrainingConfig) -> float:
    """Return the rate of a step, from 0: a linear rise over the warm-up, then half a cosine to the final rate."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    passed = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    share = (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    return settings.final_learning_rate + (settings.learning_rate - settings.final_learning_rate) * share


def build_optimiser(learner: "nn.Module", settings: TrainingConfig) -> "Optimizer":
    """Build the optimiser over what is not frozen.

    The trunk's parameters have their own rate; vectors and single numbers (biases, norms, exponents) don't decay.
    """
    import torch

    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, weight in learner.named_parameters():
        if weight.requires_grad:
            groups.setdefault((_is_trunk(name), weight.ndim > 1), []).append(weight)
    listed = [
        {
            "params": weights,
            "rate": settings.trunk_rate if trunk else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (trunk, decays), weights in groups.items()
    ]
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(listed, lr=settings.learning_rate)
    return torch.optim.SGD(listed, lr=settings.learning_rate, momentum=settings.momentum)


def set_rate(optimiser: "Optimizer", rate: float) -> None:
    """Set the learning rate of every group, times the group's own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]


def _is_trunk(name: str) -> bool:
    return name.startswith("network.trunk.")
