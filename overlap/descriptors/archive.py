"""Look into a torch.export archive before torch does: what would run code on loading is refused.

``torch.export.load`` itself trusts its file. It unpickles example inputs and legacy weights with full pickle when the
safe reader refuses them, loads compiled libraries, resolves the graph's operators by walking attributes from the
``torch`` module (which reaches ``torch.os.system``), and evaluates the text of size expressions as Python. An export of
a plain network needs none of this, so only what it needs is let through.

What this can't tell: whether the network computes what its maker says, how much memory or time it will take, and
whether torch's own readers have faults. Take such files from people you trust.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overlap.base.errors import ConfigError
from overlap.descriptors.guards import Guard, parse_guards

# Members of an archive, below its root folder, that hold no code.
_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
)
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.sym_\w+|_operator\.\w+|math\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast)"
)
# How a target starts that torch resolves by walking attributes.
_LOOKED_UP = ("torch", "_operator", "math", "#")
# These reach files, or attributes by name.
_REFUSED_OPERATORS = ("torch.ops.aten.from_file.", "_operator.attrgetter", "_operator.methodcaller", "_operator.call")
_PLAIN_TEXT = re.compile(r"[\w .,:/\-]*")
_EXPRESSION = re.compile(r"[\w\s()+\-*/%<>=!&|,.']*")
_SYMBOL = re.compile(r"'([a-z]+\d+|\d+\.\d+)'")
_WORD = re.compile(r"[A-Za-z_]\w*")
_EXPRESSION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        Symbol Integer Float Rational Add Mul Pow Mod Max Min Eq Ne Lt Le Gt Ge And Or Not Where Identity
        FloorDiv CeilDiv CleanDiv PythonMod ModularIndexing IntTrueDiv FloatTrueDiv PowByNatural FloatPow
        CeilToInt FloorToInt TruncToInt RoundToInt ToFloat
        Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan
        true false True False None oo int_oo positive integer nonnegative evaluate precision
        """,
    )
)
# Notes that loading keeps as text, or looks up without calling.
_NOTES = frozenset({"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom"})
_AGAIN = "write the file again with torch.export.save"
_TREE_TYPES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})


