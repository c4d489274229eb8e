import os
from dataclasses import replace

import pytest
import torch

from overlap.base.config import DescriptorsConfig, load_config
from overlap.base.errors import ConfigError, DataError
from overlap.pipeline import retrieve


class Mean(torch.nn.Module):
    def forward(self, photos):
        return photos.mean(dim=(2, 3)) * 2


def test_a_program_that_takes_other_sizes_is_refused_when_it_is_opened(tmp_path, monkeypatch):
    class Square:
        def fit(self, size_px):
            if size_px != (640, 640):
                raise DataError(f"no photo of {size_px}")

    path = tmp_path / "n.pt2"
    path.touch()
    monkeypatch.setattr(retrieve, "load_exported", lambda *_, **__: Square())
    with pytest.raises(ConfigError, match=r"^descriptors\.path: no photo of \(640, 480\)$"):
        retrieve._open_network(DescriptorsConfig(kind="exported", path=path, size_px=640), device="cpu")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_a_compiled_network_gives_what_the_plain_one_gives_for_photos_of_any_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(retrieve, "_open_network", lambda settings, *, device: Mean())
    path = tmp_path / "program.pt2"
    path.touch()
    settings = [DescriptorsConfig(kind="exported", path=path, compile=each) for each in (False, True)]
    plain, compiled = map(retrieve._load_network, settings)
    for shape in ((1, 3, 64, 96), (3, 3, 96, 64), (16, 3, 80, 80)):
        photos = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(compiled(photos), plain(photos))


@pytest.mark.parametrize(("workers", "cores", "threads"), [(0, 16, 2), (1, 16, 16), (4, 16, 4), (32, 16, 2)])
def test_few_workers_decode_with_many_threads(tiny_photos, open_quietly, monkeypatch, workers, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    config = load_config(tiny_photos / "config.toml", ["run.workers=1"])
    with open_quietly(config) as run:
        changed = config.model_copy(update={"run": config.run.model_copy(update={"workers": workers})})
        assert retrieve._count_threads(replace(run, config=changed)) == threads
