"""Who gets in: the login page, signed sessions, and a guard before every request, Streamlit's own included.

A session is named in its cookie; logging out writes that name into the database, and the cookie is worth nothing from
then on. Who came by OpenID Connect has the session that belongs to the provider's word, so that it ends with it.
"""

import hashlib
import html
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overlap.review.desk import now_ms
from overlap.review.reviewers import Reviewer, check_token, find_reviewer, welcome
from review_app.room import Room, current_room

COOKIE = "overlap_session"
_SESSION_S = 12 * 3600
_TICKET_S = 60
_OPEN = ("/login", "/session", "/enter", "/_stcore/health")
_SHELL = ("/static/", "/favicon.png")
_OIDC = ("/", "/auth/login", "/auth/logout", "/oauth2callback", "/_stcore/stream", "/_stcore/host-config")
_LONGEST_TOKEN = 4096
_MOST_BYTES = 1 << 20
_READING = ("GET", "HEAD", "OPTIONS")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)


@dataclass
class Throttle:
    """Make a client that sends wrong tokens wait: twice as long after each, a minute at most."""

    first_s: float = 0.5
    most_s: float = 60.0
    wrong: dict[str, tuple[int, float]] = field(default_factory=dict)

    def wait_s(self, client: str) -> float:
        """Return how long the client has to wait before its next try is looked at."""
        return max(self.wrong.get(client, (0, 0.0))[1] - time.monotonic(), 0.0)

    def note(self, client: str, *, right: bool) -> None:
        """Take note of a try."""
        if right:
            self.wrong.pop(client, None)
            return
        n_wrong = self.wrong.get(client, (0, 0.0))[0] + 1
        if len(self.wrong) > 10_000:
            self.wrong.clear()
        self.wrong[client] = (n_wrong, time.monotonic() + min(self.first_s * 2 ** min(n_wrong - 1, 20), self.most_s))


_throttle = Throttle()
_spent: dict[str, float] = {}


def signed_in(connection: HTTPConnection) -> Reviewer | None:
    """Return who sends a request; None without a session that is whole, young enough and not revoked."""
    return read_session(current_room(), connection.cookies.get(COOKIE, ""))


def read_session(room: Room, cookie: str) -> Reviewer | None:
    """Return whose session a cookie is."""
    known = _read_cookie(room, cookie)
    return None if known is None else room.reviewer(*known)


def name_session(claims: Mapping[str, Any]) -> str:
    """Return the name of the session that belongs to a provider's word: another log-in gives another word."""
    return hashlib.sha256(json.dumps(claims, sort_keys=True, default=str).encode()).hexdigest()


def make_ticket(room: Room, reviewer: Reviewer, *, session: str = "") -> str:
    """Return the address that gives a person who came by OIDC a session, once and within a minute."""
    return "/session?ticket=" + _serializer(room, "ticket").dumps([reviewer.name, session, secrets.token_hex(8)])


