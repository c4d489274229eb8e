"""Links between landmarks: what hangs together, and what one photo of two landmarks must not join."""

from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.tables import LINKS, REMOVALS, VERIFIED, as_table
from overlap.decisions.closure import Kinship, find_links, find_seeds, propose

SIZES = {1: 5, 2: 5, 3: 5, 4: 1, 5: 9}


def link_table(*links):
    names = ("landmark_id", "image_id", "kin_id", "kin_image_id")
    return as_table([dict(zip(names, link, strict=True)) | {"score": 0.8} for link in links], LINKS)


def proposed(*links, names=(), at_least=2):
    return propose(link_table(*links), names, sizes=SIZES, at_least=at_least).to_pylist()


def removal(landmark_id, origin, n_confirmed, n_images):
    rest = {"landmark_name": "", "evaluation_set": "s", "n_queries": 1, "evidence": []}
    own = {"landmark_id": landmark_id, "origin": origin, "n_confirmed": n_confirmed, "n_images": n_images}
    return rest | own


def test_a_landmark_confirmed_by_one_photo_of_many_is_no_seed():
    rows = [
        removal(1, "global", 2, 9),
        removal(2, "global", 1, 9),
        removal(3, "global", 1, 1),
        removal(4, "text", 0, 9),
        removal(5, "closure", 0, 9),
        removal(6, "audit", 0, 9),
        removal(7, "imported", 1, 2),
    ]
    assert find_seeds(as_table(rows, REMOVALS), whole={4, 5, 6}, links=2) == [1, 3, 4, 5, 6]


def test_a_landmark_that_people_confirmed_as_a_whole_is_a_seed_whatever_removed_it():
    rows = [removal(1, "global", 1, 9), removal(2, "global", 1, 9), removal(3, "text", 0, 9)]
    assert find_seeds(as_table(rows, REMOVALS), whole=[1, 8], links=2) == [1], "8 is not removed"
    assert find_seeds(as_table(rows, REMOVALS), whole=[], links=2) == []


def test_photos_that_may_be_confirmed_still_count_for_a_seed():
    rows = as_table([removal(1, "global", 1, 9), removal(2, "global", 1, 9), removal(3, "text", 0, 9)], REMOVALS)
    assert find_seeds(rows, whole=[], links=2, photos={1: 3, 2: 1}) == [1]
    assert find_seeds(rows, whole=[], links=2, photos={1: 3, 3: 2}) == [1, 3]


def test_links_are_believed_pairs_of_two_landmarks_and_mutual_between_seeds():
    kin_of = {"a1": 1, "a2": 1, "b1": 2}

    def pair(query, photo, landmark, score, status="ok"):
        rest = {"n_matches": 9, "n_inliers": 9, "geometry": "homography", "matrix": None, "evaluation_set": "train"}
        asked = {"query_id": query, "image_id": photo, "landmark_id": landmark}
        return rest | asked | {"score": score, "status": status}

    pairs = [
        pair("a1", "x", 3, 0.5),
        pair("a1", "a2", 1, 0.9),
        pair("a2", "y", 3, 0.49),
        pair("a2", "z", 3, 0.9, "watermark"),
        pair("a2", "b1", 2, 0.7),
    ]
    links = find_links(as_table(pairs, VERIFIED), kin_of, threshold=0.5).to_pylist()
    assert [tuple(row.values())[:4] for row in links] == [(1, "a2", 2, "b1"), (2, "b1", 1, "a2"), (3, "x", 1, "a1")]


def test_links_of_several_photos_on_each_side_make_a_proposal():
    (row,) = proposed((2, "x", 1, "a"), (2, "y", 1, "b"))
    assert row["landmark_id"] == 2
    assert (row["kin"], row["reasons"]) == ([1], ["photos"])
    assert (row["n_images"], row["n_kin_images"]) == (2, 2)
    assert row["score"] > 0.79


def test_one_photo_that_shows_two_landmarks_joins_nothing():
    assert not proposed((2, "x", 1, "a"), (2, "y", 1, "a"), (2, "z", 1, "a"))
    assert not proposed((2, "x", 1, "a"), (2, "x", 1, "b"), (2, "x", 1, "c"))


def test_a_landmark_of_one_photo_needs_no_second():
    assert [row["landmark_id"] for row in proposed((4, "x", 1, "a"), (4, "x", 1, "b"))] == [4]


def test_names_alone_make_a_proposal_and_add_to_links():
    rows = proposed(
        (2, "x", 1, "a"), (2, "y", 1, "b"), names=[Kinship(2, 1, "nested name"), Kinship(3, 2, "same name")]
    )
    assert [(row["landmark_id"], row["kin"], row["reasons"]) for row in rows] == [
        (2, [1, 1], ["nested name", "photos"]),
        (3, [2], ["same name"]),
    ]
    assert rows[1]["score"] is None
    assert [row["component"] for row in rows] == [1, 1]


def slow_component(landmark, edges):
    together = {landmark}
    for _ in edges:
        together |= {end for edge in edges for end in edge if together & set(edge)}
    return min(together)


edges = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)).filter(lambda e: e[0] != e[1]), max_size=14)


@settings(deadline=None)
@given(edges)
def test_components_are_those_of_a_slow_search(found):
    rows = propose(
        LINKS.empty_table(), [Kinship(*edge, "same name") for edge in found], sizes={}, at_least=2
    ).to_pylist()
    assert {row["landmark_id"]: row["component"] for row in rows} == {
        edge[0]: slow_component(edge[0], found) for edge in found
    }
