"""What each answer means; the version is stored with every vote, so raise it when the meaning changes."""

from collections.abc import Mapping
from types import MappingProxyType

GUIDELINE_VERSION = "1"

MEANINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "same": (
            "Same",
            "Both photos show the same landmark, and some part of it can be seen in both: the same tower, facade, "
            "statue or room. Another season, hour, crop, or a scaffold in front changes nothing.",
        ),
        "same_other_side": (
            "Same, other side",
            "It is the same landmark, but the photos share no visible part: the back and the front, the inside and the "
            "outside. Say so only if you know, or can read it from the photos.",
        ),
        "same_site": (
            "Same site",
            "Another building or object of the same place: two colleges of one town, two statues of one park, a bridge "
            "and the tower beside it.",
        ),
        "different": (
            "Different",
            "Two landmarks, however alike they look: copies, series-built churches, the same style by the same "
            "architect. Compare what differs between twins: the number of windows, clocks, figures, the neighbours.",
        ),
        "unsure": (
            "Can't tell",
            "Too dark, too small, too little of it. An honest 'can't tell' is better than a guess: it never removes "
            "anything by itself.",
        ),
    }
)

CONFIRMS = (
    "The first two confirm the match: one such answer can be enough to remove the landmark from the training set."
)

WHOLE = (
    "Some questions are about a whole landmark: its photos are on the left, the evaluation queries on the right. Where "
    "the right side begins with photos of a confirmed landmark, other reviewers have found that one in the evaluation "
    "set already. Answer 'same' if the landmark on the left is any of those on the right; a single photo that shows "
    "something else changes nothing."
)
