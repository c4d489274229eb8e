"""What is known of the training sets that a release is made from: who made them, and what they allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Upstream:
    """Describe a training set.

    Args:
        licence: SPDX id of the lists' licence; empty where it is not known.
        photos: what the photos themselves allow.
        citation: how to cite it; empty where there is nothing to cite.
    """

    title: str
    url: str
    licence: str
    licence_url: str
    photos: str
    citation: str
    collected: str


_UNKNOWN = Upstream(
    title="a training set of the curators' own",
    url="",
    licence="",
    licence_url="",
    photos="Not recorded: ask who published the training set.",
    citation="",
    collected="Not recorded: ask who published the training set.",
)

UPSTREAMS: Mapping[str, Upstream] = MappingProxyType(
    {
        "gldv2": Upstream(
            title="Google Landmarks Dataset v2",
            url="https://github.com/cvdfoundation/google-landmark",
            licence="CC-BY-4.0",
            licence_url="https://creativecommons.org/licenses/by/4.0/",
            photos="The annotations are Google's, under CC BY 4.0. The photos are not part of this release but for the "
            "thumbnails in evidence/; each has the licence that train_attribution.csv of the training set names.",
            citation="Weyand, T., Araujo, A., Cao, B., Sim, J.: Google Landmarks Dataset v2, a large-scale benchmark "
            "for instance-level recognition and retrieval. CVPR 2020, arXiv 2004.01804.",
            collected="By the authors of the training set, from Wikimedia Commons; see their paper. Nothing was "
            "collected for this release.",
        ),
        "synthetic": Upstream(
            title="a synthetic world, rendered by this program",
            url="",
            licence="CC0-1.0",
            licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
            photos="Rendered by a program; no photo of a real place is in it.",
            citation="",
            collected="Rendered by a program from a seed.",
        ),
    }
)


def find_upstream(training_format: str) -> Upstream:
    """Return what is known of a training set of that format."""
    return UPSTREAMS.get(training_format, _UNKNOWN)
