"""The whole chain on synthetic worlds of three seeds: exactly what was planted is found."""

import csv
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError, ReviewError
from overlap.datasets.catalogue import read_landmarks
from overlap.features.mutual import find_nearest
from overlap.pipeline import retrieve, verify
from overlap.pipeline.audit import read_found, report_audit, sample_audit
from overlap.pipeline.closure import close
from overlap.pipeline.curate import curate
from overlap.pipeline.decisions import decide_removals
from overlap.pipeline.export import export_table
from overlap.pipeline.gpu import product_on
from overlap.pipeline.publish import publish
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.review import open_reviews, read_queue, simulate_votes
from overlap.pipeline.verify import read_verified
from overlap.release.verify import verify_release

POLICIES = ("paper", "all-confirmed", "automatic")


def _read_ids(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return sorted(int(row["landmark_id"]) for row in csv.DictReader(file))


def _with(config: Config, **sections: dict) -> Config:
    changed = {name: getattr(config, name).model_copy(update=update) for name, update in sections.items()}
    return config.model_copy(update=changed)


@pytest.fixture(scope="module")
def reviewed(curated: Config) -> Config:
    truth = curated.train.root / "truth" / "true_pairs.csv"
    simulate_votes(curated, truth, reviewers=3, error_rate=0.0, seed=0)
    return curated


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_removes_what_the_world_expects(reviewed: Config, policy: str, open_quietly):
    config = _with(reviewed, policy={"name": policy}, release={"name": policy})
    with open_quietly(config) as run:
        published = publish(run)
    expected = _read_ids(config.train.root / "truth" / f"expected_{policy}.csv")
    assert _read_ids(published.folder / "removals.csv") == expected
    assert expected
    source = config.train.root / "gldv2" / "train_clean.csv"
    assert verify_release(published.folder, source=source) == []
    before, after = published.sizes
    total = published.overlap[-1]
    assert (before.n_images - after.n_images, before.n_categories - after.n_categories) == (
        total.n_images,
        total.n_landmarks,
    )
    assert "<html" in published.report.read_text(encoding="utf-8")


def test_every_candidate_is_a_photo_of_the_training_set(reviewed: Config):
    landmarks = set(read_landmarks(reviewed.train)["landmark_id"].to_pylist())
    candidates = read_candidates(reviewed)
    assert set(candidates["landmark_id"].to_pylist()) <= landmarks
    asked = candidates.filter(pa.compute.is_valid(candidates["image_id"])).to_pandas()
    assert (asked.groupby(["evaluation_set", "query_id"])["rank"].max() < reviewed.search.k).all()
    assert not asked.duplicated(["evaluation_set", "query_id", "image_id", "origin"]).any()


def test_every_removal_has_evidence_in_the_review_store(reviewed: Config, open_quietly):
    config = _with(reviewed, release={"name": "evidence"})
    with open_quietly(config) as run:
        folder = publish(run).folder
    known = set(open_reviews(config).read_items()["item_id"].to_pylist())
    with (folder / "removals.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["evidence"]
            assert set(row["evidence"].split()) <= known


def test_exports_have_the_documented_columns(reviewed: Config, tmp_path: Path):
    export_table(reviewed, "verified", tmp_path / "v.csv")
    header = (tmp_path / "v.csv").read_text().splitlines()[0]
    assert header == "evaluation_set,query_id,image_id,landmark_id,n_matches,n_inliers,score,status"
    for what in ("candidates", "queue", "removals", "quarantine"):
        n_rows = export_table(reviewed, what, tmp_path / f"{what}.csv")
        assert len((tmp_path / f"{what}.csv").read_text().splitlines()) == n_rows + 1


LITTLE = (
    "run.workers=2",
    "search.k=6",
    "verify.keypoints=512",
    "verify.size_px=320",
    "run.photos_per_shard=9",
    "run.pairs_per_shard=12",
)


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory, copy_curated, open_quietly) -> Config:
    """Return the config of a run over little of a world, so that it can be run again."""
    config = load_config(copy_curated(tmp_path_factory.mktemp("little"), "1"), LITTLE)
    with open_quietly(config) as run:
        curate(run)
    return config


def test_shards_workers_order_and_pytorch_in_place_of_numpy_change_no_decision(
    little: Config, tmp_path: Path, open_quietly, monkeypatch: pytest.MonkeyPatch
):
    """What a GPU would compute, PyTorch computes here."""
    product, nearest = Mock(side_effect=product_on("cpu")), Mock(side_effect=partial(find_nearest, device="cpu"))
    monkeypatch.setattr(retrieve, "load_product", lambda _: product)
    monkeypatch.setattr(verify, "_load_nearest", lambda _: nearest)
    other = _with(little, run={"workers": 1, "pairs_per_shard": 37, "photos_per_shard": 5})
    other = other.model_copy(update={"store": tmp_path / "store"})
    with open_quietly(other) as run:
        curate(run)
    assert product.called
    assert nearest.called
    assert read_candidates(other).equals(read_candidates(little))
    assert read_verified(other).equals(read_verified(little))


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_where_it_was(little: Config, tmp_path: Path, open_quietly):
    """Killed with -9 in two steps, the next run ends with the same table and repeats nothing that was finished."""
    config = little.model_copy(update={"store": tmp_path / "store"})
    finished: dict[Path, int] = {}
    for step in ("descriptors", "verified"):
        _kill_after_two_shards(little.store.parent / "config.toml", config.store, step)
        assert finished.items() <= _shards(config.store).items()
        finished = _shards(config.store)
    with open_quietly(config) as run:
        curate(run)
    assert finished.items() <= _shards(config.store).items()
    assert not list(config.store.glob("*/.[0-9a-f]*"))
    assert read_verified(config).equals(read_verified(little))


def _kill_after_two_shards(config: Path, store: Path, step: str) -> None:
    overrides = [word for each in (f"store={str(store)!r}", *LITTLE) for word in ("--set", each)]
    command = [sys.executable, "-m", "overlap", "curate", "--config", str(config), *overrides]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list(store.glob(f"{step}/[0-9a-f]*"))) < 2:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.kill()
    time.sleep(1.2)  # its workers see that it is gone, and end


