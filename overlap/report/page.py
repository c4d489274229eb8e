"""One HTML file for the curator and the public: it opens offline, runs nothing foreign, and escapes every name.

Pictures are embedded, best evidence first, until the file's budget is spent; what was left out is said in the page. The
page allows no request and no foreign script by its own Content-Security-Policy: its style and its script are pinned by
hash. It reads whole without JavaScript, which only adds the filter and the large view.
"""

import base64
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from overlap.base.pages import load_template, plural, read_shipped, security_policy
from overlap.base.sheets import replacing
from overlap.base.tables import ANSWERS, CONFIRMING
from overlap.report.charts import ScoreSplit, bar_chart, score_chart
from overlap.report.tables import OverlapRow, SizesRow, overlap_grid, sizes_grid

_PACKAGE = "overlap.report"

Thumbnail: TypeAlias = Callable[[str, str], bytes | None]
"""Give the JPEG thumbnail of a photo by its source (the set's name) and id; None when there is none."""

ANSWER_WORDS = MappingProxyType(
    {
        "same": "same",
        "same_other_side": "same, other side",
        "same_site": "same site",
        "different": "different",
        "unsure": "unsure",
    }
)


@dataclass(frozen=True)
class Fact:
    """Hold a labelled value, for example ``Fact("Policy", "paper")``."""

    label: str
    value: str


@dataclass(frozen=True)
class PairView:
    """Show one training photo beside the query of its gallery.

    Args:
        score: in [0, 1]; None when the pair was not verified (text candidates).
        answers: reviewers by answer; no names.
        state: one of STATES; empty for a photo that is shown without a pair.
    """

    image_id: str
    score: float | None = None
    n_inliers: int | None = None
    n_matches: int | None = None
    answers: Mapping[str, int] = field(default_factory=dict)
    state: str = ""


@dataclass(frozen=True)
class PairGallery:
    """Show a query with its photos of one landmark, best first; without query, photos of a text candidate.

    Args:
        n_pairs: pairs there are in all, of which ``pairs`` may be the first few.
    """

    evaluation_set: str
    query_id: str | None
    pairs: tuple[PairView, ...]
    n_pairs: int


@dataclass(frozen=True)
class Beaten:
    """Name a query that has more confirmed photos of another landmark, and that one."""

    evaluation_set: str
    query_id: str
    landmark_id: int
    name: str


