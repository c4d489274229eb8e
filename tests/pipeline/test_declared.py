"""What a result depends on: what outdates it, what does not, and what is kept of the device that made it."""

import json
import pickle
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError
from overlap.base.store import Store, write_json
from overlap.base.tables import CANDIDATES, VERIFIED, as_table
from overlap.pipeline import run as runs
from overlap.pipeline import verify
from overlap.pipeline.curate import curate
from overlap.pipeline.declared import (
    STEPS,
    Step,
    declared_part,
    exported_tables,
    find_step,
    list_kinds,
    list_needed,
    settings_of,
)
from overlap.pipeline.graph import draw_steps, tabulate_steps
from overlap.pipeline.run import Run, find_current, is_current, read_record, recorded, resolve_device
from overlap.pipeline.shards import Shard, put_list
from overlap.pipeline.status import render_status
from overlap.pipeline.verify import read_verified

DOCS = Path(__file__).parents[2] / "docs" / "scaling.md"
POLICY = Path(runs.__file__).parents[1] / "decisions" / "policies" / "paper.toml"


@pytest.fixture
def config(tmp_path: Path, write_config) -> Config:
    return load_config(write_config(tmp_path, world=tmp_path / "world"))


def changed(config: Config, **sections: Mapping[str, Any]) -> Config:
    new = {name: getattr(config, name).model_copy(update=dict(update)) for name, update in sections.items()}
    return config.model_copy(update=new)


NETWORK = {"descriptors": {"kind": "network", "path": Path("n.pt")}}
ALIKED = {"verify": {"features": "aliked"}}


@pytest.mark.parametrize(
    ("change", "outdated", "kept"),
    [
        ({"run": {"max_photo_mpx": 2}}, {"descriptors", "copies", "features", "queue"}, {"photos", "names"}),
        ({"run": {"max_photo_mb": 3}}, {"descriptors", "copies", "features", "verified"}, {"photos", "names"}),
        ({"audit": {"seed": 5}}, {"recall", "audit", "audited"}, {"verified", "queue", "closure"}),
        ({"review": {"threshold": 0.2}}, {"queue", "audited", "closure", "recall"}, {"verified"}),
        ({"review": {"reviewers": 2}}, {"audited", "audit", "closure", "recall"}, {"queue", "verified"}),
        ({"names": {"words": ("Rome",)}}, {"names", "audited", "closure", "queue"}, {"verified"}),
        ({"policy": {"name": "strict"}}, {"closure", "audit", "audited"}, {"verified", "queue"}),
        ({"verify": {"threshold": 0.3}}, {"queue", "closure", "audit"}, {"features", "verified"}),
        ({"search": {"probes": "all"}}, {"descriptors", "candidates", "copies", "verified"}, {"photos", "names"}),
        ({"search": {"k": 7}}, {"candidates", "copies", "features"}, {"descriptors"}),
        ({"descriptors": {"batch": 3, "device": "cpu", "precision": "float16"}}, set(), {*STEPS}),
        ({"descriptors": {"scales": (1.0, 0.7)}}, {"descriptors", "candidates", "verified"}, {"copies"}),
        ({"search": {"device": "cpu"}, "verify": {"device": "cpu", "matcher_weights": Path("x")}}, set(), {*STEPS}),
        ({"run": {"workers": 5, "photos_per_shard": 7, "max_unreadable": 0.5}}, set(), {*STEPS}),
        ({"review": {"port": 99, "figures": False}, "release": {"version": "2.0.0"}}, set(), {*STEPS}),
    ],
)
def test_a_setting_outdates_what_depends_on_it_and_nothing_else(config: Config, change, outdated, kept):
    other = changed(config, **change)
    differ = {step for step in STEPS if settings_of(other, step, {}) != settings_of(config, step, {})}
    assert differ >= outdated
    assert not differ & kept


