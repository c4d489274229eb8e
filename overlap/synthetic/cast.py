"""Decide who is in the world: buildings, landmarks with their roles and names, and every photo to take.

Roles of landmarks:

=============  =====================================================================================================
overlap        the main id of a building that an evaluation set asks for
split          a second, smaller id of such a building
far            a further id of such a building, with photos of its hall only, which its main id has some of too
text_true      photos of such a building's hall only: the eye of no query finds it, its name does
mislabelled    another building, with one photo of such a building among its own
lookalike      another building by the architect of one that an evaluation set asks for
site           another building of the same place
text_false     another building whose name holds "Oxford" or "Paris"
trap           another building whose name holds them only inside a longer word
plain          another building
=============  =====================================================================================================
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from itertools import cycle as forever
from types import MappingProxyType

import numpy as np

from overlap.base.config import SyntheticConfig
from overlap.base.errors import ConfigError
from overlap.synthetic.buildings import BUILDERS, Design, draw_design, draw_rival
from overlap.synthetic.paint import Rng

Look = tuple[str, str]  # view, light

_E, _F, _C, _S = ("easy", "day"), ("front", "day"), ("corner", "day"), ("side", "day")
_DUSK, _NIGHT, _DETAIL, _BACK = ("front", "dusk"), ("front", "night"), ("detail", "day"), ("back", "day")
LOOKS: MappingProxyType[str, tuple[Look, ...]] = MappingProxyType(
    {
        "overlap": (_E, _F, _E, _DUSK, _F, _C, _E, _NIGHT, _E, _S, _DETAIL, _BACK),
        "split": (_E, _F, _E, _F),
        "far": (("inside", "day"),),
        "text_true": (("inside", "day"),),
        "other": (_E, _F, _C, _DUSK, _E, _S, _NIGHT, _DETAIL, _BACK),
        "query": (_E, _F, ("easy", "dusk")),
        "database": (_E, _F, _C, _NIGHT, _DUSK, _S),
    }
)


@dataclass(frozen=True)
class Building:
    """Hold a building: ``key`` is its id in the truth, ``like`` that of the one it resembles, or empty."""

    key: str
    name: str
    design: Design
    like: str = ""


@dataclass(frozen=True)
class Landmark:
    """Hold a landmark of the training set; ``building`` is a key, ``clean`` whether train_clean.csv lists it."""

    landmark_id: int
    name: str
    building: str
    role: str
    clean: bool = True


@dataclass(frozen=True)
class Photo:
    """Hold a training photo: the landmark it is filed under and the building it shows."""

    image_id: str
    landmark_id: int
    building: str
    view: str
    light: str
    clean: bool


@dataclass(frozen=True)
class EvaluationPhoto:
    """Hold a photo of an evaluation set; queries are no part of its database."""

    evaluation_set: str
    name: str
    building: str
    view: str
    light: str
    query: bool


@dataclass(frozen=True)
class Cast:
    """Hold the whole world before a photo is taken."""

    buildings: tuple[Building, ...]
    landmarks: tuple[Landmark, ...]
    photos: tuple[Photo, ...]
    evaluation: tuple[EvaluationPhoto, ...]


def seed_of(settings: SyntheticConfig, *place: int) -> tuple[int, ...]:
    """Return the seed of one thing of the world; any whole number may be the world's seed."""
    return (settings.seed % 2**63, *place)


