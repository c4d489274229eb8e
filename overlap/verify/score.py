"""Evidence -> a score in [0, 1]."""

import numpy as np

_SOFTNESS_NATS = 5.0


def score_of(evidence: float, *, even_nats: float) -> float:
    """Return e / (e + even), e the evidence with its negative part bent softly to 0.

    It grows strictly with the evidence and never reaches 1, so the best pairs still have an order.

    Args:
        evidence: nats, of either sign.
        even_nats: evidence that gives about 0.5.
    """
    bent = _SOFTNESS_NATS * float(np.logaddexp(0, evidence / _SOFTNESS_NATS))
    return bent / (bent + even_nats)