def test_a_network_depends_on_how_it_runs(config: Config):
    network = changed(config, **NETWORK)
    for change in ({"batch": 3}, {"precision": "float16"}, {"compile": True}, {"device": "cuda"}, {"network": "x"}):
        other = changed(network, descriptors={**NETWORK["descriptors"], **change})
        assert settings_of(other, "descriptors", {}) != settings_of(network, "descriptors", {})


def test_work_that_reads_what_its_step_does_not_declare_fails_at_once(config: Config):
    part = declared_part(config.descriptors, find_step(config, "descriptors"), name="descriptors")
    there = pickle.loads(pickle.dumps(part))
    assert (there.size_px, there.scales) == (config.descriptors.size_px, (1.0,))
    assert hash(there) == hash(part)
    for settings in (part, there):
        with pytest.raises(AttributeError, match="batch"):
            settings.batch  # noqa: B018
    network = changed(config, **NETWORK)
    step = find_step(network, "descriptors")
    part = declared_part(network.descriptors, step, name="descriptors", device="cuda")
    assert (part.batch, part.device) == (16, "cuda")
    with pytest.raises(AttributeError, match="vocabulary"):
        part.vocabulary  # noqa: B018


def test_a_policy_counts_by_what_it_says(config: Config, tmp_path: Path):
    path = tmp_path / "own.toml"
    path.write_bytes(POLICY.read_bytes())
    own = changed(config, policy={"name": str(path)})
    before = settings_of(own, "closure", {})
    assert before == settings_of(config, "closure", {})
    path.write_text(POLICY.read_text().replace('per_query = "most"', 'per_query = "all"'))
    assert settings_of(own, "closure", {}) != before


def test_every_declared_setting_is_one_and_every_needed_step_too(config: Config):
    for name, declared in STEPS.items():
        for step in [declared] if isinstance(declared, Step) else declared[1].values():
            assert set(step.needs) <= STEPS.keys()
            for key in (*step.reads, *step.picks, *([step.device] if step.device else [])):
                section, _, inner = key.partition(".")
                fields = type(getattr(config, section)).model_fields if inner else {"": None}
                assert inner in fields, f"{name} declares {key}"
    assert find_step(changed(config, **ALIKED), "features").device == "verify.device"


def test_what_does_a_step_takes_what_it_needs():
    for name in STEPS:
        for step in list_kinds(name):
            needs = [need for need in step.needs if list_kinds(need)[0].work]
            for function, n_given in ((step.work, 1 + len(needs)), (step.check, 1), (step.count, 2), (step.table, 1)):
                if function is not None:
                    assert len(signature(resolve_name(function)).parameters) == n_given, (name, function)
            assert step.part_of is None or step.work is None
            assert not step.command.startswith("curate") or step.work or step.part_of
    assert all(callable(resolve_name(table)) for table in exported_tables().values())


def test_a_step_needs_those_before_it_and_no_others(config: Config):
    order = [*STEPS]
    for name in order:
        needed = list_needed(config, name)
        assert needed[-1] == name
        assert [*needed] == sorted(needed, key=order.index)
    assert list_needed(config, "names") == ("archives", "photos", "names")
    assert "vocabulary" in list_needed(config, "queue")
    assert "vocabulary" not in list_needed(changed(config, **NETWORK), "queue")


def test_the_docs_show_the_steps_as_they_are_declared():
    shown = DOCS.read_text()
    for draw in (tabulate_steps, draw_steps):
        assert draw() in shown, f"copy into docs/scaling.md what overlap.pipeline.graph.{draw.__name__}() returns"


def test_a_new_step_is_one_declaration_and_one_function(config: Config, open_quietly, monkeypatch, capfd):
    """It runs in its place, has a line in the status, and is outdated by what it reads."""
    new = Step(reads=("search.k",), needs=("names",), work=f"{__name__}:count_names")
    declared = MappingProxyType({**STEPS, "counted": new})
    monkeypatch.setattr("overlap.pipeline.declared.STEPS", declared)
    with open_quietly(config) as run:
        curate(run, until="counted")
    assert is_current(config, "counted")
    assert not is_current(changed(config, search={"k": 7}), "counted")
    Console().print(render_status(config))
    assert "counted" in capfd.readouterr().out


