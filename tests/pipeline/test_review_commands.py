"""Reviewers and the audit from the command line."""

import socket
import sqlite3
import sys

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.base.errors import CheckError, ConfigError
from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.cli.main import app, main
from overlap.pipeline import review as steps
from overlap.review.queue import item
from overlap.review.reviewers import check_token
from overlap.review.votes import EPOCH, make_votes


@pytest.fixture
def config(tmp_path, write_config):
    return write_config(tmp_path, world=tmp_path / "world")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_reviewers_are_added_listed_and_revoked(config):
    token = run("reviewers", "add", "Ann", "--lead", "--config", config).stdout.strip()
    store = steps.open_reviews(load_config(config))
    assert check_token(store, token).role == "lead"
    assert run("reviewers", "list", "--config", config).stdout == "Ann\tlead\n"
    assert "revoked" in run("reviewers", "revoke", "Ann", "--config", config).stdout
    assert run("reviewers", "list", "--config", config).stdout == "Ann\tlead, revoked\n"
    assert check_token(store, token) is None


def test_the_audit_passes_and_finds_a_missing_vote(config):
    store = steps.open_reviews(load_config(config))
    assert "0 votes, none changed, none missing; head none" in run("votes", "audit", "--config", config).stdout
    items = as_table([item("s", "q", "p", 1, origin="global", score=0.5)], REVIEW_ITEMS)
    store.add_items(items)
    store.append_votes(make_votes(items, ["same"], reviewer="ann", voted_at=EPOCH))
    assert "1 votes, none changed" in run("votes", "audit", "--config", config).stdout
    connection = sqlite3.connect(store.engine.url.database)
    connection.execute("DROP TRIGGER votes_no_delete")
    connection.execute("DELETE FROM votes")
    connection.commit()
    connection.close()
    with pytest.raises(CheckError, match="0 votes are there and 1 were written"):
        run("votes", "audit", "--config", config)


def test_the_app_names_what_is_not_installed(config, monkeypatch):
    monkeypatch.setattr(steps.importlib.util, "find_spec", lambda name: None if name == "streamlit" else name)
    with pytest.raises(
        ConfigError, match="the review app needs streamlit: install the project with its extra 'review'"
    ):
        run("review", "--config", config)


def test_the_app_takes_the_process_over_with_config_and_overrides(config, monkeypatch):
    called = []
    monkeypatch.setattr(steps.os, "execv", lambda path, words: called.append(words))
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    run("review", "--config", config, "--set", "review.port=8600")
    assert called[0][1:] == ["-m", "review_app.serve", "--config", str(config), "--set", "review.port=8600"]
    assert steps.os.environ["PYTHONIOENCODING"] == "utf-8:backslashreplace"


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_the_app_on_a_port_that_is_taken_says_so_and_nothing_else(config, monkeypatch, capsys, host, family):
    monkeypatch.setattr(steps.os, "execv", lambda path, words: pytest.fail("the app was started"))
    try:
        other = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with other:
        port = f"review.port={other.getsockname()[1]}"
        monkeypatch.setattr(
            sys, "argv", ["overlap", "review", "-c", str(config), "--set", port, "--set", f"review.address={host}"]
        )
        with pytest.raises(SystemExit) as ended:
            main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert "another program answers there already; end it, or choose another port" in shown.err


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_named(config, port):
    with pytest.raises(ConfigError, match=rf"review\.port: Input should be .* \(found {port}\)"):
        run("review", "--config", config, "--set", f"review.port={port}")
