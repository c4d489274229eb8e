import hashlib
from pathlib import Path

import pytest
import torch

from overlap.base.errors import ConfigError
from overlap.study.networks import published
from overlap.study.networks.catalogue import BACKBONES, build_network, load_trunk
from overlap.study.networks.published import PUBLISHED, check_published


def test_every_published_name_holds_its_digest_and_belongs_to_a_backbone() -> None:
    for (backbone, _), name in PUBLISHED.items():
        assert backbone in BACKBONES
        digest = name.removeprefix(f"{backbone}-").removesuffix(".pth")
        assert len(digest) == 8
        assert int(digest, 16) > 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"cut short")
    found = hashlib.sha256(b"cut short").hexdigest()[:8]
    message = rf"is damaged: its SHA-256 starts with {found}, not with f37072fd; fetch it again from https://.*fd.pth"
    with pytest.raises(ConfigError, match=message):
        load_trunk(build_network("gem_small"), path)


def test_a_whole_file_and_a_file_of_another_name_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = build_network("gem_small", seed=3).get_submodule("trunk").state_dict()
    torch.save(trunk, tmp_path / "mine.pth")
    name = f"small-{hashlib.sha256((tmp_path / 'mine.pth').read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(published, "PUBLISHED", {("small", "v1"): name})
    (tmp_path / name).write_bytes((tmp_path / "mine.pth").read_bytes())
    for path in (tmp_path / "mine.pth", tmp_path / name):
        network = build_network("gem_small")
        load_trunk(network, path)
        assert torch.equal(network.get_submodule("trunk").state_dict()["conv1.weight"], trunk["conv1.weight"])
    check_published(tmp_path / "absent.pth")
