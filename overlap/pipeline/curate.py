"""The paper's Figure 3, from photos to the review queue: the steps of overlap/pipeline/declared.py, in their order."""

from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

from overlap.decisions.policy import load_policy
from overlap.pipeline.declared import curated_steps, find_step, list_needed
from overlap.pipeline.run import Run, hand_to


def curate(run: Run, *, until: str = curated_steps()[-1]) -> None:
    """Fill the review queue. What is stored is not done again.

    Args:
        until: the last step to do; of the others those that it needs.
    """
    load_policy(run.config.policy.name)  # one that can't be read is told of before the work
    wanted = list_needed(run.config, until)
    for name in wanted:
        if check := find_step(run.config, name).check:
            resolve_name(check)(run)
    run_steps(run, wanted)


def run_steps(run: Run, names: Sequence[str], *, given: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Do steps in their order.

    Args:
        given: results of steps that are not done.
    """
    results = dict(given)
    for name in names:
        step = find_step(run.config, name)
        if name not in results and step.work is not None:
            taken = [results[need] for need in step.needs if need in results]
            results[name] = resolve_name(step.work)(hand_to(name, run), *taken)
