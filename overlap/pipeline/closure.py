"""From confirmed landmarks to proposals: further landmark ids that hang together with them go before people."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config, fingerprint
from overlap.base.store import read_table, write_table
from overlap.base.tables import CANDIDATES, LINKS, PROPOSALS, REVIEW_ITEMS, as_table
from overlap.decisions.closure import Kinship, find_links, find_seeds, propose
from overlap.decisions.items import possible_photos, possible_wholes
from overlap.decisions.policy import load_policy
from overlap.lists.names import find_kin_names
from overlap.pipeline.decisions import decide_now
from overlap.pipeline.photos import Sets, read_sets
from overlap.pipeline.retrieve import describe_sets, search_training
from overlap.pipeline.review import open_reviews
from overlap.pipeline.run import Run, find_current, hand_to, is_current, recorded
from overlap.pipeline.verify import verify_training_pairs
from overlap.review.queue import item
from overlap.verify.pairs import threshold_of


@dataclass(frozen=True)
class Proposed:
    """Say what a round of closure found.

    Args:
        seeds: confirmed landmarks whose photos were searched for.
        proposals: PROPOSALS that are not removed already.
        n_new: how many of them people have not been asked about before.
    """

    seeds: tuple[int, ...]
    proposals: pa.Table
    n_new: int


def close(run: Run) -> Proposed:
    """Propose the landmarks that hang together with confirmed ones, and put them before the reviewers.

    A landmark that is proposed twice is asked about once; so rounds of this and of votes end when nothing is new.

    Raises:
        ReviewError: there is no vote yet.
    """
    run = hand_to("closure", run)
    with recorded(run, "closure") as finish:
        strict = closing(run.config)
        sets = read_sets(run)
        decision = decide_now(strict)
        removals, links = decision.removals, run.config.closure.links
        photos, wholes = possible_photos(decision.items), possible_wholes(decision.items)
        seeds = find_seeds(removals, whole=wholes, links=links, photos=photos)
        links, proposals = _find_kin(run, sets, seeds)
        whole = fingerprint("closure", links.to_pylist(), proposals.to_pylist())
        if not run.store.exists("closure", whole):
            with run.store.put("closure", whole) as folder:
                write_table(folder, "links", links)
                write_table(folder, "proposals", proposals)
        kept = proposals.filter(pc.invert(pc.is_in(proposals["landmark_id"], value_set=removals["landmark_id"])))
        n_new = _ask(run.config, kept["landmark_id"].to_pylist())
        finish(whole, seeds=len(seeds), links=links.num_rows, proposals=kept.num_rows, new=n_new)
    return Proposed(tuple(seeds), kept, n_new)


def closing(config: Config) -> Config:
    """Return the config with a policy that counts closure: its own, or the shipped ``strict``."""
    if load_policy(config.policy.name).closure:
        return config
    return config.model_copy(update={"policy": config.policy.model_copy(update={"name": "strict"})})


def read_proposals(config: Config) -> pa.Table:
    """Return the PROPOSALS of the last round; none when there was none with these settings."""
    if not is_current(config, "closure"):
        return PROPOSALS.empty_table()
    return read_table(find_current(config, "closure"), "proposals", PROPOSALS)


def read_links(config: Config) -> pa.Table:
    """Return the LINKS of the last round; none when there was none with these settings."""
    if not is_current(config, "closure"):
        return LINKS.empty_table()
    return read_table(find_current(config, "closure"), "links", LINKS)


def _find_kin(run: Run, sets: Sets, seeds: Sequence[int]) -> tuple[pa.Table, pa.Table]:
    settings, images = run.config.closure, sets.training.images
    photos = images.filter(pc.is_in(images["landmark_id"], value_set=pa.array(seeds, pa.int64())))
    kin_of = dict(zip(photos["image_id"].to_pylist(), photos["landmark_id"].to_pylist(), strict=True))
    pairs = search_training(run, sets, describe_sets(run, sets), kin_of)
    verified = verify_training_pairs(run, sets, pairs, label="closure")
    links = find_links(verified, kin_of, threshold=threshold_of(run.config.verify))
    landmarks = sets.training.landmarks
    named = [Kinship(*each) for each in find_kin_names(landmarks, seeds, words=settings.words)]
    sizes = dict(zip(landmarks["landmark_id"].to_pylist(), landmarks["n_images"].to_pylist(), strict=True))
    return links, propose(links, named, sizes=sizes, at_least=settings.links)


def _ask(config: Config, landmark_ids: Sequence[int]) -> int:
    """Put landmarks before the reviewers and return how many were not there; name candidates stay what they are."""
    reviews = open_reviews(config)
    known = reviews.read_items()
    named = set(read_table(find_current(config, "names"), "candidates", CANDIDATES)["landmark_id"].to_pylist())
    rows = [
        item("", None, None, landmark_id, origin="closure", score=None)
        for landmark_id in landmark_ids
        if landmark_id not in named
    ]
    reviews.add_items(as_table(rows, REVIEW_ITEMS))
    before = set(known["item_id"].to_pylist())
    return sum(row["item_id"] not in before for row in rows)