def check_archive(path: Path, *, limit_mb: int) -> tuple[Guard, ...]:
    """Refuse a file that is no torch.export archive, is too large, or holds what could run code when it is loaded.

    Args:
        limit_mb: the most megabytes that it may unpack to.

    Returns:
        The conditions on the sizes of photos that the program was made under.

    Raises:
        ConfigError: so; the message names the member or the text that was refused.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _check_members(path, archive.infolist(), limit_mb=limit_mb)
            damaged = archive.testzip()  # torch doesn't look
            if damaged is not None:
                raise ConfigError(
                    f"{path}: {damaged} is damaged, it has another sum than when it was written; {_AGAIN}"
                )
            _check_tensors(path, archive, root)
            program = _read_json(path, archive, f"{root}/models/model.json")
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; descriptors.path names the .pt2 file of the network") from None
    except Exception as error:  # zipfile raises nearly every kind on damaged bytes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(
            f"{path} is not a torch.export archive ({reason}); write one with torch.export.save(program, path)"
        ) from error
    try:
        _check_program(path, program)
        return parse_guards(program.get("guards_code", ()), source=str(path))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong_layout(path, error) from None


def _wrong_layout(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} is not laid out as torch.export lays it out ({type(error).__name__}: {error}); write it again "
        "with torch.export.save, torch 2.9 or newer"
    )


def _check_members(path: Path, members: list[zipfile.ZipInfo], *, limit_mb: int) -> str:
    names = [member.filename for member in members]
    size_mb = sum(member.file_size for member in members) / 1e6
    if size_mb > limit_mb:  # before anything is unpacked
        raise ConfigError(f"{path} unpacks to {size_mb:.0f} MB, over the limit of {limit_mb} MB for a network")
    root = names[0].split("/")[0] if names else ""
    if f"{root}/models/model.json" not in names:
        raise ConfigError(
            f"{path} is not a torch.export archive: it holds no models/model.json; write one with "
            "torch.export.save(program, path), torch 2.9 or newer"
        )
    if len(set(names)) != len(names):
        raise _refusal(path, "the same member twice")
    for name in names:
        if not name.startswith(f"{root}/") or not _MEMBERS.fullmatch(name[len(root) + 1 :]):
            raise _refusal(path, f"the member {name!r}")
    return root


def _check_tensors(path: Path, archive: zipfile.ZipFile, root: str) -> None:
    import torch

    for kind in ("weights", "constants"):
        config = _read_json(path, archive, f"{root}/data/{kind}/model_{kind}_config.json")
        try:
            pickled = [name for name, entry in config["config"].items() if entry.get("use_pickle") is not False]
        except (KeyError, TypeError, AttributeError) as error:
            raise _wrong_layout(path, error) from None
        if pickled:
            raise _refusal(path, f"the pickled tensor {pickled[0]!r}")
    sample = f"{root}/data/sample_inputs/model.pt"
    try:
        torch.load(io.BytesIO(archive.read(sample)), weights_only=True)
    except Exception as error:  # torch raises nearly every kind on what it can't read
        raise _refusal(path, f"{sample}, which is no plain tensors") from error


def _check_program(path: Path, program: Any) -> None:
    graph_module = program["graph_module"]
    for key, text in _walk_text([graph_module["graph"], graph_module["module_call_graph"]]):
        if not _is_harmless(key, text):
            raise _refusal(path, f"the {key or 'text'} {text[:80]!r} in its graph")
    for key, text in _walk_text(graph_module["signature"]):
        if not _PLAIN_TEXT.fullmatch(text):
            raise _refusal(path, f"the {key or 'text'} {text[:80]!r} in its signature")


def _walk_text(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text below a JSON value with the key that it stands under, and every key as a name."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield "name", name
            yield from _walk_text(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk_text(inner, key)


def _is_harmless(key: str, text: str) -> bool:
    if key in _NOTES:
        return True
    if key == "target":
        return not text.startswith(_LOOKED_UP) or _is_operator(text)
    if key == "expr_str":
        return _is_expression(text)
    return _is_plain_tree(text) if key in ("in_spec", "out_spec") else _PLAIN_TEXT.fullmatch(text) is not None


def _is_operator(target: str) -> bool:
    return _OPERATOR.fullmatch(target) is not None and not target.startswith(_REFUSED_OPERATORS)


def _is_expression(text: str) -> bool:
    """Tell whether a size expression is arithmetic over symbols; torch evaluates it as Python."""
    if not _EXPRESSION.fullmatch(text):
        return False
    bare = _SYMBOL.sub("", text)
    words = _WORD.findall(bare)
    return "'" not in bare and ")." not in bare and all(_is_expression_word(word) for word in words)


def _is_expression_word(word: str) -> bool:
    return word in _EXPRESSION_WORDS or re.fullmatch(r"[a-z]+\d+", word) is not None


def _is_plain_tree(text: str) -> bool:
    """Tell whether a description of inputs or outputs has tuples, lists and dicts only; other types import modules."""
    try:
        stack = [json.loads(text)]
    except ValueError:
        return False
    while stack:
        value = stack.pop()
        if isinstance(value, dict) and value.get("type") not in _TREE_TYPES:
            return False
        stack.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return True


def _read_json(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    try:
        return json.loads(archive.read(name))
    except (KeyError, ValueError, RecursionError):
        raise ConfigError(f"{path}: {name} is missing or damaged; {_AGAIN}") from None


def _refusal(path: Path, found: str) -> ConfigError:
    return ConfigError(
        f"{path} is refused: it holds {found}, which a plain network has no need of and which could run code; export "
        "the network again with torch.export.save (torch 2.9 or newer)"
    )
