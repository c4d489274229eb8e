"""The one-time link: once, soon, on this machine alone."""

import getpass

import pytest

from overlap.base.config import load_config
from overlap.review.reviewers import add_reviewer, revoke_reviewer
from overlap.review.store import open_store
from review_app import invitation, serve
from review_app.invitation import Invitation, invite, is_loopback


@pytest.fixture
def config(tmp_path, write_config):
    return write_config(tmp_path, world=tmp_path / "world")


def test_the_key_opens_once_and_no_other_does():
    one = Invitation("ann")
    assert not one.use("")
    assert not one.use(one.key + "x")
    assert not one.use("ü")
    assert one.use(one.key)
    assert not one.use(one.key)
    assert one.key not in repr(one)
    assert one.key != Invitation("ann").key


def test_the_key_opens_for_ten_minutes(monkeypatch):
    one = Invitation("ann")
    now = one.ends_at
    monkeypatch.setattr(invitation.time, "monotonic", lambda: now)
    assert not one.use(one.key)
    monkeypatch.setattr(invitation.time, "monotonic", lambda: now - 1)
    assert one.use(one.key)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_what_only_this_machine_reaches(address):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "review.example.org", ""])
def test_what_others_reach(address):
    assert not is_loopback(address)


def test_who_starts_the_app_is_invited_unless_revoked_or_seen_from_elsewhere(config, tmp_path, monkeypatch):
    store = open_store(tmp_path / "v.sqlite")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert invite(load_config(config), store).name == "ann"
    assert invite(load_config(config, ['review.address="0.0.0.0"']), store) is None
    add_reviewer(store, "ann", role="lead", now_ms=1)
    assert invite(load_config(config), store).name == "ann"
    revoke_reviewer(store, "ann", now_ms=2)
    assert invite(load_config(config), store) is None


def test_a_user_without_a_name_is_a_local_one(config, tmp_path, monkeypatch):
    def unknown():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert invite(load_config(config), open_store(tmp_path / "v.sqlite")).name == "local"


def test_before_curate_the_app_says_so_and_does_not_start(config, capsys):
    with pytest.raises(SystemExit) as ended:
        serve.main(["--config", str(config)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "there is no review queue yet; run 'overlap curate' with this config to its end first" in said.err
    assert said.out == ""


def test_a_config_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        serve.main(["--config", str(tmp_path / "no.toml")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("no.toml: no such config file; flows/configs/ holds examples\n")
