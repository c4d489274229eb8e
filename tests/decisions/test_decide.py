"""The paper's rule by a literal restatement, the shipped policies, and every way to get a policy wrong."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import ConfigError, DataError
from overlap.base.tables import ANSWERS, LANDMARKS, REMOVALS, REVIEW_ITEMS, VERIFIED, VOTES, as_table
from overlap.decisions.decide import decide, describe_review
from overlap.decisions.items import possible_photos, possible_wholes
from overlap.decisions.policy import SHIPPED, load_policy

START = datetime(2026, 1, 1, tzinfo=UTC)


def key(evaluation_set, query_id, image_id, landmark_id):
    return f"item:{evaluation_set}:{query_id}:{image_id}:{landmark_id}"


def item_row(evaluation_set, query_id, image_id, landmark_id, origin=None):
    return {
        "item_id": key(evaluation_set, query_id, image_id, landmark_id),
        "group_id": "g",
        "evaluation_set": evaluation_set,
        "query_id": query_id,
        "image_id": image_id,
        "landmark_id": landmark_id,
        "origin": origin or ("global" if query_id else "text"),
        "score": None,
    }


def vote_row(asked, reviewer, answer):
    item = item_row(*asked)
    rest = {"seconds": None, "note": None, "guideline_version": None, "supersedes": None, "voted_at": START}
    return item | rest | {"vote_id": f"{item['item_id']}:{reviewer}", "reviewer": reviewer, "answer": answer}


def verified_row(asked, score, status="ok"):
    names = ("evaluation_set", "query_id", "image_id", "landmark_id")
    rest = {"n_matches": 9, "n_inliers": 8, "geometry": "homography", "matrix": None}
    return dict(zip(names, asked, strict=True)) | rest | {"score": score, "status": status}


LANDMARK_TABLE = as_table(
    [{"landmark_id": n, "landmark_name": f"L{n}", "n_images": 10 * n} for n in range(10)], LANDMARKS
)


def run(policy, said=(), scores=(), queries=None, items=None):
    """Decide on votes given as (question, reviewer, answer) and scores given as (question, score, status)."""
    asked = {question for question, *_ in (*said, *scores)}
    policy = load_policy(policy) if isinstance(policy, str) else policy
    return decide(
        policy.rule(reviewers=3, figures=True),
        items=as_table([item_row(*question) for question in sorted(asked, key=str)], REVIEW_ITEMS)
        if items is None
        else items,
        votes=as_table([vote_row(*vote) for vote in said], VOTES),
        verified=as_table([verified_row(*pair) for pair in scores], VERIFIED),
        landmarks=LANDMARK_TABLE,
        threshold=0.5,
        queries=queries,
    )


def removed(decision):
    return decision.removals["landmark_id"].to_pylist()


def restated_paper(said):
    """Restate the rule by loops: who is removed, and which queries are duplicated."""
    confirmed = []
    for question, _, answer in said:
        if answer in ("same", "same_other_side") and question not in confirmed:
            confirmed.append(question)
    pairs = [question for question in confirmed if question[1] is not None]
    gone = set()
    for evaluation_set, query in {(pair[0], pair[1]) for pair in pairs}:
        counts = {}
        for pair in pairs:
            if (pair[0], pair[1]) == (evaluation_set, query):
                counts[pair[3]] = counts.get(pair[3], 0) + 1
        for landmark, count in counts.items():
            if count == max(counts.values()):
                gone.add(landmark)
    for question in confirmed:
        if question[1] is None:
            gone.add(question[3])
    visual = {pair[3] for pair in pairs if pair[3] in gone}
    duplicated = {}
    for evaluation_set, _ in {(pair[0], pair[1]) for pair in pairs if pair[3] in gone}:
        duplicated[evaluation_set] = duplicated.get(evaluation_set, 0) + 1
    return sorted(gone), visual, duplicated


# Few queries, photos and landmarks, and many yeses, so that landmarks compete for a query.
pairs = st.tuples(st.sampled_from(["s", "t"]), st.sampled_from("pq"), st.sampled_from("abc"), st.integers(0, 2))
names = st.tuples(st.just(""), st.none(), st.none(), st.integers(0, 4))
answers = st.sampled_from(["same", "same", "same_other_side", *ANSWERS])
ballots = st.lists(
    st.tuples(pairs | pairs | names, st.sampled_from(["ann", "bob"]), answers),
    min_size=1,
    max_size=30,
    unique_by=lambda vote: vote[:2],
)


@settings(max_examples=150, deadline=None)
@given(ballots, st.randoms())
def test_paper_equals_its_restatement_in_any_order(said, random):
    decision = run("paper", said)
    gone, visual, duplicated = restated_paper(said)
    assert removed(decision) == gone
    assert {name: n for name, n in decision.duplicated_queries.items() if n} == duplicated
    rows = decision.removals.to_pylist()
    assert {row["landmark_id"] for row in rows if row["origin"] != "text"} == visual
    assert all(row["evidence"] and row["n_images"] == 10 * row["landmark_id"] for row in rows)
    shuffled = run("paper", random.sample(said, len(said)))
    assert shuffled.removals.equals(decision.removals)


@settings(max_examples=50, deadline=None)
@given(ballots)
def test_all_confirmed_removes_whatever_one_yes_confirms(said):
    yes = {question[3] for question, _, answer in said if answer in ("same", "same_other_side")}
    assert removed(run("all-confirmed", said)) == sorted(yes)
    assert set(removed(run("paper", said))) <= yes


Q = ("s", "q")


WHOLE = ("", None, None)


@pytest.mark.parametrize(
    ("policy", "expected"), [("paper", [1, 4]), ("all-confirmed", [1, 4]), ("strict", [1, 2, 3, 4])]
)
def test_a_landmark_confirmed_as_a_whole_goes_if_the_policy_counts_what_brought_it_up(policy, expected):
    said = [(("s", "p", "a", 1), "ann", "same"), *(((*WHOLE, n), "ann", "same") for n in (1, 2, 3, 4))]
    origins = {2: "closure", 3: "audit"}
    items = [item_row(*question, origins.get(question[3])) for question, *_ in said]
    decision = run(
        policy,
        [*said, ((*WHOLE, 5), "ann", "different")],
        items=as_table([*items, item_row(*WHOLE, 5, "closure")], REVIEW_ITEMS),
    )
    assert removed(decision) == expected
    by_landmark = {row["landmark_id"]: row for row in decision.removals.to_pylist()}
    assert by_landmark[1]["origin"] == "global"
    assert len(by_landmark[1]["evidence"]) == 2
    assert by_landmark[4]["origin"] == "text"
    if policy == "strict":
        assert [by_landmark[n]["origin"] for n in (2, 3)] == ["closure", "audit"]
        words = decision.reasons
        assert words[2] == (
            "its photos or name link it to a landmark that is in an evaluation set, and at least 1 reviewer confirmed "
            "that it is in one"
        )
        assert words[3].startswith("the audit of kept landmarks put it beside the evaluation sets, and at least")


def test_automatic_needs_score_and_status_and_no_people():
    scores = [
        ((*Q, "a", 1), 0.5, "ok"),
        ((*Q, "a", 2), 0.49, "ok"),
        ((*Q, "a", 3), 0.9, "watermark"),
        ((*Q, "b", 4), 0.9, "ok"),
        ((*Q, "c", 4), 0.9, "ok"),
    ]
    decision = run("automatic", [((*Q, "z", 7), "ann", "same")], scores)
    assert removed(decision) == [1, 4]
    assert decision.duplicated_queries == {"s": 1}
    assert decision.removals["n_confirmed"].to_pylist() == [1, 2]


def test_visual_evidence_comes_before_the_name_and_evidence_is_all_of_it():
    name = ("", None, None, 1)
    decision = run(
        "paper", [((*Q, "a", 1), "ann", "same"), (name, "ann", "same"), (("", None, None, 2), "bob", "same")]
    )
    visual, text = decision.removals.to_pylist()
    assert (visual["origin"], visual["evaluation_set"], visual["n_queries"], visual["n_confirmed"]) == (
        "global",
        "s",
        1,
        1,
    )
    assert visual["evidence"] == sorted([key(*Q, "a", 1), key(*name)])
    assert (text["origin"], text["evaluation_set"], text["n_queries"], text["n_confirmed"]) == ("text", "", 0, 0)
    assert text["landmark_name"] == "L2"


def test_of_several_sets_most_queries_win_then_the_order_given():
    asked = [("s", "q", "a"), ("s", "q", "b"), ("t", "q", "a"), ("t", "p", "a")]
    said = [((*pair, 1), "ann", "same") for pair in asked]
    assert run("paper", said).removals["evaluation_set"].to_pylist() == ["t"]
    decision = run("paper", said[:3], queries={"u": [], "t": ["p", "q"], "s": ["q"]})
    assert decision.removals["evaluation_set"].to_pylist() == ["t"]
    assert decision.removals["n_queries"].to_pylist() == [1]
    assert decision.removals["n_confirmed"].to_pylist() == [1]
    assert list(decision.duplicated_queries.items()) == [("u", 0), ("t", 1), ("s", 1)]
    assert run("paper", said[:3]).removals["evaluation_set"].to_pylist() == ["s"]


def test_most_photos_of_a_query_decide_not_most_votes():
    said = [((*Q, photo, landmark), "ann", "same") for photo, landmark in [("a", 1), ("b", 1), ("c", 2)]]
    said += [((*Q, "c", 2), "bob", "same"), ((*Q, "c", 2), "eve", "same"), (("s", "p", "d", 3), "ann", "same")]
    assert removed(run("paper", said)) == [1, 3]
    assert removed(run("all-confirmed", said)) == [1, 2, 3]


def test_settings_change_the_rule():
    paper = load_policy("paper")
    tie = [((*Q, "a", 1), "ann", "same"), ((*Q, "b", 2), "ann", "same_other_side")]
    assert removed(run("paper", tie)) == [1, 2]
    assert removed(run(paper.model_copy(update={"ties": "none"}), tie)) == []
    doubt = [((*Q, "a", 1), "ann", "unsure"), ((*Q, "b", 2), "ann", "same_site")]
    assert removed(run("paper", doubt)) == []
    assert removed(run(paper.model_copy(update={"unsure_confirms": True}), doubt)) == [1]
    two = paper.model_copy(update={"confirmations": 2})
    assert removed(run(two, [*tie, ((*Q, "a", 1), "bob", "same"), (("", None, None, 3), "bob", "same")])) == [1]
    assert removed(run(paper.model_copy(update={"text": False}), [(("", None, None, 3), "bob", "same")])) == []


def test_nothing_confirmed_removes_nothing():
    decision = run("paper", queries={"s": ["q"]})
    assert decision.removals.schema.equals(REMOVALS)
    assert len(decision.removals) == 0
    assert decision.duplicated_queries == {"s": 0}


def everyone(question, answer="different"):
    return [(question, name, answer) for name in ("ann", "bob", "eve")]


def test_reasons_in_words():
    said = [((*Q, "a", 1), "ann", "same"), ((*Q, "b", 1), "ann", "same"), ((*WHOLE, 2), "bob", "same")]
    assert run("paper", said).reasons == {
        1: "at least 1 reviewer confirmed 2 photos of it for 1 query of s, and at least one query has none more often",
        2: "its name suggests an evaluation set, and at least 1 reviewer confirmed that it is in one",
    }
    automatic = run("automatic", scores=[((*Q, "a", 1), 0.9, "ok")])
    assert automatic.reasons == {1: "the verification score confirmed 1 photo of it for 1 query of s"}


def test_the_reason_is_what_removes_a_landmark_not_what_would_leave_it_in():
    beaten = [((*Q, "a", 1), "ann", "same"), ((*Q, "b", 2), "ann", "same"), ((*Q, "c", 2), "ann", "same")]
    assert run("paper", [((*WHOLE, 1), "ann", "same"), *beaten]).reasons[1] == (
        "its name suggests an evaluation set, and at least 1 reviewer confirmed that it is in one, beside 1 photo of "
        "it for 1 query of s"
    )
    asked = [(*WHOLE, 1), (*Q, "a", 1), (*Q, "b", 2), (*Q, "c", 2)]
    stopped = [((*WHOLE, 1), "ann", "same"), ((*Q, "a", 1), "ann", "same"), ((*Q, "b", 2), "ann", "same")]
    decision = run("paper", stopped, items=as_table([item_row(*question) for question in asked], REVIEW_ITEMS))
    assert decision.review == "complete"
    assert decision.reasons[1].endswith("in one, beside 1 photo of it for 1 query of s"), "c may be confirmed"
    elsewhere = [*beaten, (("s", "p", "a", 1), "ann", "same"), (("t", "x", "a", 1), "ann", "same")]
    elsewhere += [(("s", "p", photo, 2), "ann", "same") for photo in "bc"]
    assert run("paper", elsewhere).reasons[1] == (
        "at least 1 reviewer confirmed 1 photo of it for 2 queries of s, and at least one query of t has none more "
        "often"
    )
    assert "of t" not in run("all-confirmed", elsewhere).reasons[1]


def test_what_beat_a_landmark_that_stays_is_named_with_the_queries():
    said = [((*Q, photo, 2), "ann", "same") for photo in "ab"] + [((*Q, "c", 1), "ann", "same")]
    said += [*everyone((*Q, "d", 1)), (("s", "p", "e", 3), "ann", "same")]
    decision = run("paper", said)
    kept, winner, other = decision.landmarks.to_pylist()
    assert kept["beaten"] == [{"evaluation_set": "s", "query_id": "q", "landmark_id": 2}]
    assert kept["reason"] == ("2 items: 1 confirmed, 1 rejected; landmark 2 has more confirmed photos of 1 query")
    assert (kept["removed"], winner["removed"], other["removed"]) == (False, True, True)
    assert winner["beaten"] == other["beaten"] == []
    nobody = load_policy("paper").model_copy(update={"ties": "none"})
    tied = run(nobody, [((*Q, "a", 1), "ann", "same"), ((*Q, "b", 2), "ann", "same")])
    assert [row["beaten"][0]["landmark_id"] for row in tied.landmarks.to_pylist()] == [2, 1]
    assert "as many confirmed photos or more of 1 query" in tied.reasons[1]


def test_a_confirmed_whole_that_the_policy_does_not_count_is_said():
    items = as_table([item_row(*WHOLE, 3, "closure")], REVIEW_ITEMS)
    decision = run("paper", [((*WHOLE, 3), "ann", "same")], items=items)
    assert removed(decision) == []
    assert decision.reasons == {3: "1 item: 1 confirmed; the policy does not count what was confirmed of it"}


def states(decision):
    rows = decision.items.select(["image_id", "landmark_id", "state"]).to_pylist()
    return {(row["image_id"], row["landmark_id"]): row["state"] for row in rows}


def test_states_of_items_of_an_open_a_settled_and_a_complete_review():
    """Landmark 1 shows in queries q and p, landmark 2 is another one's photo, landmark 3 a name with a pair."""
    asked = [(*Q, "a", 1), (*Q, "b", 1), ("s", "p", "c", 1), (*Q, "d", 2), (*WHOLE, 3), ("t", "x", "e", 3)]
    items = as_table([item_row(*question) for question in asked], REVIEW_ITEMS)
    queries = {"s": ["p", "q"], "t": ["x"]}

    def decide_on(said, policy="paper"):
        return run(policy, said, items=items, queries=queries)

    nothing = decide_on([])
    assert nothing.review == "open"
    assert set(states(nothing).values()) == {"open"}
    said = [((*Q, "a", 1), "ann", "same"), ((*Q, "b", 1), "bob", "same_other_side"), ((*WHOLE, 3), "ann", "same")]
    settled = decide_on(said)
    assert settled.review == "settled but for figures"
    assert states(settled) == {
        ("a", 1): "confirmed", ("b", 1): "confirmed", ("c", 1): "open", ("d", 2): "not_asked", (None, 3): "confirmed",
        ("e", 3): "open",
    }  # fmt: skip
    assert settled.duplicated_queries == {"s": 1, "t": 0}
    assert settled.not_asked_queries == {"s": 1, "t": 1}
    first, _, named = settled.landmarks.to_pylist()
    assert "at least 2 photos of it for 1 query (1 query not asked) of s" in first["reason"]
    assert (named["origin"], named["n_queries_not_asked"]) == ("text", 1)
    assert "confirmed that it is in one (1 query not asked)" in named["reason"]
    assert settled.removals["n_not_asked"].to_pylist() == [1, 1]
    done = decide_on([*said, *everyone(("s", "p", "c", 1)), (("t", "x", "e", 3), "eve", "same")])
    assert done.review == "complete"
    assert states(done)["c", 1] == "rejected"
    assert done.not_asked_queries == {"s": 0, "t": 0}
    assert done.duplicated_queries == {"s": 1, "t": 1}
    assert done.landmarks["origin"].to_pylist() == ["global", "global", "global"]
    assert states(done)["d", 2] == "not_asked"


