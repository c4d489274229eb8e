import importlib
import tomllib
from pathlib import Path

import pytest

from overlap.config import load_config
from overlap.steps.verify import read_verified

PROJECT = Path(__file__).resolve().parents[2]


def _deployments() -> list[dict]:
    import yaml

    return yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def test_every_deployment_names_a_flow_and_a_config_that_load():
    assert {("curate", "demo"), ("publish", "demo")} <= {
        (deployment["entrypoint"].split(":")[1], deployment["name"]) for deployment in _deployments()
    }
    for deployment in _deployments():
        file, name = deployment["entrypoint"].split(":")
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        assert getattr(module, name).name == name
        load_config(PROJECT / deployment["parameters"]["config"])


def test_the_server_is_found_on_loopback_and_sends_nothing():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prefect"]
    assert settings["api"]["url"].startswith("http://127.0.0.1:")
    assert settings["server"]["analytics_enabled"] is False


@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("default")
def test_the_flow_gives_the_same_table_as_the_command(tiny_photos: Path, tmp_path: Path, open_quietly, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect.testing.utilities import prefect_test_harness

    from flows.curate import curate as flow
    from overlap.steps.pipeline import curate

    path = tiny_photos / "config.toml"
    with prefect_test_harness(server_startup_timeout=120):
        flow(str(path), (f"store={str(tmp_path / 'flow')!r}",))
    config = load_config(path)
    with open_quietly(config) as run:
        curate(run)
    by_flow = read_verified(config.model_copy(update={"store": tmp_path / "flow"}))
    assert by_flow.num_rows == 6
    assert by_flow.equals(read_verified(config))
