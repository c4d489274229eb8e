"""An OpenID provider on this machine: authorisation code flow with PKCE, tokens signed by a key of its own."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey


class Provider(ThreadingHTTPServer):
    """Log everybody in at once as the person of ``claims``; refuse what a client may not send.

    ``amiss`` is what the next tokens get wrong: the ``signature``, ``nonce``, ``audience``, ``issuer`` or ``time``.
    """

    daemon_threads = True

    def __init__(self, redirect_uri: str):
        super().__init__(("127.0.0.1", 0), _Endpoints)
        self.issuer = f"http://localhost:{self.server_address[1]}"  # another site than the app's 127.0.0.1
        self.redirect_uri = redirect_uri
        self.client_id, self.client_secret = "review", secrets.token_urlsafe(24)
        self.key, self.foreign_key = (RSAKey.generate_key(2048, {"kid": "one", "alg": "RS256"}) for _ in range(2))
        self.claims: dict[str, object] = {}
        self.amiss = ""
        self.asked: dict[str, dict[str, str]] = {}  # by code, what the authorisation asked
        self.refused: list[str] = []
        self.given: list[str] = []  # codes and tokens: what nobody may log
        self.paths: list[str] = []

    def authorise(self, query: dict[str, str]) -> str:
        """Return where the browser goes next: back, with a code."""
        wanted = {"client_id": self.client_id, "redirect_uri": self.redirect_uri, "response_type": "code"}
        self._hold({name: query.get(name) for name in wanted} == wanted, "client, address or kind of answer")
        self._hold({"openid", "email"} <= set(query.get("scope", "").split()), "scope")
        self._hold(query.get("code_challenge_method") == "S256" and bool(query.get("code_challenge")), "PKCE")
        self._hold(len(query.get("state", "")) > 15 and len(query.get("nonce", "")) > 15, "state or nonce")
        code = secrets.token_urlsafe(16)
        self.given.append(code)
        self.asked[code] = query
        return f"{self.redirect_uri}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str], authorisation: str) -> dict[str, object]:
        """Return tokens for a code, which is good once, for the client that can prove that it asked."""
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        self._hold(authorisation == f"Basic {basic}", "client's secret")
        asked = self.asked.pop(form.get("code", ""), None)
        self._hold(asked is not None and form.get("grant_type") == "authorization_code", "code")
        self._hold(form.get("redirect_uri") == asked["redirect_uri"], "address of the code")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        self._hold(challenge == asked["code_challenge"], "proof of the code")
        tokens = {"access_token": secrets.token_urlsafe(16), "id_token": self._sign(asked["nonce"])}
        self.given += tokens.values()
        return tokens | {"token_type": "Bearer", "expires_in": 3600}

    def _sign(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.client_id, "sub": "1", "iat": now, "exp": now + 3600, "nonce": nonce}
        wrong = {
            "nonce": {"nonce": "x" * 20},
            "audience": {"aud": "another"},
            "issuer": {"iss": "http://elsewhere.example"},
            "time": {"iat": now - 7200, "exp": now - 3600},
        }
        key = self.foreign_key if self.amiss == "signature" else self.key
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.claims | wrong.get(self.amiss, {}), key)

    def _hold(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.refused.append(what)
            raise PermissionError(what)


class _Endpoints(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self):
        path, query = urlsplit(self.path).path, _flat(urlsplit(self.path).query)
        self.server.paths.append(path)
        if path == "/.well-known/openid-configuration":
            self._say(_discovery(self.server.issuer))
        elif path == "/keys":
            self._say(KeySet([self.server.key]).as_dict(private=False))
        elif path == "/authorise":
            self._try(lambda: self._go(self.server.authorise(query)))
        elif path == "/leave":
            self._go(query["post_logout_redirect_uri"])
        else:
            self.send_error(404)

    def do_POST(self):
        form = _flat(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._try(lambda: self._say(self.server.exchange(form, self.headers.get("Authorization", ""))))

    def _try(self, act):
        try:
            act()
        except PermissionError as refusal:
            self.send_error(400, str(refusal))

    def _say(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _go(self, address):
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Stay silent."""


def _discovery(issuer: str) -> dict[str, object]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorise",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
        "end_session_endpoint": f"{issuer}/leave",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
    }


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


@contextmanager
def running(redirect_uri: str) -> Iterator[Provider]:
    """Serve a provider until the block ends."""
    with Provider(redirect_uri) as provider:
        thread = threading.Thread(target=provider.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            provider.shutdown()
            thread.join()
