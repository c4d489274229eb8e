"""Three reviewers in three browsers go through the whole queue by keyboard, over a killed server, to the right list."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc

from overlap.pipeline.desk import open_desk
from overlap.pipeline.publish import release_folder
from overlap.pipeline.review import open_reviews
from overlap.review.summary import summarise

KEY = {True: "1", False: "4"}
PAGES = ("guidelines", "progress", "evidence", "adjudicate", "releases")


class Reviewer:
    """One person: a browser context, and what the app acknowledged."""

    def __init__(self, chromium, url, name, token, truth):
        self.context = chromium.new_context(viewport={"width": 1366, "height": 768})
        self.page = self.context.new_page()
        self.foreign, self.errors = [], []
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.name, self.truth, self.url = name, truth, url
        self.acknowledged = []
        self.page.goto(url)
        self.page.fill("#token", token)
        self.page.press("#token", "Enter")
        self.wait_for_task("")

    def _note(self, url):
        if not url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(url)

    def read(self, name):
        return self.page.get_attribute(".viewer", f"data-{name}") or ""

    def wait_for_task(self, before):
        """Wait until another group's pictures are there, or nothing waits."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            viewer = self.page.locator(".viewer")
            if viewer.count():
                group, kind, ready = (viewer.get_attribute(f"data-{name}") for name in ("group", "kind", "ready"))
                if (kind == "done" or (ready and group != before)) and kind:
                    return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"{self.name} waited in vain: {self.page.inner_text('.said')}")

    def answers(self, items):
        """Return what is true of each item shown."""
        out = []
        for item in self.read("items").split():
            row = items[item]
            asked = (row["evaluation_set"], row["query_id"] or "", row["image_id"] or "", row["landmark_id"])
            out.append(row.get("confirms", asked in self.truth))
        return out

    def press(self, items):
        """Answer by keys: the odd ones out are set apart."""
        answers = self.answers(items)
        most = sum(answers) * 2 >= len(answers)
        for place, answer in enumerate(answers):
            if answer != most:
                while int(self.read("place") or 0) != place:
                    self.page.keyboard.press("ArrowRight")
                self.page.keyboard.press("x")
                self.page.keyboard.press(KEY[answer])
        shown = (self.read("group"), dict(zip(self.read("items").split(), answers, strict=True)))
        self.page.keyboard.press(KEY[most])
        return shown


def known_items(store):
    gold, confirms = store.read_gold()
    items = {row["item_id"]: row for row in store.read_items().to_pylist()}
    return items | {row["item_id"]: row | {"confirms": confirms[row["item_id"]]} for row in gold.to_pylist()}


def test_three_reviewers_and_a_killed_server_lead_to_the_expected_list(world, chromium, servers):
    with servers.serving(world) as server:
        store = open_reviews(world.loaded)
        people = [Reviewer(chromium, server.url, name, token, world.truth) for name, token in world.tokens.items()]
        items = known_items(store)
        rounds = 0
        while working := [each for each in people if each.read("kind") != "done"]:
            shown = [(each, *each.press(items)) for each in working]
            if rounds == 2:  # with answers on their way
                server.process.kill()
                server.process.wait()
                server = servers.start(world)
            for each, group, said in shown:
                each.wait_for_task(group)
                each.acknowledged.append((group, said))
            rounds += 1
            assert rounds < 120
        assert rounds > 4
        assert [each.errors + each.foreign for each in people] == [[], [], []]
        check_votes(store, people)
        publish(world)
        take_screenshots(people[0])
        check_download(people[0])
        check_another_tab(people[0], world)
    assert removed(world) == expected(world)
    summary = summarise(open_desk(world.loaded).board, confirms=store.read_gold()[1])
    assert summary.n_answers < summary.n_full / 2
    shares = [
        each for figures in summary.gold.values() for each in (figures.sensitivity, figures.specificity) if each.n
    ]
    assert shares
    assert all(each.value == 1 for each in shares)


