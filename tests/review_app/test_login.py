"""Log-in by OpenID Connect, against a provider that checks what it is asked, in a browser."""

import secrets
import time
from types import SimpleNamespace

import httpx
import openid
import pytest

from overlap.base.errors import ConfigError, ReviewError
from overlap.pipeline.review import open_reviews
from overlap.review.desk import now_ms
from overlap.review.reviewers import add_reviewer, find_by_email, revoke_reviewer, session_key
from overlap.review.store import open_store
from review_app.access import make_ticket
from review_app.oidc import check_auth, check_closed, check_toml, email_of, is_over

ANN = {"email": "Ann@Example.org", "email_verified": True, "name": "Ann"}


@pytest.fixture(scope="module")
def app(rendered, servers, tmp_path_factory):
    """Return the app where a provider is set up, and the provider; two reviewers are registered by e-mail."""
    folder = tmp_path_factory.mktemp("organisation")
    world = servers.make_world(rendered, folder)
    store = open_reviews(world.loaded)
    for name in ("ann@example.org", "gone@example.org"):
        add_reviewer(store, name, role="reviewer", now_ms=now_ms())
    revoke_reviewer(store, "gone@example.org", now_ms=now_ms())
    with openid.running(f"http://127.0.0.1:{world.loaded.review.port}/oauth2callback") as provider:
        secret = secrets.token_hex(32)
        write_secrets(folder, provider, cookie_secret=secret)
        with servers.serving(world, folder=folder) as server:
            yield SimpleNamespace(
                provider=provider,
                url=server.url,
                cookie_secret=secret,
                store=store,
                log=world.config.with_suffix(".log"),
            )


@pytest.fixture
def organisation(app):
    """Return the app with a provider that has refused nothing yet."""
    app.provider.refused.clear()
    app.provider.amiss = ""
    return app


def write_secrets(folder, provider, *, cookie_secret, mode=0o600):
    path = folder / ".streamlit" / "secrets.toml"
    path.parent.mkdir()
    path.write_text(
        f'[auth]\nredirect_uri = "{provider.redirect_uri}"\ncookie_secret = "{cookie_secret}"\n'
        f'client_id = "{provider.client_id}"\nclient_secret = "{provider.client_secret}"\n'
        f'server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"\n'
    )
    path.chmod(mode)


def log_in(page, url):
    page.goto(url)
    page.get_by_role("button", name="Log in with your organisation").click()


def test_who_is_registered_by_email_gets_in_and_votes_once(organisation, chromium):
    provider, store = organisation.provider, organisation.store
    provider.claims = dict(ANN)
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, organisation.url)
    page.locator(".viewer[data-ready]:not([data-ready=''])").wait_for(timeout=30_000)
    group, asked = (page.locator(".viewer").get_attribute(f"data-{name}") for name in ("group", "items"))
    page.keyboard.press("4")
    page.locator(f".viewer:not([data-group='{group}'])").wait_for(timeout=30_000)
    votes = store.read_votes()
    assert set(votes["reviewer"].to_pylist()) == {"ann@example.org"}
    assert sorted(votes["item_id"].to_pylist()) == sorted(asked.split())
    assert provider.refused == []
    kept = context.cookies()
    page.goto(f"{organisation.url}/logout")
    page.get_by_role("button", name="Log in with your organisation").wait_for(timeout=30_000)
    assert "/leave" in provider.paths
    for cookies in ([], kept):  # neither the app's own cookie nor the provider's word lets anybody in again
        context.add_cookies(cookies)
        assert context.request.post(f"{organisation.url}/api/task", headers={"X-Overlap": "1"}).status == 401
        page.goto(organisation.url)
        page.get_by_role("button", name="Log in with your organisation").wait_for(timeout=30_000)
    check_logs(organisation)


def test_who_is_not_known_or_not_verified_is_told_so_and_sees_nothing(organisation, chromium):
    page = chromium.new_context().new_page()
    for claims, words in (
        (ANN | {"email": "eve@example.org"}, "eve@example.org is not among the reviewers"),
        (ANN | {"email": "gone@example.org"}, "gone@example.org is not among the reviewers"),
        (ANN | {"email_verified": False}, "has not verified that Ann@Example.org is your e-mail address"),
        ({"email": "Bob", "email_verified": True}, "did not tell your e-mail address"),
    ):
        organisation.provider.claims = claims
        check_refused(page, organisation, words)
        page.context.clear_cookies()
    assert organisation.provider.refused == []
    assert set(organisation.store.read_votes()["reviewer"].to_pylist()) <= {"ann@example.org"}
    check_logs(organisation)