def test_what_is_confirmed_or_may_be_still_is_counted_by_landmark():
    asked = [(*Q, "a", 1), (*Q, "b", 1), ("s", "p", "b", 1), ("t", "x", "c", 1), (*WHOLE, 1), (*WHOLE, 2)]
    items = as_table([item_row(*question) for question in asked], REVIEW_ITEMS)
    said = [((*Q, "a", 1), "ann", "same"), *everyone(("t", "x", "c", 1)), *everyone((*WHOLE, 2))]
    stopped = run("paper", said, items=items)
    assert possible_photos(stopped.items) == {1: 2}
    assert possible_wholes(stopped.items) == {1}
    judged = run("paper", [*said, *everyone((*Q, "b", 1)), *everyone(("s", "p", "b", 1)), *everyone((*WHOLE, 1))])
    assert (possible_photos(judged.items), possible_wholes(judged.items)) == ({1: 1}, set())


def test_without_the_round_for_figures_what_they_lack_is_not_asked():
    rule = load_policy("paper").rule(reviewers=3, figures=False)
    asked = [(*Q, "a", 1), ("s", "p", "c", 1)]
    decision = decide(
        rule,
        items=as_table([item_row(*question) for question in asked], REVIEW_ITEMS),
        votes=as_table([vote_row((*Q, "a", 1), "ann", "same")], VOTES),
        verified=VERIFIED.empty_table(), landmarks=LANDMARK_TABLE, threshold=0.5,
    )  # fmt: skip
    assert states(decision) == {("a", 1): "confirmed", ("c", 1): "not_asked"}
    assert decision.review == "settled but for figures"
    assert decision.removals["n_queries_not_asked"].to_pylist() == [1]