def test_a_step_that_reads_what_neither_it_nor_what_it_needs_declares_fails_at_once(
    config: Config, open_quietly, monkeypatch
):
    for name in ("count_names", "read_k", "read_links"):
        new = Step(needs=("names",), work=f"{__name__}:{name}")
        monkeypatch.setattr("overlap.pipeline.declared.STEPS", MappingProxyType({**STEPS, "counted": new}))
        with open_quietly(config) as run, nullcontext() if name == "count_names" else pytest.raises(AttributeError):
            curate(run, until="counted")


def read_k(run: Run, names: pa.Table) -> int:
    return run.config.search.k


def read_links(run: Run, names: pa.Table) -> int:
    return run.config.closure.links


def count_names(run: Run, names: pa.Table) -> int:
    with recorded(run, "counted") as finish:
        finish("c" * 64, names=names.num_rows)
    return int(names.num_rows)


@pytest.fixture
def run(config: Config, open_quietly):
    with open_quietly(config) as opened:
        yield opened


def record_on(run: Run, monkeypatch: pytest.MonkeyPatch, device: str) -> Run:
    """Record descriptors and what they need as a run on a machine with such a device does."""
    monkeypatch.setattr(runs, "choose_device", lambda asked, *, key: device)
    other = Run(changed(run.config, **NETWORK), run.store, run.map_shards, run.say)
    with recorded(other, "descriptors") as finish:
        with run.store.put("descriptors", "a" * 64) as folder:
            write_json(folder, "shards", [])
        finish("a" * 64)
    return other


def test_what_auto_became_is_recorded_and_taken_by_readers_without_that_device(run: Run, monkeypatch):
    made = record_on(run, monkeypatch, "cuda")
    record = read_record(run.store, "descriptors")
    assert record is not None
    assert record.devices == {"descriptors.device": "cuda"}
    monkeypatch.setattr(runs, "choose_device", lambda asked, *, key: "cpu")
    assert find_current(made.config, "descriptors").name == "a" * 64
    on_cpu = changed(made.config, descriptors={**NETWORK["descriptors"], "device": "cpu"})
    on_cuda = changed(made.config, descriptors={**NETWORK["descriptors"], "device": "cuda"})
    assert not is_current(on_cpu, "descriptors")
    assert is_current(on_cuda, "descriptors")


def test_two_machines_name_what_they_compute_by_their_devices(run: Run, monkeypatch):
    keys = set()
    for device in ("cpu", "cuda"):
        made = record_on(run, monkeypatch, device)
        assert resolve_device(made, "descriptors.device") == device
        keys.add(read_record(run.store, "descriptors").settings)
    assert len(keys) == 2


def test_vlad_and_sift_ask_no_machine_for_its_device(run: Run):
    with recorded(run, "photos") as finish:
        finish("b" * 64)
    assert run.devices == {}


def test_a_store_of_an_older_version_is_recognised(run: Run):
    path = run.store.root / "current" / "verified.json"
    path.parent.mkdir()
    old = {"step": "verified", "counts": {}, "fingerprint": "c", "finished_at": "2026-11-01", "seconds": 1.0}
    path.write_text(json.dumps({**old, "settings": "d"}))
    with pytest.raises(ArtifactError, match=r"by an older version.*run 'overlap curate'.*votes are kept"):
        find_current(run.config, "verified")
    assert not is_current(run.config, "verified")
    render_status(run.config)