def check_refused(page, organisation, words):
    """The page says why, and shows nothing else of the app."""
    log_in(page, organisation.url)
    page.get_by_text(words).wait_for(timeout=30_000)
    assert page.locator(".viewer, [data-testid=stTopNavLink]").count() == 0
    assert "overlap_session" not in {cookie["name"] for cookie in page.context.cookies()}
    assert page.context.request.get(f"{organisation.url}/releases", max_redirects=0).status in (303, 401)


def check_logs(organisation):
    """What the server wrote names no secret, code or token."""
    log = organisation.log.read_text(encoding="utf-8")
    provider = organisation.provider
    assert provider.given
    for secret in (provider.client_secret, organisation.cookie_secret, "ticket=", "key=", *provider.given):
        assert secret not in log


def test_nobody_gets_in_by_a_token_a_code_or_a_ticket_that_is_not_theirs(organisation):
    provider = organisation.provider
    provider.claims = dict(ANN)
    for amiss in ("signature", "nonce", "audience", "issuer", "time"):
        provider.amiss = amiss
        assert not come_back(organisation, lambda address: address), amiss
    provider.amiss = ""
    assert not come_back(organisation, lambda address: address.replace("state=", "state=x"))
    assert not come_back(organisation, lambda address: address.replace("code=", "code=x"))
    assert provider.refused == ["code"]
    assert come_back(organisation, lambda address: address)
    check_tickets(organisation)
    check_logs(organisation)


def come_back(organisation, change):
    """Go to the provider and back, and tell whether the app believes the person."""
    from joserfc import jwt
    from joserfc.jwk import OctKey

    key = OctKey.import_key(organisation.cookie_secret)
    asked = jwt.encode({"alg": "HS256"}, {"provider": "default", "exp": int(time.time()) + 60}, key)
    with httpx.Client(trust_env=False, timeout=30) as one:
        leaving = one.get(f"{organisation.url}/auth/login", params={"provider": asked})
        coming = one.get(leaving.headers["location"])
        done = one.get(change(coming.headers["location"]))
        assert (done.status_code, done.headers["location"]) == (302, "/")
        return "_streamlit_user" in one.cookies


def check_tickets(organisation):
    """A ticket is good once, and from the app's own page."""
    room = SimpleNamespace(key=session_key(organisation.store).encode())
    first, second, foreign, gone = (
        make_ticket(room, SimpleNamespace(name=name)) for name in (*("ann@example.org",) * 3, "nobody")
    )

    def enters(ticket, **headers):
        with httpx.Client(base_url=organisation.url, trust_env=False, timeout=30) as one:
            assert one.get(ticket, headers=headers).status_code == 303
            return "overlap_session" in one.cookies

    assert enters(first)
    assert not enters(first)
    assert not enters(foreign, **{"Sec-Fetch-Site": "cross-site"})
    assert enters(second, **{"Sec-Fetch-Site": "same-origin"})
    assert not enters(gone)


SECTION = {
    "redirect_uri": "https://review.example.org/oauth2callback",
    "cookie_secret": "x" * 32,
    "client_id": "a",
    "client_secret": "hidden",
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}
NAMED = {key: SECTION[key] for key in ("client_id", "client_secret", "server_metadata_url")}


