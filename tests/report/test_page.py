import base64
import dataclasses
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import find_chromium

from overlap.base.errors import ArtifactError, DataError
from overlap.base.images import encode_jpeg
from overlap.report.charts import ScoreSplit
from overlap.report.page import (
    AuditView,
    Beaten,
    Fact,
    LandmarkView,
    PairGallery,
    PairView,
    PolicyRow,
    QuarantinedPhoto,
    Ranking,
    ReportContent,
    StratumView,
    render_report,
    write_report,
)
from overlap.report.tables import OverlapRow, SizesRow

EMPTY = ReportContent(
    "nothing 1.0.0",
    "gldv2",
    (OverlapRow("roxford5k", 70, 0, 0, 0), OverlapRow("TEXT", None, None, 0, 0), OverlapRow("TOTAL", 70, 0, 0, 0)),
    (SizesRow("gldv2", 1_580_470, 81_313),),
)


def no_picture(source, image_id):
    return None


def drawn(source, image_id):
    """Draw a facade whose colours come from the photo's id."""
    rng = np.random.default_rng(list(f"{source}/{image_id}".encode()))
    height, width = int(rng.integers(60, 160)), int(rng.integers(60, 160))
    rows = np.linspace(0, 1, height)[:, None, None]
    picture = np.broadcast_to(rng.integers(90, 255, 3) * rows, (height, width, 3)).astype(np.uint8).copy()
    for left in range(8, width - 16, 24):
        picture[height // 3 : height // 2, left : left + 12] = rng.integers(0, 90, 3)
    return encode_jpeg(picture)


def landmark(landmark_id, name="Keep", *, n_queries=2, states=("confirmed", "confirmed", "rejected"), removed=True):
    galleries = tuple(
        PairGallery(
            "roxford5k",
            f"query_{landmark_id}_{query}",
            tuple(
                PairView(f"{landmark_id:04x}{query:04x}{photo:08x}", 0.9, 120, 200, {"same": 2, "unsure": 1}, state)
                for photo, state in enumerate(states)
            ),
            len(states) + 1,
        )
        for query in range(n_queries)
    )
    return LandmarkView(
        landmark_id, name, "roxford5k", "global", 31, "Because.", galleries, n_queries + 2, removed=removed
    )


FULL = ReportContent(
    title="photos-clean 1.0.0",
    training_set="gldv2",
    overlap=(
        OverlapRow("rparis6k", 70, 36, 11, 1227),
        OverlapRow("roxford5k", 70, 38, 6, 315),
        OverlapRow("TEXT", None, None, 1, 23),
        OverlapRow("TOTAL", 140, 74, 18, 1565),
    ),
    sizes=(SizesRow("gldv2", 1_580_470, 81_313), SizesRow("photos-clean", 1_578_905, 81_295)),
    facts=(Fact("Policy", "paper"), Fact("Training photos", "1,580,470")),
    settings='name = "photos"',
    review="complete: no further vote can change it",
    removed=(landmark(1, "Radcliffe Camera"), landmark(2, "Panthéon", states=("confirmed", "open", "not_asked"))),
    kept=(
        dataclasses.replace(
            landmark(3, "Look-alike", removed=False),
            beaten=(
                Beaten("roxford5k", "query_3_0", 1, "Radcliffe Camera"),
                Beaten("rparis6k", "query_3_1", 2, "Panthéon"),
                Beaten("rparis6k", "query_3_2", 2, ""),
            ),
        ),
    ),
    n_kept=5,
    text=(
        LandmarkView(
            7, "Hôtel des Invalides (Paris)", "", "text", 23, "", answers={"same": 3}, removed=True, state="confirmed"
        ),
        LandmarkView(8, "Oxford Street, Sydney", "", "text", 4, "", state="not_asked"),
        LandmarkView(9, "Paris, Texas", "", "text", 3, "", answers={"different": 3}, state="rejected"),
        LandmarkView(10, "Parish hall", "", "text", 2, "", state="open"),
    ),
    scores=ScoreSplit((0.8, 0.9), (0.3,), (0.1,) * 20, 0.5),
    statuses={"ok": 12, "too_few_matches": 3},
    votes={"same": 10, "different": 4},
    agreement=(Fact("Krippendorff's alpha", "0.87"),),
    quarantine=(QuarantinedPhoto("12345678901234e5", "gldv2", "a/b.jpg", "the JPEG is truncated"),),
    n_quarantined=3,
    seconds={"verify": 655.1, "search": 11.4},
)


class Page(HTMLParser):
    """Collect elements, and the text of each landmark's heading."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.words, self.blocks = [], [], [], {}
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "h3":
            self.headings.append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside in ("style", "script"):
            self.blocks[inside] = self.blocks.get(inside, "") + data
            return
        if inside == "h3":
            self.headings[-1] += data
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def full():
    return render_report(FULL, thumbnail=drawn)


def test_the_page_shows_the_papers_tables_and_every_landmark(full):
    text = Page(full).text
    for words in ("rparis6k 70 36 (51%) 11 1,227", "TOTAL 140 74 18 1,565", "photos-clean 1,578,905 81,295"):
        assert words in text
    for words in ("Radcliffe Camera", "Panthéon", "Look-alike", "Hôtel des Invalides (Paris)", "query_1_0"):
        assert words in text
    for words in ("score 0.90", "120 inliers of 200", "2 same", "1 unsure", "Because.", "Review complete: no further"):
        assert words in text
    for words in ("and 1 more photo", "and 2 more queries", "the first 1 of 5", "3 photos could not be used"):
        assert words in text
    for words in ("threshold 0.5", "20 not asked", "too few matches 3", "655.1 s", "Krippendorff's alpha 0.87"):
        assert words in text
    assert "left out" not in text


def test_every_state_is_said_in_its_word(full):
    page = Page(full)
    said = re.findall(r'<b class="(match|other)-word">([^<]*)</b>\s*<span class="score">', full)
    assert said == [
        *[("match", "Confirmed"), ("match", "Confirmed"), ("other", "Rejected")] * 2,
        *[("match", "Confirmed"), ("other", "Open"), ("other", "Not asked")] * 2,
        *[("match", "Confirmed"), ("match", "Confirmed"), ("other", "Rejected")] * 2,
    ]
    for words in (
        "Hôtel des Invalides (Paris) 7 23 3 same confirmed removed",
        "Oxford Street, Sydney 8 4 none not asked kept",
        "Paris, Texas 9 3 3 different rejected kept",
        "Parish hall 10 2 none open kept",
        "2 confirmed 1 rejected 20 not asked Pairs by score",
        "training photo, rejected, not asked or open",
    ):
        assert words in page.text
    labels = [attributes.get("aria-label", "") for _, attributes in page.tags]
    assert "Scores of verified pairs: 2 confirmed pairs, 1 rejected, 20 not asked" in labels
    assert ".key.undecided::before" in page.blocks["style"], "the legend of the scores has its colour"
    for word in ("not_asked", "not confirmed", "without a vote", "unreviewed"):
        assert word not in full.lower()


def test_a_yes_is_what_the_policy_takes_for_one(full):
    marked = '<span class="chip yes">1 unsure</span>'
    assert marked not in full
    content = dataclasses.replace(FULL, confirming={"same", "unsure"})
    assert marked in render_report(content, thumbnail=no_picture)


def test_what_beat_a_landmark_that_stays_is_linked_with_the_queries(full):
    page = Page(full)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and "#landmark-" in attributes["href"]]
    assert links == ["#landmark-1", "#landmark-2", "#landmark-2"]
    assert (
        "Beaten for query_3_0 of roxford5k ( Radcliffe Camera 1 ), "
        "query_3_1 of rparis6k ( Panthéon 2 ), query_3_2 of rparis6k ( landmark 2 )."
    ) in page.text


def test_queries_that_people_were_not_asked_about_are_counted_beside_those_that_show_a_removed_landmark():
    rows = (OverlapRow("roxford5k", 36, 8, 2, 31, 15), OverlapRow("TOTAL", 36, 8, 2, 31, 15))
    text = Page(render_report(dataclasses.replace(EMPTY, overlap=rows), thumbnail=no_picture)).text
    assert "8 of 36 queries show one of them, and 15 not asked" in text
    assert "roxford5k 36 8 (22%), and 15 not asked 2 31" in text
    assert "TOTAL 36 8, and 15 not asked 2 31" in text
    none = tuple(dataclasses.replace(row, n_not_asked=0) for row in rows)
    assert "not asked" not in Page(render_report(dataclasses.replace(EMPTY, overlap=none), thumbnail=no_picture)).text


def test_pictures_are_the_thumbnails_with_alt_texts_and_the_colours_of_figure_2(full):
    images = [attributes for tag, attributes in Page(full).tags if tag == "img"]
    assert len(images) == 3 * 2 * 4
    first, second = images[:2]
    assert first["alt"] == "Query query_1_0 of roxford5k"
    assert second["alt"] == "Training photo 0001000000000000 of Radcliffe Camera"
    assert [image["class"] for image in images[:4]] == ["query", "match", "match", "other"]
    picture = base64.b64decode(second["src"].removeprefix("data:image/jpeg;base64,"))
    assert picture == drawn("gldv2", "0001000000000000")


def test_the_page_asks_for_nothing_and_pins_its_own_style_and_script(full):
    page = Page(full)
    for _tag, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; ")
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.blocks[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"url\(|@import|https?:", full)


def test_links_of_the_contents_lead_somewhere(full):
    page = Page(full)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert len(targets) >= 8
    assert {"landmark-1", "landmark-2"} <= set(targets)
    assert set(targets) <= set(ids)


@pytest.mark.parametrize("field", ["name", "reason", "evaluation_set"])
def test_hostile_text_adds_no_element(full, field):
    hostile = "</h3><script>alert(1)</script><img src=x onerror=y> \"' {{ 7 * 7 }} &amp; </style>"
    changed = dataclasses.replace(FULL.removed[0], **{field: hostile})
    page = Page(render_report(dataclasses.replace(FULL, removed=(changed, FULL.removed[1])), thumbnail=drawn))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in Page(full).tags]
    assert " ".join(hostile.split()) in page.text


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_is_shown_as_it_is(name):
    content = dataclasses.replace(EMPTY, removed=(landmark(1, name, n_queries=0),))
    assert Page(render_report(content, thumbnail=no_picture)).headings[0] == name


def test_ids_titles_settings_and_facts_are_escaped_too():
    hostile = "<b>&"
    pair = PairGallery(hostile, hostile, (PairView(hostile, state=hostile),), 1)
    beaten = (Beaten(hostile, hostile, 1, hostile),)
    content = dataclasses.replace(
        FULL,
        title=hostile,
        training_set=hostile,
        overlap=(OverlapRow(hostile, 1, 1, 1, 1), OverlapRow("TOTAL", 1, 1, 1, 1)),
        sizes=(SizesRow(hostile, 1, 1),),
        facts=(Fact(hostile, hostile),),
        settings=hostile,
        review=hostile,
        removed=(LandmarkView(1, hostile, hostile, hostile, 1, hostile, (pair,), 1),),
        kept=(LandmarkView(3, hostile, hostile, hostile, 1, hostile, (pair,), 1, beaten=beaten),),
        text=(LandmarkView(2, hostile, "", "text", 1, "", state=hostile),),
        statuses={hostile: 1},
        quarantine=(QuarantinedPhoto(*(hostile,) * 4),),
        seconds={hostile: 1.0},
    )
    assert hostile not in render_report(content, thumbnail=drawn)


def test_an_empty_report_reads_well():
    text = Page(render_report(EMPTY, thumbnail=no_picture)).text
    assert "Nothing was removed: no landmark of the training set was found to be in an evaluation set." in text
    for words in (
        "Nobody has voted yet.",
        "No landmark was removed.",
        "No landmark that stays has a verified or confirmed pair.",
        "No landmark is named after a configured word.",
        "No pair was verified.",
        "Every photo could be read.",
    ):
        assert words in text
    assert "None" not in text
    assert "nan" not in text


def test_one_of_each_is_said_in_the_singular():
    content = dataclasses.replace(EMPTY, overlap=(OverlapRow("TOTAL", 1, 1, 1, 1),), removed=(landmark(1),))
    text = Page(render_report(content, thumbnail=no_picture)).text
    assert "1 landmark removed 1 photo removed 1 of 1 query show" in text


def test_pictures_stop_at_the_budget_and_the_page_says_so():
    asked = []

    def large(source, image_id):
        asked.append((source, image_id))
        return b"\xff\xd8" + b"x" * 30_000

    landmarks = tuple(landmark(number) for number in range(1, 6))
    page = render_report(dataclasses.replace(EMPTY, removed=landmarks), thumbnail=large, pictures_mb=0.5)
    assert len(asked) == len(set(asked)), "a photo is read once"
    shown = page.count("data:image/jpeg;base64,")
    assert shown == 500_000 // 40_027
    assert len(page) < 500_000 + 100_000
    assert f"To keep this file small, {5 * 8 - shown} pictures are left out" in page
    images = [attributes["alt"] for tag, attributes in Page(page).tags if tag == "img"]
    assert sum(alt.startswith("Query query_") and "_0 of" in alt for alt in images) == 5, "each landmark has its best"


def test_a_photo_shown_twice_counts_twice_and_is_read_once():
    album = (PairGallery("roxford5k", None, (PairView("aa"),), 1), PairGallery("roxford5k", None, (PairView("aa"),), 1))
    other = (PairGallery("roxford5k", None, (PairView("bb"),), 1),)
    content = dataclasses.replace(
        EMPTY,
        removed=(dataclasses.replace(landmark(1), galleries=album),),
        kept=(dataclasses.replace(landmark(2), galleries=other),),
    )
    asked = []

    def one(source, image_id):
        asked.append(image_id)
        return b"\xff\xd8" + b"x" * 748

    def shown(pictures_mb):
        asked.clear()
        return render_report(content, thumbnail=one, pictures_mb=pictures_mb).count("data:image/jpeg;base64,")

    assert (shown(0.0030), asked) == (2, ["aa", "bb"])
    assert (shown(0.0031), asked) == (3, ["aa", "bb"])
    assert (shown(0.0019), asked) == (1, ["aa", "bb"]), "what is smaller may still fit"


def test_a_photo_without_thumbnail_is_named_and_not_counted_as_left_out():
    page = render_report(FULL, thumbnail=no_picture)
    assert page.count("no picture") == 24
    assert "left out" not in page
    assert "0001000000000000" in page


def test_the_same_content_gives_the_same_page(full):
    assert render_report(FULL, thumbnail=drawn) == full


def test_write_report_replaces_the_file_whole_or_not_at_all(tmp_path, full):
    path = tmp_path / "new" / "report.html"
    assert write_report(path, FULL, thumbnail=drawn) == path
    assert path.read_text(encoding="utf-8") == full

    def broken(source, image_id):
        raise DataError("no such photo")

    with pytest.raises(DataError, match="no such photo"):
        write_report(path, FULL, thumbnail=broken)
    assert path.read_text(encoding="utf-8") == full
    write_report(path, EMPTY, thumbnail=no_picture)
    assert "nothing 1.0.0" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_no_draft(tmp_path, monkeypatch):
    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ArtifactError, match="No space left"):
        write_report(tmp_path / "report.html", EMPTY, thumbnail=no_picture)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_unicode_is_written_escaped(tmp_path):
    content = dataclasses.replace(EMPTY, removed=(landmark(1, "broken \ud800 name"),))
    path = write_report(tmp_path / "report.html", content, thumbnail=no_picture)
    assert "broken \\ud800 name" in path.read_text(encoding="utf-8")


def test_the_report_needs_the_base_install_only():
    program = """
import sys
import overlap.report.gather
from overlap.report.page import ReportContent, render_report
from overlap.report.tables import OverlapRow
render_report(ReportContent("t", "g", (OverlapRow("TOTAL", 1, 0, 0, 0),), ()), thumbnail=lambda *_: None)
print(sorted({"torch", "faiss", "cv2", "kornia", "pycolmap", "matplotlib", "PIL", "pandas"} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_a_browser_runs_the_page_without_complaint(tmp_path):
    path = write_report(tmp_path / "report.html", FULL, thumbnail=drawn)
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--enable-logging=stderr", "--dump-dom"),
    ]
    done = subprocess.run(
        [find_chromium(), *flags, path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert "Content Security Policy" not in done.stderr
    assert "Uncaught" not in done.stderr
    shown = Page(done.stdout)
    assert [a for tag, a in shown.tags if tag == "p" and a.get("class") == "filter"] == [{"class": "filter"}], (
        "script ran"
    )
    assert {a["role"] for tag, a in shown.tags if tag == "img"} == {"button"}


def test_what_defends_the_decision_is_shown_where_it_is_known():
    ranking = Ranking("RPar", "q", (("gone", True), ("stays", False)), (("stays", False), ("next", False)))
    audit = AuditView(
        7,
        (StratumView("top", 30, 30, 1, 3), StratumView("random", 900, 100, 0, 5)),
        (Fact("Known landmarks recognised", "9 of 9"),),
    )
    more = dataclasses.replace(
        FULL,
        proposed=(landmark(77, "Second id"),),
        rankings=(ranking,),
        policies=(PolicyRow("paper", "the rule", 3, 40, True), PolicyRow("strict", "more", 5, 60, False)),
        audit=audit,
        plots={"Recall": b"\x89PNG"},
    )
    page = render_report(more, thumbnail=drawn)
    for section in ("proposed", "rankings", "policies", "audit"):
        assert f'<section id="{section}">' in page
        assert f'href="#{section}"' in page
        assert f'<section id="{section}">' not in render_report(FULL, thumbnail=drawn)
    assert "at most <b>7 overlapping landmarks</b> are left" in page
    assert "best scores, judged whole" in page
    assert "<b>paper</b>, applied here" in page
    assert 'class="match" src="data:image/jpeg' in page.split('id="rankings"')[1]
    assert "data:image/png;base64,iVBORw==" in page