@pytest.mark.parametrize(("policy", "review"), [("paper", "complete"), ("strict", "open")])
def test_what_closure_and_audit_ask_keeps_a_review_open_only_where_it_can_remove(policy, review):
    origins = {1: "audit", 2: "closure", 3: "text"}
    items = as_table([item_row("", None, None, n, origin) for n, origin in origins.items()], REVIEW_ITEMS)
    decision = run(policy, [((*WHOLE, 3), "ann", "same")], items=items)
    assert decision.items["state"].to_pylist() == ["open", "open", "confirmed"]
    assert decision.review == review


def test_a_dispute_is_any_yes_against_any_no_and_changes_nothing():
    asked = [(*Q, "a", 1), (*Q, "b", 1), (*Q, "c", 1)]
    said = [(asked[0], "ann", "same"), (asked[0], "bob", "different"), (asked[1], "ann", "same")]
    said += [(asked[1], "bob", "unsure"), (asked[2], "ann", "different"), (asked[2], "bob", "same_site")]
    decision = run("paper", said)
    assert decision.items["disputed"].to_pylist() == [True, False, False]
    assert decision.landmarks["disputed"].to_pylist() == [True]
    rows = decision.items.select(["n_yes", "n_no", "n_votes", "decided_by"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(1, 1, 2, "people"), (1, 0, 2, "people"), (0, 2, 2, "people")]


def test_a_landmark_the_training_set_lacks_is_refused():
    with pytest.raises(
        DataError, match="landmark_id 12, 77 would be removed, but the training set has no such landmark"
    ):
        run("paper", [((*Q, "a", 77), "ann", "same"), ((*Q, "b", 12), "ann", "same")])


@pytest.mark.parametrize("queries", [{"s": ["p"]}, {"t": ["q"]}, {}])
def test_a_confirmed_query_of_no_evaluation_set_is_refused(queries):
    with pytest.raises(DataError, match="1 confirmed queries are of no configured evaluation set, such as 'q' of 's'"):
        run("paper", [((*Q, "a", 1), "ann", "same")], queries=queries)


def test_a_vote_on_no_item_is_refused():
    with pytest.raises(DataError, match=r"a vote on \('s', 'q', 'a', 1\) counts but is not among the review items"):
        run("paper", [((*Q, "a", 1), "ann", "same")], items=REVIEW_ITEMS.empty_table())


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_load_and_say_who_they_are(name):
    policy = load_policy(name)
    assert policy.name == name
    assert policy.description
    assert policy.ties == "all"
    assert not policy.unsure_confirms


GOOD = 'name = "mine"\nversion = "1"\ndescription = ""\nevidence = "votes"\nper_query = "all"\ntext = true\n'


def test_a_policy_of_one_s_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "confirmations = 2\n")
    assert load_policy(path).confirmations == load_policy(str(path)).confirmations == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "majority = 2\n", "majority: unknown key"),
        (GOOD.replace("text = true\n", ""), "text: required key is missing"),
        (GOOD + "confirmations = 0\n", r"confirmations: .*greater than or equal to 1 \(found 0\)"),
        (
            GOOD.replace('"votes"', '"scores"'),
            'policy: text = true needs evidence = "votes": a landmark as a whole has no score',
        ),
        ("name =", "is not a readable TOML file"),
    ],
)
def test_a_wrong_policy_says_what(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.toml'" + f".*{message}"):
        load_policy(path)


def test_a_policy_that_the_reviewers_are_too_few_for_is_refused():
    policy = load_policy("paper").model_copy(update={"confirmations": 4})
    with pytest.raises(ConfigError, match=r"'paper' takes 4 confirmations and review.reviewers is 3.* to 4 or more"):
        policy.rule(reviewers=3, figures=True)
    assert policy.rule(reviewers=4, figures=True).confirmations == 4
    assert load_policy("automatic").model_copy(update={"confirmations": 4}).rule(reviewers=1, figures=True)


def test_a_policy_without_people_needs_no_review():
    rule = load_policy("automatic").rule(reviewers=3, figures=True)
    assert describe_review(rule, 7, 0) == "not needed: the policy decides by scores"


def test_an_unknown_policy_names_the_shipped_ones(tmp_path):
    with pytest.raises(
        ConfigError, match="policy 'peper' is not there; use paper, all-confirmed, strict, automatic, or the path"
    ):
        load_policy("peper")
    with pytest.raises(ConfigError, match=r"no\.toml' is not there"):
        load_policy(tmp_path / "no.toml")