def _shards(store: Path) -> dict[Path, int]:
    found = [path for step in ("descriptors", "features", "verified") for path in store.glob(f"{step}/[0-9a-f]*")]
    return {path: path.stat().st_mtime_ns for path in found}


def test_two_runs_on_one_store_are_not_mixed(curated: Config, open_quietly):
    with open_quietly(curated):
        with pytest.raises(ArtifactError, match=r"another run .* is writing to"):
            with open_quietly(curated):
                pass


@pytest.mark.timeout(600)
def test_closure_finds_the_second_id_that_paper_leaves_in(curated: Config, tmp_path: Path, open_quietly):
    """People saw the main ids and the names; photos bring up the second id, a further round nothing."""
    if curated.synthetic.seed != 1:
        pytest.skip("one world is enough")
    truth = curated.train.root / "truth"
    config = _with(curated, review={"database": f"sqlite:///{tmp_path}/reviews.sqlite"}, closure={"k": 10})
    config = _with(config, release={"out": tmp_path}, audit={"whole": 2, "below": 2, "random": 2, "checks": 9})
    with (truth / "landmarks.csv").open(newline="") as file:
        roles = {int(row["landmark_id"]): row for row in csv.DictReader(file)}
    main = {landmark for landmark, row in roles.items() if row["role"] == "overlap"}
    second = {landmark for landmark, row in roles.items() if row["role"] == "split"}
    items = read_queue(config)
    of_main = pa.compute.is_in(items["landmark_id"], value_set=pa.array(sorted(main)))
    named = items.filter(pa.compute.is_null(items["query_id"]))["landmark_id"].to_pylist()
    known = main | {each for each in named if roles[each]["overlaps"] == "1"}
    open_reviews(config).add_items(items.filter(pa.compute.or_(of_main, pa.compute.is_null(items["query_id"]))))
    simulate_votes(config, truth / "true_pairs.csv", reviewers=3, error_rate=0.0, seed=0)
    with open_quietly(config) as run:
        first = close(run)
        assert set(first.seeds) == known
        proposed = set(first.proposals["landmark_id"].to_pylist())
        assert second <= proposed
        by_photos = [row for row in first.proposals.to_pylist() if "photos" in row["reasons"]]
        assert second <= {row["landmark_id"] for row in by_photos}
        assert all(roles[row["landmark_id"]]["overlaps"] == "1" for row in by_photos)
        simulate_votes(config, truth / "true_pairs.csv", reviewers=3, error_rate=0.0, seed=0)
        assert close(run).n_new == 0
        removed = {name: _removed(config, name) for name in ("paper", "strict")}
        assert removed["paper"] == known
        assert removed["strict"] == known | {each for each in proposed if roles[each]["overlaps"] == "1"}
        audited = sample_audit(run)
        with pytest.raises(ReviewError, match="audited landmarks are not judged yet"):
            report_audit(run)
        simulate_votes(config, truth / "true_pairs.csv", reviewers=3, error_rate=0.0, seed=0)
        audit = report_audit(run)
    assert audit.checks == len(main - set(named))
    assert audit.judged == sum(audited["drawn"].to_pylist())
    n_left = sum(row["overlaps"] == "1" for row in roles.values()) - len(known) - sum(s.found for s in audit.strata)
    assert n_left <= audit.bound.remaining <= len(roles)
    assert set(read_found(config)["detector"].to_pylist()) >= {"photos", "names", "closure"}


def _removed(config: Config, policy: str) -> set[int]:
    return set(decide_removals(_with(config, policy={"name": policy}))["landmark_id"].to_pylist())
