"""Headings of an encyclopaedia of diseases as questions: known ones in words of their own, others in a general form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

import yaml

SHORT = "Answer in short."

_TABLE = yaml.safe_load(files(__package__).joinpath("wiki_headings.yaml").read_text(encoding="utf-8"))
KNOWN: Mapping[str, str] = {name: form for form, names in _TABLE["questions"].items() for name in names}
NONE = frozenset(_TABLE["none"])
OVERVIEW = frozenset(("overview", "summary", "in brief", ""))
# Endings of the titles of the pages that a large article is divided into.
CHAPTERS = tuple(
    sorted(
        {name for name in KNOWN if len(name) > 4 or name in ("mri", "ct", "ecg")}
        | {"overview", "patient information"},
        key=len,
        reverse=True,
    )
)
SIGNS = re.compile(r"[^\w()?' ]+")
SPACES = re.compile(r" {2,}")
LONGEST = 120  # characters of a heading; what is longer is a sentence in a heading's place


def split_title(title: str) -> tuple[str, str]:
    """("Asthma", "medical therapy") for the page "Asthma medical therapy"; ("Asthma", "") for the article itself."""
    plain = _plain(title)
    for chapter in CHAPTERS:
        if plain.endswith(f" {chapter}") or plain.endswith(f" ({chapter})"):
            words = title.split()
            topic = " ".join(words[: -len(chapter.split())]).rstrip(" ,-(")
            if topic:
                return topic, chapter
    return title, ""


def question(title: str, headings: Sequence[str]) -> str | None:
    """The question that the section under `headings` (outermost first) answers, or None where it answers none.

    `headings` is empty for what stands before a page's first heading.
    """
    topic, chapter = split_title(title)
    *above, heading = headings or ("",)
    names = [_key(one, topic) for one in (*above, heading)]
    if any(name in NONE for name in names) or len(heading) > LONGEST:
        return None
    name = names[-1]
    if name in OVERVIEW:
        form = next((KNOWN[one] for one in (*reversed(names[:-1]), chapter) if one in KNOWN), "What is {x}?")
        asked = form.replace("{x}", topic)
        return asked if form == "What is {x}?" else f"{asked} {SHORT}"
    if heading.endswith("?"):
        return heading if topic.lower() in heading.lower() else f"{heading} (about {topic})"
    if name in KNOWN:
        return KNOWN[name].replace("{x}", topic)
    if len(name) < 3:  # a letter of an alphabetical list
        return None
    parent = next((KNOWN[one] for one in reversed(names[:-1]) if one in KNOWN), KNOWN.get(chapter))
    if parent:
        return f"{parent.replace('{x}', topic)} (the part on {heading})"
    if topic.lower() in heading.lower():
        return f"What is known about {heading}?"
    return f"What is known about {heading} in the context of {topic}?"


def _key(heading: str, topic: str) -> str:
    """A heading without its topic, signs and capitals, as KNOWN has it."""
    plain, about = _plain(heading), _plain(topic)
    if about and about in plain and plain != about:
        plain = re.sub(rf"\b(?:of |in |for )?(?:an? |the )?{re.escape(about)}(?:'s)?(?!\w)", "", plain)
    return SPACES.sub(" ", plain).strip(" ?")


def _plain(text: str) -> str:
    return SPACES.sub(" ", SIGNS.sub(" ", text.lower().replace("&", " and "))).strip()
