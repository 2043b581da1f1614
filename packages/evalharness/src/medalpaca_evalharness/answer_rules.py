"""Rules by which the answer letter is extracted from generated text.

The rules are tried in order, and the first one that matches decides. If a rule matches several times, the last match
counts, because reasoning precedes its conclusion. If that match names two letters ("A or B"), there is no answer. Text
after the beginning of another question does not count. The patterns of statements are in `answer_phrases`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .answer_markup import clean, cut_next_question
from .answer_phrases import (
    BRACKETED,
    CLOSING,
    CONDITION,
    CONTRAST,
    COUNTERFACTUAL,
    END,
    IS_RIGHT,
    JUDGED,
    JUDGEMENT,
    NEGATION_AFTER,
    NEGATION_BEFORE,
    NEGATION_INSIDE,
    NEXT_JUDGED,
    OPENING,
    RESTRICTION,
    RETRACTION,
    SECOND_LETTER,
    STATED,
    STATED_SMALL,
    TEXT_STATED,
)


class Extracted(NamedTuple):
    """A letter of the item, or None; and the name of the rule that matched, or the reason why there is no letter."""

    letter: str | None
    rule: str


TWO_ANSWERS = "two answers"
NO_ANSWER = "no answer found"
_REQUESTED_LINE = re.compile(r"(?m)^[ \t]*Answer: ?\(?([A-Z])\)?\.?[ \t]*$")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TAG = re.compile(
    r"[<\[](?:final[ _-]?)?(?:answer|response|solution|output|option|choice)[>\]](.*?)"
    r"(?:[<\[]/(?:final[ _-]?)?(?:answer|response|solution|output|option|choice)[>\]]|$)",
    re.IGNORECASE | re.DOTALL,
)
_JSON_ANSWER = re.compile(
    r"""["'](?:\w*(?:answer|choice|prediction)\w*|\w*(?:correct|final|selected|chosen)_(?:option|letter)|option|letter|result
    |response|diagnosis|antwort|r[eé]ponse|respuesta|risposta|resposta|ответ|答案)["']\s*:\s*
    (?:"((?:[^"\\]|\\.)*)"|'([^'\n]*)'|\[([^\]\n]*)\]|([^\s"',{}\[\]]+))""",
    re.IGNORECASE | re.VERBOSE,
)
_LETTER_ALONE = re.compile(
    rf"{OPENING}(?:(?:option|answer|choice|letter|antwort|alternativa|letra|lettre|lettera|вариант|ответ|r[eé]ponse|opci[oó]n|opzione|选项)\s*)?{OPENING}([A-Za-z])"
    rf"{CLOSING}[.:)\]!\u3002]*{CLOSING}",
    re.IGNORECASE,
)
# "Rickets - C", "Rickets: option C".
_TEXT_AND_LETTER = re.compile(
    r"(?P<text>[^\n]+?)[\s*]*(?:[,:=(\[]|\s[-\u2013\u2014]\s)\s*(?:(?:[Oo]ption|[Aa]nswer|[Cc]hoice)\s+)?"
    rf"{OPENING}(?P<letter>[A-Z]){CLOSING}\.?"
)
_LEADING = re.compile(
    rf"^{OPENING}(?:(?:option|choice|answer)\s+)?{OPENING}(?P<letter>[A-Za-z])[*_`\"'}}$]*"
    rf"(?P<mark>[.:,]|[)\]][.:]?|\s[-\u2013\u2014]\s|){CLOSING}(?P<rest>.*)$",
    re.DOTALL | re.IGNORECASE,
)
_REASON = re.compile(
    r"\s*(?:because|since|as|due to|given|for|weil|da|car|parce que|puisque|porque|ya que|perch[eé]|pois|потому|так как"
    r"|因为|rather than|instead of|over)\b",
    re.IGNORECASE,
)
_EXPLANATION = re.compile(
    r"[\s#*_]*(?:explanation|rationale|reason|why|justification|the (?:other|remaining)|other|incorrect|wrong|erkl|begr"
    r"|explica|spiegazione|motiv|解释|解析|理由|объяснение|обоснование)",
    re.IGNORECASE,
)
# "A: C", where A means answer.
_SHORT_LABEL = re.compile(rf"\A\s*A[:.]\s*{OPENING}([A-Z]){CLOSING}\.?\s*$", re.MULTILINE)
_IN_BRACKETS = re.compile(r"[(\[](?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) )?([A-Z])[)\]]")
_APPOSITION_END = re.compile(r"[.,;!?\n]|\b(?:because|since|as)\b")
_DOES_NOT = re.compile(r"(?:would|does|do|did|can|could|will|should)(?:\s+not\b|n't\b|not\b)", re.IGNORECASE)
_LISTED = re.compile(r"(?<![\w-])([A-Z])[):]\s*\w")
# The letter before that of "X is correct": "A and", "option A or option".
_LETTER_BEFORE = re.compile(
    rf"(?:\b[A-Z]|\b(?:[Oo]ption|[Cc]hoice) [a-z]){CLOSING}\s*(?:,|/|&|\b(?:and|or|und|oder|et|ou|y|e|o))\s*"
    rf"(?:(?:option|choice|answer)\s+)?{OPENING}$"
)
_SMALL_NAMED = re.compile(r"\W*(?:option|choice|letter)\b", re.IGNORECASE)
_END = re.compile(END, re.IGNORECASE | re.MULTILINE)
_CLAUSE_END = re.compile(r"[.!?\n;\u3002]|,\s+(?:but|yet|however)\b")


