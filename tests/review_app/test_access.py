"""Without a login nothing tells anything: a walk over every route, the WebSocket, and what a login gives."""

import getpass
import json
import random
import re
import socket
import time
from contextlib import suppress

import httpx
import pytest
from itsdangerous import URLSafeTimedSerializer
from mutate import mutations
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from overlap.pipeline.review import open_reviews
from overlap.review.desk import now_ms
from overlap.review.reviewers import has_ended, list_reviewers, revoke_reviewer, session_key
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


def enter(one, world, name):
    """Log in and return the headers that a page of the app sends."""
    assert log_in(one, world.tokens[name]).status_code == 303
    return APP


NOBODY_S = "0" * 32  # the id of no group and no item
VOTE = {"group": NOBODY_S, "lease": "x", "seq": 1, "answers": {NOBODY_S: "same"}}
DEEP = b"[" * 10_000 + b"]" * 10_000
NO_JSON = (b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b'{"group": "\xff"}', b'{"group": "\\ud800"}', DEEP)
SHAPES = (None, [], {}, "x" * 201, "a\0b", 3, 1.5, True)
WRONG = {
    "task": [{"group": 3}, {"group": {}}, {"nothing": 1}],
    "answer": [
        {},
        *({name: value for name, value in VOTE.items() if name != missing} for missing in VOTE),
        *(VOTE | {"group": each} for each in SHAPES),
        *(VOTE | {"lease": each} for each in (None, [], "x" * 201)),
        *(VOTE | {"seq": each} for each in (None, "1", [1], True, 0, -1, 1.5, 2**31, 2**70)),
        *(VOTE | {"answers": each} for each in (*SHAPES, ["same"], [[NOBODY_S, "same"]])),
        *(VOTE | {"answers": {NOBODY_S: each}} for each in (None, [], {}, 1, True, "maybe", "withdrawn")),
        *(VOTE | {"answers": {each: "same"}} for each in ("x" * 201, "a\0b")),
        *(VOTE | {"seconds": each} for each in ("x", [], {}, [1])),
        *(VOTE | {"note": each} for each in ([], {}, 3, True, "x" * 2001, "a\0b")),
        VOTE | {"more": 1},
    ],
    "skip": [{}, {"group": None}, {"group": ["a"]}, {"group": "x" * 201}],
    "undo": [{"group": []}, {"group": "a\0b"}, {"answers": {}}],
    "lines": [{}, {"item": "nothing"}, {"item": None}, {"item": [NOBODY_S]}],
}


def check_refused(reply, *codes):
    """The reply refuses in one sentence, and shows nothing of the program."""
    assert reply.status_code in codes, (reply.status_code, reply.text)
    words = reply.json()["error"]
    assert 10 < len(words) < 400
    assert not any(inner in words for inner in ("Traceback", ".py", "pydantic", "Error"))


def test_a_body_of_another_shape_is_refused_in_words(world, server):
    with client(server) as cyd:
        headers = enter(cyd, world, "Cyd")
        for name, bodies in WRONG.items():
            for body in bodies:
                check_refused(cyd.post(f"/api/{name}", json=body, headers=headers), 400)
            form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
            check_refused(cyd.post(f"/api/{name}", content=b"{}", headers=form), 415)
        for body in NO_JSON:
            check_refused(cyd.post("/api/task", content=body, headers=headers), 400)
        nan = json.dumps(VOTE | {"seconds": float("nan")})
        check_refused(cyd.post("/api/answer", content=nan, headers=headers), 400, 404, 409)
    assert not [row for row in open_reviews(world.loaded).read_votes().to_pylist() if row["reviewer"] == "Cyd"]
    assert "Traceback" not in world.config.with_suffix(".log").read_text()