def check_votes(store, people):
    n_votes, _, breaks = store.audit()
    assert breaks == []
    votes = store.read_votes()
    assert n_votes == len(votes)
    assert pc.all(pc.is_null(votes["supersedes"])).as_py()  # nothing was counted twice
    there = {
        (row["reviewer"], row["item_id"]): row["answer"] in ("same", "same_other_side") for row in votes.to_pylist()
    }
    assert len(there) == len(votes)
    for each in people:
        assert each.acknowledged
        for _, said in each.acknowledged:
            assert {item: there[each.name, item] for item in said} == said


def publish(world):
    """Run `overlap publish`."""
    words = [sys.executable, "-m", "overlap", "publish", "--config", str(world.config)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def removed(world):
    with (release_folder(world.loaded) / "removals.csv").open() as file:
        return sorted(int(row["landmark_id"]) for row in csv.DictReader(file))


def check_download(person):
    """The release page offers the file, and its bytes are those on disk."""
    person.page.goto(f"{person.url}/releases")
    link = person.page.locator("a[href$='train_clean.csv']")
    link.wait_for(timeout=30_000)
    with person.page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_bytes().startswith(b"landmark_id,images")


def check_another_tab(lead, world):
    """A page that was open when its reader logged out elsewhere changes nothing and shows nothing any more."""
    lead.page.goto(f"{lead.url}/adjudicate")
    button = lead.page.get_by_role("button", name="Second look").first
    button.wait_for(timeout=30_000)
    assert lead.context.request.get(f"{lead.url}/logout").ok
    button.click()
    lead.page.get_by_text("Log in with a personal token").wait_for(timeout=30_000)
    assert lead.page.get_by_role("button", name="Second look").count() == 0
    assert open_desk(world.loaded).board.looks == {}


def expected(world):
    with (world.loaded.train.root / "truth" / "expected_paper.csv").open() as file:
        return sorted(int(row["landmark_id"]) for row in csv.DictReader(file))


def take_screenshots(person):
    """Show every page, without an error on any; kept where OVERLAP_SCREENSHOTS says."""
    folder = os.environ.get("OVERLAP_SCREENSHOTS")
    for name in PAGES:
        person.page.goto(f"{person.url}/{name}")
        person.page.wait_for_selector("h1", timeout=30_000)
        person.page.wait_for_timeout(2000 if folder else 300)
        assert person.page.locator("[data-testid=stException]").count() == 0
        assert "wrong" not in person.page.inner_text("h1").lower()
        for scheme in ("light", "dark") if folder else ():
            person.page.emulate_media(color_scheme=scheme)
            person.page.wait_for_timeout(1000)
            person.page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")


def test_keys_note_skip_undo_zoom_and_a_page_that_fits_a_laptop(world, chromium, servers):
    with servers.serving(world) as server:
        store = open_reviews(world.loaded)
        person = Reviewer(chromium, server.url, "Bob", world.tokens["Bob"], world.truth)
        page, first = person.page, person.read("group")
        page.keyboard.press("n")
        page.keyboard.type("4 windows, not <b>5</b>")
        page.keyboard.press("Enter")
        assert len(store.read_votes()) == 0
        page.keyboard.press("5")
        person.wait_for_task(first)
        assert set(store.read_votes()["note"].to_pylist()) == {"4 windows, not <b>5</b>"}
        assert "it was" in page.inner_text(".said")  # the names show only now
        second = person.read("group")
        page.keyboard.press("k")
        person.wait_for_task(second)
        third = person.read("group")
        page.keyboard.press("u")
        person.wait_for_task(third)
        assert person.read("group") == first
        assert store.counting_votes().num_rows == 0
        assert "withdrawn" in store.read_votes()["answer"].to_pylist()
        page.keyboard.press("?")
        assert page.locator(".help").is_visible()
        page.keyboard.press("5")  # as somebody does who reads what 5 means
        assert store.counting_votes().num_rows == 0
        page.keyboard.press("Escape")
        assert not page.locator(".help").is_visible()
        before = page.locator(".moved").first.get_attribute("style")
        page.keyboard.press("+")
        moved = [page.locator(".moved").nth(side).get_attribute("style") for side in (0, 1)]
        assert moved[0] != before
        assert all("scale(1.3)" in style for style in moved)
        assert all(image.get_attribute("alt") for image in page.locator("img").all())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== document.body")
        set_every_photo_apart(person, store)
        for scheme in ("light", "dark"):
            check_layout(person, scheme)


def set_every_photo_apart(person, store):
    """Each photo of a group gets an answer of its own; the last one settles the group."""
    while len(person.read("items").split()) < 2:
        before = person.read("group")
        person.page.keyboard.press("k")
        person.wait_for_task(before)
    group, items = person.read("group"), person.read("items").split()
    person.page.keyboard.press("x")
    person.page.keyboard.press("x")  # taken back
    wanted = {item: ("different", "unsure")[number % 2] for number, item in enumerate(items)}
    for item in items:
        person.page.keyboard.press("x")
        person.page.keyboard.press({"different": "4", "unsure": "5"}[wanted[item]])
    person.wait_for_task(group)
    said = {row["item_id"]: row["answer"] for row in store.counting_votes().to_pylist()}
    assert {item: said.get(item) for item in items} == wanted


def check_layout(person, scheme):
    """Nothing overflows a laptop's screen, a strip of several photos included."""
    page = person.page
    page.emulate_media(color_scheme=scheme)
    while person.read("kind") == "text" or len(person.read("items").split()) < 2:
        before = person.read("group")
        page.keyboard.press("k")
        person.wait_for_task(before)
    sizes = page.evaluate(
        "[document.documentElement.scrollWidth, innerWidth, document.documentElement.scrollHeight, innerHeight]"
    )
    assert sizes[0] <= sizes[1]
    assert sizes[2] <= sizes[3]
    last = page.locator(".said").bounding_box()
    assert last["y"] + last["height"] <= 768
    if folder := os.environ.get("OVERLAP_SCREENSHOTS"):
        page.keyboard.press("0")
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder) / f"vote-{scheme}.png")


