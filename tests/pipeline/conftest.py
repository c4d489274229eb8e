"""Worlds that are rendered once, and runs over them."""

import pytest

from overlap.base.config import Config, load_config


@pytest.fixture(scope="session", params=["1", "2", "demo"])
def curated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, copy_curated) -> Config:
    """Return the config of a curated world: of three seeds, one of them the demo's."""
    return load_config(copy_curated(tmp_path_factory.mktemp(f"world-{request.param}"), request.param))
