"""What verification assumes of each kind of features: few, round constants."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Preset:
    """Say how far a match can be trusted by its looks alone, and how much evidence makes an even bet.

    Args:
        even_ratio: the ratio of nearest to second nearest distance at which trust has fallen to half its most.
        ratio_width: how fast trust falls there.
        sigma_px: how far a right match lies from where the model says.
        even_nats: evidence, in nats, that gives the score 0.5.
        threshold: the shipped threshold on the score, from which a pair is believed without people.
        review_threshold: the shipped threshold from which people are asked; doubtful pairs are theirs to judge.
    """

    even_ratio: float
    ratio_width: float
    sigma_px: float
    even_nats: float
    threshold: float = 0.5
    review_threshold: float = 0.1


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "sift": Preset(even_ratio=0.80, ratio_width=0.04, sigma_px=4.0, even_nats=350.0),
        "aliked": Preset(even_ratio=0.86, ratio_width=0.02, sigma_px=1.0, even_nats=500.0),
        "disk": Preset(even_ratio=0.86, ratio_width=0.02, sigma_px=1.0, even_nats=500.0),
        "keynet": Preset(even_ratio=0.80, ratio_width=0.04, sigma_px=4.0, even_nats=350.0),
    }
)