class Guard:
    """Refuse what is asked without a session, before Streamlit sees it.

    Args:
        oidc: let the shell and the WebSocket through, whose script then shows nothing but the way to log in.
    """

    def __init__(self, app: ASGIApp, *, oidc: bool = False) -> None:
        self.app = app
        self.oidc = oidc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = await self._refusal(HTTPConnection(scope))
        if refusal is None:
            await self.app(scope, _within(_MOST_BYTES, receive), _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": "log in first"})
        else:
            await refusal(scope, receive, _with_headers(send))

    async def _refusal(self, connection: HTTPConnection) -> Response | None:
        path = connection.scope["path"]
        if int(connection.headers.get("content-length", 0)) > _MOST_BYTES:
            return refuse(connection, _too_large())
        if not _is_from_app(connection):
            return refuse(connection, HTTPException(403, _FOREIGN))
        if path in _OPEN or path.startswith(_SHELL) or (self.oidc and path in _OIDC):
            return None
        if await anyio.to_thread.run_sync(signed_in, connection) is not None:
            return None
        if connection.scope.get("method") == "GET" and "text/html" in connection.headers.get("accept", ""):
            return RedirectResponse("/" if self.oidc else "/login", status_code=303)
        return refuse(connection, HTTPException(401, "log in first"))


def refuse(_: HTTPConnection, error: Exception) -> Response:
    """Say in JSON why a request is refused; what breaks off half-way is refused to nobody."""
    if not isinstance(error, HTTPException):
        return Response(status_code=400)
    is_bare = error.detail == HTTPStatus(error.status_code).phrase
    words = _BARE.get(error.status_code, error.detail) if is_bare else error.detail
    return JSONResponse({"error": words}, status_code=error.status_code, headers=error.headers)


async def login_page(_: Request) -> Response:
    """Show the login page."""
    return _page("")


async def log_in(request: Request) -> Response:
    """Exchange a token for a session; wrong ones are slowed down."""
    client = request.client.host if request.client else ""
    wait_s = _throttle.wait_s(client)
    if wait_s:
        return _page(f"Wrong token before: try again in {wait_s:.0f} s.", status=429, retry_s=wait_s)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_TOKEN:
            return _page("That is no token.", status=413)
    token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
    room = current_room()
    reviewer = await anyio.to_thread.run_sync(check_token, room.desk.board.store, token)
    _throttle.note(client, right=reviewer is not None)
    if reviewer is None:
        return _page("This token is not known, or was revoked.", status=401)
    return _enter(request, room, reviewer)


async def use_ticket(request: Request) -> Response:
    """Give a session to a person who came by OIDC; a ticket is good once, and not from another site's link."""
    room, ticket = current_room(), request.query_params.get("ticket", "")
    try:
        name, session, _ = _serializer(room, "ticket").loads(ticket, max_age=_TICKET_S)
    except (BadSignature, ValueError):
        return RedirectResponse("/", status_code=303)
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin" or not _is_first(ticket):
        return RedirectResponse("/", status_code=303)
    reviewer = await anyio.to_thread.run_sync(find_reviewer, room.desk.board.store, name)
    return RedirectResponse("/", status_code=303) if reviewer is None else _enter(request, room, reviewer, session)


async def use_invitation(request: Request) -> Response:
    """Give a session to the person who started the app on this machine; the link is good once."""
    room = current_room()
    if request.method == "HEAD":  # what looks where a link leads, such as a terminal or a proxy, must not use it up
        return _page("")
    if await anyio.to_thread.run_sync(signed_in, request) is not None:
        return RedirectResponse("/", status_code=303)
    if room.invitation is None or not room.invitation.use(request.query_params.get("key", "")):
        return _page("This link was used, or is too old. Start the app again, and it prints another.", status=401)
    name = room.invitation.name
    reviewer = await anyio.to_thread.run_sync(partial(welcome, now_ms=now_ms()), room.desk.board.store, name)
    return _page(f"{name} was revoked.", status=401) if reviewer is None else _enter(request, room, reviewer)


async def log_out(request: Request) -> Response:
    """End the session for good, and the provider's where one is set up."""
    room = current_room()
    known = _read_cookie(room, request.cookies.get(COOKIE, ""))
    if known is not None:
        await anyio.to_thread.run_sync(room.end, known[-1])
    response = RedirectResponse("/auth/logout" if room.auth else "/login", status_code=303)
    response.delete_cookie(COOKIE)
    return response


def _enter(request: Request, room: Room, reviewer: Reviewer, session: str = "") -> Response:
    # With a link of another site, such as a terminal in a browser, the strict cookie goes along only from a page on.
    is_foreign = request.headers.get("sec-fetch-site") == "cross-site"
    response = HTMLResponse(_ONWARD) if is_foreign else RedirectResponse("/", status_code=303)
    whose = [reviewer.name, reviewer.token_id, session or secrets.token_hex(16)]
    cookie = _serializer(room, "session").dumps(whose)
    origins = (str(request.url), request.headers.get("origin", ""), room.auth.origin if room.auth else "")
    secure = any(origin.startswith("https:") for origin in origins)
    response.set_cookie(COOKIE, cookie, max_age=_SESSION_S, httponly=True, samesite="strict", secure=secure)
    return response


def _read_cookie(room: Room, cookie: str) -> tuple[str, str, str] | None:
    try:
        name, token_id, session = _serializer(room, "session").loads(cookie, max_age=_SESSION_S)
    except (BadSignature, ValueError, TypeError):
        return None
    return name, token_id, session


def _serializer(room: Room, salt: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(room.key, salt=salt)


def _is_first(ticket: str) -> bool:
    now = time.monotonic()
    for old in [each for each, spent_at in _spent.items() if now - spent_at > 2 * _TICKET_S]:
        del _spent[old]
    return _spent.setdefault(ticket, now) == now


def _is_from_app(connection: HTTPConnection) -> bool:
    """Tell whether a page of the app sent what writes: browsers name the page's origin, other programs none."""
    is_page = connection.scope["type"] == "websocket"
    if not is_page and connection.scope["method"] in _READING:
        return True
    origin, host, auth = connection.headers.get("origin"), connection.headers.get("host"), current_room().auth
    if origin is None:
        return not is_page and "sec-fetch-site" not in connection.headers
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower(), auth and auth.origin.lower())


def _within(most: int, receive: Receive) -> Receive:
    """Return what receives a body up to so many bytes, whatever its head says, and of a WebSocket no text."""
    n_bytes = 0

    async def receive_some() -> Message:
        nonlocal n_bytes
        message = await receive()
        if message.get("text") is not None:
            return {"type": "websocket.disconnect", "code": 1003}
        n_bytes += len(message.get("body", b""))
        if n_bytes > most:
            raise _too_large()
        return message

    return receive_some


def _too_large() -> HTTPException:
    return HTTPException(413, f"this is larger than the {_MOST_BYTES:,} bytes that the app takes")


def _with_headers(send: Send) -> Send:
    async def send_more(message):  # type: ignore[no-untyped-def]
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return send_more


def _page(message: str, *, status: int = 200, retry_s: float = 0) -> Response:
    said = f'<p role="alert">{html.escape(message)}</p>' if message else ""
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(int(retry_s) + 1)} if retry_s else {})
    other = '<p><a href="/">Log in with your organisation</a></p>' if current_room().auth else ""
    text = _LOGIN.replace("<!--said-->", said).replace("<!--other-->", other)
    return HTMLResponse(text, status_code=status, headers=headers)


_FOREIGN = (
    "this was not sent from a page of the app; if it was, the proxy before the app must pass on the header Host as "
    "browsers send it"
)
_BARE = {404: "there is nothing at this address", 405: "this address does not take such a request"}
_ONWARD = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>Landmark review</title>'
_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0; }
main { width: min(26rem, 90vw); }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; }
label { margin: 1.25rem 0 .35rem; font-weight: 600; }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .5rem; border: 1px solid #8888; }
button { margin-top: 1rem; background: #1d4ed8; color: #fff; border: 0; cursor: pointer; font-weight: 600; }
:focus-visible { outline: 3px solid #f59e0b; outline-offset: 2px; }
[role=alert] { padding: .5rem .75rem; border-radius: .5rem; background: #dc262622; border: 1px solid #dc2626; }
</style></head><body><main>
<h1>Landmark review</h1>
<p>Log in with the personal token that you were given.</p>
<!--said-->
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<button type="submit">Log in</button>
</form>
<!--other-->
</main></body></html>
"""
