"""After the demo something waits for whoever opens the app, and its release is that of the simulated votes."""

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.cli.main import app
from overlap.pipeline.demo import run_demo
from overlap.pipeline.desk import describe_waiting, open_desk
from overlap.pipeline.publish import release_folder
from overlap.pipeline.review import check_queue, open_reviews
from overlap.release.sums import seal_of
from overlap.review.desk import answer_task, next_task, now_ms
from overlap.review.reviewers import add_reviewer


@pytest.fixture(scope="module")
def shown(tmp_path_factory, copy_curated, open_quietly):
    """Return a small world after the demo, and the seal of its release."""
    path = copy_curated(tmp_path_factory.mktemp("shown"), "1")
    config = load_config(path)
    assert "for whoever opens the review app" in describe_waiting(config, open_with="x")
    with open_quietly(config) as run:
        published = run_demo(run)
    return path, config, seal_of(published.folder)


def test_everything_waits_for_a_newcomer_and_the_release_stays(shown, open_quietly):
    path, config, seal = shown
    check_queue(config)
    desk = open_desk(config)
    n_groups = sum(desk.board.items[rows[0]]["origin"] != "gold" for rows in desk.board.rows_of_group.values())
    assert desk.board.n_waiting("ann") == n_groups > 5
    said = describe_waiting(config, open_with="overlap review")
    assert said.startswith(f"groups that wait for review: {n_groups} for whoever opens the review app\n")
    assert said.endswith("\n  overlap review")
    with open_quietly(config) as run:
        assert seal_of(run_demo(run).folder) == seal

    add_reviewer(open_reviews(config), "Ann", role="reviewer", now_ms=now_ms())
    answer_first(desk, "Ann")
    waiting = f"groups that wait for review: {n_groups - 1} for Ann\nopen them in the browser:\n  "
    assert say("curate", path, "--set", "search.k = 25").endswith(
        f"{waiting}overlap review --config {path} --set 'search.k = 25'\n"
    )
    said = say("demo", path)
    assert f"{release_folder(config)} stays as it is: people have voted since." in said
    assert said.endswith(f"{waiting}make app CONFIG={path}\n")
    assert seal_of(release_folder(config)) == seal


def say(command, path, *more):
    done = CliRunner().invoke(app, [command, "--config", str(path), *more], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def answer_first(desk, reviewer):
    tasks = (next_task(desk, reviewer, group_id=group) for group in desk.board.rows_of_group)
    task = next(task for task in tasks if task.items[0]["origin"] != "gold")
    answers = {row["item_id"]: "different" for row in task.items}
    answer_task(desk, reviewer, group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers)


def test_nothing_waits_where_nobody_is_asked(shown):
    _, config, _ = shown
    automatic = config.model_copy(update={"policy": config.policy.model_copy(update={"name": "automatic"})})
    assert describe_waiting(automatic, open_with="x") == (
        "nothing waits for people: policy 'automatic' decides without them"
    )


def test_an_empty_queue_is_said_to_be_empty(tmp_path, write_config):
    config = load_config(write_config(tmp_path, world=tmp_path / "world"))
    assert describe_waiting(config, open_with="x") == "nothing waits for reviewers"
