"""Names become candidates by whole words, whatever case, accents, escapes and separators they come with."""

import re
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.errors import ConfigError
from overlap.base.tables import CANDIDATES, LANDMARKS, as_table
from overlap.lists.names import find_kin_names, find_text_candidates, name_words

WORDS = ("Oxford", "Paris")


def landmarks(*names):
    rows = [{"landmark_id": 100 + n, "landmark_name": name, "n_images": 1} for n, name in enumerate(names)]
    return as_table(rows, LANDMARKS)


def is_found(name, words=WORDS):
    return len(find_text_candidates(landmarks(name), words)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "Hôtel des Invalides (Paris)",
        "H%C3%B4tel_des_Invalides_(Paris)",
        "http://commons.wikimedia.org/wiki/Category:H%C3%B4tel_des_Invalides_%28Paris%29",
        "Notre-Dame_de_Paris",
        "PARIS",
        "Saint-Oxford's",
        "Magdalen_College,_Oxford",
        "óxford",
        "Ｏｘｆｏｒｄ station",
        "Paris",
    ],
)
def test_a_whole_word_is_found(name):
    assert is_found(name)


@pytest.mark.parametrize("name", ["Parish church", "Oxfordshire", "Comparison", "Parisian", "Paris2024", "", "Ox ford"])
def test_a_part_of_a_word_is_not(name):
    assert not is_found(name)


def test_words_of_the_address_itself_do_not_count():
    assert not is_found("http://commons.wikimedia.org/wiki/Category:Tower", ["wiki", "Category", "commons"])


def test_a_phrase_and_accents_in_the_configured_word():
    assert is_found("Cathédrale Notre-Dame de Chartres", ["notre dame"])
    assert not is_found("Notre grande Dame", ["notre dame"])
    assert is_found("Hotel de ville", ["hôtel"])
    assert is_found("İstanbul Archaeology Museums", ["Istanbul"])


def test_candidates_are_about_landmarks_in_their_order():
    table = find_text_candidates(landmarks("Paris A", "Rome", "Oxford B"), WORDS)
    assert table.schema.equals(CANDIDATES)
    assert table["landmark_id"].to_pylist() == [100, 102]
    row = table.to_pylist()[0]
    assert row == {
        "evaluation_set": "",
        "query_id": None,
        "image_id": None,
        "landmark_id": 100,
        "rank": 0,
        "similarity": 1.0,
        "origin": "text",
    }


ascii_words = st.lists(st.text("abcdefgh OXFORDparis", min_size=1, max_size=8), max_size=4)


@given(ascii_words, st.sampled_from(["_", " ", "-", " (", ") ", ", ", "'", "/", "%20", "+"]))
def test_equals_a_regular_expression_on_plain_ascii(words, separator):
    name = separator.join(words)
    plain = name.replace("%20", " ").replace("_", " ")
    literal = re.search(r"(?<![a-z0-9])(oxford|paris)(?![a-z0-9])", plain.lower()) is not None
    assert is_found(name) == literal


@given(st.text(st.characters(exclude_characters="%", exclude_categories=["Cs"])))
def test_escapes_composition_and_case_change_nothing(name):
    expected = name_words(name)
    assert name_words(quote(name)) == expected
    assert name_words(unicodedata.normalize("NFD", name)) == expected
    assert name_words(unicodedata.normalize("NFC", name)) == expected


@given(st.text("aäßOxfordParis ()_-", max_size=20), st.sampled_from(WORDS))
def test_adding_a_word_makes_a_hit_and_gluing_letters_to_it_does_not(name, word):
    assert is_found(f"{name} {word}", [word])
    assert is_found(f"({word})_{name}", [word])
    assert not is_found(f"x{word}", [word])
    assert not is_found(f"{word}shire", [word])


def test_a_word_without_letters_is_refused():
    with pytest.raises(ConfigError, match=r"names\.words: '--' holds no letter and no digit"):
        find_text_candidates(landmarks("x"), ["--"])


def test_kin_names_are_equal_or_nested_by_whole_words():
    names = {
        1: "All Souls College, Oxford",
        2: "http://commons.wikimedia.org/wiki/Category:All_Souls_College,_Oxford",
        3: "Library of All Souls College (Oxford)",
        4: "Oxford",
        5: "All Souls Colleges Oxford",
        6: "All Souls College",
        7: "",
    }
    rows = [{"landmark_id": n, "landmark_name": name, "n_images": 1} for n, name in names.items()]
    landmarks = as_table(rows, LANDMARKS)
    assert find_kin_names(landmarks, [1], words=2) == [
        (2, 1, "same name"),
        (3, 1, "nested name"),
        (6, 1, "nested name"),
    ]
    assert (4, 1, "nested name") in find_kin_names(landmarks, [1], words=1)
    assert find_kin_names(landmarks, [7], words=1) == []
    assert (1, 2, "same name") in find_kin_names(landmarks, [1, 2], words=2)