def test_what_closure_proposed_and_the_audit_drew_is_shown_and_answered(grown, chromium, servers):
    store = open_reviews(grown.loaded)
    late = {row["item_id"]: row["origin"] for row in store.read_items().to_pylist() if row["origin"] in WORDS}
    assert set(late.values()) == set(WORDS)
    with servers.serving(grown) as server:
        person = Reviewer(chromium, server.url, "Bob", grown.tokens["Bob"], grown.truth)
        page, met = person.page, {}
        while person.read("kind") != "done":
            group, items = person.read("group"), person.read("items").split()
            if (origin := late.get(items[0])) and origin not in met:
                met[origin] = items[0]
                check_landmark_page(person, origin)
            page.keyboard.press("4")
            person.wait_for_task(group)
        assert set(met) == set(WORDS)
        assert person.errors + person.foreign == []
    said = {row["item_id"]: row["answer"] for row in store.counting_votes().to_pylist() if row["reviewer"] == "Bob"}
    assert {said[each] for each in met.values()} == {"different"}


WORDS = {"closure": "Confirmed landmark", "audit": "Evaluation query"}


def check_landmark_page(person, origin):
    """The landmark's photos are on the left; on the right what it may be: confirmed kin first, then the queries."""
    page = person.page
    assert person.read("kind") == "text"
    assert page.inner_text(".top .ask") == "Is this landmark one of the evaluation set's?"
    assert page.locator(".tag").nth(0).inner_text().startswith("Landmark")
    assert page.locator(".tag").nth(1).inner_text().startswith(WORDS[origin])
    assert page.evaluate("[...document.querySelectorAll('.frame img')].every((image) => image.naturalWidth > 0)")
    assert not {"closure", "audit"} & set(page.inner_text(".viewer").lower().split())  # which would bias
    before = page.locator(".frame img").nth(1).get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert page.locator(".frame img").nth(1).get_attribute("src") != before
    page.keyboard.press("ArrowLeft")
    if folder := os.environ.get("OVERLAP_SCREENSHOTS"):
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(folder) / f"vote-{origin}.png")