def test_what_does_not_exist_is_not_found(world, server):
    with client(server) as cyd:
        headers = enter(cyd, world, "Cyd")
        for name, body in {
            "task": {"group": NOBODY_S},
            "skip": {"group": NOBODY_S},
            "undo": {"group": "nothing"},
            "lines": {"item": NOBODY_S},
            "answer": VOTE,
            "nothing": {},
        }.items():
            check_refused(cyd.post(f"/api/{name}", json=body, headers=headers), 404)
        task = cyd.post("/api/task", json={}, headers=headers).json()["task"]
        vote = VOTE | {"group": task["group"], "lease": task["lease"]}
        check_refused(cyd.post("/api/answer", json=vote, headers=headers), 404)  # of no item
        vote["answers"] = dict.fromkeys(task["items"], "same")
        check_refused(cyd.post("/api/answer", json=vote | {"lease": "another"}, headers=headers), 409)
        for method in ("GET", "PUT", "DELETE", "PATCH", "BREW"):
            check_refused(cyd.request(method, "/api/skip", headers=headers), 405)
        assert cyd.post("/api/undo", json={"group": ""}, headers=headers).json()["undone"] is False


@pytest.mark.parametrize("n", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_no_damaged_request_breaks_the_server(world, server, n):
    with client(server) as cyd:
        headers = enter(cyd, world, "Cyd")
        task = cyd.post("/api/task", json={}, headers=headers).json()["task"]
        answers = dict.fromkeys(task["items"], "different")
        showing = {"group": task["group"], "lease": task["lease"], "seq": 1}
        vote = showing | {"answers": answers, "seconds": 2.5, "note": "ü"}
        rng = random.Random(5)
        for body in mutations(json.dumps(vote).encode(), n=n, seed=3):
            name = rng.choice(sorted(WRONG))
            reply = cyd.post(f"/api/{name}", content=body, headers=headers)
            assert reply.elapsed.total_seconds() < 2
            assert reply.status_code in (200, 400, 404, 409), (reply.status_code, name, body)
            if reply.status_code == 200:
                json.loads(body.decode())
    assert "Traceback" not in world.config.with_suffix(".log").read_text()


LARGE = 30_000_000


def test_a_large_body_is_refused_before_it_is_read(world, server):
    with client(server) as cyd, client(server) as nobody:
        headers = enter(cyd, world, "Cyd")
        for path in ("/api/task", "/api/nothing", "/nowhere", "/_stcore/upload_file/a/b", "/login"):
            check_refused(cyd.post(path, content=b" " * LARGE, headers=headers), 413)
        check_refused(nobody.post("/login", content=b" " * LARGE), 413)
        for path in ("/api/answer", "/login"):
            assert cyd.post(path, content=(b" " * 50_000 for _ in range(600)), headers=headers).status_code == 413
        assert cyd.post("/api/task", json={}, headers=headers).status_code == 200
    for head, body in (
        (f"Content-Length: {LARGE}", b""),  # the head is enough
        ("Transfer-Encoding: chunked", b"8000\r\n" + b" " * 0x8000 + b"\r\n"),  # and so is the first part
    ):
        with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=10) as one:
            one.sendall(f"POST /login HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
            assert one.recv(100).startswith(b"HTTP/1.1 413")


@pytest.fixture(scope="module")
def cookie(world, server):
    """Return the header of a session of Ann."""
    with client(server) as ann:
        enter(ann, world, "Ann")
        return {"Cookie": f"overlap_session={ann.cookies['overlap_session']}"}


def stream(server, cookie, **more):
    """Open the WebSocket as a page of the app does."""
    address = f"{server.url.replace('http', 'ws')}/_stcore/stream"
    return connect(address, proxy=None, additional_headers=cookie | more)


@pytest.mark.parametrize("message", [b"\0" * LARGE, "text"], ids=["large", "text"])
def test_a_message_that_no_page_sends_closes_the_websocket(world, server, cookie, message):
    with stream(server, cookie, Origin=server.url) as page:
        with suppress(ConnectionClosed):
            page.send(message)
        with pytest.raises(ConnectionClosed):
            page.recv(timeout=10)
    assert "Traceback" not in world.config.with_suffix(".log").read_text()


def test_only_pages_of_the_app_may_write(world, server, cookie):
    port = server.url.rsplit(":", 1)[1]
    foreign = ("http://evil.example", "null", "http://127.0.0.1", f"http://127.0.0.1.evil:{port}", "http://[", "")
    with client(server) as cyd:
        headers = enter(cyd, world, "Cyd")
        for origin in foreign:
            for path in ("/api/task", "/login", "/logout", "/_stcore/upload_file/a/b"):
                check_refused(cyd.post(path, json={}, headers={**headers, "Origin": origin}), 403)
            with pytest.raises(InvalidStatus):
                stream(server, cookie, Origin=origin)
        for site in ("cross-site", "same-site", "same-origin"):  # a browser says the origin with it
            check_refused(cyd.post("/api/task", json={}, headers={**headers, "Sec-Fetch-Site": site}), 403)
        mine = {**headers, "Origin": server.url, "Sec-Fetch-Site": "same-origin"}
        assert cyd.post("/api/task", json={}, headers=mine).status_code == 200
        through_tls = {"Origin": server.url.replace("http:", "https:")}
        for origin, word in ((through_tls, True), ({"Origin": server.url}, False)):
            entered = cyd.post("/login", data={"token": world.tokens["Cyd"]}, headers=origin)
            assert ("Secure" in entered.headers["set-cookie"]) == word
    with pytest.raises(InvalidStatus):
        stream(server, cookie)
    with stream(server, cookie, Origin=server.url):
        pass


def test_logging_out_ends_the_session_on_the_server_and_no_other(world, server):
    with client(server) as cyd, client(server) as thief, client(server) as elsewhere:
        headers = enter(cyd, world, "Cyd")
        enter(elsewhere, world, "Cyd")
        thief.cookies.update(cyd.cookies)
        assert thief.post("/api/task", json={}, headers=headers).status_code == 200
        assert cyd.get("/logout").status_code == 303
        assert thief.post("/api/task", json={}, headers=headers).status_code == 401
        assert thief.get("/releases", headers={"Accept": "text/html"}).headers["location"] == "/login"
        assert elsewhere.post("/api/task", json={}, headers=headers).status_code == 200
    store = open_reviews(world.loaded)
    assert has_ended(store, session_of(store, thief.cookies["overlap_session"]))  # a new server knows it too


def session_of(store, cookie):
    return URLSafeTimedSerializer(session_key(store).encode(), salt="session").loads(cookie)[-1]


def test_who_started_the_app_gets_in_by_the_printed_link_once(world, server):
    printed = world.config.with_suffix(".log").read_text().strip().splitlines()
    link = printed[-1].strip()  # last, where it is seen
    assert link.startswith(f"{server.url}/enter?key=")
    assert getpass.getuser() in printed[-2]
    with client(server) as one, client(server) as late, client(server) as eve:
        assert eve.get("/enter?key=x").status_code == 401
        assert eve.get("/enter").status_code == 401
        assert eve.head(link).status_code == 200  # a program that looks where the link leads does not use it up
        assert not eve.cookies
        page = one.get(link, headers={"Sec-Fetch-Site": "cross-site"})  # a terminal in a browser
        assert page.status_code == 200
        assert 'http-equiv="refresh"' in page.text
        assert one.post("/api/task", json={}, headers=APP).json()["task"]["items"]
        assert one.get(link).headers["location"] == "/"
        refused = late.get(link)
        assert refused.status_code == 401
        assert "This link was used, or is too old." in refused.text
        assert late.post("/api/task", json={}, headers=APP).status_code == 401
    assert list_reviewers(open_reviews(world.loaded))["name"].to_pylist() == sorted([*world.tokens, getpass.getuser()])


def test_half_a_request_is_no_error(world, server):
    host, port = server.url.removeprefix("http://").split(":")
    with client(server) as cyd:
        enter(cyd, world, "Cyd")
        cookie = cyd.cookies["overlap_session"]
        with socket.create_connection((host, int(port))) as half:
            half.sendall(
                f"POST /api/skip HTTP/1.1\r\nHost: {host}:{port}\r\nX-Overlap: 1\r\n"
                f"Cookie: overlap_session={cookie}\r\nContent-Length: 50\r\n\r\n{{".encode()
            )
        assert cyd.get("/_stcore/health").status_code == 200
    assert "Traceback" not in world.config.with_suffix(".log").read_text()


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


def test_who_says_to_come_from_elsewhere_waits_all_the_same(world, server):
    with client(server) as eve:
        codes = [
            eve.post("/login", data={"token": "x.y"}, headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
            for n in range(4)
        ]
        assert 429 in codes
        for token in ("\0.y", "x" * 3000, "ü.é", ".", ""):
            assert eve.post("/login", data={"token": token}).status_code in (401, 429)
    assert "Traceback" not in world.config.with_suffix(".log").read_text()


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
