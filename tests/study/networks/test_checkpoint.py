"""Checkpoints that say what they are, whole and damaged."""

from pathlib import Path

import pytest
import torch
from mutate import mutations, within

from overlap.base.errors import ConfigError
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.checkpoint import (
    NetworkSpec,
    Saved,
    make_settings,
    open_saved,
    read_classifier,
    read_saved,
    save_checkpoint,
)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("saved") / "c.pt"
    spec = NetworkSpec("token_small", 8, make_settings("token_small", {"heads": 4}))
    network = build_network(spec.name, dimensions=8, settings=spec.settings)
    save_checkpoint(path, network, Saved(spec, (3, 5, 9), "clean", 0, 40), classifier=torch.ones(8, 3))
    loaded: dict[str, object] = torch.load(path, weights_only=True)
    return loaded


def test_a_dict_called_network_is_no_checkpoint_of_ours(tmp_path: Path) -> None:
    torch.save({"network": build_network("gem_small").state_dict()}, tmp_path / "w.pth")
    assert read_saved(tmp_path / "w.pth") is None


@pytest.mark.parametrize(
    ("setting", "value"), [("decoders", 10**9), ("encoders", -1), ("tokens", 10**12), ("heads", 0), ("heads", 10**9)]
)
def test_settings_that_would_build_for_ever_are_refused(
    content: dict[str, dict[str, dict[str, int]]], setting: str, value: int, tmp_path: Path
) -> None:
    network = content["network"]
    changed = {**network, "settings": {**network["settings"], setting: value}}
    torch.save({**content, "network": changed}, tmp_path / "c.pt")
    with within(2), pytest.raises(ConfigError, match=rf"c.pt: token: {setting} = {value} must be from 1 to 64"):
        read_saved(tmp_path / "c.pt")


@pytest.mark.parametrize("method", ["yokoo", "glam", "token"])
@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_no_rate_is_named(method: str, dropout: float) -> None:
    with pytest.raises(ConfigError, match=rf"{method}: dropout = {dropout} must be from 0 to below 1"):
        make_settings(f"{method}_small", {"dropout": dropout})


@pytest.mark.parametrize("n", [30, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_checkpoints_open_or_are_refused_in_one_sentence(
    content: dict[str, object], n: int, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save(content, good, _use_new_zipfile_serialization=False)  # of no sums, so that more gets through
    whole = good.read_bytes()
    for damaged in mutations(whole[: whole.index(b"trunk")], n=n, seed=2):
        bad.write_bytes(damaged + whole[whole.index(b"trunk") :])
        with within(2):
            try:
                saved = read_saved(bad)
                if saved is not None:
                    open_saved(bad, saved)
                    read_classifier(bad, saved.landmark_ids)
            except ConfigError as error:
                assert "bad.pt" in str(error)  # noqa: PT017
