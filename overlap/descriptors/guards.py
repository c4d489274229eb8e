"""What an exported program asks of its input's sizes: Python text in the file, computed here without running it.

torch.export writes a guard for what it took for granted while it traced: that a photo is wider than high, or that a
side is a multiple of 32. A program computes other sizes all the same, as if they had those properties.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from overlap.base.errors import ConfigError

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.FloorDiv: operator.floordiv,
        ast.Div: operator.truediv,
        ast.Mod: operator.mod,
        ast.USub: operator.neg,
        ast.UAdd: operator.pos,
        ast.Not: operator.not_,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "max": max,
        "min": min,
        "Max": max,
        "Min": min,
        "abs": abs,
        "int": int,
        "float": float,
        "round": round,
        "math.floor": math.floor,
        "math.ceil": math.ceil,
        "math.trunc": math.trunc,
        "math.sqrt": math.sqrt,
        "torch.sym_float": float,
        "torch._sym_sqrt": math.sqrt,
        "FloorDiv": operator.floordiv,
        "Mod": operator.mod,
        "PythonMod": operator.mod,
    }
)
# The sizes of the input, (B, 3, H, W), in words.
AXES = ("batch", "colours", "height", "width")
_LARGEST_POWER = 4
_LARGE = (64, 3, 20160, 20160)


@dataclass(frozen=True)
class Guard:
    """Hold one condition on the sizes of a program's only input.

    Args:
        text: in words of photos, as ``width % 32 == 0``.
    """

    text: str
    tree: ast.expr

    def holds(self, shape: Sequence[int]) -> bool:
        """Tell whether photos of a shape (B, 3, H, W) keep it."""
        try:
            return bool(_compute(self.tree, shape))
        except ArithmeticError:
            return False


def parse_guards(texts: Sequence[str], *, source: str) -> tuple[Guard, ...]:
    """Read the guards of a program.

    Args:
        texts: as torch.export writes them, untrusted.
        source: the file, for the message.

    Raises:
        ConfigError: one is more than arithmetic on the input's sizes.
    """
    return tuple(_parse(text, source) for text in texts)


def _parse(text: str, source: str) -> Guard:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _compute(tree, _LARGE)  # what can't be computed at all is found here
        return Guard(ast.unparse(_Words().visit(ast.parse(text.strip(), mode="eval"))), tree)
    except Exception as error:  # Python's parser raises many kinds on hostile text
        raise ConfigError(
            f"{source} is refused: its guard {text[:80]!r} is no plain arithmetic on the input's sizes, so that nobody "
            "can tell which photos it may be given; export the network again with free sizes (dynamic_shapes)"
        ) from error


def _compute(node: ast.AST, shape: Sequence[int]) -> Any:
    """Compute an expression; everything in it is looked at, whatever its value."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Subscript(slice=ast.Constant(value=int() as axis)) if _is_size(node):
            return shape[axis]
        case ast.UnaryOp(op, operand):
            return _OPERATORS[type(op)](_compute(operand, shape))
        case ast.BinOp(base, ast.Pow(), ast.Constant(value=int() | float() as power)) if power <= _LARGEST_POWER:
            return _compute(base, shape) ** power
        case ast.BinOp(left, op, right):
            return _OPERATORS[type(op)](_compute(left, shape), _compute(right, shape))
        case ast.BoolOp(op, values):
            return (all if isinstance(op, ast.And) else any)([_compute(value, shape) for value in values])
        case ast.Compare(left, ops, comparators):
            values = [_compute(value, shape) for value in (left, *comparators)]
            return all(_OPERATORS[type(op)](*pair) for op, pair in zip(ops, pairwise(values), strict=True))
        case ast.Call(function, arguments, []):
            return _FUNCTIONS[ast.unparse(function)](*(_compute(each, shape) for each in arguments))
    raise ValueError(ast.unparse(node))


def _is_size(node: ast.Subscript) -> bool:
    """Tell whether an expression is a size of the input, as in ``L['x'].size()[2]``."""
    match node.value:
        case ast.Call(ast.Attribute(attr="size"), [], []):
            return True
    return False


class _Words(ast.NodeTransformer):
    """Put words for the input's sizes."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        match node.slice:
            case ast.Constant(value=int() as axis) if _is_size(node):
                return ast.Name(AXES[axis])
        return node