def extract_strict(text: str, letters: Sequence[str], options: Sequence[str] = ()) -> Extracted:
    """Extract the letter from the last line of the requested form "Answer: X".

    The letter may be in parentheses and followed by a full stop. Lines of a further question do not count, nor a line
    that the text takes back ("Wait, ..."). `options` is not used.
    """
    text = cut_next_question(text)
    lines = [line for line in _REQUESTED_LINE.finditer(text) if not RETRACTION.match(text, line.end())]
    found = [letter for letter in (line[1] for line in lines) if letter in letters]
    return Extracted(found[-1], "answer line") if found else Extracted(None, NO_ANSWER)


def extract_flexible(text: str, letters: Sequence[str], options: Sequence[str] = ()) -> Extracted:
    """Extract any clear statement of one letter, or of one option's text.

    `options` holds the texts in the order of `letters`; without them, only letters are found. Never raises, whatever
    the text.
    """
    text = clean(text)
    known = set(letters)
    for name, rule in RULES:
        found = [letter.upper() for letter in rule(text, dict(zip(letters, options, strict=False)), known)]
        if found:
            last = found[-1]
            return Extracted(None, TWO_ANSWERS) if last == "?" else Extracted(last, name)
    return Extracted(None, NO_ANSWER)


# A rule yields the letters that it finds, in order, and "?" for a statement without exactly one letter.
Rule = Callable[[str, dict[str, str], set[str]], Iterator[str]]


