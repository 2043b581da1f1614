"""Rules for answers that answer nothing: a leading question, a list of links, words lost by a crawler or converter.

A rule is narrow, because a row that it matches is changed or dropped. `tests/test_answer_rules.py` has its examples,
and the README of this package has the share of right matches among 50 random ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Repair:
    """A change that a source made to the row that follows, beyond its layout, such as a table turned into a list.

    `kind` names what was done. The ledger of the build counts repairs by kind, as it counts the changes of a stage.
    """

    kind: str


# A question of one sentence that begins with an interrogative or auxiliary word.
LEADING_QUESTION = re.compile(
    r"(?:What|How|Who|Why|When|Where|Which|If|Is|Are|Was|Were|Can|Could|Do|Does|Will|Should|Has|Have|Might)\b"
    r"(?:[^?.\n]|\.(?!\s+[A-Z])|(?<=\bSt)\.){3,250}\?(?=\s|$)"
)
# A question to the reader ("Have you ever felt dizzy?") is part of the prose, unless it names the topic.
TO_THE_READER = re.compile(r"\b(?:you|your|my|I|we|our|us)\b", re.IGNORECASE)
WORD = re.compile(r"\w+")
# Words that two different topics often share.
COMMON_WORDS = frozenset(
    (
        *("syndrome", "disease", "diseases", "disorder", "disorders", "deficiency", "condition", "type"),
        *("with", "from", "this", "that", "associated"),
        *("acute", "chronic", "congenital", "familial", "hereditary", "primary"),
    )
)
# Letters of the shortest word that can name a topic.
MIN_TOPIC_WORD = 4

SENTENCE_END = re.compile(r"(?<=[.!?\]])\s+|\n+")
RESOURCES = re.compile(r"^These resources\b[^\n]*:$", re.MULTILINE)
BULLET = re.compile(r"^- [^\n]*$", re.MULTILINE)
POINTER = re.compile(
    r"https?:|\bwww\.|\b\d{3}-\d{3}-\d{4}\b|\b[A-Z]{2} \d{5}(?:-\d{4})?\b|^These resources\b|"
    r"\b(?:following|these) (?:\w+ )?(?:links?|resources|web ?sites?)\b|"
    r"\b(?:more|further|additional)\b[^.]{0,40}\binformation\b[^.]{0,200}\b(?:available|visit|found|go to)\b",
    re.IGNORECASE | re.MULTILINE,
)
# Words beside links and addresses from which an answer counts as one.
MIN_ANSWER_WORDS = 8


def split_leading_question(answer: str, topic: str) -> tuple[str, str]:
    """Return the question at the start of an answer, and the rest; ("", answer) if the answer starts with none.

    The same question is removed again if it follows. A question that does not name the topic gets it in parentheses, as
    in "Is genetic testing available? (about Lattice dystrophy)". The rest is "" if the answer is only a question.
    """
    match = LEADING_QUESTION.match(answer)
    if not match or (TO_THE_READER.search(match[0]) and not names_topic(match[0], topic)):
        return "", answer
    question, rest = match[0], answer[match.end() :].lstrip()
    while rest.lower().startswith(question.lower()):
        rest = rest[len(question) :].lstrip()
    return question if not topic or names_topic(question, topic) else f"{question} (about {topic})", rest


def names_topic(text: str, topic: str) -> bool:
    """Return whether a text has the topic, or a word of it with which few other topics are named."""
    words = {word for word in WORD.findall(topic.lower()) if len(word) >= MIN_TOPIC_WORD} - COMMON_WORDS
    lower = text.lower()
    return topic.lower() in lower or any(word in lower for word in words)


def is_link_list(answer: str) -> bool:
    """Return whether an answer has only links, addresses, or names of resources, and sentences that point to them."""
    if not POINTER.search(answer):
        return False
    text = BULLET.sub("", answer) if RESOURCES.search(answer) else answer
    content = [sentence for sentence in SENTENCE_END.split(text) if not POINTER.search(sentence)]
    return sum(len(sentence.split()) for sentence in content) < MIN_ANSWER_WORDS


# "If you have any of the symptoms listed above", in a first sentence that has no list.
OTHER_PART = re.compile(
    r"^[^.:\n]*\b(?:above (?:mentioned |listed )?|above-mentioned )(?:symptoms?|signs?|conditions?|diseases?)\b|"
    r"^[^.:\n]*\b(?:symptoms?|signs?|conditions?|diseases?|options|medications)\b[^.:\n]{0,20} "
    r"(?:(?:listed|mentioned|described|stated|discussed) )?above\b|^[^.:\n]*\babove (?:mentioned|listed)\b",
    re.IGNORECASE,
)
# Words of the longest answer of which nothing is left without the other part.
MAX_POINTING_WORDS = 45


def points_outside(answer: str) -> bool:
    """Return whether a short answer begins with a pointer to something "above" that was another part of its page."""
    return len(answer.split()) <= MAX_POINTING_WORDS and bool(OTHER_PART.search(answer))


# MedSpider's crawler replaced a link, an emphasis or code by one space. So there are three spaces within a sentence,
# two before a punctuation mark, and one between brackets or quotation marks. Two spaces alone may have been typed.
REMOVED_WORDS = re.compile(
    r"[\w,;'\"\u2019)] {3,}(?=[a-z0-9(])|[.!?:] {3,}(?=[a-z(])|"
    r"\b(?:[Tt]he|an?|of|in|to|[Ff]rom|see|and|or|with|at|by|this|these|on|for) {3,}\S|"
    r"\S {2,}[.,;:!?)](?!\w)|[(\[\"\u201c] +[)\]\"\u201d](?!\w)|^ +[a-z.,;]"
)
# It removed lists and quotations as a whole, so that the next paragraph follows the colon before them.
REMOVED_BLOCK = re.compile(
    r"\b(?:include|includes|including|following|as follows|these|such as|like this|suggestions are|examples are)"
    r"(?: [a-z]+){0,3}: (?=[A-Z])|:\s*$"
)
# The label of a list of references that was removed, at the end of a text that is complete without it.
REFERENCE_LABEL = re.compile(
    r"(?:(?<=[.!?)\n])\s*(?:(?:further|optional|more) )?(?:references?|sources?|ref|reading|see also|links)"
    r"(?: (?:&|and) (?:references?|sources?|notes))?\s*:\s*)+$",
    re.IGNORECASE,
)


def find_removed_words(text: str) -> str:
    """Return what a crawler that leaves a space for each element removed from a text: "words", "a list" or ""."""
    if REMOVED_WORDS.search(text):
        return "words"
    text = REFERENCE_LABEL.sub("", text)
    return "a list" if REMOVED_BLOCK.search(text) else ""


_VIEW = r"(?:images?|figures?|pictures?|photo(?:graph)?s?|diagrams?|illustrations?|exhibit)"
_FINDING = (
    rf"(?:{_VIEW}|(?:photo)?micrographs?|x-?rays?|cxr|radiographs?|ecg|ekg|electrocardiogram|ct|cect|mri|scans?|smear|"
    r"biopsy|histology|histopathology|histopathologic|immunofluorescence|graphs?|plot|curves?|tracing|karyogram|pedigree|"
    r"\w+(?:graphy|gram|scopy|scopic)|ultrasound|blood film|autopsy|stain|mount|section|lesions?|rash)"
)
# A question about a picture: "A photograph of the lesion is shown.", "as shown in the image", "the given instrument".
PICTURE = re.compile(
    rf"\b{_FINDING}\b[^.?!:]* (?:is|are|was|were|been|and|as) (?:is |are )?(?:shown|depicted|displayed|provided|given)"
    r"(?: below| above| here)?[.](?=\s|$)|"
    rf"\b{_FINDING} (?:is|are|was|has been) (?:as )?(?:shown|given|provided) below\b(?!:)|"
    r"\b(?:shown|seen|depicted|given|provided|marked|labell?ed|displayed) (?:here )?in (?:the )?"
    rf"(?:given |following |attached |accompanying |above |below )?{_VIEW}\b(?! of)|"
    rf"\b(?:in|from|see) (?:the )?(?:(?:given|following|attached|accompanying|above) )?{_VIEW}"
    r"(?: below| above| shown|\))|"
    rf"\b(?:the )?(?:given|attached|accompanying) (?:instrument|device|x-?ray|ecg|{_VIEW})\b|"
    rf"\bthe following (?:x-?ray|ecg|graph|ct scan|mri|{_VIEW})\b(?! findings)|"
    r"\b(?:image|figure|exhibit) [A-D1-4]\b|^given below is\b|\bgiven below (?:device|instrument)\b",
    re.IGNORECASE,
)


def needs_picture(question: str) -> bool:
    """Return whether a question is about a picture, which no row has."""
    return bool(PICTURE.search(question))


# Letters of the shortest damaged word that is compared with all English words.
MIN_LOST_WORD = 5
LOWER_WORD = re.compile(r"\b[A-Z]?[a-z]{2,}\b")


def find_lost_letters(text: str, letters: str) -> str:
    """Return the first word of a text that is a word only with the letters that all its words lost, or "".

    An example is "hea" with the letters "rt". If the letters are somewhere in the text, it has not lost them. A word in
    capitals may be an abbreviation and is not looked up.
    """
    if letters in text.lower():
        return ""
    known, more = _known_words()
    return next(
        (
            word
            for word in map(str.lower, LOWER_WORD.findall(text))
            if word not in known and _lost(word, letters, known, more)
        ),
        "",
    )


def _lost(word: str, letters: str, known: frozenset[str], more: frozenset[str]) -> bool:
    """Return whether a word has become unknown by the loss of the letters."""
    if any(longer in known for longer in _with_letters(word, letters)):
        return True
    # Short words are often abbreviations, and some English word is found for them.
    return (
        len(word) >= MIN_LOST_WORD
        and word not in more
        and any(longer in more for longer in _with_letters(word, letters))
    )


def _with_letters(word: str, letters: str) -> Iterator[str]:
    return (word[:n] + letters + word[n:] for n in range(1, len(word) + 1))


@cache
def _known_words() -> tuple[frozenset[str], frozenset[str]]:
    """Return the words of public medical texts, with names of drugs and organisms, and further English words.

    All are in lower case. Some English words, such as "aery", are in medical texts only as damaged words.
    """
    folder = files("medalpaca_data.deid").joinpath("lists")
    medical, terms, english = (
        frozenset(
            line for line in folder.joinpath(name).read_text(encoding="utf-8").splitlines() if line[0] != "#"
        )
        for name in ("medical.txt", "terms.txt", "english.txt")
    )
    return medical | terms, english
