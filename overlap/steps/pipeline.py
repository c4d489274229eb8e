"""The paper's Figure 3, read from top to bottom: photos, candidates, verified pairs, review queue."""

import pyarrow as pa

from overlap.policy import load_policy
from overlap.steps.copies import find_copies
from overlap.steps.gpu import check_devices
from overlap.steps.photos import read_sets
from overlap.steps.retrieve import check_network, describe_sets, find_names, search_candidates
from overlap.steps.review import build_queue
from overlap.steps.run import Run
from overlap.steps.verify import check_features, extract_features, verify_candidates

STEPS = ("photos", "descriptors", "candidates", "copies", "names", "features", "verified", "queue")


def curate(run: Run, *, until: str = STEPS[-1]) -> None:
    """Fill the review queue. What is stored is not done again.

    Args:
        until: the last step to do, one of STEPS.
    """
    load_policy(run.config.policy.name)  # one that can't be read is told of before the work
    wanted = STEPS[: STEPS.index(until) + 1]
    if "descriptors" in wanted:
        check_devices(run)
        check_network(run)
    if "features" in wanted:
        check_features(run)
    sets = read_sets(run)
    if "descriptors" in wanted:
        described = describe_sets(run, sets)
    if "candidates" in wanted:
        candidates = search_candidates(run, sets, described)
    if "copies" in wanted:
        candidates = pa.concat_tables([candidates, find_copies(run, sets)])
    if "names" in wanted:
        text = find_names(run, sets)
    if "features" in wanted:
        features = extract_features(run, sets, candidates)
    if "verified" in wanted:
        verified = verify_candidates(run, candidates, features)
    if "queue" in wanted:
        build_queue(run, verified, text)