def _json(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    found: set[str] = set()
    for match in _JSON_ANSWER.finditer(text):
        value = next(group for group in match.groups() if group is not None)
        value = value.upper() if len(value) == 1 else value
        found.update(
            _match_exact(value, options, known) or _match_leading_letter(value, options, known) or "?"
        )
    if found:
        yield found.pop() if len(found) == 1 else "?"


def _boxed(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for inner in _BOXED.findall(text):
        yield from _match_exact(inner, options, known) or _match_leading_letter(inner, options, known)


def _tagged(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for inner in _TAG.findall(text):
        yield from _match_exact(inner, options, known) or _match_leading_letter(inner, options, known)


def _stated(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    yield from (letter for letter, certain in _find_statements(text, options, known) if certain)


def _stated_under_condition(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    found = {letter for letter, _ in _find_statements(text, options, known)}
    yield from found if len(found) == 1 else ()


def _find_statements(text: str, options: dict[str, str], known: set[str]) -> Iterator[tuple[str, bool]]:
    """Yield letter, or "?" for two, and whether the statement has no condition, of each statement in order."""
    found: list[tuple[int, str, bool]] = []
    # Letters of statements "X is correct".
    right: set[str] = set()
    for match in _all_matches(text):
        groups = match.groupdict()
        letter = (groups["letter"] or groups.get("fits") or "").upper()
        rest = text[match.end() :]
        if (
            letter not in known
            or NEGATION_AFTER.match(rest)
            or NEGATION_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
            or (match.re is not IS_RIGHT and NEGATION_INSIDE.search(match[0]))
            or RETRACTION.match(rest)
        ):
            continue
        before = _CLAUSE_END.split(text[max(0, match.start() - 200) : match.start()])[-1]
        if COUNTERFACTUAL.search(before):
            continue
        certain = not CONDITION.search(before + (groups.get("filler") or ""))
        if match.re is IS_RIGHT:
            at = match.start("letter" if groups["letter"] else "fits")
            two = _LETTER_BEFORE.search(text[max(0, at - 24) : at])
            certain = certain and "would" not in (groups["verb"] or "") and not RESTRICTION.match(rest)
            found.append((match.start(), "?" if two else letter, certain))
            right |= {letter} if certain else set()
        elif not groups["verb"] and _names_second_letter(rest, letter, known):
            continue
        elif _names_second_letter(rest, letter, known):
            found.append((match.start(), "?", certain))
        elif (
            _END.match(text, match.end())
            or match.re is STATED_SMALL
            or _starts_with_option(rest, options.get(letter, ""))
        ):
            condition_after = CONDITION.match(rest.lstrip(" ,")) and re.search(
                "would|could", groups["verb"] or ""
            )
            found.append((match.start(), letter, certain and not condition_after))
    if len(right) > 1 and len(right) == len({letter for _, letter, _ in found}):
        found = [(0, "?", True)]
    yield from ((letter, certain) for _, letter, certain in sorted(found))


def _all_matches(text: str) -> Iterator[re.Match[str]]:
    for pattern in (STATED, STATED_SMALL, IS_RIGHT):
        position = 0
        # Statements may overlap: "Answer: The correct answer is C".
        while match := pattern.search(text, position):
            yield match
            position = max(match.end() - 1, match.start() + 1)


def _judged(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    """Yield the only option that a list of judgements accepts, if it rejects another one."""
    verdicts = {
        (match["letter"], verdict.lastgroup)
        for part in NEXT_JUDGED.split(text)
        if (match := JUDGED.match(part))
        and match["letter"] in known
        and (verdict := JUDGEMENT.search(match["rest"]))
    }
    accepted = [letter for letter, verdict in verdicts if verdict == "yes"]
    rejected = {letter for letter, verdict in verdicts if verdict == "no"}
    if len(accepted) == 1 and rejected and accepted[0] not in rejected:
        yield accepted[0]


def _whole_text(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    yield from _match_exact(text, options, known)
    if len(text) == 1 and text.islower() and text.upper() in known:
        yield text.upper()
    yield from (letter for letter in _SHORT_LABEL.findall(text) if letter in known)


def _first_line(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip(" \t#*_-")]
    if not lines:
        return
    # The line that begins an explanation: "Explanation:", "### Why?".
    after = next((n for n, line in enumerate(lines) if n and _EXPLANATION.match(line)), len(lines))
    first, later = lines[0], lines[1:after]
    leading = [letter for line in later for letter in _match_line(line, options, known)]
    if found := _match_line(first, options, known, reason=True):
        start = _LEADING.match(first.strip().lstrip("#*-> \t"))
        if start and NEGATION_AFTER.match(_skip_option(start["rest"], options.get(found[0], ""))):
            return
        # A list of the options, in one line or several, is not an answer. A list after an answer begins anew.
        listed = known & set(_LISTED.findall(first)) | {letter for letter in leading[:1] if letter > found[0]}
        yield "?" if listed - set(found) else found[0]


def _last_line(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    leading = [letter for line in lines[:-1] for letter in _match_line(line, options, known)]
    if len(lines) > 1 and NEGATION_INSIDE.search(lines[-2]) and not lines[-2].rstrip().endswith("."):
        # A heading such as "Wrong answer".
        return
    for line in lines[-1:]:
        yield from _match_exact(line, options, known) or (
            [] if leading else _match_line(line, options, known)
        )


def _match_line(line: str, options: dict[str, str], known: set[str], reason: bool = False) -> list[str]:
    plain = line.strip().lstrip("#*-> \t")
    if (
        reason
        and (match := _LEADING.match(plain))
        and match["letter"] in known
        and match["mark"].strip() in ("", ",")
        and _REASON.match(match["rest"])
    ):
        return [match["letter"]]
    return _match_leading_letter(plain, options, known) or _match_exact(plain, options, known)


def _bracketed(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    found, contrasted = set(), set()
    for match in BRACKETED.finditer(text):
        letter = next(letter for letter in match.groups() if letter)
        before = _CLAUSE_END.split(text[max(0, match.start() - 200) : match.start() + 1])[-1]
        after = _APPOSITION_END.split(text[match.end() : match.end() + 200].lstrip(" ,"))[0]
        if CONTRAST.search(before):
            contrasted.add(letter)
        elif not (NEGATION_INSIDE.search(before) or NEGATION_AFTER.match(after) or _DOES_NOT.match(after)):
            found.add(letter)
    if len(found) == 1 and found <= known and found >= set(_IN_BRACKETS.findall(text)) - contrasted:
        yield from found


def _text_stated(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for match in TEXT_STATED.finditer(text):
        if not NEGATION_BEFORE.search(text[max(0, match.start() - 40) : match.start()]):
            yield from _match_option_start(match["text"], options)


RULES: tuple[tuple[str, Rule], ...] = (
    ("JSON", _json),
    ("boxed", _boxed),
    ("answer tag", _tagged),
    ("stated", _stated),
    ("judged", _judged),
    ("whole text", _whole_text),
    ("first line", _first_line),
    ("last line", _last_line),
    ("in brackets", _bracketed),
    ("option's text stated", _text_stated),
    ("stated under a condition", _stated_under_condition),
)


def _match_exact(text: str, options: dict[str, str], known: set[str]) -> list[str]:
    """Return the letter that `text` consists of, or that of the only option with this text; [] if there is none."""
    match = _LETTER_ALONE.fullmatch(text.strip())
    if (
        match
        and match[1].upper() in known
        and (match[1].isupper() or ")" in text or _SMALL_NAMED.match(text))
    ):
        return [match[1].upper()]
    named = len(text) < 400 and _TEXT_AND_LETTER.fullmatch(text.strip())
    if named and _match_option_text(named["text"], options) == [named["letter"]]:
        return [named["letter"]]
    return _match_option_text(text, options)


def _match_leading_letter(text: str, options: dict[str, str], known: set[str]) -> list[str]:
    """Return the letter at the start of a line, if the text after it shows that it is not a word; else []."""
    match = None if text.lstrip().startswith(('{"', "{'")) else _LEADING.match(text.strip())
    if match is None or match["letter"].upper() not in known:
        return []
    letter, rest = match["letter"].upper(), match["rest"]
    mark = match["mark"].strip()
    if NEGATION_AFTER.match(rest) or _names_second_letter(mark.strip(")]:.") + rest, letter, known):
        return []
    if _starts_with_option(rest, options.get(letter, "")):
        return [letter]
    lower = match["letter"] != letter
    match mark[:1]:
        case ":" | ")" | "]":
            return [letter] if rest.strip() else []
        case "-" | "\u2013" | "\u2014":
            return [] if lower else [letter]
        case ".":
            # "E. coli" is a bacterium. The text of an option begins with a capital; that of a species name does not.
            return [letter] if not lower and re.match(r"[*_\s]+[A-Z0-9]", rest) else []
    return []


def _names_second_letter(rest: str, letter: str, known: set[str]) -> bool:
    """Return whether the statement continues with another letter: "A and C", "B or D"."""
    match = SECOND_LETTER.match(rest)
    return bool(match and match[1].upper() in known and match[1].upper() != letter and match[1] != "a")


def _starts_with_option(rest: str, option: str) -> bool:
    """Return whether `rest` begins with the text of the option."""
    start, expected = _normalize(rest[: 2 * len(option) + 20]), _normalize(option)
    return bool(expected) and f"{start} ".startswith(f"{expected} ")


def _skip_option(rest: str, option: str) -> str:
    """Return what follows the option's text and a delimiter."""
    match = re.match(rf"[\W_]*{_pattern(option)}[*_):\s\u2013\u2014-]*", rest, re.IGNORECASE)
    return rest[match.end() :] if match else rest


def _pattern(option: str) -> str:
    return r"[\W_]+".join(map(re.escape, re.findall(r"\w+(?:[.,]\d+)*%?", option)))


def _match_option_text(text: str, options: dict[str, str]) -> list[str]:
    normal = _normalize(text)
    found = [letter for letter, option in options.items() if normal and normal == _normalize(option)]
    return found if len(found) == 1 else []


def _normalize(text: str) -> str:
    """Reduce `text` to its words and numbers in lower case, for comparison."""
    return " ".join(re.findall(r"\w+(?:[.,]\d+)*%?", unicodedata.normalize("NFKC", text).lower()))


def _match_option_start(text: str, options: dict[str, str]) -> list[str]:
    """Return the letter of the only option whose text begins `text` and ends with the sentence or a delimiter."""
    found = []
    for letter, option in options.items():
        pattern = _pattern(option)
        if pattern and re.match(rf"[\W_]*{pattern}{CLOSING}{END}", text, re.IGNORECASE):
            found.append(letter)
    return [] if len(found) > 1 else found
