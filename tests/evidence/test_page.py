"""The page opens offline, shows every landmark, and takes names for text."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.images import encode_jpeg
from overlap.base.tables import STATES
from overlap.evidence.page import make_sentence, place_points, render_page, safe_address, say_answers

ABOUT = {
    "name": "tiny",
    "version": "1.0.0",
    "made_with": "landmark-overlap",
    "settings": {"features": "sift"},
    "review_threshold": 0.1,
    "pictured": True,
}
CREDIT = {"title": "<i>x</i>", "author": "A&B", "license": "javascript:alert(1)", "url": "https://example.org/x"}
PAIR = {
    "evaluation_set": "s",
    "query_id": "q",
    "query_file": "q.jpg",
    "query_box_px": [10.0, 20.0, 110.0, 95.0],
    "query_origin_px": [10, 20],
    "query_size_px": [100, 75],
    "image_id": "0000123456789012",
    "photo_size_px": [160, 120],
    "thumbnail": "evidence/7/0.jpg",
    "n_matches": 9,
    "n_inliers": 3,
    "score": 0.5,
    "geometry": "homography",
    "state": "confirmed",
    "answers": {"same": 2, "same_other_side": 1},
    "inliers": [[50.0, 40, 80, 60], [5, 6, 7, 8], [90, 70, 150, 110]],
    "credit": CREDIT,
}
NAMED = {"evaluation_set": "s", "query_id": "q2", "image_id": "b", "state": "not_asked", "answers": {}}
LANDMARK = {
    "landmark_id": 7,
    "name": "<script>alert(1)</script>",
    "removed": True,
    "reason": "at least one",
    "n_images": 1200,
    "beaten": [],
    "answers": {"unsure": 1},
    "pairs": [PAIR, {**PAIR, "thumbnail": None, "credit": None}, NAMED],
    "n_pairs": 9,
    "photos": [],
}
KEPT = {**LANDMARK, "landmark_id": 8, "name": "", "removed": False, "pairs": [], "n_pairs": 0, "answers": {}}
KEPT["photos"] = [{"image_id": "c", "thumbnail": "evidence/8/0.jpg", "credit": None}]


def page(landmarks=(LANDMARK, KEPT), **about):
    return render_page({**ABOUT, **about}, list(landmarks))


def test_every_landmark_and_pair_is_shown_and_names_are_text():
    text = page()
    assert text.startswith("<!doctype html>")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;i&gt;x&lt;/i&gt;, A&amp;B" in text
    assert 'href="javascript' not in text
    assert 'href="https://example.org/x" rel="noreferrer"' in text
    assert "1 landmark was removed; 1 that looked suspicious stays." in text
    assert 'id="landmark-7"' in text
    assert 'id="landmark-8"' in text
    assert "Landmark without a name" in text
    assert "At least one. Reviewers, of the landmark as a whole: 1 unsure." in text
    assert "The best 3 of 9 pairs." in text
    assert "2 same, 1 same other side" in text
    assert "<td>q2 of s</td><td><code>b</code></td><td>none</td><td>not asked</td>" in text
    assert "homography, <strong>confirmed</strong>; reviewers: 2 same, 1 same other side</p>" in text
    assert text.count("<circle") == 12
    assert text.count("credit not recorded") == 2
    assert "were not at hand" not in text
    assert "were not at hand" in page(pictured=False)
    assert page([]).count("<p>None.</p>") == 2


@pytest.mark.parametrize("state", [*STATES, None])
def test_every_state_is_said_in_its_word(state):
    drawn, named = {**PAIR, "state": state}, {**NAMED, "state": state}
    text = page([{**LANDMARK, "pairs": [drawn, named]}])
    words = {"not_asked": "not asked"}.get(state, state)
    assert re.findall("homography(.*); reviewers", text) == [f", <strong>{words}</strong>" if state else ""]
    assert re.findall("<td>([^<]*)</td></tr>", text) == [words or "not queued"]
    assert "not_asked" not in text
    assert "not confirmed" not in text


def test_what_beat_a_landmark_that_stays_is_linked_with_the_queries():
    asked = [("s", "q1", 7), ("s", "q2", 7), ("t", "q<3>", 9)]
    beaten = [dict(zip(("evaluation_set", "query_id", "landmark_id"), each, strict=True)) for each in asked]
    nameless = {**LANDMARK, "landmark_id": 9, "name": ""}
    text = page([LANDMARK, nameless, {**KEPT, "beaten": beaten}])
    script = "&lt;script&gt;alert(1)&lt;/script&gt;"
    [said] = re.findall("<p>Beaten for(.*?)</p>", text, re.DOTALL)
    assert " ".join(said.split()) == (
        f'q1 of s (<a href="#landmark-7">{script} 7</a>), q2 of s (<a href="#landmark-7">{script} 7</a>), '
        'q&lt;3&gt; of t (<a href="#landmark-9">landmark 9</a>).'
    )
    assert {"landmark-7", "landmark-9"} <= set(re.findall('id="([^"]*)"', text))
    assert "more confirmed photos" not in page()


def test_the_page_asks_for_nothing_but_the_files_beside_it():
    text = page()
    assert "default-src 'none'; img-src 'self' file: blob:" in unescape(text)
    sources = [part.split('"')[0] for part in text.split(' src="')[1:]]
    assert sources == ["evidence/8/0.jpg"]
    assert "<link" not in text
    assert "http-equiv" in text


@given(st.lists(st.lists(st.floats(0, 99), min_size=4, max_size=4), max_size=400))
def test_points_are_few_real_and_from_left_to_right(inliers):
    shown = [point for point, _ in place_points(inliers)]
    assert len(shown) <= 60
    assert len(shown) >= min(len(inliers), 31)
    assert shown == sorted(shown)
    assert all(point in inliers for point in shown)
    assert len({colour for _, colour in place_points(inliers)}) == len(shown)


def test_words():
    assert say_answers({"different": 1, "same_site": 2}) == "2 same site, 1 different"
    assert (make_sentence("a word"), make_sentence("")) == ("A word.", "")
    assert [safe_address(text) for text in ("https://x", "http://x", "data:x", "")] == ["https://x", "http://x", "", ""]


def test_a_browser_lays_local_photos_under_the_sketches_and_asks_the_network_for_nothing(tmp_path, chromium):
    import numpy as np
    from playwright.sync_api import expect

    (tmp_path / "evidence" / "7").mkdir(parents=True)
    (tmp_path / "evidence" / "8").mkdir()
    picture = encode_jpeg(np.full((120, 160, 3), 99, np.uint8))
    for number in (7, 8):
        (tmp_path / "evidence" / str(number) / "0.jpg").write_bytes(picture)
    (tmp_path / "evidence.html").write_text(page())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "q.jpg").write_bytes(encode_jpeg(np.full((300, 400, 3), 50, np.uint8)))
    tab = chromium.new_page()
    asked, complaints = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto((tmp_path / "evidence.html").as_uri())
    shown = tab.locator(".album img").evaluate("(image) => image.decode().then(() => image.naturalWidth)")
    tab.set_input_files("#folder", str(tmp_path / "set"))
    # Not wait_for_function: it polls by eval, which the page's own policy forbids.
    expect(tab.locator("svg[data-file] image")).to_have_count(2)
    expect(tab.locator("#told")).to_have_text("2 of 2 sketches have their photo")
    laid = tab.evaluate("[...document.querySelector('svg[data-file] image').attributes].map((a) => [a.name, a.value])")
    tab.close()
    assert shown == 160
    assert {name: value for name, value in laid if name != "href"} == {
        "x": "-10",
        "y": "-20",
        "width": "400",
        "height": "300",
    }
    assert all(address.startswith(("file://", "blob:")) for address in asked)
    assert complaints == []
