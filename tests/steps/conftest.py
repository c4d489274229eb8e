"""Worlds that are rendered once, and runs over them."""

import pytest

from overlap.config import Config, load_config


@pytest.fixture(scope="session", params=[1, 2, 3])
def curated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, copy_curated) -> Config:
    """Return the config of a curated world of each of three seeds."""
    return load_config(copy_curated(tmp_path_factory.mktemp(f"seed{request.param}"), request.param))
