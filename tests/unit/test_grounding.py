"""From a generated name to a catalogue item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hnlmrec.data.interactions import Interactions
from hnlmrec.generation.grounding import Match, NameMatcher, normalized, outcome_of

TITLES = [
    "Toy Story",
    "White Balloon, The",
    "Alien",
    "Aliens",
    "Amélie",
    "Twins",
    "Twins",
    "",
    "Die Hard 2",
    "M*A*S*H",
    "???",
]


def matcher(**settings: object) -> NameMatcher:
    return NameMatcher([f"{title} #{n}" for n, title in enumerate(TITLES)], TITLES, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("Toy Story", 0),
        ("toy story (1995)", 0),
        ("The White Balloon", 1),
        ("Balloon White The", 1),
        ("Alien", 2),
        ("Aliens", 3),
        ("AMELIE", 4),
        ("Twins", 5),
        ("Twins #6", 6),
        ("Die Hard", None),
        ("Die Hard 3", None),
        ("Die Hard 2: Die Harder", None),
        ("M.A.S.H.", 9),
        ("???", 10),
        ("Heat", None),
        ("", None),
    ],
)
def test_names_find_their_titles(name: str, item: int | None) -> None:
    match = matcher().match([name])[0]
    assert match.item == item
    assert 0.0 <= match.score <= 1.0


def test_order_and_repeats_are_kept() -> None:
    found = matcher().match(["Heat", "Alien", "Heat", "Alien"])
    assert [match.item for match in found] == [None, 2, None, 2]
    assert matcher().match([]) == []


def test_a_misspelling_is_found_and_scored_below_one() -> None:
    match = matcher().match(["The White Baloon"])[0]
    assert match.item == 1
    assert 0.9 < match.score < 1.0


def letters(texts: Sequence[str]) -> np.ndarray:
    vectors = np.zeros((len(texts), 128), dtype=np.float32)
    for row, text in enumerate(texts):
        for letter in text.casefold():
            vectors[row, ord(letter) % 128] += 1
    return vectors


def test_meaning_is_asked_last_and_has_its_threshold() -> None:
    near, far = "Toys Story Tale", "Quick fjord"
    loose = matcher(encode=letters, cosine_threshold=0.8).match([near, far])
    assert [match.item for match in loose] == [0, None]
    assert [match.item for match in matcher(encode=letters, cosine_threshold=1.0).match([near, far])] == [
        None,
        None,
    ]
    assert matcher().match([near])[0].item is None


def test_the_encoder_is_not_asked_for_names_that_are_found() -> None:
    asked: list[str] = []

    def record(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return letters(texts)

    matcher(encode=record).match(["Alien", "Twins"])
    assert asked == []


def test_many_names_are_matched_in_pieces() -> None:
    titles = [f"Film number {n}" for n in range(700)]
    names = [f"film  NUMBER {n}" for n in range(700)] + [f"Film numbr {n}" for n in range(700)]
    found = NameMatcher(titles, titles, fuzzy_threshold=0.9).match(names)
    assert [match.item for match in found] == [*range(700), *range(700)]


def test_a_catalogue_without_titles_matches_its_names_alone() -> None:
    bare = NameMatcher(["(no. 1)"], [""], encode=letters)
    assert [match.item for match in bare.match(["(no. 1)", "Heat"])] == [0, None]


def test_outcomes() -> None:
    train = Interactions.from_pairs([0, 0], [1, 2], 1, 4)
    assert outcome_of(Match(None, 0.3), 0, 1, train) == "off_catalogue"
    assert outcome_of(Match(1, 1.0), 0, 1, train) == "copied_positive"
    assert outcome_of(Match(2, 1.0), 0, 1, train) == "observed"
    assert outcome_of(Match(2, 1.0), 0, None, train) == "observed"
    assert outcome_of(Match(3, 1.0), 0, 1, train) == "catalogue"


def test_normalized() -> None:
    assert normalized("  Léon & Co., The (1994)") == "the leon and co"
    assert normalized("Matrix, The") == normalized("the MATRIX!") == "the matrix"
