"""The audit's strata: who is judged whole, who is drawn, who is a check."""

import pytest

from overlap.audit.sample import Seen, count_strata, draw_audit, rank_landmarks
from overlap.base.config import AuditConfig
from overlap.base.errors import ReviewError
from overlap.base.tables import CANDIDATES, LANDMARKS, REMOVALS, VERIFIED, as_table

LANDMARK_TABLE = as_table([{"landmark_id": n, "landmark_name": "", "n_images": 3} for n in range(1, 21)], LANDMARKS)
SEEN = Seen({n: (n / 20, 0.5) for n in range(1, 11)})
SETTINGS = AuditConfig(whole=3, below=2, random=4, checks=1)


def removals(*rows):
    rest = {
        "landmark_name": "",
        "evaluation_set": "s",
        "origin": "global",
        "n_queries": 1,
        "n_images": 3,
        "evidence": [],
    }
    return as_table([rest | {"landmark_id": n, "n_confirmed": confirmed} for n, confirmed in rows], REMOVALS)


def members(audited, stratum, drawn=None):
    rows = audited.to_pylist()
    return [r["landmark_id"] for r in rows if r["stratum"] == stratum and (drawn is None or r["drawn"] == drawn)]


def test_the_top_is_judged_whole_and_the_rest_drawn_from():
    audited = draw_audit(LANDMARK_TABLE, removals((10, 2), (4, 1), (11, 0)), SEEN, settings=SETTINGS)
    assert members(audited, "top") == [7, 8, 9] == members(audited, "top", drawn=True)
    assert members(audited, "below") == [1, 2, 3, 5, 6]
    assert len(members(audited, "below", drawn=True)) == 2
    assert members(audited, "random") == list(range(12, 21))
    assert len(members(audited, "random", drawn=True)) == 4
    assert members(audited, "check") == [4]
    asked = draw_audit(LANDMARK_TABLE, removals((10, 2), (4, 1)), SEEN, settings=SETTINGS, asked_already=[4])
    assert members(asked, "check") == [10]


def test_another_seed_draws_others_and_the_same_seed_the_same():
    first, again = (draw_audit(LANDMARK_TABLE, removals(), SEEN, settings=SETTINGS) for _ in range(2))
    other = draw_audit(LANDMARK_TABLE, removals(), SEEN, settings=AuditConfig(**SETTINGS.model_dump() | {"seed": 1}))
    assert first.equals(again)
    assert not first.equals(other)


def test_every_kept_landmark_is_drawn_equally_often():
    counts = dict.fromkeys(range(11, 21), 0)
    for seed in range(300):
        settings = AuditConfig(whole=0, below=0, random=5, checks=0, seed=seed)
        for landmark in members(draw_audit(LANDMARK_TABLE, removals(), SEEN, settings=settings), "random", drawn=True):
            counts[landmark] += 1
    assert sum(counts.values()) == 1500
    assert all(110 < count < 190 for count in counts.values())


def test_verdicts_are_counted_by_stratum_and_checks_apart():
    audited = draw_audit(LANDMARK_TABLE, removals((10, 2), (4, 1)), SEEN, settings=SETTINGS)
    verdicts = {row["landmark_id"]: row["landmark_id"] in (4, 9) for row in audited.to_pylist() if row["drawn"]}
    strata, recognised, checks = count_strata(audited, verdicts)
    assert [(s.name, s.size, s.judged, s.found) for s in strata] == [
        ("top", 3, 3, 1), ("below", 5, 2, 0), ("random", 10, 4, 0)
    ]  # fmt: skip
    assert (recognised, checks) == (1, 1)


def test_an_unfinished_audit_says_nothing():
    audited = draw_audit(LANDMARK_TABLE, removals(), SEEN, settings=SETTINGS)
    with pytest.raises(ReviewError, match="9 of 9 audited landmarks are not judged yet"):
        count_strata(audited, {})


def test_landmarks_rank_by_score_then_similarity_and_names_alone_and_hashes_do_not_count():
    pair = {"evaluation_set": "s", "query_id": "q", "rank": 0, "origin": "global"}
    candidates = [pair | {"image_id": f"i{n}", "landmark_id": n, "similarity": 0.1 * n} for n in (1, 2)]
    candidates.append(
        pair | {"image_id": None, "query_id": None, "landmark_id": 3, "similarity": 1.0, "origin": "text"}
    )
    candidates += [pair | {"image_id": f"c{n}", "landmark_id": n, "similarity": 0.9, "origin": "copy"} for n in (1, 4)]
    rest = {"evaluation_set": "s", "query_id": "q", "n_matches": 1, "n_inliers": 1, "status": "ok"}
    rest |= {"geometry": "none", "matrix": None}
    verified = [rest | {"image_id": f"i{n}", "landmark_id": 2, "score": 0.25 * n} for n in (1, 2)]
    verified.append(rest | {"image_id": "c4", "landmark_id": 4, "score": 0.125})
    seen = rank_landmarks(as_table(candidates, CANDIDATES), as_table(verified, VERIFIED))
    assert {n: tuple(round(x, 3) for x in best) for n, best in seen.best.items()} == {
        1: (0.0, 0.1),
        2: (0.5, 0.2),
        4: (0.125, -1.0),
    }
