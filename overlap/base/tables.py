"""Every table and array that crosses a folder. Read this first.

All ids are text: a GLDv2 image id may be digits only, or of the form ``12345678901234e5``, and must never become a
number. ``landmark_id`` is an int64. Ranks and rows count from 0. Points are (x, y) in pixels, pixel centres at whole
numbers.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.base.errors import DataError

FloatArray: TypeAlias = NDArray[np.float32]

# A landmark's id in every file that is read. Only the review's own items of known answer have ids below 0.
LANDMARK_ID = r"(?:0|[1-9][0-9]{0,17})"
LANDMARK_ID_FORM = "ids of landmarks are written in the digits 0 to 9 alone, without sign, blanks or leading zeros"
_is_landmark_id = re.compile(LANDMARK_ID).fullmatch

_text = pa.string()
_crop_px = pa.list_(pa.float64(), 4)


def _schema(**columns: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    """Build a schema; a type is required, ``(type, True)`` may be null."""
    return pa.schema(
        [
            pa.field(name, kind[0], nullable=kind[1])
            if isinstance(kind, tuple)
            else pa.field(name, kind, nullable=False)
            for name, kind in columns.items()
        ]
    )


# One row a photo. `source` is the set's name. Bytes are `path` whole, or `size` bytes of `archive` from `offset`.
# `stamp` changes when the bytes may have changed (size and mtime, or SHA-256, as configured).
# `crop_px` is the box (x0, y0, x1, y1) of a query in the stored pixel grid, before any EXIF rotation.
IMAGES = _schema(
    image_id=_text,
    source=_text,
    path=_text,
    archive=(_text, True),
    offset=(pa.int64(), True),
    size=(pa.int64(), True),
    stamp=_text,
    landmark_id=(pa.int64(), True),
    landmark_name=(_text, True),
    crop_px=(_crop_px, True),
)

# One row a landmark of the training set, in the upstream file's order.
LANDMARKS = _schema(landmark_id=pa.int64(), landmark_name=_text, n_images=pa.int64())

# One row a pair and `origin`; a pair may be found in more than one way: global (search for a query, cut to its box if
# it has one), whole (search for a query's whole photo), database (search for a database photo, the `query_id`), copy
# (perceptual hash), text, closure. `rank` 0 is the best of its origin; `similarity` is the descriptors' cosine, of a
# copy the share of equal bits. A text candidate is about a landmark: no query, no photo. A closure candidate is a pair
# of training photos: `evaluation_set` is the training set's name.
CANDIDATES = _schema(
    evaluation_set=_text,
    query_id=(_text, True),
    image_id=(_text, True),
    landmark_id=pa.int64(),
    rank=pa.int32(),
    similarity=pa.float32(),
    origin=_text,
)

STATUSES = ("ok", "too_few_matches", "no_model", "unreadable", "watermark")

# `score` is in [0, 1] and grows with the belief that both photos show the same landmark. `geometry` is homography,
# fundamental or none; `matrix` (9 numbers, row by row) maps query to photo, in pixels of the two (cropped) pictures.
VERIFIED = _schema(
    evaluation_set=_text,
    query_id=_text,
    image_id=_text,
    landmark_id=pa.int64(),
    n_matches=pa.int32(),
    n_inliers=pa.int32(),
    score=pa.float32(),
    status=_text,
    geometry=_text,
    matrix=(pa.list_(pa.float64(), 9), True),
)

# An item is one pair, or a landmark as a whole (origin text, closure or audit); a group is a query with the photos of
# one landmark: what a person sees.
REVIEW_ITEMS = _schema(
    item_id=_text,
    group_id=_text,
    evaluation_set=_text,
    query_id=(_text, True),
    image_id=(_text, True),
    landmark_id=pa.int64(),
    origin=_text,
    score=(pa.float32(), True),
)

# How a landmark as a whole, not a pair, can come before people.
WHOLE_ORIGINS = ("text", "closure", "audit")

Answer: TypeAlias = Literal["same", "same_other_side", "same_site", "different", "unsure"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
CONFIRMING = frozenset({"same", "same_other_side"})

# Takes a vote back: it supersedes one and says nothing, so that it never counts.
WITHDRAWN = "withdrawn"

STATES = ("confirmed", "rejected", "not_asked", "open")

# What became of every item: one row an item. It is `confirmed`, or `rejected` (no further vote can confirm it), or
# neither: `open` while people are asked, `not_asked` where nobody is any more, since its answer can change no removal
# (nor, with review.figures, any figure). `disputed`: a yes and a no stand against each other. `decided_by` is people or
# score.
DECISIONS = _schema(
    **{name: (REVIEW_ITEMS.field(name).type, REVIEW_ITEMS.field(name).nullable) for name in REVIEW_ITEMS.names},
    state=_text,
    disputed=pa.bool_(),
    n_yes=pa.int64(),
    n_no=pa.int64(),
    n_votes=pa.int64(),
    decided_by=_text,
)

# Append-only. `supersedes` is the vote_id of the same reviewer's earlier vote on the item.
VOTES = _schema(
    vote_id=_text,
    item_id=_text,
    group_id=_text,
    evaluation_set=_text,
    query_id=(_text, True),
    image_id=(_text, True),
    landmark_id=pa.int64(),
    reviewer=_text,
    answer=_text,
    voted_at=pa.timestamp("ms", tz="UTC"),
    seconds=(pa.float32(), True),
    note=(_text, True),
    guideline_version=(_text, True),
    supersedes=(_text, True),
)

# A verified pair of a confirmed landmark's photo (the kin) with a photo of another landmark.
LINKS = _schema(landmark_id=pa.int64(), image_id=_text, kin_id=pa.int64(), kin_image_id=_text, score=pa.float32())

# One row a landmark that closure proposes, by landmark_id. `component` is the least id of those it hangs together with;
# `kin` lists the confirmed landmarks it is linked with, `reasons` photos, same name or nested name; `n_images` and
# `n_kin_images` count photos with verified pairs, `score` is the best of these.
PROPOSALS = _schema(
    landmark_id=pa.int64(),
    component=pa.int64(),
    kin=pa.list_(pa.int64()),
    reasons=pa.list_(_text),
    n_images=pa.int64(),
    n_kin_images=pa.int64(),
    score=(pa.float32(), True),
)

# One row a kept landmark, by stratum of the audit, and one a known overlapping landmark that is shown among them;
# `drawn` ones are judged.
AUDITED = _schema(landmark_id=pa.int64(), stratum=_text, drawn=pa.bool_())

# One row a detector and landmark that it brought up, whatever people said of it.
FOUND = _schema(detector=_text, landmark_id=pa.int64())

# One row a landmark that was asked about, by landmark_id: whether it goes and, in words, why. `evaluation_set` is the
# one in which most queries show it, and `n_queries` counts these, `n_confirmed` the photos confirmed for them;
# `n_queries_not_asked` counts its queries without a confirmed pair that may have one all the same, since a pair of
# theirs is undecided (not asked, or open). `n_items` counts its items, the next three those in that state. `beaten`
# lists the queries that have more confirmed photos of another landmark; `evidence` what a removal rests on, item_ids.
OUTCOMES = _schema(
    landmark_id=pa.int64(),
    landmark_name=_text,
    n_images=pa.int64(),
    removed=pa.bool_(),
    reason=_text,
    origin=_text,
    evaluation_set=_text,
    n_queries=pa.int64(),
    n_queries_not_asked=pa.int64(),
    n_confirmed=pa.int64(),
    n_items=pa.int64(),
    n_rejected=pa.int64(),
    n_not_asked=pa.int64(),
    n_open=pa.int64(),
    disputed=pa.bool_(),
    beaten=pa.list_(pa.struct([("evaluation_set", _text), ("query_id", _text), ("landmark_id", pa.int64())])),
    evidence=pa.list_(_text),
)

# One row a removed landmark, by landmark_id. `n_queries` and `n_confirmed` count queries and photos with confirmed
# pairs; while `n_queries_not_asked` or `n_not_asked` (pairs that are neither confirmed nor rejected) is not 0 they say
# "at least", and where it is empty, as in older releases, nobody knows. `n_images` counts the landmark's photos in
# train_clean.csv; `evidence` lists item_ids.
REMOVALS = _schema(
    landmark_id=pa.int64(),
    landmark_name=_text,
    evaluation_set=_text,
    origin=_text,
    n_queries=pa.int64(),
    n_queries_not_asked=(pa.int64(), True),
    n_confirmed=pa.int64(),
    n_not_asked=(pa.int64(), True),
    n_images=pa.int64(),
    evidence=pa.list_(_text),
)

# Figures are in [0, 1] and unrounded; they are empty, and `n_queries` is 0, where a protocol has no positive photo.
# `training_set` and `seed` are empty for descriptors that came as a file.
SCORES = _schema(
    training_set=(_text, True),
    network=_text,
    seed=(pa.int64(), True),
    evaluation_set=_text,
    protocol=_text,
    n_queries=pa.int64(),
    map=(pa.float64(), True),
    mp_at_1=(pa.float64(), True),
    mp_at_5=(pa.float64(), True),
    mp_at_10=(pa.float64(), True),
)

# The same by query: one row a protocol and query, in the queries' order; empty where it has no positive photo.
QUERY_SCORES = _schema(
    training_set=(_text, True),
    network=_text,
    seed=(pa.int64(), True),
    evaluation_set=_text,
    protocol=_text,
    query_id=_text,
    ap=(pa.float64(), True),
    mp_at_1=(pa.float64(), True),
    mp_at_5=(pa.float64(), True),
    mp_at_10=(pa.float64(), True),
)

# What removing the overlap changes, one row a method, contrast (full - clean, full - placebo, effect) and kind of query
# (overlapping, other, their difference); `low` and `high` end the 95 % interval. In average precision, 0 to 1.
EFFECTS = _schema(
    network=_text,
    protocol=_text,
    contrast=_text,
    queries=_text,
    n_queries=pa.int64(),
    n_landmarks=pa.int64(),
    n_seeds=pa.int64(),
    n_placebos=pa.int64(),
    value=pa.float64(),
    low=pa.float64(),
    high=pa.float64(),
)

# The same query on each version of the training set, averaged over seeds (and placebo draws); `landmark` numbers what
# the queries show.
CHANGES = _schema(
    network=_text,
    evaluation_set=_text,
    protocol=_text,
    query_id=_text,
    landmark=pa.int64(),
    overlapping=pa.bool_(),
    full=pa.float64(),
    clean=pa.float64(),
    placebo=(pa.float64(), True),
)

# What giving back `n_landmarks` of the removed ids adds to mAP, by what became of the query's landmark.
DOSES = _schema(
    network=_text,
    n_landmarks=pa.int64(),
    queries=_text,
    n_queries=pa.int64(),
    value=pa.float64(),
    low=pa.float64(),
    high=pa.float64(),
)

# An order of the methods, best first, on a version of the training set: `share` of the resamples that give it,
# `observed` for the one that the scores themselves give, with the share that differ from the order on the full version.
ORDERS = _schema(
    training_set=_text,
    networks=pa.list_(_text),
    share=pa.float64(),
    observed=pa.bool_(),
    differs_from_full=(pa.float64(), True),
)

# The versions of the training set that were trained on, and what was removed for each.
VERSIONS = _schema(
    training_set=_text,
    n_landmarks=pa.int64(),
    n_images=pa.int64(),
    n_landmarks_removed=pa.int64(),
    n_images_removed=pa.int64(),
    landmark_ids=pa.list_(pa.int64()),
)

# One stage beside two: how database photos are described, what training took and what a photo takes (describing, and
# finding the object where that comes first; not reading), and what is reached.
STAGES = _schema(
    method=_text,
    seed=pa.int64(),
    evaluation_set=_text,
    protocol=_text,
    map=(pa.float64(), True),
    training_s=pa.float64(),
    photo_ms=pa.float64(),
)

# How well boxes that were found without labels meet the queries' own: mean intersection over union, and the share of
# queries where it is a half or more.
BOXES = _schema(method=_text, seed=pa.int64(), n_queries=pa.int64(), mean_iou=pa.float64(), half=pa.float64())

# How much a detector finds of `n` photos (or landmarks) of a kind: the share among the first `reach` photos of the
# search, or within `reach` bits of a copy's hash.
RECALL = _schema(detector=_text, kind=_text, reach=pa.int64(), recall=pa.float64(), n=pa.int64())

# A photo that could not be used, and why; shown in the report, never dropped silently.
QUARANTINE = _schema(image_id=_text, source=_text, path=_text, reason=_text)


@dataclass(frozen=True)
class LocalFeatures:
    """Hold the local features of one photo, strongest first.

    Args:
        xy_px: (M, 2) float32 positions in the (cropped, oriented) photo at its full size.
        scales_px: (M,) float32 diameters of the described regions, in pixels of the same photo.
        angles_deg: (M,) float32 orientations in [0, 360), clockwise from the x axis; NaN where the detector gives none.
        responses: (M,) float32 detector strengths, descending.
        descriptors: (M, D) float32, unit rows.
        size_px: width and height of that photo.
    """

    xy_px: FloatArray
    scales_px: FloatArray
    angles_deg: FloatArray
    responses: FloatArray
    descriptors: FloatArray
    size_px: tuple[int, int]


@dataclass(frozen=True)
class Descriptors:
    """Hold global descriptors with the ids they belong to.

    Args:
        image_ids: N ids, row by row.
        vectors: (N, D) float16 or float32 unit rows, possibly memory-mapped.
    """

    image_ids: list[str]
    vectors: NDArray[np.floating]


def as_table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    """Build a table of the given schema from rows, and check it.

    Raises:
        DataError: a cell is empty where none may be, or has another type than its column.
    """
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"a row does not fit the columns {', '.join(schema.names)}: {error}") from None
    return checked(table, schema)


def checked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with exactly the schema's columns in its order.

    A column of a related type is converted (int32 to int64, large_string to string), but a number never becomes text
    nor text a number: an id of digits only has then lost its leading zeros already.

    Raises:
        DataError: a column is missing, has another type, or holds a null where none is allowed.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DataError(f"a table lacks the column(s) {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return pa.Table.from_arrays([_column(table[field.name], field) for field in schema], schema=schema)


def parse_landmark_id(text: str) -> int:
    """Return the landmark id that a cell holds.

    Raises:
        ValueError: it holds none.
    """
    if not _is_landmark_id(text):
        raise ValueError(f"landmark_id {text[:40]!r} is not a whole number; {LANDMARK_ID_FORM}")
    return int(text)


def _column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.null_count and not field.nullable:
        raise DataError(f"column {field.name!r} has {column.null_count} empty cells; every row needs one")
    wrong = f"column {field.name!r} holds {column.type}, expected {field.type}"
    if _is_text(column.type) != _is_text(field.type) and not pa.types.is_null(column.type):
        raise DataError(wrong)
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{wrong}: {error}") from None


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