def test_one_provider_without_a_name_or_several_with_names():
    assert dict(check_auth(SECTION).providers) == {"your organisation": None}
    assert check_auth(SECTION).origin == "https://review.example.org"
    shared = {key: SECTION[key] for key in ("redirect_uri", "cookie_secret")}
    named = {"okta": NAMED, "google": NAMED | {"client_kwargs": {"prompt": "login"}}}
    assert dict(check_auth(shared | named).providers) == {"Okta": "okta", "Google": "google"}
    assert dict(check_auth(SECTION | named).providers)["your organisation"] is None
    assert dict(check_auth(SECTION | {"client_kwargs": {"prompt": "login"}}).providers) == {"your organisation": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redirect_uri": ""}, "redirect_uri must be the app's address as browsers write it"),
        ({"redirect_uri": "https://review.example.org/"}, "with the path /oauth2callback"),
        ({"redirect_uri": "http://review.example.org/oauth2callback"}, "redirect_uri must begin with https://"),
        ({"cookie_secret": "short"}, "cookie_secret needs 32 random characters"),
        ({"client_id": ""}, r"\[auth\] lacks client_id; the provider tells them"),
        ({"server_metadata_url": "http://id.example.org/"}, "server_metadata_url must begin with https://"),
        ({"okta": {"client_id": "b"}}, r"\[auth.okta\] lacks client_secret, server_metadata_url"),
        ({"my_own": NAMED}, r"\[auth.my_own\] has an underscore"),
    ],
)
def test_what_the_secrets_get_wrong_is_said_before_anybody_logs_in(change, words):
    with pytest.raises(ConfigError, match=words) as error:
        check_auth(SECTION | change)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, "did not tell your e-mail address"),
        ({"email": "Ann", "email_verified": True}, "did not tell your e-mail address"),
        ({"email": "ann@example.org"}, "has not verified that ann@example.org"),
        ({"email": "ann@example.org", "email_verified": "false"}, "has not verified"),
        ({"email": "ann@example.org", "email_verified": None, "xms_edov": True}, "has not verified"),
        ({"email": "ann@example.org", "xms_edov": "0"}, "has not verified"),
    ],
)
def test_an_email_that_nobody_vouches_for_is_none(claims, words):
    with pytest.raises(ReviewError, match=words):
        email_of(claims)


@pytest.mark.parametrize("word", [{"email_verified": True}, {"email_verified": "true"}, {"xms_edov": 1}])
def test_an_email_that_the_provider_vouches_for(word):
    assert email_of({"email": " ann@example.org "} | word) == "ann@example.org"


def test_a_provider_s_word_runs_out():
    now = time.time()
    assert not is_over({"exp": now + 5}, now_s=now)
    assert is_over({"exp": now - 5}, now_s=now)
    assert is_over({}, now_s=now)


def test_letters_case_matters_only_between_two_people(tmp_path):
    store = open_store(tmp_path / "v.sqlite")
    for name in ("ann@example.org", "Bob@example.org", "bob@example.org"):
        add_reviewer(store, name, role="reviewer", now_ms=1)
    assert find_by_email(store, "ANN@example.org").name == "ann@example.org"
    assert find_by_email(store, "bob@example.org").name == "bob@example.org"
    assert find_by_email(store, "BOB@example.org") is None
    assert find_by_email(store, "eve@example.org") is None
    revoke_reviewer(store, "Bob@example.org", now_ms=2)
    assert find_by_email(store, "BOB@example.org").name == "bob@example.org"


def test_files_with_secrets_are_closed_to_other_people(tmp_path):
    open_store(tmp_path / "v.sqlite")
    assert [path.stat().st_mode & 0o077 for path in tmp_path.glob("v.sqlite*")] != []
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("v.sqlite*"))
    (tmp_path / "secrets.toml").write_text("")
    (tmp_path / "secrets.toml").chmod(0o604)
    with pytest.raises(ConfigError, match=r"everybody on this machine can read it: chmod 600 .*secrets\.toml"):
        check_closed(tmp_path / "secrets.toml")
    (tmp_path / "secrets.toml").chmod(0o640)
    check_closed(tmp_path / "secrets.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\ufeff[auth]".encode(), "begins with a byte-order mark, which Streamlit does not read; save it without one"),
        (
            "[auth]".encode("utf-16"),
            "can't be read as TOML: the file is UTF-16, and UTF-8 is expected; save",
        ),
        (b"[auth", r"can't be read as TOML: Expected '\]' at the end of a table declaration"),
    ],
)
def test_secrets_that_streamlit_can_not_read_are_said(tmp_path, content, message):
    (tmp_path / "secrets.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"secrets\.toml " + message):
        check_toml(tmp_path / "secrets.toml")
