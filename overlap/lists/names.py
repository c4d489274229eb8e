"""Landmark names to text candidates: landmarks whose name holds a configured word, as a whole word; and to kin.

A name is compared as the sequence of its words: percent-escapes decoded, accents folded (NFKD without marks), case
folded, and everything but letters and digits, underscores included, separates. So "Hôtel des Invalides (Paris)",
"Notre-Dame_de_Paris" and "Saint-Oxford's" hold "Paris", "Paris" and "Oxford"; "Parish church" and "Oxfordshire" hold
neither. Source: the text route of arXiv 2404.01524, section 3.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from urllib.parse import unquote

import pyarrow as pa

from overlap.base.errors import ConfigError
from overlap.base.tables import CANDIDATES, as_table

_ADDRESS = re.compile(r"\Ahttps?://[^/]*/(?:wiki/)?(?:Category:)?", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


def find_text_candidates(landmarks: pa.Table, words: Iterable[str]) -> pa.Table:
    """Find the landmarks whose name holds one of the words; a word may be a phrase, "Notre Dame".

    Args:
        landmarks: LANDMARKS; a name may also be the address of a Wikimedia category.
        words: what to look for, compared as names are.

    Returns:
        CANDIDATES of origin ``text``, without query and photo, in the order of `landmarks`.

    Raises:
        ConfigError: a word holds no letter and no digit.
    """
    phrases = [_phrase(word) for word in words]
    names = zip(landmarks["landmark_id"].to_pylist(), landmarks["landmark_name"].to_pylist(), strict=True)
    return as_table([_candidate(landmark_id) for landmark_id, name in names if _holds(name, phrases)], CANDIDATES)


def find_kin_names(landmarks: pa.Table, seeds: Collection[int], *, words: int) -> list[tuple[int, int, str]]:
    """Find the landmarks that are named like a seed.

    Two landmarks have the same name when their words are equal, which two ids of one Wikimedia category have; a name is
    nested in another when its words follow each other there, and are at least `words`.

    Args:
        landmarks: LANDMARKS.
        seeds: landmark ids among them.

    Returns:
        (landmark_id, seed, "same name" or "nested name") by landmark and seed. Two seeds are named of each other.
    """
    lines = {
        landmark_id: name_words(name)
        for landmark_id, name in zip(
            landmarks["landmark_id"].to_pylist(), landmarks["landmark_name"].to_pylist(), strict=True
        )
    }
    return [
        (landmark_id, seed, kinship)
        for landmark_id, own in sorted(lines.items())
        for seed in sorted(seeds)
        if landmark_id != seed and (kinship := _kinship(own, lines[seed], words)) is not None
    ]


def name_words(name: str) -> list[str]:
    """Split a name into its folded words."""
    return _WORD.findall(_folded(unquote(_ADDRESS.sub("", name))))


def _kinship(own: list[str], seed: list[str], words: int) -> str | None:
    if not own or not seed:
        return None
    if own == seed:
        return "same name"
    shorter, longer = sorted((own, seed), key=len)
    nested = len(shorter) >= words and f" {' '.join(shorter)} " in f" {' '.join(longer)} "
    return "nested name" if nested else None


def _phrase(word: str) -> str:
    words = _WORD.findall(_folded(word))
    if not words:
        raise ConfigError(f"names.words: {word!r} holds no letter and no digit; give words such as 'Oxford'")
    return f" {' '.join(words)} "


def _holds(name: str, phrases: list[str]) -> bool:
    line = f" {' '.join(name_words(name))} "
    return any(phrase in line for phrase in phrases)


def _folded(text: str) -> str:
    # Case folding may bring marks of its own (the Turkish capital dotted I), hence the second decomposition.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(letter for letter in folded if not unicodedata.category(letter).startswith("M"))


def _candidate(landmark_id: int) -> dict[str, object]:
    return {
        "evaluation_set": "",
        "query_id": None,
        "image_id": None,
        "landmark_id": landmark_id,
        "rank": 0,
        "similarity": 1.0,
        "origin": "text",
    }
