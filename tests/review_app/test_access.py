"""Without a login nothing tells anything: a walk over every route, the WebSocket, and what a login gives."""

import re
import time

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from overlap.review.desk import now_ms
from overlap.review.reviewers import revoke_reviewer
from overlap.steps.review import open_reviews
from review_app.access import Throttle
from review_app.room import upright_box

APP = {"X-Overlap": "1"}
PATHS = (
    "/",
    "/vote",
    "/progress",
    "/evidence",
    "/adjudicate",
    "/releases",
    "/api/task",
    "/pictures/0123",
    "/pictures/..%2f..%2fetc%2fpasswd",
    "/pictures/../../../etc/passwd",
    "/downloads/a/b",
    "/downloads/..%2f../config.toml",
    "/media/x.jpg",
    "/app/static/x.jpg",
    "/component/x/y",
    "/_stcore/upload_file/a/b",
    "/_stcore/metrics",
    "/_stcore/host-config",
    "/_stcore/bidi-components/overlap_viewer/x.js",
    "/_stcore/script-health-check",
    "/logout",
    "/nowhere",
)


def client(server, **more):
    return httpx.Client(base_url=server.url, trust_env=False, timeout=30, **more)


def log_in(one, token):
    return one.post("/login", data={"token": token})


@pytest.fixture(scope="module")
def world(rendered, servers, tmp_path_factory):
    return servers.make_world(rendered, tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def server(world, servers):
    with servers.serving(world) as running:
        yield running


def test_without_a_login_only_the_shell_and_health_answer(world, server):
    with client(server) as nobody:
        for path in PATHS:
            reply = nobody.get(path)
            assert reply.status_code in (400, 401), path
            assert "landmark_id" not in reply.text
            page = nobody.get(path, headers={"Accept": "text/html"})
            assert page.status_code in (303, 400), path
        for path in ("/api/task", "/api/answer", "/api/skip", "/api/undo", "/api/lines", "/_stcore/upload_file/a/b"):
            assert nobody.post(path, json={}, headers=APP).status_code == 401, path
        assert nobody.get("/_stcore/health").text == "ok"
        page = nobody.get("/login").text
        scripts = re.findall(r'"(?:https?:)?//[^"]*"', page)
        assert scripts == []
        assert '<div id="root">' in nobody.get("/static/nothing.js").text  # Streamlit's empty shell
        forged = {"Cookie": "overlap_session=WyJBbm4iLCJ4Il0.aaaa.bbbb"}
        assert nobody.get("/", headers=forged).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        connect(server.url.replace("http", "ws") + "/_stcore/stream", proxy=None)
    assert refused.value.response.status_code == 403


def test_a_login_gives_own_pictures_and_no_others(world, server):
    with client(server) as ann, client(server) as bob:
        assert log_in(ann, world.tokens["Ann"]).status_code == 303
        assert log_in(bob, world.tokens["Bob"]).status_code == 303
        assert "HttpOnly" in str(ann.cookies.jar) or ann.cookies.get("overlap_session")
        task = ann.post("/api/task", json={}, headers=APP).json()["task"]
        address = task["left"][0]["src"]
        picture = ann.get(address)
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.headers["cache-control"].startswith("private")
        assert bob.get(address).status_code == 404
        for wrong in ("/pictures/..%2f..%2fconfig.toml", "/pictures/0", address[:-1], "/downloads/..%2f/config.toml"):
            assert ann.get(wrong).status_code in (400, 404), wrong
        assert ann.post("/api/task", json={}).status_code == 403  # as another site's form would send it
        shown = str(task)
        for hidden in ("landmark_id", "query_id", "oxsynth", "parsynth", "score"):
            assert hidden not in shown
        for name in open_reviews(world.loaded).read_items()["query_id"].drop_null().to_pylist():
            assert name not in shown


def test_answers_are_checked_by_the_server(world, server):
    with client(server) as ann:
        log_in(ann, world.tokens["Ann"])
        task = ann.post("/api/task", json={}, headers=APP).json()["task"]
        answers = dict.fromkeys(task["items"], "different")
        vote = {"group": task["group"], "lease": task["lease"], "seq": 1, "answers": answers, "seconds": "nan"}
        assert ann.post("/api/answer", json=vote | {"lease": "x"}, headers=APP).status_code == 409
        assert ann.post("/api/answer", json={"group": 3}, headers=APP).status_code == 400
        assert ann.post("/api/answer", content=b"[1]", headers=APP).status_code == 400
        assert ann.post("/api/answer", content=b"{", headers=APP).status_code == 400
        said = ann.post("/api/answer", json=vote | {"note": "<img src=x>", "seconds": 3}, headers=APP).json()
        assert said["saved"] == len(task["items"])
        assert ann.post("/api/answer", json=vote | {"seconds": 3}, headers=APP).json()["saved"] == 0
        assert ann.post("/api/lines", json={"item": "nothing"}, headers=APP).status_code == 400
    votes = open_reviews(world.loaded).read_votes()
    assert votes.num_rows == len(task["items"])
    assert set(votes["note"].to_pylist()) == {"<img src=x>"}


def test_wrong_tokens_are_slowed_down_and_revoked_ones_end_their_sessions(world, server):
    with client(server) as eve, client(server) as bob:
        assert log_in(bob, world.tokens["Bob"]).status_code == 303
        codes = [log_in(eve, "x.y").status_code for _ in range(4)]
        assert codes[0] == 401
        assert 429 in codes
        assert eve.post("/login", data={"token": "x"}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert eve.post("/login", content=b"a" * 10_000).status_code in (413, 429)
        revoke_reviewer(open_reviews(world.loaded), "Bob", now_ms=now_ms())
        time.sleep(2.1)
        assert bob.post("/api/task", json={}, headers=APP).status_code == 401
        assert bob.get("/session?ticket=forged").status_code == 303


def test_every_wrong_token_doubles_the_wait():
    throttle = Throttle(first_s=10, most_s=35)
    for least in (9, 19, 34):
        throttle.note("eve", right=False)
        assert least < throttle.wait_s("eve") <= 35
    assert throttle.wait_s("ann") == 0
    throttle.note("eve", right=True)
    assert throttle.wait_s("eve") == 0


def test_boxes_turn_with_their_picture():
    box = [10, 20, 30, 60]
    assert upright_box(box, width=100, height=200, orientation=1) == pytest.approx([0.1, 0.1, 0.3, 0.3])
    assert upright_box(box, width=100, height=200, orientation=3) == pytest.approx([0.7, 0.7, 0.9, 0.9])
    # Turned by a quarter clockwise: what was at the bottom left is at the top left.
    assert upright_box(box, width=100, height=200, orientation=6) == pytest.approx([0.7, 0.1, 0.9, 0.3])
