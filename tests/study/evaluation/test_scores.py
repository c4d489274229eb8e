import subprocess
import sys

import numpy as np
import pytest
from oracles import revisitop

from overlap.base.errors import DataError
from overlap.base.tables import QUERY_SCORES, SCORES, Descriptors
from overlap.datasets.sets import QueryTruth
from overlap.study.evaluation.protocol import CLASSIC, PROTOCOLS
from overlap.study.evaluation.scores import Subject, evaluate_descriptors, evaluate_rankings

SUBJECT = Subject("gem_small", "roxford5k", training_set="clean", seed=3)


def describe(vectors: np.ndarray, name: str = "p") -> Descriptors:
    return Descriptors([f"{name}{row}" for row in range(len(vectors))], vectors.astype(np.float32))


def draw_truths(rng: np.random.Generator, n_queries: int, n_photos: int) -> list[QueryTruth]:
    labels = [rng.choice(4, n_photos, p=[0.1, 0.1, 0.1, 0.7]) for _ in range(n_queries)]
    return [QueryTruth(*(np.flatnonzero(each == label) for label in range(3))) for each in labels]


def lists(truth: QueryTruth) -> dict[str, list[int]]:
    return {"easy": truth.easy.tolist(), "hard": truth.hard.tolist(), "junk": truth.junk.tolist()}


def test_the_tables_are_the_reference_s_on_descriptors_with_distractors() -> None:
    rng = np.random.default_rng(11)
    queries, database, distractors = (rng.normal(size=(rows, 6)) for rows in (5, 60, 90))
    truths = draw_truths(rng, 5, 60)
    truths[2] = QueryTruth(np.array([], dtype=np.int64), truths[2].hard, truths[2].junk)
    found = evaluate_descriptors(
        describe(queries, "q"),
        describe(database),
        truths,
        subject=SUBJECT,
        protocols=PROTOCOLS,
        distractors=[describe(distractors[:40]), describe(distractors[40:])],
    )
    assert found.scores.schema == SCORES
    assert found.query_scores.schema == QUERY_SCORES
    by_query = found.query_scores.to_pylist()
    for row in found.scores.to_pylist():
        protocol = row["protocol"]
        expected = [
            revisitop.score(
                revisitop.rank(query.tolist(), database.tolist(), distractors.tolist()), lists(truth), protocol
            )
            for query, truth in zip(queries.astype(np.float32).astype(float), truths, strict=True)
        ]
        assert row["map"] == pytest.approx(revisitop.mean([ap for ap, _ in expected]), abs=1e-12)
        for place, column in enumerate(("mp_at_1", "mp_at_5", "mp_at_10")):
            assert row[column] == pytest.approx(revisitop.mean([precision[place] for _, precision in expected]))
        counted = [each for each in by_query if each["protocol"] == protocol]
        assert [each["query_id"] for each in counted] == ["q0", "q1", "q2", "q3", "q4"]
        assert [each["ap"] for each in counted] == [
            pytest.approx(ap, abs=1e-12) if ap == ap else None for ap, _ in expected
        ]
        assert row["n_queries"] == sum(each["ap"] is not None for each in counted) == 5 - (protocol == "easy")
        assert {**row, **vars(SUBJECT)} == row


def test_rankings_made_elsewhere_give_the_same_tables() -> None:
    rng = np.random.default_rng(4)
    queries, database = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32)
    truths = draw_truths(rng, 3, 20)
    rankings = [np.argsort(-(database @ query), kind="stable") for query in queries]
    ours = evaluate_descriptors(describe(queries, "q"), describe(database), truths, subject=SUBJECT)
    theirs = evaluate_rankings(rankings, truths, query_ids=["q0", "q1", "q2"], n_photos=20, subject=SUBJECT)
    assert ours.scores.equals(theirs.scores)
    assert ours.query_scores.equals(theirs.query_scores)


def test_a_protocol_without_positives_has_no_queries_and_no_figures() -> None:
    nothing = np.array([], dtype=np.int64)
    truths = [QueryTruth(nothing, np.array([0]), nothing)]
    one = describe(np.eye(2))
    scores = evaluate_descriptors(describe(np.eye(2)[:1]), one, truths, subject=SUBJECT).scores.to_pylist()
    assert [(row["protocol"], row["n_queries"]) for row in scores] == [("easy", 0), ("medium", 1), ("hard", 1)]
    assert [scores[0][name] for name in ("map", "mp_at_1", "mp_at_5", "mp_at_10")] == [None] * 4


def test_no_queries_at_all_give_empty_protocols() -> None:
    found = evaluate_descriptors(Descriptors([], np.zeros((0, 2))), describe(np.eye(2)), [], subject=SUBJECT)
    assert found.scores["n_queries"].to_pylist() == [0, 0, 0]
    assert found.query_scores.num_rows == 0


def test_in_the_classic_protocol_the_query_s_own_photo_counts() -> None:
    nothing = np.array([], dtype=np.int64)
    photos = describe(np.eye(3))
    truths = [QueryTruth(np.array([0]), nothing, nothing)]
    found = evaluate_descriptors(describe(np.eye(3)[:1]), photos, truths, subject=SUBJECT, protocols=CLASSIC)
    assert found.scores.to_pylist()[0]["map"] == 1.0
    assert found.scores["protocol"].to_pylist() == ["base"]


def test_what_is_not_known_of_the_training_stays_empty() -> None:
    found = evaluate_descriptors(
        describe(np.eye(2)),
        describe(np.eye(2)),
        draw_truths(np.random.default_rng(0), 2, 2),
        subject=Subject("x.npy", "set"),
    )
    assert found.scores["seed"].null_count == found.scores["training_set"].null_count == 3


def test_another_number_of_truths_or_rankings_is_an_error() -> None:
    photos = describe(np.eye(3))
    truths = draw_truths(np.random.default_rng(0), 2, 3)
    with pytest.raises(DataError, match=r"3 queries, but ground truth or rankings of 2; give one a query"):
        evaluate_descriptors(photos, photos, truths, subject=SUBJECT)
    with pytest.raises(DataError, match=r"2 queries, but ground truth or rankings of 1; give one a query"):
        evaluate_rankings([np.arange(3)], truths, query_ids=["a", "b"], n_photos=3, subject=SUBJECT)


def test_photos_that_were_not_described_are_an_error() -> None:
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(DataError, match=r"names row 3 of a database of 3 photos"):
        evaluate_descriptors(
            describe(np.eye(3)[:1]), describe(np.eye(3)), [QueryTruth(np.array([3]), nothing, nothing)], subject=SUBJECT
        )


def test_evaluation_needs_no_torch() -> None:
    code = (
        "import sys, overlap.study.evaluation.scores, overlap.study.evaluation.whitening; "
        "sys.exit(bool({'torch', 'faiss', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