@dataclass(frozen=True)
class LandmarkView:
    """Show a landmark with its evidence.

    Args:
        reason: why it was removed, or why it was kept, in a sentence.
        origin: how it was found: global, text or closure.
        state: what became of the question about the landmark as a whole; empty where there was none.
        answers: reviewers by answer to it.
        n_galleries: galleries there are in all, of which ``galleries`` may be the first few.
    """

    landmark_id: int
    name: str
    evaluation_set: str
    origin: str
    n_images: int
    reason: str
    galleries: tuple[PairGallery, ...] = ()
    n_galleries: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    removed: bool = False
    state: str = ""
    beaten: tuple[Beaten, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """Show the photos that a query finds first, in the training set and in what is left of it (Figure 2).

    Args:
        before: (image_id, whether the photo's landmark is removed), best first.
        after: the same without removed landmarks.
    """

    evaluation_set: str
    query_id: str
    before: tuple[tuple[str, bool], ...]
    after: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class PolicyRow:
    """Hold what a policy would remove on the same votes; ``chosen`` is the one that was applied.

    Args:
        n_open: items on which votes could still change it; people stop asking when the applied one is settled.
    """

    name: str
    description: str
    n_landmarks: int
    n_images: int
    chosen: bool
    n_open: int = 0


@dataclass(frozen=True)
class StratumView:
    """Hold a row of the audit: of ``size`` kept landmarks, so many judged, found, and at most overlapping."""

    name: str
    size: int
    judged: int
    found: int
    most: int


@dataclass(frozen=True)
class AuditView:
    """Show what the audit says: its strata, its bound, the figures beside it, and plots as PNG by title."""

    remaining: int
    strata: tuple[StratumView, ...]
    facts: tuple[Fact, ...]
    reliability: tuple[tuple[float, float, int], ...] = ()


@dataclass(frozen=True)
class QuarantinedPhoto:
    """Name a photo that could not be used, and why."""

    image_id: str
    source: str
    path: str
    reason: str


@dataclass(frozen=True)
class ReportContent:
    """Hold everything the page shows; an empty part is said to be empty.

    Args:
        title: the run's name.
        training_set: the training photos' source, handed to the thumbnail callable.
        overlap: Table 2.
        sizes: Table 3.
        review: how far the review is that the decision rests on, in words.
        facts: what ran on what: counts, versions, policy.
        settings: the config as text, shown as it is.
        removed: removed landmarks.
        kept: landmarks with evidence that stay, most suspicious first; ``n_kept`` counts all of them.
        text: text candidates, removed or not.
        scores: scores of the verified pairs, by what people said.
        statuses: pairs by status of the verification.
        votes: votes by answer.
        agreement: what the reviewers' agreement is.
        proposed: landmarks that closure proposed.
        rankings: what queries find before and after, for Figure 2.
        policies: what each policy would remove.
        plots: PNG by title, drawn where matplotlib is installed.
        quarantine: photos that could not be used; ``n_quarantined`` counts all of them.
        seconds: duration by step, in the order they ran.
        confirming: the answers that are a yes.
    """

    title: str
    training_set: str
    overlap: tuple[OverlapRow, ...]
    sizes: tuple[SizesRow, ...]
    review: str = ""
    facts: tuple[Fact, ...] = ()
    settings: str = ""
    removed: tuple[LandmarkView, ...] = ()
    kept: tuple[LandmarkView, ...] = ()
    n_kept: int = 0
    text: tuple[LandmarkView, ...] = ()
    proposed: tuple[LandmarkView, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    policies: tuple[PolicyRow, ...] = ()
    audit: AuditView | None = None
    plots: Mapping[str, bytes] = field(default_factory=dict)
    scores: ScoreSplit = field(default_factory=ScoreSplit)
    statuses: Mapping[str, int] = field(default_factory=dict)
    votes: Mapping[str, int] = field(default_factory=dict)
    agreement: tuple[Fact, ...] = ()
    quarantine: tuple[QuarantinedPhoto, ...] = ()
    n_quarantined: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    confirming: Collection[str] = CONFIRMING


@dataclass(frozen=True)
class Pictures:
    """Hold the embedded pictures as data addresses by (source, id), and how many found no room."""

    addresses: Mapping[tuple[str, str], str]
    n_left_out: int


def write_report(path: Path, content: ReportContent, *, thumbnail: Thumbnail, pictures_mb: float = 20) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file; replaced when it is there.
        thumbnail: called once for each photo that is shown, until the budget is spent.
        pictures_mb: megabytes that all pictures may take in the file; the page says what was left out.

    Returns:
        The path.

    Raises:
        ArtifactError: it can't be written.
    """
    page = render_report(content, thumbnail=thumbnail, pictures_mb=pictures_mb)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(page.encode("utf-8", "backslashreplace"))
    return path


def render_report(content: ReportContent, *, thumbnail: Thumbnail, pictures_mb: float = 20) -> str:
    """Render the page as text; the same content gives the same page."""
    pictures = _embed(content, thumbnail, int(pictures_mb * 1_000_000))
    style, script = read_shipped(_PACKAGE, "report.css"), read_shipped(_PACKAGE, "report.js")
    template = load_template(_PACKAGE, "report.html.jinja", chips=_chips, plural=plural)
    return template.render(
        content=content,
        pictures=pictures,
        overlap=overlap_grid(content.overlap),
        sizes=sizes_grid(content.sizes),
        total=content.overlap[-1],
        score_chart=score_chart(content.scores),
        status_chart=bar_chart({name.replace("_", " "): count for name, count in content.statuses.items()}),
        vote_chart=bar_chart(_in_words(content.votes)),
        seconds_chart=bar_chart(content.seconds),
        plots={title: base64.b64encode(png).decode() for title, png in content.plots.items()},
        style=style,
        script=script,
        policy=security_policy(images="data:", style=style, script=script),
    )


def _embed(content: ReportContent, thumbnail: Thumbnail, budget: int) -> Pictures:
    """Embed pictures as long as there is room, each landmark's best before any landmark's second best."""
    uses = Counter(_photos(content))
    addresses: dict[tuple[str, str], str] = {}
    n_left_out = 0
    for photo, n_uses in uses.items():
        picture = thumbnail(*photo) if budget > 0 else b""
        if picture is None:
            continue
        address = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        if not picture or len(address) * n_uses > budget:
            n_left_out += 1
            continue
        addresses[photo] = address
        budget -= len(address) * n_uses
    return Pictures(MappingProxyType(addresses), n_left_out)


def _photos(content: ReportContent) -> Iterable[tuple[str, str]]:
    """List the photos in order of worth: Figure 2, then round by round, one of each landmark a round."""
    for ranking in content.rankings:
        yield ranking.evaluation_set, ranking.query_id
        yield from ((content.training_set, image_id) for image_id, _ in (*ranking.before, *ranking.after))
    for landmarks in (content.removed, content.kept, content.text):
        queues = [list(_photos_of(landmark, content.training_set)) for landmark in landmarks]
        for turn in zip_longest(*queues):
            yield from (photo for photo in turn if photo is not None)


def _photos_of(landmark: LandmarkView, training_set: str) -> Iterable[tuple[str, str]]:
    for gallery in landmark.galleries:
        if gallery.query_id is not None:
            yield gallery.evaluation_set, gallery.query_id
        yield from ((training_set, pair.image_id) for pair in gallery.pairs)


def _in_words(answers: Mapping[str, int]) -> dict[str, int]:
    return {ANSWER_WORDS[answer]: answers.get(answer, 0) for answer in ANSWERS} if answers else {}


def _chips(answers: Mapping[str, int], confirming: Collection[str]) -> Sequence[tuple[str, int, bool]]:
    """Return (words, count, confirms) of the answers that were given, in the order of ANSWERS."""
    return [(ANSWER_WORDS[name], answers[name], name in confirming) for name in ANSWERS if answers.get(name)]
