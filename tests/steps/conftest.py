"""Worlds that are rendered once, and runs over them."""

import pytest

from overlap.config import Config, load_config


@pytest.fixture(scope="session", params=[1, 2, 3])
def curated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_config, open_quietly
) -> Config:
    """Return the config of a curated world of each of three seeds."""
    from overlap.steps.pipeline import curate

    folder = tmp_path_factory.mktemp(f"seed{request.param}")
    config = load_config(write_config(folder, world=folder / "world", seed=request.param))
    with open_quietly(config) as run:
        curate(run)
    return config
