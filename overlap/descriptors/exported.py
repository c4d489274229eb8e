"""Networks that came as a file: torch.export programs, which need no code of their maker's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap.base.errors import ConfigError, DataError
from overlap.base.weights import check_tensors
from overlap.descriptors.archive import check_archive
from overlap.descriptors.batches import Size, grid_shape
from overlap.descriptors.guards import AXES
from overlap.descriptors.sizes import Sizes

if TYPE_CHECKING:
    from torch import Tensor

_LIMIT_MB = 4000
# Width and height as parts of the longer side: what photos most often are.
_COMMON_SHAPES = ((1, 0.75), (0.75, 1), (1, 1))


@dataclass(frozen=True, eq=False)
class Exported:
    """Hold a program: a function from float32 RGB photos in 0..1, (B, 3, H, W) on its device, to (B, D) unit rows.

    Args:
        run: the program itself.
        sizes: what it takes.
    """

    run: Callable[[Tensor], Tensor]
    sizes: Sizes

    def __call__(self, photos: Tensor) -> Tensor:
        """Describe photos; more than the program takes at once are cut, fewer are filled up with copies.

        Raises:
            ConfigError: it doesn't take photos of that size, or doesn't give a row a photo.
        """
        import torch
        from torch.nn import functional

        parts = torch.split(photos, min(self.sizes.batch[1], max(len(photos), 1)))
        return functional.normalize(torch.cat([self._describe(part) for part in parts]).float(), dim=-1)

    def fit(self, size_px: Size) -> Size:
        """Return the width and height that the program takes and that are nearest to a size's multiples of GRID_PX.

        Raises:
            DataError: there are none near.
        """
        found = self.sizes.nearest(grid_shape(size_px))
        if found is None:
            raise DataError(self._refusal(size_px))
        return found

    def _describe(self, photos: Tensor) -> Tensor:
        import torch

        missing = max(self.sizes.batch[0] - len(photos), 0)
        whole = torch.cat([photos, photos[-1:].expand(missing, -1, -1, -1)]) if missing else photos
        if not self.sizes.fit(tuple(whole.shape)):
            raise ConfigError(f"descriptors.path: {self._refusal((whole.shape[3], whole.shape[2]))}")
        found = self.run(whole)
        shape = tuple(getattr(found, "shape", ()))
        if len(shape) != 2 or shape[0] != len(whole):
            raise ConfigError(
                f"descriptors.path: the exported network gives {shape or f'a {type(found).__name__}'} for {len(whole)} "
                "photos; export one that gives (B, D), one row a photo"
            )
        return found[: len(photos)]

    def _refusal(self, size_px: Size) -> str:
        width, height = size_px
        return (
            f"the exported network takes no photo of {width} x {height} px: it was exported for "
            f"{self.sizes.describe(size_px)}; export it with free sizes (dynamic_shapes), or set descriptors.size_px "
            "to what it takes"
        )


def load_exported(path: Path, *, device: str = "cpu", limit_mb: int = _LIMIT_MB, compiled: bool = False) -> Exported:
    """Load a ``.pt2`` program that torch.export.save wrote.

    The archive is checked first (see ``archive``): members, operators or expressions by which torch.export.load would
    run code are refused. The conditions on input sizes, which are Python text too, are read by ``guards``.

    Args:
        device: ``cpu`` or ``cuda``.
        limit_mb: the most megabytes that the file may unpack to.
        compiled: let torch.compile translate it.

    Raises:
        ConfigError: the file is missing, is no such program, or is refused.
    """
    import torch

    guards = check_archive(path, limit_mb=limit_mb)
    try:
        program = torch.export.load(path)
        module = program.module(check_guards=False).to(device)
    except Exception as error:  # torch raises nearly every kind on what it can't read
        raise ConfigError(
            f"{path} can't be loaded by torch {torch.__version__}: {type(error).__name__}: {str(error).strip()[:300]}; "
            "export it again with this version of torch"
        ) from error
    check_tensors(dict(program.named_parameters()), path=path)
    _check_mode(program, path)
    sizes = Sizes(module, guards, _input_shape(program, path), program.range_constraints)
    # Batches come in many shapes: each would be compiled anew.
    return Exported(torch.compile(module, dynamic=True) if compiled else module, sizes)


def require_common_sizes(network: Exported, *, size_px: int, scales: Sequence[float]) -> None:
    """Check that a program takes landscapes, portraits and squares of the size that photos are brought to.

    Raises:
        ConfigError: it doesn't.
    """
    for scale in scales:
        for width, height in _COMMON_SHAPES:
            try:
                network.fit((round(size_px * scale * width), round(size_px * scale * height)))
            except DataError as error:
                raise ConfigError(f"descriptors.path: {error}") from None


def _check_mode(program: Any, path: Path) -> None:
    """Refuse dropout that drops, and batch normalisation that looks at the batch: neither describes a photo alone."""
    graphs = [module.graph for module in program.graph_module.modules() if hasattr(module, "graph")]
    learning = next((node for graph in graphs for node in graph.nodes if _learns(node)), None)
    if learning is not None:
        raise ConfigError(
            f"{path} was exported while it learned: its {learning.target} makes a photo's descriptor depend on chance "
            "or on the photos beside it; call network.eval() and export it again"
        )


def _learns(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    values = {**dict(zip((each.name for each in schema.arguments), node.args, strict=False)), **node.kwargs}
    return values.get("p") != 0 and any(values.get(name) is True for name in ("train", "training"))


def _input_shape(program: Any, path: Path) -> tuple[Any, ...]:
    """Return the sizes of the program's only input: numbers, or symbols for those that are free."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    shapes = [tuple(getattr(each, "shape", ())) for each in inputs]
    if len(names) != 1 or [len(shape) for shape in shapes] != [len(AXES)]:
        raise ConfigError(
            f"{path} takes {len(names)} inputs of {', '.join(str(len(shape)) for shape in shapes) or 'no'} dimensions; "
            "export a network that takes photos alone, (B, 3, H, W)"
        )
    dtype = str(inputs[0].dtype)
    if dtype != "torch.float32":
        raise ConfigError(
            f"{path} takes photos as {dtype}, not torch.float32 in 0..1; export it with such photos, converted inside"
        )
    return shapes[0]