def draw_cast(settings: SyntheticConfig, evaluation_names: Sequence[str]) -> Cast:
    """Draw the world's buildings, landmarks and photos.

    Raises:
        ConfigError: there are too few landmarks for the roles.
    """
    rng = np.random.default_rng(seed_of(settings, 0))
    counts = _count_roles(settings.landmarks, len(evaluation_names), far=settings.far_ids)
    asked = _draw_buildings(settings, 0, counts["overlap"])
    absent = _draw_buildings(settings, len(asked), max(len(evaluation_names), settings.landmarks // 25))
    others = _other_buildings(settings, rng, counts, [*asked, *absent])
    landmarks = _draw_landmarks(rng, counts, asked, others)
    photos = _draw_photos(settings, rng, landmarks, asked, others)
    evaluation = _draw_evaluation(rng, evaluation_names, asked, absent, others)
    return Cast((*asked, *absent, *others), landmarks, photos, evaluation)


def _count_roles(landmarks: int, sets: int, *, far: int) -> dict[str, int]:
    if landmarks < sets + 8 + far:
        raise ConfigError(
            f"synthetic.landmarks = {landmarks} is too few for {sets} evaluation sets; "
            f"{sets + 8 + far} or more are needed"
        )

    def share(part: float) -> int:
        return max(1, round(part * landmarks))

    counts = {
        "overlap": max(sets, min(share(0.15), landmarks - 8)),
        "split": share(0.06),
        "far": far,
        "text_true": 1 if landmarks < 20 else 2,
        "lookalike": share(0.09),
        "site": share(0.05),
        "mislabelled": share(0.06),
        "text_false": share(0.07),
        "trap": 2 if landmarks < 12 else share(0.07),
    }
    return {**counts, "plain": max(0, landmarks - sum(counts.values()))}


def _draw_buildings(settings: SyntheticConfig, first: int, number: int) -> list[Building]:
    """Draw buildings, their kinds in turn, numbered from ``first``."""
    kinds = list(BUILDERS)
    turn = settings.seed % len(kinds)
    buildings = []
    for index in range(first, first + number):
        kind = kinds[(turn + index) % len(kinds)]
        place = seed_of(settings, 1, index)
        design = draw_design(np.random.default_rng((*place, 0)), (*place, 1), kind)
        buildings.append(Building(f"building-{index:05d}", _building_name(index, NOUNS[kind]), design))
    return buildings


def _building_name(index: int, noun: str) -> str:
    first = FIRST_NAMES[index % len(FIRST_NAMES)]
    round_trip = index // len(FIRST_NAMES)
    return f"{first} {noun}" + (f" {round_trip + 1}" if round_trip else "")


def _other_buildings(
    settings: SyntheticConfig, rng: Rng, counts: dict[str, int], known: Sequence[Building]
) -> list[Building]:
    """Draw the buildings of the roles that need their own: look-alikes and twins of a site first."""
    roles = ("mislabelled", "text_false", "trap", "plain")
    number = counts["lookalike"] + counts["site"] + sum(counts[role] for role in roles) + 1
    fresh = _draw_buildings(settings, len(known), number)
    rivals = [_rival(rng, fresh[i], known[i % len(known)]) for i in range(counts["lookalike"])]
    sites = [_twin(fresh[counts["lookalike"] + i], known[i % len(known)]) for i in range(counts["site"])]
    return [*rivals, *sites, *fresh[len(rivals) + len(sites) :]]


def _rival(rng: Rng, fresh: Building, original: Building) -> Building:
    design = draw_rival(original.design, rng, fresh.design.seed)
    return replace(
        fresh, name=_building_name(int(fresh.key[-5:]), NOUNS[design.kind]), design=design, like=original.key
    )


def _twin(fresh: Building, original: Building) -> Building:
    design = replace(fresh.design, style=replace(original.design.style, bay_m=fresh.design.style.bay_m))
    return replace(fresh, name=f"{original.name.split()[0]} {NOUNS[design.kind]} (outbuilding)", design=design)


_SHARED = ("overlap", "split", "far", "text_true")


def _draw_landmarks(
    rng: Rng, counts: dict[str, int], asked: Sequence[Building], others: Sequence[Building]
) -> tuple[Landmark, ...]:
    own = iter(others)
    rows: list[tuple[str, str, Building]] = []
    for role, number in counts.items():
        for index in range(number):
            building = (
                next(own) if role not in _SHARED else asked[(index if role != "text_true" else -1 - index) % len(asked)]
            )
            rows.append((role, _landmark_name(role, index, building), building))
    rows.append(("plain", "Unsorted mills", others[-1]))
    ids = np.sort(rng.choice(max(203_094, 4 * len(rows)), len(rows), replace=False) + 1)
    order = rng.permutation(len(rows))
    landmarks = [
        Landmark(int(ids[place]), name, building.key, role, clean=row < len(rows) - 1)
        for place, (row, (role, name, building)) in zip(order, enumerate(rows), strict=True)
    ]
    return tuple(sorted(landmarks, key=lambda landmark: landmark.landmark_id))


def _landmark_name(role: str, index: int, building: Building) -> str:
    """Name a landmark; second ids of a building never hold the words, so that policy ``paper`` leaves them in."""
    names = NAMES.get(role, ())
    if role == "mislabelled" and index == 0:
        return "Parisot"
    if names:
        again = index // len(names)
        return names[index % len(names)] + (f" no. {again + 1}" if again else "")
    if role == "text_true":
        word = WORDS[int(building.key[-5:]) % 2]
        return f"Intérieur : {building.name} ({word})" if word == "Paris" else f"Great hall of {building.name}, {word}"
    if role == "split":
        return f"Views of {building.name}, old series" + (f" {index}" if index else "")
    if role == "far":
        return f"Postcards, box {index + 1}"
    if role == "overlap" and index % 3 == 1:
        return f"{building.name}, {WORDS[index % 2]}"
    return f"{building.name} ({TOWNS[index % len(TOWNS)]})" if role in ("plain", "lookalike") else building.name


def _draw_photos(
    settings: SyntheticConfig,
    rng: Rng,
    landmarks: Sequence[Landmark],
    asked: Sequence[Building],
    others: Sequence[Building],
) -> tuple[Photo, ...]:
    ids = _image_ids(settings)
    wrong = forever(building.key for building in asked)
    far = {landmark.building for landmark in landmarks if landmark.role == "far"}
    photos: list[Photo] = []
    for landmark in landmarks:
        number = _count_photos(rng, settings.photos_per_landmark, landmark.role)
        looks = LOOKS.get(landmark.role, LOOKS["other"])
        shown = [(landmark.building, look) for look in islice(forever(looks), number)]
        if landmark.role == "mislabelled":
            shown[-1] = (next(wrong), _E)
        if landmark.role == "overlap" and landmark.building == asked[0].key:
            shown.append((others[0].key, _E))
        if landmark.role == "overlap" and landmark.building in far:
            shown += 3 * [(landmark.building, LOOKS["far"][0])]
        photos += [_photo(ids, landmark, building, look, clean=landmark.clean) for building, look in shown]
    for landmark in landmarks[:: max(1, len(landmarks) // (2 + len(landmarks) // 10))]:
        photos.append(_photo(ids, landmark, landmark.building, LOOKS.get(landmark.role, (_F,))[0], clean=False))
    return tuple(photos)


def _photo(ids: Iterator[str], landmark: Landmark, building: str, look: Look, *, clean: bool) -> Photo:
    return Photo(next(ids), landmark.landmark_id, building, *look, clean=clean)


def _count_photos(rng: Rng, average: int, role: str) -> int:
    """Return how many photos a landmark has; a main id has four times those of its second id."""
    if role in ("overlap", "split"):
        main = max(4, round(1.5 * average))
        return main if role == "overlap" else main // 4
    if role in ("text_true", "far"):
        return max(4 if role == "far" else 2, average // 2)
    return int(rng.integers(max(2, round(0.6 * average)), max(3, round(1.15 * average) + 1)))


def _image_ids(settings: SyntheticConfig) -> Iterator[str]:
    """Yield 16-digit ids; every eleventh or so would be taken for a number by a careless reader."""
    for number in count():
        text = hashlib.sha256(f"{settings.seed} {number}".encode()).hexdigest()
        digits = str(int(text, 16))
        if number % 23 == 1:
            yield f"00{digits[:14]}"
        elif number % 23 == 4:
            yield f"{digits[:14]}e{digits[14]}"
        else:
            yield text[:16]


def _draw_evaluation(
    rng: Rng, names: Sequence[str], asked: Sequence[Building], absent: Sequence[Building], others: Sequence[Building]
) -> tuple[EvaluationPhoto, ...]:
    """Draw the evaluation sets: buildings asked for are dealt to them in turn; strangers fill their databases."""
    photos: list[EvaluationPhoto] = []
    for turn, name in enumerate(names):
        for building in [*asked[turn :: len(names)], *absent[turn :: len(names)]]:
            looks = [*((look, True) for look in LOOKS["query"]), *((look, False) for look in LOOKS["database"])]
            photos += _evaluation_photos(name, building, looks)
        strangers = rng.choice(len(others), min(len(others), 3 + len(asked)), replace=False)
        for place in sorted(strangers.tolist()):
            photos += _evaluation_photos(name, others[place], [(_F, False)])
    return tuple(photos)


def _evaluation_photos(name: str, building: Building, looks: Sequence[tuple[Look, bool]]) -> list[EvaluationPhoto]:
    stem = "".join(letter if letter.isalnum() else "_" for letter in building.name.lower()).strip("_")
    return [
        EvaluationPhoto(name, f"{stem}_{number:06d}", building.key, *look, query=query)
        for number, (look, query) in enumerate(looks)
    ]


WORDS = ("Oxford", "Paris")
TOWNS = ("Brenholm", "Vauclair", "Sankt Ilgen", "Torrevieja la Vella", "Kesmark", "Nørdby", "Olszyna", "Castelvero")
NOUNS: MappingProxyType[str, str] = MappingProxyType(
    {
        "church": "Minster",
        "temple": "Museum",
        "rotunda": "Rotunda",
        "palace": "Palace",
        "castle": "Castle",
        "gatehouse": "College",
        "houses": "Row",
        "arch": "Arch",
        "belfry": "Belfry",
    }
)
FIRST_NAMES = (
    "Aldwyn", "Montclair", "Halden", "Merrow", "Valcourt", "Ostrava", "Bellamy", "Corvin",
    "Delorme", "Eskdale", "Farrant", "Gildas", "Hawksworth", "Isolde", "Jessamy", "Karlsberg",
    "Lindqvist", "Marchmont", "Norwood", "Orsini", "Pembury", "Quintero", "Roskam", "Severin",
    "Thornbury", "Ulric", "Vasari", "Wendover", "Ysolde", "Zamoyski", "Ambrose", "Brandon",
    "Cressida", "Dunmore", "Everard", "Florian", "Gascoyne", "Hollar", "Ingram", "Jarrow",
    "Kinross", "Lavelle", "Mowbray",
)  # fmt: skip
NAMES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "text_false": (
            "Hôtel de Varenne-Soubise (Paris)",
            "Merrow Mill, Oxford",
            "Église Saint-Médard-des-Prés, Paris",
            "Oxford Canal pump house",
            "Fontaine de la Reine, Paris 5e",
        ),
        "trap": ("Parish church of St. Wendelin", "Oxfordshire Museum", "Parishioners' Hall", "Sparisella, Teatro"),
    }
)
