"""Policies compared from the command line, on votes that were brought in; what Figure 2 takes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.base.errors import ArtifactError, ConfigError
from overlap.base.tables import CANDIDATES, REMOVALS, as_table
from overlap.cli.main import app
from overlap.pipeline import defence
from overlap.pipeline.policies import compare_policies

PHOTOS = [f"{number:016x}" for number in range(6)]  # three of landmark 1, three of landmark 2


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def voted(tiny_photos: Path) -> Path:
    """Return a config where landmark 1 has two confirmed photos of the query and landmark 2 one."""
    rows = [("q", PHOTOS[0], 1), ("q", PHOTOS[1], 1), ("q", PHOTOS[3], 2)]
    lines = [f"tiny,{query},{photo},{landmark},ann,same" for query, photo, landmark in rows]
    header = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    (tiny_photos / "votes.csv").write_text("\n".join([header, *lines, ""]))
    assert (
        "3 votes added" in run("votes", "import", tiny_photos / "votes.csv", "-c", tiny_photos / "config.toml").stdout
    )
    return tiny_photos / "config.toml"


def test_what_flips_is_listed_with_the_least_evidence(voted):
    said = run("policy", "diff", "paper", "strict", "-c", voted).stdout
    assert "paper: 1 landmarks, 3 photos removed" in said
    assert "strict: 2 landmarks, 6 photos removed" in said
    assert "flipping: 1 landmarks, 3 photos" in said
    assert "paper keeps it: 1 item: 1 confirmed; landmark 1 has more confirmed photos of 1 query" in said
    assert "no vote on what is queued would remove it" in said
    assert "strict removes it: at least 1 reviewer confirmed 1 photo of it" in said
    assert "1 yes on 1 item for query q of tiny would be enough to keep it removed" in said
    assert "\n1  " not in said
    assert "\n1  " in run("policy", "diff", "paper", "strict", "--all", "-c", voted).stdout


def test_a_policy_that_reviewers_could_not_settle_is_said_to_be_open(tiny_photos):
    """Photos of landmarks 1 and 2 are asked about; two of 1 are confirmed, so that none of 2 matters to ``paper``."""
    rows = [(0, 1, "same"), (1, 1, "same"), (3, 2, "different")]
    lines = [f"tiny,q,{PHOTOS[photo]},{landmark},ann,{answer}" for photo, landmark, answer in rows]
    header = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    (tiny_photos / "votes.csv").write_text("\n".join([header, *lines, ""]))
    run("votes", "import", tiny_photos / "votes.csv", "-c", tiny_photos / "config.toml")
    said = run("policy", "diff", "paper", "strict", "-c", tiny_photos / "config.toml").stdout
    assert "paper: 1 landmarks, 3 photos removed\n  review complete" in said
    assert "strict: 1 landmarks, 3 photos removed\n  review open: votes on 1 item can still change" in said
    page = Path(run("report", "-c", tiny_photos / "config.toml").stdout.removeprefix("report: ").strip())
    assert "could change what another one removes" in page.read_text(encoding="utf-8")


def test_a_policy_compared_with_itself_flips_nothing(voted):
    assert not any(each.flips for each in compare_policies(load_config(voted), "paper", "paper"))


def test_a_policy_that_is_not_there_is_named(voted):
    with pytest.raises(ConfigError, match="policy 'peper' is not there"):
        run("policy", "diff", "paper", "peper", "-c", voted)


def test_an_audit_report_without_a_sample_names_the_command(voted):
    with pytest.raises(ArtifactError, match="step 'audit' has not run yet"):
        run("audit", "report", "-c", voted)


def test_the_report_is_written_without_a_release(voted):
    said = run("report", "-c", voted, "--set", "policy.name=strict").stdout
    path = Path(said.removeprefix("report: ").strip())
    page = path.read_text(encoding="utf-8")
    assert '<section id="policies">' in page
    assert "<b>strict</b>, applied here" in page
    assert not (voted.parent / "data_manifests").exists()


def test_figure_2_takes_the_queries_with_most_removed_photos_one_a_landmark(monkeypatch):
    def pair(query, rank, landmark):
        rest = {"evaluation_set": "s", "similarity": 1.0 - 0.1 * rank, "origin": "global"}
        return rest | {"query_id": query, "image_id": f"{query}{rank}", "landmark_id": landmark, "rank": rank}

    candidates = [
        *(pair("p", rank, 1 if rank < 3 else 7) for rank in range(8)),
        *(pair("q", rank, 1 if rank < 2 else 8) for rank in range(8)),
        *(pair("r", rank, 9) for rank in range(8)),
    ]
    monkeypatch.setattr(defence, "is_current", lambda config, step: True)
    monkeypatch.setattr(defence, "read_candidates", lambda config: as_table(candidates, CANDIDATES))
    rest = {"landmark_name": "", "evaluation_set": "s", "origin": "global", "n_queries": 1, "n_images": 3}
    removals = as_table([rest | {"landmark_id": 1, "n_confirmed": 3, "evidence": []}], REMOVALS)
    (ranking,) = defence.rank_before_and_after(None, removals)
    assert ranking.query_id == "p"
    assert ranking.before == (("p0", True), ("p1", True), ("p2", True), ("p3", False), ("p4", False))
    assert [image_id for image_id, _ in ranking.after] == ["p3", "p4", "p5", "p6", "p7"]
