"""What the stopping rule spares, and how long a key press takes with ten thousand items.

Decisions, on a curated run with the truth of its pairs:
    python -m benchmarks.review decisions --config C --truth true_pairs.csv [--seeds 20] [--set KEY=VALUE]
Latency, in a headless Chromium over generated pictures:
    python -m benchmarks.review latency [--items 10000] [--keys 200]
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from overlap.base.config import Config, load_config
from overlap.base.tables import CONFIRMING, REVIEW_ITEMS, VERIFIED, as_table
from overlap.decisions.decide import Decision, decide
from overlap.pipeline.decisions import rule_of
from overlap.pipeline.photos import read_photos
from overlap.pipeline.review import read_queue
from overlap.review.board import Order, read_board
from overlap.review.desk import Desk, answer_task, next_task, now_ms
from overlap.review.queue import item, sorted_items
from overlap.review.reviewers import add_reviewer
from overlap.review.store import open_store
from overlap.review.votes import Truth, read_truth, simulate_votes
from overlap.verify.pairs import threshold_of

REVIEWERS = ("simulated-1", "simulated-2", "simulated-3")


def count_decisions(config: Config, truth: Truth, *, error_rate: float, seed: int, shared: float) -> dict[str, float]:
    """Let the same answers be given to everything, and as the app asks; compare decisions, removals and figures."""
    items = read_queue(config)
    full = simulate_votes(items, truth, reviewers=len(REVIEWERS), error_rate=error_rate, seed=seed)
    answers = {(row["reviewer"], row["item_id"]): row["answer"] for row in full.to_pylist()}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "votes.sqlite")
        store.add_items(items)
        order = Order(seed=seed, shared_share=shared, gold_share=0)
        desk = Desk(read_board(store, rule=rule_of(config), order=order))
        n_settled, n_figures = _drain(desk, answers)
        asked = store.counting_votes()
    judged, stopped = _decide(config, items, full), _decide(config, items, asked)
    faultless = _decide(config, items, simulate_votes(items, truth, reviewers=1, error_rate=0, seed=seed))
    return {
        "pairs": items.num_rows,
        "groups": len(set(items["group_id"].to_pylist())),
        "full": full.num_rows,
        "decisions": n_settled,
        "decisions_for_figures": n_figures,
        "share": (n_settled + n_figures) / full.num_rows,
        "same_list": float(_removed(stopped) == _removed(judged)),
        "same_figures": float(_figures(stopped) == _figures(judged)),
        **{f"duplicated_{name}": n for name, n in stopped.duplicated_queries.items()},
        "removed": len(_removed(stopped)),
        "false_removals": len(_removed(stopped) - _removed(faultless)),
    }


def _drain(desk: Desk, answers: dict[tuple[str, str], str]) -> tuple[int, int]:
    """Answer until nothing waits; a photo set apart from its group's answer is a decision of its own.

    Returns:
        The decisions until what is removed was settled, and those after it, for the figures.
    """
    n_settled = n_figures = 0
    while tasks := [(name, task) for name in REVIEWERS if (task := next_task(desk, name)) is not None]:
        for name, task in tasks:
            given = {row["item_id"]: answers[name, row["item_id"]] for row in task.items}
            n_yes = sum(answer in CONFIRMING for answer in given.values())
            n_decisions = 1 + min(n_yes, len(given) - n_yes)
            if desk.board.fate().for_removals.any():
                n_settled += n_decisions
            else:
                n_figures += n_decisions
            answer_task(desk, name, group_id=task.group_id, lease=task.lease, client_seq=1, answers=given)
    return n_settled, n_figures


def _decide(config: Config, items: pa.Table, votes: pa.Table) -> Decision:
    return decide(
        rule_of(config),
        items=items,
        votes=votes,
        verified=VERIFIED.empty_table(),
        landmarks=read_photos(config, "landmarks"),
        threshold=threshold_of(config.verify),
    )


def _removed(decision: Decision) -> set[int]:
    return set(decision.removals["landmark_id"].to_pylist())


def _figures(decision: Decision) -> tuple[object, ...]:
    columns = ("landmark_id", "origin", "evaluation_set", "n_queries")
    return dict(decision.duplicated_queries), decision.removals.select(columns).to_pylist()


def measure_latency(*, n_items: int, n_keys: int) -> dict[str, float]:
    """Return percentiles, in ms, from a key press to the next item's pictures being there."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        config, token = _make_queue(Path(folder), n_items)
        server = _serve(config)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
                )
                page = browser.new_page(viewport={"width": 1366, "height": 768})
                page.goto(f"http://127.0.0.1:{load_config(config).review.port}/")
                page.fill("#token", token)
                page.press("#token", "Enter")
                page.wait_for_selector('.viewer[data-ready*=":"]', timeout=60_000)
                times = np.array([page.evaluate(_PRESS) for _ in range(n_keys)])
        finally:
            server.kill()
            server.wait()
    return {"median": float(np.median(times)), "p95": float(np.quantile(times, 0.95)), "max": float(times.max())}