def test_batches_devices_and_thresholds_compute_nothing_again(copy_curated, tmp_path: Path, open_quietly):
    config = load_config(copy_curated(tmp_path, "1"))
    other = changed(
        config,
        descriptors={"batch": 3, "device": "cpu"},
        verify={"device": "cpu", "threshold": 0.45},
        search={"device": "cpu"},
    )

    def refuse(function, tasks, *, label, sizes):
        assert not tasks, f"{label}: computed again"
        return []

    with open_quietly(other) as opened:
        curate(Run(other, opened.store, refuse, opened.say))
    assert all(is_current(other, step) for step in ("descriptors", "features", "verified", "queue"))
    assert Store(other.store).root == config.store


def counting(run: Run, config: Config) -> tuple[Run, dict[str, int]]:
    """Return the run with another config, and what counts the photos and pairs that it computes, by step."""
    counts: dict[str, int] = {}

    def count(function, tasks, *, label, sizes):
        for task, size in zip(tasks, sizes, strict=True):
            if isinstance(task, Shard):
                counts[task.step] = counts.get(task.step, 0) + size
        return [function(task) for task in tasks]

    return Run(config, run.store, count, run.say), counts


def test_a_larger_k_verifies_only_new_pairs_and_both_results_stand_side_by_side(
    copy_curated, tmp_path: Path, open_quietly
):
    config = load_config(copy_curated(tmp_path, "1"), ["search.k=5"])
    larger = changed(config, search={"k": 6})
    shutil.rmtree(config.store / "verified")
    pairs, tables = {}, {}
    with open_quietly(config) as opened:
        for each in (config, larger):
            counted, counts = counting(opened, each)
            curate(counted)
            tables[each.search.k] = read_verified(each)
            pairs[each.search.k] = asked_of(tables[each.search.k])
            made = counts.get("verified", 0)
        assert pairs[5] < pairs[6]
        assert made == len(pairs[6] - pairs[5])
        counted, counts = counting(opened, config)
        assert read_verified(config).equals(tables[5])
        assert read_verified(larger).equals(tables[6])
        curate(counted)
        assert counts == {}
    shutil.rmtree(config.store / "verified")
    with open_quietly(larger) as opened:
        curate(opened)
    assert read_verified(larger).equals(tables[6])


def asked_of(verified: pa.Table) -> set[tuple[str, ...]]:
    return set(zip(*(verified[name].to_pylist() for name in ("evaluation_set", "query_id", "image_id")), strict=True))


def test_another_seed_has_its_own_result_though_pairs_and_order_are_the_same(config: Config, open_quietly, monkeypatch):
    seeds = [changed(config, verify={"seed": seed}) for seed in (3, 4)]
    monkeypatch.setattr(verify, "_verify", lambda run, *_, label: verified_with(n_inliers=run.config.verify.seed))
    with open_quietly(config) as opened:
        for each in seeds:
            nothing = CANDIDATES.empty_table()
            verify.verify_candidates(replace(opened, config=each), nothing, nothing, put_list(opened, "features", []))
    assert [read_verified(each)["n_inliers"].to_pylist() for each in seeds] == [[3], [4]]


def verified_with(*, n_inliers: int) -> pa.Table:
    row = {"evaluation_set": "e", "query_id": "q", "image_id": "i", "landmark_id": 1, "n_matches": 9, "score": 0.5}
    return as_table([{**row, "n_inliers": n_inliers, "status": "ok", "geometry": "none", "matrix": None}], VERIFIED)


def test_what_reads_a_result_is_recorded_with_the_device_that_made_that(config: Config, open_quietly):
    auto = changed(config, **ALIKED)
    with open_quietly(auto) as opened:
        for step, devices in (("verified", {"verify.device": "cuda"}), ("audit", {})):
            with recorded(replace(opened, devices=devices), step) as finish:
                finish("f")
    on_cuda, on_cpu = (changed(config, verify={**ALIKED["verify"], "device": device}) for device in ("cuda", "cpu"))
    assert [is_current(each, "audit") for each in (auto, on_cuda, on_cpu)] == [True, True, False]
