"""The declared steps as a graph and a table for docs/scaling.md."""

from collections.abc import Sequence

from overlap.pipeline.declared import STEPS, Step, list_kinds


def draw_steps() -> str:
    """Return which step needs which, as a graph in Mermaid's language."""
    lines = [
        f"    {need} --> {name}"
        for name in STEPS
        for need in dict.fromkeys(need for step in list_kinds(name) for need in step.needs)
    ]
    return "\n".join(["```mermaid", "graph LR", *lines, "```"])


def tabulate_steps() -> str:
    """Return a Markdown table: a line a step, with what its results depend on and who makes it."""
    rows = [_row(name, list_kinds(name)) for name in STEPS]
    head = ("step", "needs", "cut by", "outdated by", "made by")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _row(name: str, kinds: Sequence[Step]) -> list[str]:
    first = kinds[0]
    settings = dict.fromkeys(key for step in kinds for key in (*step.reads, *step.picks, step.device) if key)
    needs = dict.fromkeys(need for step in kinds for need in step.needs)
    part = f" (part of {first.part_of})" if first.part_of else ""
    return [f"{name}{part}", ", ".join(needs), first.cut, _by_section([*settings]), f"`overlap {first.command}`"]


def _by_section(keys: Sequence[str]) -> str:
    sections: dict[str, list[str]] = {}
    for key in keys:
        section, _, name = key.partition(".")
        sections.setdefault(section, []).append(name)
    return "; ".join(f"[{section}] {', '.join(names)}".strip() for section, names in sections.items())
