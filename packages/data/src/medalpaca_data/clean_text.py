"""Cleaning of texts: repair the encoding, remove markup and invisible characters; find rows that are not usable.

Cleaning changes no number, sign or unit: `core.numbers` compares each text before and after.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from html.entities import html5
from typing import Any

from .core.joined_digits import (
    MARK,
    RESERVED,
    Substitution,
    decode_digits,
    mark_script_tags,
    remove_marks,
    substitute,
    write_scripts,
)
from .core.misread import HALF_QUOTE, find_misread, repair_mac_signs
from .core.numbers import check_numbers, visible_text
from .core.unclear_text import UnclearText, refuse_hidden_minus, refuse_struck_text
from .formats.wiki_templates import show_templates

TAGS = (
    "a|b|i|u|em|strong|p|br|hr|div|span|ul|ol|li|dl|dt|dd|sup|sub|table|tbody|thead|tr|td|th|font|center|img|h[1-6]|"
    "small|big|blockquote|code|pre|ref|references|gallery|nowiki|noinclude|script|style"
)
# An attribute must have a value, so that `a <b and c> d` is not a tag. A number without quotes is the value of a few
# attributes only, and `value` is none of those of these elements, so that (<p value=0.05>) is text.
SIZES = (
    "width|height|size|border|cellpadding|cellspacing|colspan|rowspan|hspace|vspace|start|tabindex|name|id|class|color|"
    "bgcolor|href|style|perrow|widths|heights|data-[\\w-]+"
)
ATTRIBUTES = (
    rf"(?:\s+(?:(?!value\b)[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|(?![-+]?\.?\d)[^\s<>\"']+)|(?:{SIZES})\s*=\s*"
    r"[^\s<>\"']+))*\s*"
)
TAG = re.compile(rf"</?(?:{TAGS}|li\s+value\s*=\s*[\"']?\d+[\"']?){ATTRIBUTES}/?>", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"<(?:/?(?:br|hr|p|div|li|tr|ul|ol|h[1-6]|blockquote)){ATTRIBUTES}/?>", re.IGNORECASE)
CELL_BORDER = re.compile(rf"\s*</t[dh]>\s*(?=<t[dh]{ATTRIBUTES}>)", re.IGNORECASE)
# Not visible on a page.
HIDDEN = re.compile(rf"<!--.*?-->|<(script|style){ATTRIBUTES}>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
REFERENCE = re.compile(rf"<ref{ATTRIBUTES}/>|<ref{ATTRIBUTES}>.*?</ref>", re.IGNORECASE | re.DOTALL)
ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
WIKI_FILE = re.compile(r"\[\[(?:file|image):[^\[\]]*\]\]", re.IGNORECASE)
WIKI_CATEGORY = re.compile(r"\[\[category:[^\[\]]*\]\]", re.IGNORECASE)
WIKI_LINK = re.compile(r"\[\[([^\[\]|]*\|)?([^\[\]|]*)\]\]")
# Only in pairs: 5'' is the end of a DNA strand.
WIKI_QUOTES = re.compile(r"(?<!\w)('{5}|'{2,3})(?=\S)(.+?)(?<=\S)\1(?!\w)")
WIKI_CAPTION = re.compile(r"\bthumb\|(?:[^|\n]*\|)*")
LINE_BREAKS = re.compile("\r\n|[\r\u000b\u000c\u2028\u2029]")
# The joiners U+200C and U+200D only between ASCII characters and digits, because Persian, Hindi and emoji need them.
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb]|(?<![^\u0000-\u007f\\d])[\u200c\u200d\ufe0e\ufe0f]+(?![^\u0000-\u007f\\d])"
)
# The characters of `INVISIBLE` that are ASCII.
ASCII_INVISIBLE = re.compile("[\u0000-\u0008\u000e-\u001f\u007f]")
CONTROL = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ud800-\udfff]")
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# A character that Python wrote as an escape sequence: \xa0 and \u2009 as text.
ESCAPE = re.compile(r"\\{1,2}(?:x([89a-f][0-9a-f])|u((?!d[89a-f]|00[01]|007f)[0-9a-f]{4}))", re.IGNORECASE)
# A no-break space that was read as Latin-1 and trimmed. In this position, it is no letter.
LONE_A = re.compile("(?<=\\d)\u00c2\\s?(?=[a-z\u00b5\u03bc%\u00b0\\s])")
# The multiplication sign as Mac Roman shows it, which ftfy keeps.
MAC_TIMES = re.compile("(?<=[\\d ])\u221a\u00f3(?=[ \\d])")
# An angstrom with a tolerance has the bytes of a Hungarian letter.
ANGSTROM = re.compile("(?<=\\d)( ?\u00c5)(\u00b1 ?\\d)")
# A character that an earlier program replaced, because its encoding had none for it: 82?000.
LOST = re.compile("\ufffd|[0-9]\\?[0-9]")
PRIVATE = re.compile("[\ue000-\uf8ff]")
NUMBER = re.compile("[0-9]+")
WORD = re.compile(r"\S+")
# The first byte of UTF-8 as Latin-1, Windows-1250 to -1252 or Mac Roman shows it, and bytes that they do not use.
FIRST_BYTE = re.compile(
    "[\u0080-\u009f\u00ac\u00c2-\u00c5\u00ca\u00cb\u00ce-\u00d1\u00e2\u00ef\u00f0\u0102\u010f\u0152\u0153\u0192\u0432\u201a\u221a]"
)
BROKEN = "encoding that cannot be repaired"
QUESTION_MARK = "a question mark between two digits"
LINE_END = re.compile(r"(?<![ \t])[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")

# Texts without a match need no cleaning, and most texts have none. Rust runs the pattern, so it has no look-around.
NEEDS_CLEANING = (
    r"<[/!a-zA-Z]|&[#a-zA-Z]|\[\[|\{\{|''|thumb\||[^\x20-\x7e\n]|[ \t]\n|\n\n\n|^\s|\s$|###|<\||\[/?INST\]"
    r"|\{(?:instruction|input|output)\}|\\[xu][0-9a-fA-F]|[0-9]\?[0-9]"
)

PROMPT_TEMPLATE = re.compile(
    r"^### ?(?:Instruction|Input|Response):|<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>|\[/?INST\]|"
    r"</?s>|\{(?:instruction|input|output)\}",
    re.MULTILINE,
)
AI_SELF_REFERENCE = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large)(?: language)? (?:model|assistant)\b", re.IGNORECASE
)
# Without "None" and "Na", which are valid answers.
EMPTY_ANSWERS = {"", "nan", "null", "n/a", "todo", "tbd", "-", ".", "?", "...", "undefined", "[]", "{}"}
# The end of an answer that was cut off; the words are searched only in English rows.
CUT_OFF = re.compile(r"[,(]$")
CUT_OFF_ENGLISH = re.compile(r"\b(?:and|or|the|such as|including|because)$", re.IGNORECASE)
# Characters; a shorter answer may be a single term.
MIN_CUT_OFF_LENGTH = 40


class BrokenEncoding(UnclearText):
    """Raised for a text whose encoding cannot be repaired; `evidence` has the fault with the text around it."""

    def __init__(self, text: str, start: int, end: int, reason: str = BROKEN) -> None:
        super().__init__(reason, text, start, end)


def clean_text(text: str, *, wiki: bool = False) -> tuple[str, list[str]]:
    """Return the cleaned text, and the kinds of changes that were made, such as "HTML tags", in order.

    `wiki` is true for the text of a wiki, whose templates are markup; in other texts, braces are kept. Raises
    ValueError with an attribute `evidence`: JoinedDigits if a deletion would join two numbers, UnclearText if the
    encoding cannot be repaired, a text is struck through, or an invisible hyphen may be a minus, and ChangedNumbers if
    a number, a sign or a unit would change.
    """
    done: list[str] = []

    def apply(what: str, changed: str) -> str:
        if changed != text and what not in done:
            done.append(what)
        return changed

    text = apply("encoding", repair_encoding(text))
    if not text.isascii():
        text = apply("unicode form", unicodedata.normalize("NFC", text))
    text = apply("line breaks", LINE_BREAKS.sub("\n", text))
    if not text.isascii():
        text = apply("invisible characters", RESERVED.sub(MARK, text))
    text = apply("HTML entities", decode_digits(text))
    if wiki and ("{{" in text or "<math" in text):
        text = apply("wiki markup", show_templates(text))
    if wiki and "[[" in text:
        text = apply("wiki markup", substitute(text, (WIKI_CATEGORY, MARK)))
    before = text
    if "[[" in text or "''" in text or "thumb|" in text:
        text = apply("wiki markup", substitute(text, *WIKI_STEPS))
    if "<" in text:
        refuse_struck_text(text, template=True)
        text = apply("HTML tags", substitute(mark_script_tags(text), *TAG_STEPS))
    # After the tags: a decoded `<` is text.
    is_repaired = False
    if "&" in text:
        decoded = text = apply("HTML entities", substitute(text, (ENTITY, _entity_text)))
        text = apply("encoding", repair_encoding(decoded))
        is_repaired = text != decoded
    text = write_scripts(text)
    refuse_hidden_minus(text)
    if not text.isascii() or ASCII_INVISIBLE.search(text):
        text = apply("invisible characters", remove_marks(substitute(text, (INVISIBLE, MARK), (SPACES, " "))))
    text = apply("white space", _tidy_space(text))
    # White space alone changes no number.
    if text != before and text != _tidy_space(before):
        visible = visible_text(before, wiki=wiki)
        check_numbers(repair_encoding(visible) if is_repaired else visible, text)
    return text, done


def repair_encoding(text: str) -> str:
    """Return the text with characters that were decoded with a wrong encoding, or written as escapes, repaired.

    ftfy repairs UTF-8 that was read as Windows-1252, Latin-1, Mac Roman or similar, once or several times, and
    Windows-1252 that was read as Latin-1. Raises BrokenEncoding if damaged characters remain.
    """
    _refuse_lost_characters(text)
    if not text.isascii() and (match := HALF_QUOTE.search(text)):
        raise BrokenEncoding(text, *match.span())
    # Before the escapes, because ftfy repairs some encodings only if all characters of a text belong to them.
    repaired = _repair_characters(text)
    if "\\" in text:
        repaired = _repair_characters(ESCAPE.sub(_escaped_character, repaired))
    if repaired != text:
        _refuse_lost_characters(repaired)
    if match := _find_damage(repaired) or (None if repaired.isascii() else find_misread(repaired)):
        raise BrokenEncoding(repaired, *match.span())
    return repaired


def _repair_characters(text: str) -> str:
    if text.isascii():
        return text
    repaired = ANGSTROM.sub(r"\1 \2", text)
    if _find_damage(repaired):
        from ftfy import fix_encoding

        repaired = fix_encoding(repaired, _ftfy_config())
        if _find_damage(repaired):
            # The encodings may differ between words.
            repaired = WORD.sub(lambda match: fix_encoding(match[0], _ftfy_config()), repaired)
        # A private character is a wrong repair, of an encoding that ftfy does not know.
        if NUMBER.findall(repaired) != NUMBER.findall(text) or (
            PRIVATE.search(repaired) and not PRIVATE.search(text)
        ):
            return text
    return MAC_TIMES.sub("\u00d7", LONE_A.sub(" ", repair_mac_signs(repaired)))


def _tidy_space(text: str) -> str:
    # At the end of the text, `strip` removes the spaces.
    if " \n" in text or "\t\n" in text:
        text = LINE_END.sub("", text)
    return (BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def _find_damage(text: str) -> re.Match[str] | None:
    """Return the first characters that only a wrong encoding makes, or None."""
    if not FIRST_BYTE.search(text):
        return None
    from ftfy.badness import BADNESS_RE

    # Other matches are unusual, but may be right, as in a Spanish ordinal before a closing quote.
    return next((match for match in BADNESS_RE.finditer(text) if FIRST_BYTE.search(match[0])), None)


def _refuse_lost_characters(text: str) -> None:
    if "?" not in text and "\ufffd" not in text:
        return
    for match in LOST.finditer(text):
        # A web address may have a question mark.
        word = text[: match.start()].rpartition(" ")[2]
        if match[0] == "\ufffd" or not ("/" in word or "=" in word):
            reason = BROKEN if match[0] == "\ufffd" else QUESTION_MARK
            raise BrokenEncoding(text, *match.span(), reason)


@cache
def _ftfy_config() -> Any:
    from ftfy import TextFixerConfig

    # Only the encoding: quotes, ligatures, widths and entities stay as they are.
    return TextFixerConfig(unescape_html=False, normalization=None, explain=False)


def find_row_fault(instruction: str, input: str, output: str, *, english: bool = False) -> str | None:
    """Return why a cleaned row is not usable for training, or None if it is usable.

    With `english`, an answer of 40 characters or more that ends in a word such as "and" also counts as cut off.
    """
    answer = output.strip()
    if answer.lower() in EMPTY_ANSWERS:
        return "no answer"
    if not (instruction.strip() or input.strip()):
        return "no question"
    if PROMPT_TEMPLATE.search(answer) or PROMPT_TEMPLATE.search(input) or PROMPT_TEMPLATE.search(instruction):
        return "prompt template in the text"
    if AI_SELF_REFERENCE.search(answer):
        return "the answer speaks as an AI model"
    if len(answer) >= MIN_CUT_OFF_LENGTH and (
        CUT_OFF.search(answer) or (english and CUT_OFF_ENGLISH.search(answer))
    ):
        return "answer is cut off"
    return None


def _escaped_character(match: re.Match[str]) -> str:
    return chr(int(match[1] or match[2], 16))


def _entity_text(match: re.Match[str]) -> str:
    name = match[0][1:]
    text = html.unescape(match[0]) if name.startswith("#") else html5.get(name, match[0])
    # An entity of a control character stays as it is.
    return match[0] if CONTROL.search(text) else text or MARK


def _link_text(match: re.Match[str]) -> str:
    # Without a bar, a letter is needed: [[1, 2]] is a list of lists.
    is_link = match[1] or any(map(str.isalpha, match[2]))
    return f"{MARK}{match[2]}{MARK}" if is_link else match[0]


WIKI_STEPS: tuple[Substitution, ...] = (
    (WIKI_FILE, MARK),
    (WIKI_LINK, _link_text),
    (WIKI_CAPTION, MARK),
    (WIKI_QUOTES, rf"{MARK}\2{MARK}"),
)
TAG_STEPS: tuple[Substitution, ...] = (
    (HIDDEN, MARK),
    (REFERENCE, MARK),
    (CELL_BORDER, " | "),
    (BLOCK_TAG, "\n"),
    (TAG, MARK),
)
