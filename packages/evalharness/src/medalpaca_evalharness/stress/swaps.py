"""Swap words for sex, age or ethnicity in a question, by rules, where the attribute cannot decide the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from medalpaca_data.exams.item import Item

from .result import SWAP_AGE, SWAP_ETHNICITY, SWAP_SEX

AGE = re.compile(r"\b(\d{1,3})(?=[- ]years?[- ]old\b)", re.IGNORECASE)
# A time in years that may not fit another age.
YEARS = re.compile(r"\b(\d+)[- ]years?\b(?![- ]old)", re.IGNORECASE)
LONG_TIME = 10


class Swapped(NamedTuple):
    """The item with the swapped question; None with the reason if it is left out."""

    item: Item | None
    reason: str = ""


def swap(item: Item, perturbation: str) -> Swapped:
    """Return `item` with the words for one attribute swapped; `perturbation` is SWAP_SEX, SWAP_AGE or SWAP_ETHNICITY.

    Only the question changes. An item is left out if it has no such word, if a word is ambiguous, or if a term in
    question or options indicates that the attribute can decide the answer.
    """
    attribute, change = SWAPS[perturbation]
    found = change(item)
    if found.item and _decides(item, attribute):
        return Swapped(None, f"{attribute} may decide the answer")
    return found


@cache
def swap_rules() -> dict[str, Any]:
    """Return the rules in `swaps.yaml`."""
    rules: dict[str, Any] = yaml.safe_load(
        files(__package__).joinpath("swaps.yaml").read_text(encoding="utf-8")
    )
    return rules


def _decides(item: Item, attribute: str) -> bool:
    terms = _terms(attribute)
    return any(terms.search(text) for text in (item.question, *item.options.values()))


@cache
def _terms(attribute: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(swap_rules()[attribute]['decides'])})", re.IGNORECASE)


@cache
def _words(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


def _swap_sex(item: Item) -> Swapped:
    rules = swap_rules()["sex"]
    female = tuple(rules["words"])
    male = (*dict.fromkeys(rules["words"].values()), "him")
    if _words(tuple(rules["other_people"])).search(item.question):
        return Swapped(None, "relatives or partners are mentioned")
    has_female, has_male = (bool(_words(words).search(item.question)) for words in (female, male))
    if not has_female and not has_male:
        return Swapped(None, "no word for sex")
    if has_female and has_male:
        return Swapped(None, "words for both sexes")
    if any(_words((*female, *male)).search(text) for text in item.options.values()):
        return Swapped(None, "an option has a word for sex")
    to_male: dict[str, str] = rules["words"]
    to_female = {word: other for other, word in reversed(to_male.items())} | {"him": "her"}

    def replaced(match: re.Match[str]) -> str:
        word = match[0].lower()
        following = re.match(r" ([A-Za-z]+)", item.question[match.end() :])
        after = following[1].lower() if following else ""
        if word == "her":
            other = "his" if after and after not in rules["after_object"] else "him"
        elif word == "his":
            other = "her" if after and after not in rules["after_possession"] else "hers"
        else:
            other = to_male[word] if has_female else to_female[word]
        return _like(match[0], other)

    return Swapped(replace(item, question=_words((*female, *male)).sub(replaced, item.question)))


def _swap_age(item: Item) -> Swapped:
    ages = AGE.findall(item.question)
    if not ages:
        return Swapped(None, "no age in years")
    if len(ages) > 1:
        return Swapped(None, "several ages")
    age = int(ages[0])
    band = next((band for band in swap_rules()["age"]["bands"] if band[0] <= age <= band[1]), None)
    if band is None:
        return Swapped(None, "age is below 25 or above 64")
    if any(int(years) >= LONG_TIME for years in YEARS.findall(item.question)):
        return Swapped(None, "a long time in years may not fit another age")
    other = age + 10 if age + 10 <= band[1] else age - 10
    return Swapped(replace(item, question=AGE.sub(str(other), item.question)))


def _swap_ethnicity(item: Item) -> Swapped:
    rules = swap_rules()["ethnicity"]
    people = "|".join(rules["people"])
    kinds = {
        name: re.compile(rf"\b(?:(an?) )?(?:{kind['pattern']})(?=(?:[- ]\w+)? (?:{people})\b)", re.IGNORECASE)
        for name, kind in rules["kinds"].items()
    }
    present = [name for name, pattern in kinds.items() if pattern.search(item.question)]
    if not present:
        return Swapped(None, "no word for ethnicity")
    if len(present) > 1:
        return Swapped(None, "words for several ethnicities")
    becomes = rules["kinds"][present[0]]["becomes"]

    def replaced(match: re.Match[str]) -> str:
        if not match[1]:
            return str(becomes)
        return f"{_like(match[1], 'an' if becomes[0] in 'AEIO' else 'a')} {becomes}"

    return Swapped(replace(item, question=kinds[present[0]].sub(replaced, item.question)))


def _like(model: str, word: str) -> str:
    """Return `word` with a capital letter if `model` begins with one, and in capitals if `model` is."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word


# Perturbation -> attribute, and the function that swaps its words.
SWAPS: dict[str, tuple[str, Callable[[Item], Swapped]]] = {
    SWAP_SEX: ("sex", _swap_sex),
    SWAP_AGE: ("age", _swap_age),
    SWAP_ETHNICITY: ("ethnicity", _swap_ethnicity),
}
