"""Reduction of a generated text to plain text that the rules of `answer_rules` read.

Special tokens and markup without meaning (code fences, HTML, LaTeX, underscores, tables) are removed. The text from the
next question on is cut off.
"""

from __future__ import annotations

import re
import unicodedata

from .answer_phrases import NEXT_QUESTION
from .thinking import SPECIAL

# Cyrillic capitals with the shape and the rank of a Latin letter. The letter after \u0411 is ambiguous.
_LATIN = {"\u0410": "A", "\u0421": "C"}
_CYRILLIC = re.compile(r"(?<!\w)[\u0410\u0421](?!\w)")
# A control token with the name of a role or channel after it: <|im_start|>assistant, <|channel|>final<|message|>.
_SPECIAL_TOKEN = re.compile(
    rf"{SPECIAL}(?:(?:assistant|model|final|answer|response)(?=\s*(?:\n|<|$)))?", re.IGNORECASE
)
_MARK_RUN = re.compile(r"[*_`\"'\[\](){}$\s]{9,}")
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*\w*[ \t]*$", re.MULTILINE)
_MATHS = re.compile(r"\\(?:text\w{0,4}|math\w{2,3}|emph|underline|mbox)\s*\{([^{}]*)\}")
_MATHS_DELIMITER = re.compile(r"\\[()\[\]]")
_HTML = re.compile(r"</?(?:b|i|em|strong|u|code|mark)>")
# A letter in the place of a placeholder: "Answer: <A>". A tag that is closed later is no letter.
_ANGLED = re.compile(r"<([A-Z])>(?![^\n]{0,200}</\1>)")
# Underscores at the edge of a word are emphasis; those inside belong to a name.
_EMPHASIS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
# A case with options after a text that already answers; without an answer, the text may repeat its own question.
_NEXT_CASE = re.compile(
    r"\n\s*An?\s+[\w-]+[- ](?:year|month|week|day)s?[- ]old\b[^\n]*\?\s*\n\s*[(\[*]*A[.):]", re.IGNORECASE
)
_ANSWERED = re.compile(r"\A\W*[A-Z](?:\W*\Z|[.):]|\*)|\b[Aa]nswer(?:\s+is|:)\W*(?:option\s+)?[A-Z]\b")
# A row with a name and a value, or with an option and what is thought of it.
_TABLE_ROW = re.compile(
    r"^[ \t]*\|(?P<name>[^|\n]{2,40})\|(?P<value>[^|\n]{2,}(?:\|[^|\n]+)?)\|[ \t]*$", re.MULTILINE
)

_USER_TURN = re.compile(
    r"(?:<\|(?:im_start|start|start_header_id|turn)\|?>|<start_of_turn>|<\|)\s*(?:user|human)\b|\[INST\]",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """Remove special tokens, markup and further questions, and shorten long runs of spaces, brackets and other marks.

    The patterns allow these in many places, so a long run would make them backtrack very often.
    """
    text = unicodedata.normalize("NFKC", text.replace("\r", "\n"))
    text = _SPECIAL_TOKEN.sub("\n", text)
    text = _MATHS_DELIMITER.sub("$", _MATHS.sub(r"\1", _FENCE.sub("", text)))
    text = _ANGLED.sub(r"(\1)", _HTML.sub("**", text))
    text = _TABLE_ROW.sub(_join_cells, _EMPHASIS.sub(lambda run: "*" * len(run[0]), text))
    text = _MARK_RUN.sub(lambda run: "\n" if "\n" in run[0] else " ", text)
    return cut_next_question(_CYRILLIC.sub(lambda letter: _LATIN[letter[0]], text).strip())


def _join_cells(row: re.Match[str]) -> str:
    name, *values = [cell.strip() for cell in row[0].strip().strip("|").split("|")]
    is_option = len(name.strip("*().")) == 1
    # "| A | B |" is the head of a table, and three cells without an option are other data.
    keep = len(values[-1]) == 1 if is_option else len(values) > 1
    return row[0] if keep else f"{name}: {': '.join(values)}"


def cut_next_question(text: str) -> str:
    """Return the text before the first line that begins another question."""
    starts = [question.start() for question in NEXT_QUESTION.finditer(text)]
    starts += [
        case.start() for case in _NEXT_CASE.finditer(text) if _ANSWERED.search(text[: case.start()].strip())
    ]
    return text[: min((start for start in starts if text[:start].strip()), default=len(text))].strip()


def cut_user_turn(text: str) -> str:
    """Return the text before the first control token that begins a turn of the user."""
    return _USER_TURN.split(text, maxsplit=1)[0]
