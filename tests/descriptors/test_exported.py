import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from mutate import mutations, within
from torch import Tensor, nn

from overlap.base.errors import ConfigError, DataError
from overlap.descriptors.archive import check_archive
from overlap.descriptors.exported import Exported, load_exported, require_common_sizes

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


class Landscape(Tiny):
    """Turns portraits, which torch.export takes for granted of the sizes that it saw."""

    def forward(self, photos: Tensor) -> Tensor:
        turned = photos.transpose(2, 3) if photos.shape[2] >= photos.shape[3] else photos
        return super().forward(turned * torch.linspace(0, 1, turned.shape[3]))


class Windowed(Tiny):
    """Pools over a window of one size: maps larger than two windows leave part of the photo out."""

    def forward(self, photos: Tensor) -> Tensor:
        features = self.conv((photos - self.mean) / 0.25).relu().clamp(min=1e-6).pow(3)
        pooled = nn.functional.avg_pool2d(features, 16)
        return (pooled if min(pooled.shape[2:]) > 1 else features).mean((2, 3)).pow(1 / 3)


class Blocks(Tiny):
    """Looks at whole blocks of 32 pixels."""

    def forward(self, photos: Tensor) -> Tensor:
        torch._check(photos.shape[3] % 32 == 0)
        return super().forward(photos.unflatten(3, (photos.shape[3] // 32, 32)).flatten(3))


class Patches(Tiny):
    """Takes multiples of 14 pixels, as vision transformers do."""

    def forward(self, photos: Tensor) -> Tensor:
        torch._check(photos.shape[2] % 14 == 0)
        torch._check(photos.shape[3] % 14 == 0)
        return super().forward(photos)


class Crowd(Tiny):
    """Computes something else for a photo alone."""

    def forward(self, photos: Tensor) -> Tensor:
        return super().forward(photos * 0.5 if photos.shape[0] >= 4 else photos)


class Squeezed(Tiny):
    """Loses the batch where it is 1."""

    def forward(self, photos: Tensor) -> Tensor:
        return super().forward(photos)[:, :, None].squeeze()


AUTO = torch.export.Dim.AUTO
FREE = {0: AUTO, 2: AUTO, 3: AUTO}


def export(network: nn.Module, path: Path, shape: tuple[int, ...], free: dict[int, Any] | None) -> Path:
    exported = torch.export.export(network.eval(), (torch.rand(shape),), dynamic_shapes=free and (free,))
    torch.export.save(exported, path)
    return path


def range_of(low: int, high: int) -> dict[int, Any]:
    names = {2: "h", 3: "w"}
    sides = {axis: torch.export.Dim(name, min=low, max=high) for axis, name in names.items()}
    return {0: torch.export.Dim("b"), **sides}


GUARDED: dict[str, tuple[type[Tiny], tuple[int, ...], dict[int, Any] | None]] = {
    "landscape": (Landscape, (2, 3, 64, 96), FREE),
    "window": (Windowed, (2, 3, 64, 96), FREE),
    "small window": (Windowed, (2, 3, 32, 48), FREE),
    "blocks": (Blocks, (2, 3, 64, 96), FREE),
    "patches": (Patches, (2, 3, 56, 84), FREE),
    "many": (Crowd, (4, 3, 64, 96), FREE),
    "few": (Crowd, (2, 3, 64, 96), FREE),
    "squeezed": (Squeezed, (2, 3, 64, 96), FREE),
    "fixed": (Tiny, (1, 3, 64, 96), None),
    "fixed batch": (Tiny, (4, 3, 64, 96), {2: AUTO, 3: AUTO}),
    "ranges": (Tiny, (2, 3, 64, 96), range_of(64, 128)),
    "derived": (Tiny, (2, 3, 64, 96), {0: AUTO, 2: 32 * torch.export.Dim("h"), 3: 32 * torch.export.Dim("w")}),
    "square": (Tiny, (2, 3, 64, 64), {2: (side := torch.export.Dim("side", min=32)), 3: side}),
}
SIZES = [(96, 64), (64, 96), (80, 80), (160, 112), (64, 64), (320, 240), (90, 84)]


def among(names: Iterable[str], *, quick: tuple[str, ...]) -> list[Any]:
    """Leave all but a few to the long run: each is exported anew."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.long) for name in names]


@pytest.fixture(scope="module", params=among(GUARDED, quick=("landscape", "fixed batch")))
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    kind, shape, free = GUARDED[request.param]
    torch.manual_seed(3)
    network = kind()
    path = tmp_path_factory.mktemp("guarded") / f"{request.param.replace(' ', '_')}.pt2"
    return network, export(network, path, shape, free)


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.long), 5])
def test_photos_get_the_module_s_vectors_or_are_refused_with_the_size_that_is_wanted(
    guarded: tuple[nn.Module, Path], n: int
) -> None:
    network, path = guarded
    loaded = load_exported(path)
    for width, height in SIZES:
        photos = torch.rand((n, 3, height, width), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            try:
                vectors = loaded(photos)
            except ConfigError as error:
                assert f"takes no photo of {width} x {height} px: it was exported for" in str(error)  # noqa: PT017
                continue
            expected = torch.cat([network(photo[None].expand(4, -1, -1, -1))[:1] for photo in photos])
            alone = torch.cat([network(photo[None]).view(1, -1) for photo in photos])
        unit = [each / each.norm(dim=1, keepdim=True) for each in (expected, alone)]
        assert any(torch.allclose(vectors, each, atol=1e-5) for each in unit)


def test_sizes_that_a_program_takes_are_kept_and_others_moved_to_the_nearest(
    guarded: tuple[nn.Module, Path],
) -> None:
    loaded = load_exported(guarded[1])
    for wanted in SIZES:
        try:
            width, height = loaded.fit(wanted)
        except DataError:
            continue
        assert max(abs(width - wanted[0]), abs(height - wanted[1])) <= 40
        assert loaded.sizes.fit((max(loaded.sizes.batch[0], 1), 3, height, width))
        loaded(torch.rand(1, 3, height, width))


def load_kind(name: str, folder: Path) -> Exported:
    kind, shape, free = GUARDED[name]
    torch.manual_seed(3)
    return load_exported(export(kind(), folder / "n.pt2", shape, free))


@pytest.mark.parametrize(
    ("name", "size", "fitted"),
    [
        ("patches", (640, 480), (644, 476)),
        pytest.param("blocks", (640, 427), (640, 432), marks=pytest.mark.long),
        pytest.param("derived", (650, 427), (640, 416), marks=pytest.mark.long),
    ],
)
def test_sides_become_multiples_that_the_program_needs(
    tmp_path: Path, name: str, size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert load_kind(name, tmp_path).fit(size) == fitted


@pytest.mark.parametrize(
    ("name", "size_px", "message"),
    [
        ("landscape", 96, r"no photo of 72 x 96 px: it was exported for .*height < width; export it with free sizes"),
        (
            "fixed",
            640,
            r"no photo of 640 x 480 px: it was exported for photos of 96 x 64 px, height == 64, width == 96;",
        ),
        pytest.param("ranges", 640, r".* height >= 64 and <= 128, width >= 64 and <= 128;", marks=pytest.mark.long),
        pytest.param("square", 640, r".* 64 x 64 px, height >= 32, width == height;", marks=pytest.mark.long),
    ],
)
def test_a_program_for_other_sizes_is_refused_before_any_photo(
    tmp_path: Path, name: str, size_px: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"descriptors.path: the exported network takes {message}"):
        require_common_sizes(load_kind(name, tmp_path), size_px=size_px, scales=(1.0,))


@pytest.mark.long
def test_every_scale_is_looked_at(tmp_path: Path) -> None:
    loaded = load_kind("ranges", tmp_path)
    require_common_sizes(loaded, size_px=128, scales=(1.0,))
    with pytest.raises(ConfigError, match=r"no photo of 256 x 192 px"):
        require_common_sizes(loaded, size_px=128, scales=(1.0, 2.0))


def test_an_undefined_weight_is_refused_by_its_name(tmp_path: Path) -> None:
    network = Tiny()
    with torch.no_grad():
        network.conv.bias[1] = torch.nan
    path = export(network, tmp_path / "n.pt2", (2, 3, 64, 96), FREE)
    with pytest.raises(ConfigError, match=r"n.pt2: conv.bias holds undefined or infinite numbers"):
        load_exported(path)


def test_guards_that_run_code_are_refused(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_guard(members: dict[str, bytes]) -> None:
        model = json.loads(members["models/model.json"])
        model["guards_code"] = ["__import__('os').mkdir('trapped')"]
        members["models/model.json"] = json.dumps(model).encode()

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"bad.pt2 is refused: its guard"):
        load_exported(rewrite(program, tmp_path / "bad.pt2", add_guard))
    assert not (tmp_path / "trapped").exists()


class Two(nn.Module):
    def forward(self, photos: Tensor, others: Tensor) -> Tensor:
        return photos.mean((2, 3)) + others.mean((2, 3))


class Flat(nn.Module):
    def forward(self, photos: Tensor) -> Tensor:
        return photos.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("network", "inputs", "found"),
    [
        (Two(), (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)), "takes 2 inputs of 4, 4 dimensions"),
        (Flat(), (torch.rand(2, 3),), "takes 1 inputs of 2 dimensions"),
    ],
)
def test_a_program_of_something_else_than_photos_is_named(
    tmp_path: Path, network: nn.Module, inputs: tuple[Tensor, ...], found: str
) -> None:
    torch.export.save(torch.export.export(network, inputs), tmp_path / "n.pt2")
    with pytest.raises(ConfigError, match=rf"n.pt2 {found}; export a network that takes photos alone"):
        load_exported(tmp_path / "n.pt2")


class Columns(Tiny):
    """Gives a column a photo, as the networks of cirtorch do."""

    def forward(self, photos: Tensor) -> Tensor:
        return super().forward(photos).permute(1, 0)


class Listed(Tiny):
    def forward(self, photos: Tensor) -> Any:
        return [super().forward(photos)]


class Map(Tiny):
    def forward(self, photos: Tensor) -> Tensor:
        return self.conv(photos)


@pytest.mark.parametrize(("kind", "found"), [(Columns, r"\(6, 3\)"), (Listed, "a list"), (Map, r"\(3, 6, 32, 48\)")])
def test_a_program_that_gives_no_row_a_photo_is_named(tmp_path: Path, kind: type[Tiny], found: str) -> None:
    network = load_exported(export(kind(), tmp_path / "n.pt2", (2, 3, 64, 96), FREE))
    with pytest.raises(ConfigError, match=rf"exported network gives {found} for 3 photos; export one .* \(B, D\)"):
        network(torch.rand(3, 3, 64, 96))


class Learning(Tiny):
    """Holds what behaves otherwise while it learns."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, photos: Tensor) -> Tensor:
        return super().forward(self.part(photos))


@pytest.mark.parametrize(
    ("part", "found"), [(nn.Dropout(0.5), "aten.dropout.default"), (nn.BatchNorm2d(3), "aten.batch_norm.default")]
)
def test_a_program_exported_in_training_mode_is_refused(tmp_path: Path, part: nn.Module, found: str) -> None:
    for name, mode in (("eval", False), ("train", True)):
        network = Learning(part).train(mode)
        torch.export.save(torch.export.export(network, (torch.rand(2, 3, 8, 8),)), tmp_path / f"{name}.pt2")
    load_exported(tmp_path / "eval.pt2")
    with pytest.raises(ConfigError, match=rf"train.pt2 was exported while it learned: its {found} .* network.eval\(\)"):
        load_exported(tmp_path / "train.pt2")


def test_a_dropout_of_nothing_is_harmless(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Learning(nn.Dropout(0)), (torch.rand(2, 3, 8, 8),)), tmp_path / "n.pt2")
    load_exported(tmp_path / "n.pt2")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
def test_a_program_of_other_numbers_than_float32_is_refused_before_any_photo(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    torch.export.save(torch.export.export(nn.AvgPool2d(2), (torch.ones(2, 3, 8, 8),)), tmp_path / "n.pt2")
    load_exported(tmp_path / "n.pt2")
    torch.export.save(torch.export.export(nn.Flatten(), (torch.ones(2, 3, 8, 8).to(dtype),)), tmp_path / "n.pt2")
    with pytest.raises(ConfigError, match=rf"n.pt2 takes photos as {dtype}, not torch.float32 in 0..1; export it with"):
        load_exported(tmp_path / "n.pt2")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_a_compiled_program_keeps_its_guards(tmp_path: Path) -> None:
    path = export(Landscape(), tmp_path / "n.pt2", (2, 3, 64, 96), FREE)
    plain, compiled = (load_exported(path, compiled=each) for each in (False, True))
    photos = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(compiled(photos), plain(photos))
    with pytest.raises(ConfigError, match=r"no photo of 64 x 96 px"):
        compiled(photos.transpose(2, 3))


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
        "TruncToInt(Mul(Float('0.69999999999999996', precision=53), ToFloat(Symbol('s53', integer=True))))",
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


def test_a_weight_that_was_changed_is_found_by_its_sum(program: Path, tiny: nn.Module, tmp_path: Path) -> None:
    numbers = tiny.get_parameter("conv.weight").detach().numpy().tobytes()
    content = program.read_bytes()
    assert content.count(numbers) == 1
    (tmp_path / "x.pt2").write_bytes(content.replace(numbers, numbers[::-1]))
    with pytest.raises(ConfigError, match=r"x.pt2: tiny/data/weights/weight_\d is damaged, it has another sum"):
        load_exported(tmp_path / "x.pt2")


def read_or_refuse(path: Path) -> None:
    """Take what passes the check, and nothing that zipfile refuses."""
    with within(2):
        try:
            check_archive(path, limit_mb=10)
        except ConfigError as error:
            assert path.name in str(error)  # noqa: PT017
            return
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_programs_are_refused_in_one_sentence(program: Path, tmp_path: Path, n: int) -> None:
    path = tmp_path / "bad.pt2"
    for content in mutations(program.read_bytes(), n=n, seed=0):
        path.write_bytes(content)
        read_or_refuse(path)


@pytest.mark.parametrize("n", [5, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("member", ["models/model.json", "data/weights/model_weights_config.json"])
def test_damaged_members_in_a_whole_archive_load_or_are_refused(
    program: Path, tmp_path: Path, member: str, n: int
) -> None:
    with zipfile.ZipFile(program) as archive:
        good = archive.read(f"tiny/{member}")
    for content in mutations(good, n=n, seed=0):
        path = rewrite(
            program, tmp_path / "bad.pt2", lambda members, content=content: members.update({member: content})
        )
        with within(2):
            try:
                vectors = load_exported(path)(torch.rand(1, 3, 32, 48))
            except ConfigError as error:
                assert "bad.pt2" in str(error) or "the exported network takes" in str(error)  # noqa: PT017
                continue
        assert len(vectors) == 1


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