# In the page, so that nothing but the page is timed: from the key event until both large pictures are decoded.
_PRESS = """
() => new Promise((done) => {
  const find = (root) => { for (const each of root.querySelectorAll("*")) {
    if (each.classList.contains("viewer")) return each;
    const inner = each.shadowRoot && find(each.shadowRoot);
    if (inner) return inner;
  } };
  const viewer = find(document), before = viewer.dataset.group, start = performance.now();
  const look = () => {
    if (viewer.dataset.ready && viewer.dataset.group !== before) {
      const pictures = [...viewer.querySelectorAll(".frame img")].map((each) => each.decode());
      return Promise.all(pictures).then(() => setTimeout(() => done(performance.now() - start), 0));
    }
    setTimeout(look, 1);
  };
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "4", bubbles: true }));
  look();
})
"""

_CONFIG = """
store = "store"
[train]
format = "csv"
root = "."
[[evaluation]]
format = "csv"
name = "queries"
root = "."
table = "queries.csv"
[review]
port = {port}
"""


def _make_queue(folder: Path, n_items: int) -> tuple[Path, str]:
    """Write 200 pictures of 1024 x 768 and a queue over them; return the config and a reviewer's token."""
    from overlap.base.images import encode_jpeg
    from overlap.base.workers import map_in_processes
    from overlap.pipeline.photos import read_sets
    from overlap.pipeline.review import open_reviews
    from overlap.pipeline.run import open_run

    rng = np.random.default_rng(0)
    for number in range(200):
        coarse = rng.integers(0, 255, (24, 32, 3), np.uint8)
        noise = rng.integers(0, 24, (768, 1024, 3), np.uint8)
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(coarse.repeat(32, 0).repeat(32, 1) // 2 + noise))
    n_train, n_queries = 130, 70
    train = [f"t{n},{n}.jpg,{n % 65},Landmark {n % 65}" for n in range(n_train)]
    _write_csv(folder / "images.csv", "image_id,path,landmark_id,landmark_name", train)
    _write_csv(folder / "queries.csv", "image_id,path", [f"q{n},{n_train + n}.jpg" for n in range(n_queries)])
    config = folder / "config.toml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config.write_text(_CONFIG.format(port=free.getsockname()[1]), encoding="utf-8")
    loaded = load_config(config)
    with map_in_processes(1) as map_shards, open_run(loaded, map_shards=map_shards, say=print) as run:
        read_sets(run)
    pairs = [(q, t) for q in range(n_queries) for t in range(n_train)][:n_items]
    rows = [item("queries", f"q{q}", f"t{t}", t % 65, origin="global", score=0.5) for q, t in pairs]
    rows += [
        item("queries", f"q{n % n_queries}", f"t{n % n_train}", 1000 + n, origin="global", score=0.5)
        for n in range(n_items - len(rows))
    ]
    store = open_reviews(loaded)
    store.add_items(sorted_items(as_table(rows, REVIEW_ITEMS)))
    return config, add_reviewer(store, "bench", role="reviewer", now_ms=now_ms())


def _write_csv(path: Path, header: str, rows: Sequence[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def _serve(config: Path) -> "subprocess.Popen[bytes]":
    server = subprocess.Popen(
        [sys.executable, "-m", "overlap", "review", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    port = load_config(config).review.port
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.2)
    raise TimeoutError("the review app did not start")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    decisions = commands.add_parser("decisions")
    decisions.add_argument("--config", type=Path, required=True)
    decisions.add_argument("--set", action="append", default=[], help="further settings, KEY=VALUE")
    decisions.add_argument("--truth", type=Path, required=True)
    decisions.add_argument("--error-rate", type=float, default=0.05)
    decisions.add_argument("--shared", type=float, default=0.1)
    decisions.add_argument("--seeds", type=int, default=20)
    latency = commands.add_parser("latency")
    latency.add_argument("--items", type=int, default=10_000)
    latency.add_argument("--keys", type=int, default=200)
    given = parser.parse_args()
    if given.command == "latency":
        print(measure_latency(n_items=given.items, n_keys=given.keys))
        return
    config, truth = load_config(given.config, given.set), read_truth(given.truth)
    for seed in range(given.seeds):
        print(count_decisions(config, truth, error_rate=given.error_rate, seed=seed, shared=given.shared), flush=True)


if __name__ == "__main__":
    main()
