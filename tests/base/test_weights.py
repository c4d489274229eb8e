import argparse
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from mutate import mutations, within
from torch import nn

from overlap.base.errors import ConfigError
from overlap.base.weights import check_weights, read_weights
from overlap.study.networks.catalogue import build_network, load_network


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(1)
    return Small().state_dict()


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def lightning(weights):
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": OrderedDict(prefixed("model.", weights)),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor([0.3]), "best_model_path": "a.ckpt"}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "lr_schedulers": [{"last_epoch": 3}],
        "hyper_parameters": {"weights": {"mean": torch.ones(3)}},
    }


def optimiser():
    return {"state": {0: {"momentum_buffer": torch.ones(4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


LAYOUTS = {
    "plain": lambda w: w,
    "data parallel": lambda w: prefixed("module.", w),
    "compiled": lambda w: prefixed("_orig_mod.", w),
    "compiled, data parallel": lambda w: {"model": prefixed("_orig_mod.module.", w)},
    "data parallel, compiled": lambda w: {"model": prefixed("module._orig_mod.", w)},
    "compiled inside": lambda w: {name.replace("conv.", "conv._orig_mod."): value for name, value in w.items()},
    "fsdp": lambda w: {name.replace("norm.", "norm._fsdp_wrapped_module."): value for name, value in w.items()},
    "lightning": lightning,
    "lightning, compiled": lambda w: lightning(prefixed("_orig_mod.", w)),
    "lightning, with a loss": lambda w: {"state_dict": {**prefixed("model.", w), "loss.W": torch.ones(4, 9)}},
    "net in lightning": lambda w: {"state_dict": prefixed("net.", w)},
    "averaged": lambda w: {"n_averaged": torch.tensor(7), **prefixed("module.", w)},
    **{
        name: lambda w, name=name: {name: w, "epoch": 2}
        for name in ("model", "net", "state_dict", "network", "weights")
    },
    "model_state_dict": lambda w: {
        "model_state_dict": w,
        "optimizer_state_dict": optimiser(),
        "loss": torch.tensor(0.3),
    },
    "nested": lambda w: {"checkpoint": {"model": {"state_dict": w}}, "optimizer": optimiser()},
    "one of its own name": lambda w: {"teacher": w, "args": {"lr": 0.1}},
    "beside a head": lambda w: {"model": w, "head": {"weight": torch.ones(4, 9)}},
    "beside values": lambda w: {**w, "epoch": 3, "note": "best", "lr": 0.1, "best": None},
    "half": lambda w: {name: value.half() if value.is_floating_point() else value for name, value in w.items()},
    "parameters": lambda w: {name: nn.Parameter(value, requires_grad=False) for name, value in w.items()},
}


def save_safetensors(weights, path):
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_layout(plain, layout, old, tmp_path):
    torch.save(LAYOUTS[layout](plain), tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    found = read_weights(tmp_path / "w.pth")
    assert found.keys() == plain.keys()
    assert all(torch.allclose(found[name].float(), plain[name].float(), atol=1e-3) for name in plain)


@pytest.mark.parametrize("layout", ["plain", "data parallel", "compiled", "half"])
def test_safetensors_are_read_whatever_the_file_is_called(plain, layout, tmp_path):
    for name in ("w.safetensors", "w.pth"):
        save_safetensors(LAYOUTS[layout](plain), tmp_path / name)
        assert read_weights(tmp_path / name).keys() == plain.keys()


def test_a_network_loads_from_safetensors_and_in_half_precision(tmp_path):
    network = build_network("gem_small", dimensions=16, seed=3)
    save_safetensors(network.state_dict(), tmp_path / "w.safetensors")
    torch.save({"model": network.bfloat16().state_dict()}, tmp_path / "half.pth")
    photos = torch.rand(2, 3, 64, 64)
    whole, half = (load_network("gem_small", tmp_path / name) for name in ("w.safetensors", "half.pth"))
    with torch.inference_mode():
        assert half(photos).dtype == torch.float32
        assert (whole(photos) * half(photos)).sum(1).min() > 0.999


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (lambda w: {"teacher": w, "student": dict(w)}, r"\['teacher'\] \(7 tensors\), \['student'\] \(7 tensors\)"),
        (
            lambda w: {"state_dict": w, "state_dict_ema": dict(w)},
            r"\['state_dict'\] \(7 tensors\), \['state_dict_ema'\]",
        ),
        (lambda w: {"model": w, "ema": prefixed("module.", w)}, r"\['model'\] \(7 tensors\), \['ema'\]"),
        (lambda w: {"model": w, "net": {"x": torch.ones(2)}}, r"\['model'\] \(7 tensors\), \['net'\] \(1 tensors\)"),
    ],
)
def test_where_several_sets_could_be_meant_the_keys_are_named(plain, content, found, tmp_path):
    torch.save(content(plain), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"w\.pth holds several sets of weights: {found}.*; save the one to take"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.zeros(3), "a Tensor"),
        ([torch.zeros(3)], "a list"),
        ({}, "a dict of nothing"),
        ({"epoch": 3, "args": {"lr": torch.ones(2)}}, r"a dict of epoch \(int\), args \(dict\)"),
        ({"state_dict": {}}, r"a dict of state_dict \(dict\)"),
        ({"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, r"a dict of optimizer \(dict\)"),
        ({0: torch.zeros(3)}, r"a dict of 0 \(Tensor\)"),
    ],
)
def test_what_holds_no_weights_says_what_it_holds(content, found, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"w\.pth holds {found}, not a state_dict of names and tensors; save the"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("layout", ["plain", "lightning", "half"])
def test_a_number_that_is_undefined_is_refused_by_the_tensor_s_name(plain, layout, value, tmp_path):
    weights = {name: tensor.clone() for name, tensor in plain.items()}
    weights["norm.running_var"][2] = value
    torch.save(LAYOUTS[layout](weights), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w\.pth: norm\.running_var holds undefined or infinite numbers: the file"):
        read_weights(tmp_path / "w.pth")


def test_a_number_too_large_for_float32_is_refused(plain, tmp_path):
    torch.save({**plain, "conv.bias": torch.full((4,), 1e300, dtype=torch.float64)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"conv\.bias holds undefined or infinite numbers"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.eye(4).to_sparse(), "torch.float32"),
        (torch.zeros(4, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(4, device="meta"), "torch.float32"),
    ],
)
def test_a_tensor_that_is_not_plain_is_named(plain, tensor, found, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({**plain, "conv.bias": tensor}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"w\.pth: conv\.bias is a {found} tensor that is not plain; save the net"):
        read_weights(tmp_path / "w.pth")


def test_a_tensor_larger_than_its_file_is_refused_before_it_is_read(plain, tmp_path):
    torch.save({**plain, "conv.bias": torch.ones(1).expand(10**12)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"conv\.bias is \(1000000000000,\), more than its file can hold; fetch"):
        read_weights(tmp_path / "w.pth")


def test_dicts_in_dicts_are_not_searched_for_ever(tmp_path):
    nested = round_and_round = {}
    for _ in range(60):
        nested = {"model": nested, "net": nested}
    round_and_round.update({str(number): round_and_round for number in range(50)})
    torch.save(nested, tmp_path / "w.pth")
    with (
        within(2),
        pytest.raises(ConfigError, match=r"w\.pth holds a dict of model \(dict\), net \(dict\), not a s"),
    ):
        read_weights(tmp_path / "w.pth")


def test_files_that_torch_was_told_to_write_without_sums_are_read(plain, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(plain, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_weights(tmp_path / "w.pth").keys() == plain.keys()


def test_a_few_bytes_that_unpack_to_gigabytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("overlap.base.weights._SPARE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data/0", bytes(10_000))
    with pytest.raises(
        ConfigError, match=r"w\.pth is not a checkpoint of plain tensors \(ValueError: it unpacks to 1000"
    ):
        read_weights(tmp_path / "w.pth")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_checkpoint_that_holds_code_is_refused_by_its_name(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(ConfigError, match=r"w\.pth is not a checkpoint .* \(it asks for posix\.mkdir, which would run"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "trapped").exists()


def test_a_weight_that_was_changed_in_the_file_is_found_by_its_sum(plain, tmp_path):
    torch.save(plain, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    numbers = plain["conv.weight"].numpy().tobytes()
    assert numbers in content
    (tmp_path / "w.pth").write_bytes(content.replace(numbers, numbers[::-1]))
    with pytest.raises(ConfigError, match=r"w\.pth is not a checkpoint .*w/data/0 is damaged: it has another sum than"):
        read_weights(tmp_path / "w.pth")


def test_a_whole_network_or_the_options_of_a_script_are_refused_by_name(plain, tmp_path):
    torch.save({"model": plain, "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"\(it asks for argparse\.Namespace, which would run code\); fetch it again"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("key", ["descriptors.path", "verify.weights"])
def test_a_missing_file_is_named_with_its_setting(key, tmp_path):
    with pytest.raises(ConfigError, match=rf"gone\.pth: no such checkpoint; {key} names the file with the"):
        read_weights(tmp_path / "gone.pth", key=key)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"x" * 8 + b"{", pickle.dumps([1])[:5], b"PK\x03\x04broken", b"PK\x05\x06" + bytes(18)]
)
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.pth is not a checkpoint of plain tensors \(.+\); fetch it again"):
        read_weights(tmp_path / "bad.pth")


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a checkpoint of plain tensors \(IsADirectoryError"):
        read_weights(tmp_path)


def test_missing_unknown_and_other_shapes_are_counted_and_the_first_is_named(plain):
    def check(found, optional=()):
        check_weights(plain, found, name="net", source="w.pth", advice="do that", optional=optional)

    check({name: value for name, value in plain.items() if name != "norm.num_batches_tracked"})
    less = {name: value for name, value in plain.items() if name != "conv.bias"}
    check(less, optional=["conv.bias"])
    with pytest.raises(
        ConfigError, match=r"w\.pth is not a checkpoint of net: 1 weights are missing \(first: conv\.bia"
    ):
        check({**less, "x": torch.ones(1)})
    turned = {name: value[None] for name, value in plain.items()}
    with pytest.raises(
        ConfigError, match=r"conv\.weight is \(1, 4, 3, 3, 3\), expected \(4, 3, 3, 3\); do that \(6 others"
    ):
        check(turned)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool])
def test_weights_cut_to_integers_are_refused_by_name(plain, dtype):
    cut = {name: (100 * value).to(dtype) for name, value in plain.items()}
    with pytest.raises(ConfigError, match=rf"w\.pth .* of net: conv\.weight is {dtype}, expected torch\.float32; save"):
        check_weights(plain, cut, name="net", source="w.pth", advice="do that")
    counter = {**plain, "norm.num_batches_tracked": torch.tensor(3.0)}
    check_weights(plain, counter, name="net", source="w.pth", advice="do that")


def test_names_that_would_come_up_twice_stay_as_they_are(plain, tmp_path):
    torch.save({**plain, **prefixed("_orig_mod.", plain)}, tmp_path / "w.pth")
    assert len(read_weights(tmp_path / "w.pth")) == 2 * len(plain)


def test_a_program_of_torchscript_is_refused_in_one_sentence(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(
        ConfigError, match=r"w\.pt is not a checkpoint of plain tensors \([^\n]{5,200}\); fetch it again, or"
    ):
        read_weights(tmp_path / "w.pt")


def encode(weights, kind, folder):
    path = folder / "good"
    if kind == "safetensors":
        save_safetensors(weights, path)
    else:
        torch.save({"model": weights, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_damaged_weights_are_read_or_refused_in_one_sentence(plain, kind, n, tmp_path):
    good = encode(plain, kind, tmp_path)
    path = tmp_path / "bad.pth"
    for content in mutations(good, n=n, seed=0):
        path.write_bytes(content)
        with within(2):
            try:
                found = read_weights(path)
            except ConfigError as error:
                assert "bad.pth" in str(error)  # noqa: PT017
                continue
        assert found
        assert all(torch.isfinite(value.float()).all() for value in found.values())
        if kind == "zip":  # each member has a sum of its own
            assert zipfile.ZipFile(path).testzip() is None
