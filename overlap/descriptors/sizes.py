"""Which photos an exported program takes: what torch itself checks, and the guards that it was exported under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overlap.descriptors.batches import Size
from overlap.descriptors.guards import AXES, Guard

# How far a side may be moved to one that the program takes: an eighth of it, within these limits.
_LEAST_PX, _MOST_PX = 16, 32
_UNLIMITED = 2**31


@dataclass(frozen=True, eq=False)
class Sizes:
    """Say which sizes of input a program takes.

    Args:
        module: the program, as ``ExportedProgram.module`` gives it.
        guards: of the program.
        shape: (B, 3, H, W); a symbol stands for a free size.
        ranges: of the symbols, as ``ExportedProgram.range_constraints`` has them.
    """

    module: Any
    guards: Sequence[Guard]
    shape: Sequence[Any]
    ranges: Mapping[Any, Any]

    _known: dict[Size, Size | None] = field(default_factory=dict)

    @property
    def batch(self) -> tuple[int, int]:
        """Return how many photos it takes at once, at least and at most."""
        low, high = self._range(self.shape[0])
        return max(low, 1), high

    def fit(self, shape: tuple[int, ...]) -> bool:
        """Tell whether it takes input of a shape."""
        import torch

        if not all(guard.holds(shape) for guard in self.guards):
            return False
        photos = torch.empty(1).expand(shape)
        try:
            # What torch checks before each call, by a hook; a compiled program goes without it.
            for hook in self.module._forward_pre_hooks.values():
                hook(self.module, (photos,), {})
        except Exception:  # torch has no type of its own for it
            return False
        return True

    def nearest(self, size_px: Size) -> Size | None:
        """Return the width and height nearest to a size that it takes; None where there are none near."""
        if size_px not in self._known:
            least = self.batch[0]
            fitting = (size for size in _near(size_px) if self.fit((least, 3, size[1], size[0])))
            self._known[size_px] = next(fitting, None)
        return self._known[size_px]

    def describe(self, size_px: Size) -> str:
        """Say which photos it was exported with, what sides it takes, and which guards a size breaks."""
        width, height = size_px
        broken = [guard.text for guard in self.guards if not guard.holds((self.batch[0], 3, height, width))]
        example = " x ".join(str(_example(size)) for size in reversed(self.shape[2:]))
        return ", ".join(dict.fromkeys([f"photos of {example} px", *self._limits(), *broken[:3]]))

    def _range(self, size: Any) -> tuple[int, int]:
        if isinstance(size, int):
            return size, size
        found = self.ranges.get(size.node.expr)
        return (0, _UNLIMITED) if found is None else (int(found.lower), int(min(found.upper, _UNLIMITED)))

    def _limits(self) -> Iterator[str]:
        """Yield the conditions that lie in the sizes themselves."""
        axes: dict[str, str] = {}
        for axis, size in zip(AXES, self.shape, strict=True):
            text = str(size)
            low, high = self._range(size)
            if axis == "batch" or (axis == "colours" and text == "3"):
                continue
            if low == high or not text.isidentifier():
                yield f"{axis} == {text}"
            elif text in axes:
                yield f"{axis} == {axes[text]}"
            elif low > 2 or high < _UNLIMITED:
                yield f"{axis} >= {low}" + (f" and <= {high}" if high < _UNLIMITED else "")
            axes.setdefault(text, axis)


def _example(size: Any) -> Any:
    """Return a size of the input that the program was exported with, or its symbol where that isn't known."""
    return size if isinstance(size, int) else getattr(size.node, "hint", None) or size


def _near(size_px: Size) -> list[Size]:
    """Return the sizes near one, nearest first."""
    width, height = size_px
    aside, above = (min(max(side // 8, _LEAST_PX), _MOST_PX) for side in size_px)
    moves = [(x, y) for x in range(-aside, aside + 1) for y in range(-above, above + 1)]
    return [(width + x, height + y) for x, y in sorted(moves, key=lambda move: (abs(move[0]) + abs(move[1]), move))]
