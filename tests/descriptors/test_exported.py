import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from overlap.descriptors.archive import check_archive
from overlap.descriptors.exported import load_exported
from overlap.errors import ConfigError

SHARED = Path(os.environ.get("OVERLAP_SHARED", Path(__file__).parents[2] / ".." / "shared"))


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.register_buffer("mean", torch.full((3, 1, 1), 0.4))

    def forward(self, photos: Tensor) -> Tensor:
        features = self.conv((photos - self.mean) / 0.25).relu()
        return 5 * features.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    torch.manual_seed(3)
    return Tiny().eval()


@pytest.fixture(scope="module")
def program(tiny: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "tiny.pt2"
    free = {0: torch.export.Dim("b"), 2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    exported = torch.export.export(tiny, (torch.rand(2, 3, 32, 48),), dynamic_shapes=(free,))
    torch.export.save(exported, path)
    return path


def rewrite(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Copy an archive with its members changed; members are named without the root folder."""
    with zipfile.ZipFile(source) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = {name[len(root) + 1 :]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)
    return target


def change_graph(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(members: dict[str, bytes]) -> None:
        program = json.loads(members["models/model.json"])
        change(program["graph_module"])
        members["models/model.json"] = json.dumps(program).encode()

    return changed


@pytest.mark.parametrize("shape", [(1, 3, 32, 48), (3, 3, 17, 90)])
def test_a_program_gives_the_module_s_vectors_at_length_1(
    program: Path, tiny: nn.Module, shape: tuple[int, ...]
) -> None:
    photos = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        vectors, expected = load_exported(program)(photos), tiny(photos)
    torch.testing.assert_close(vectors, expected / expected.norm(dim=1, keepdim=True))


def test_an_archive_that_was_only_copied_still_loads(program: Path, tmp_path: Path) -> None:
    check_archive(rewrite(program, tmp_path / "copy.pt2", lambda members: None), limit_mb=10)


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("trapped",)


def pickled_trap(protocol: Callable[[object, io.BytesIO], None]) -> bytes:
    buffer = io.BytesIO()
    protocol(Trap(), buffer)
    return buffer.getvalue()


def set_sample(members: dict[str, bytes]) -> None:
    members["data/sample_inputs/model.pt"] = pickled_trap(torch.save)


def set_legacy_weights(members: dict[str, bytes]) -> None:
    members["data/weights/model.pt"] = pickled_trap(torch.save)


def set_object(members: dict[str, bytes]) -> None:
    members["data/constants/opaque_obj_0"] = pickled_trap(pickle.dump)
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members["data/constants/model_constants_config.json"] = json.dumps({"config": {"c": entry}}).encode()


def set_pickled_weight(members: dict[str, bytes]) -> None:
    config = json.loads(members["data/weights/model_weights_config.json"])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    members[f"data/weights/{entry['path_name']}"] = pickled_trap(torch.save)
    members["data/weights/model_weights_config.json"] = json.dumps(config).encode()


def set_library(members: dict[str, bytes]) -> None:
    members["data/aotinductor/model/a.wrapper.so"] = b"\x7fELF"


def set_target(target: str) -> Callable[[dict[str, bytes]], None]:
    def change(graph_module: dict[str, Any]) -> None:
        graph_module["graph"]["nodes"][0]["target"] = target

    return change_graph(change)


def set_expression(text: str, *, below: str = "photos") -> Callable[[dict[str, bytes]], None]:
    def change(graph_module: dict[str, Any]) -> None:
        values = graph_module["graph"]["tensor_values"]
        meta = json.loads(json.dumps(values["photos"]))
        meta["sizes"][0] = {"as_expr": {"expr_str": text, "hint": None}}
        values[below] = meta

    return change_graph(change)


def set_tree(graph_module: dict[str, Any]) -> None:
    context = json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []})
    spec = {"type": "collections.defaultdict", "context": context, "children_spec": []}
    graph_module["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, spec])


def set_name(graph_module: dict[str, Any]) -> None:
    graph_module["graph"]["nodes"][0]["name"] = "x = __import__('os').mkdir('trapped')"


def set_signature(graph_module: dict[str, Any]) -> None:
    graph_module["signature"]["input_specs"][0]["user_input"] = {"arg": {"as_tensor": {"name": "x;y()"}}}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (set_sample, r"tiny/data/sample_inputs/model.pt, which is no plain tensors"),
        (set_legacy_weights, r"the member 'tiny/data/weights/model.pt'"),
        (set_object, r"the member 'tiny/data/constants/opaque_obj_0'"),
        (set_pickled_weight, r"the pickled tensor 'conv.weight'"),
        (set_library, r"the member 'tiny/data/aotinductor/model/a.wrapper.so'"),
        (set_target("torch.os.mkdir"), r"the target 'torch.os.mkdir' in its graph"),
        (set_target("torch.ops.aten.from_file.default"), r"the target 'torch.ops.aten.from_file.default'"),
        (set_target("_operator.attrgetter"), r"the target '_operator.attrgetter'"),
        (set_target("#compiled:x"), r"the target '#compiled:x'"),
        (set_expression("__import__('os').mkdir('trapped')"), r"the expr_str \"__import__"),
        (set_expression("exit()"), r"the expr_str 'exit\(\)'"),
        (set_expression("Symbol('s0').func"), r"the expr_str \"Symbol\('s0'\).func\""),
        (set_expression("exec('s0')"), r"the expr_str"),
        (set_expression("exit()", below="metadata"), r"the expr_str 'exit\(\)'"),
        (set_expression("exit()", below="stack_trace"), r"the expr_str 'exit\(\)'"),
        (change_graph(set_tree), r"the in_spec "),
        (change_graph(set_name), r"the name \"x = __import__"),
        (change_graph(set_signature), r"the name 'x;y\(\)' in its signature"),
    ],
)
def test_what_could_run_code_is_refused_before_torch_reads_it(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewrite(program, tmp_path / "bad.pt2", change)
    with pytest.raises(ConfigError, match=rf"bad.pt2 is refused: it holds {found}") as caught:
        load_exported(path)
    assert "export the network again with torch.export.save" in str(caught.value)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "Symbol('s77', positive=True, integer=True)",
        "Add(FloorDiv(Add(Symbol('s0', positive=True, integer=True), Integer(-1)), Integer(16)), Integer(1))",
        "((s1 - 1)//2) + 1",
        "Max(1, u0)",
    ],
)
def test_size_expressions_of_real_exports_pass(program: Path, tmp_path: Path, text: str) -> None:
    check_archive(rewrite(program, tmp_path / "e.pt2", set_expression(text)), limit_mb=10)


def test_a_member_twice_is_refused(program: Path, tmp_path: Path) -> None:
    path = rewrite(program, tmp_path / "bad.pt2", lambda members: None)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], b"other")
    with pytest.raises(ConfigError, match=r"bad.pt2 is refused: it holds the same member twice"):
        check_archive(path, limit_mb=10)


def test_what_unpacks_to_too_much_is_refused(program: Path, tmp_path: Path) -> None:
    def swell(members: dict[str, bytes]) -> None:
        members["data/weights/weight_9"] = bytes(3_000_000)

    with pytest.raises(ConfigError, match=r"bad.pt2 unpacks to 3 MB, over the limit of 2 MB for a network"):
        load_exported(rewrite(program, tmp_path / "bad.pt2", swell), limit_mb=2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.pt2: no such file; descriptors.path names the .pt2 file"):
        load_exported(tmp_path / "gone.pt2")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50)])
def test_a_file_that_is_no_zip_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"x.pt2 is not a torch.export archive \(.*\); write one with torch.export.sa"
    ):
        load_exported(tmp_path / "x.pt2")


def test_a_checkpoint_is_no_program(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pt2")
    with pytest.raises(ConfigError, match=r"x.pt2 is not a torch.export archive: it holds no models/model.json"):
        load_exported(tmp_path / "x.pt2")


def test_a_truncated_program_is_named(program: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(program.read_bytes()[:-2000])
    with pytest.raises(ConfigError, match=r"x.pt2 is not a torch.export archive"):
        load_exported(tmp_path / "x.pt2")


@pytest.mark.parametrize("content", [None, b"{not json", b"\xff"])
def test_a_damaged_member_is_named(program: Path, tmp_path: Path, content: bytes | None) -> None:
    def damage(members: dict[str, bytes]) -> None:
        if content is None:
            del members["data/weights/model_weights_config.json"]
        else:
            members["data/weights/model_weights_config.json"] = content

    with pytest.raises(ConfigError, match=r"x.pt2: tiny/data/weights/model_weights_config.json is missing or damaged"):
        load_exported(rewrite(program, tmp_path / "x.pt2", damage))


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"graph_module": []}'])
def test_a_program_of_another_form_is_named(program: Path, tmp_path: Path, content: bytes) -> None:
    def damage(members: dict[str, bytes]) -> None:
        members["models/model.json"] = content

    with pytest.raises(ConfigError, match=r"x.pt2 is not laid out as torch.export lays it out"):
        load_exported(rewrite(program, tmp_path / "x.pt2", damage))


def test_a_program_that_torch_cannot_read_is_named(program: Path, tmp_path: Path) -> None:
    def drop_nodes(graph_module: dict[str, Any]) -> None:
        graph_module["graph"]["nodes"] = graph_module["graph"]["nodes"][:1]

    path = rewrite(program, tmp_path / "x.pt2", change_graph(drop_nodes))
    with pytest.raises(ConfigError, match=r"x.pt2 can't be loaded by torch .*; export it again with this version"):
        load_exported(path)


def test_the_real_program_passes_the_check() -> None:
    path = SHARED / "weights/mobilenet_v2_gem.pt2"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    check_archive(path, limit_mb=20)
