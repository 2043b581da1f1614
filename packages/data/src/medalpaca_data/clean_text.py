"""Cleaning of texts: remove markup residue and invisible characters; find rows that are not usable for training."""

from __future__ import annotations

import html
import re
import unicodedata

from .core.joined_digits import MARK, Substitution, decode_digits, remove_marks, substitute

TAGS = (
    "a|b|i|u|em|strong|p|br|hr|div|span|ul|ol|li|dl|dt|dd|sup|sub|table|tbody|thead|tr|td|th|font|center|img|h[1-6]|"
    "small|big|blockquote|code|pre|ref|references|gallery|nowiki|noinclude|script|style"
)
# An attribute must have a value, so that `a <b and c> d` is not a tag.
ATTRIBUTES = r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s*"
TAG = re.compile(rf"</?(?:{TAGS}){ATTRIBUTES}/?>", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"<(?:/?(?:br|hr|p|div|li|tr|ul|ol|h[1-6]|blockquote)){ATTRIBUTES}/?>", re.IGNORECASE)
CELL_BORDER = re.compile(rf"\s*</t[dh]>\s*(?=<t[dh]{ATTRIBUTES}>)", re.IGNORECASE)
# 10<sup>9</sup> becomes 10^9, not 109.
SUPERSCRIPT = re.compile(r"(?<=\d)<sup>(?=[-+\u2212]?\d)", re.IGNORECASE)
REFERENCE = re.compile(rf"<ref{ATTRIBUTES}/>|<ref{ATTRIBUTES}>.*?</ref>", re.IGNORECASE | re.DOTALL)
ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)
WIKI_FILE = re.compile(r"\[\[(?:file|image|category):[^\[\]]*\]\]", re.IGNORECASE)
WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
WIKI_TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
# Only in pairs: 5'' is the end of a DNA strand.
WIKI_QUOTES = re.compile(r"(?<!\w)('{5}|'{2,3})(?=\S)(.+?)(?<=\S)\1(?!\w)")
WIKI_CAPTION = re.compile(r"\bthumb\|(?:[^|\n]*\|)*")
LINE_BREAKS = re.compile("\r\n|[\r\u000b\u000c\u0085\u2028\u2029]")
# Without the joiners U+200C and U+200D, which Persian and Hindi need.
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]"
)
SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")

# Texts without a match need no cleaning, and most texts have none. Rust runs the pattern, so it has no look-around.
NEEDS_CLEANING = (
    r"<[/a-zA-Z]|&[#a-zA-Z]|\[\[|\{\{|''|thumb\||[^\x20-\x7e\n]|[ \t]\n|\n\n\n|^\s|\s$|###|<\||\[/?INST\]"
    r"|\{(?:instruction|input|output)\}"
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


def clean_text(text: str) -> tuple[str, list[str]]:
    """Return the cleaned text, and the kinds of changes that were made, such as "HTML tags", in order.

    Raises JoinedDigits if a deletion would join two numbers.
    """
    done: list[str] = []

    def apply(what: str, changed: str) -> str:
        if changed != text and what not in done:
            done.append(what)
        return changed

    text = apply("unicode form", unicodedata.normalize("NFC", text))
    text = apply("line breaks", LINE_BREAKS.sub("\n", text))
    text = apply("HTML entities", decode_digits(text))
    if "[[" in text or "{{" in text or "''" in text or "thumb|" in text:
        text = apply("wiki markup", substitute(text, *WIKI_STEPS))
    if "<" in text:
        text = apply("HTML tags", substitute(text, *TAG_STEPS))
    # After the tags: a decoded `<` is text.
    if "&" in text:
        text = apply("HTML entities", substitute(text, (ENTITY, _entity_text)))
    text = apply("invisible characters", remove_marks(substitute(text, (INVISIBLE, MARK), (SPACES, " "))))
    text = apply("white space", BLANK_LINES.sub("\n\n", LINE_END.sub("", text)).strip())
    return text, done


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


def _template_text(match: re.Match[str]) -> str:
    """Return the values of a template with a number, such as {{convert|5|mg}}; other templates are deleted."""
    _, *values = match[1].split("|")
    shown = [value.strip() for value in values if "=" not in value]
    return f"{MARK}{' '.join(shown)}{MARK}" if any(any(map(str.isdigit, value)) for value in shown) else MARK


def _entity_text(match: re.Match[str]) -> str:
    text = html.unescape(match[0])
    # An entity of a surrogate or control character stays as it is.
    return (text or MARK) if text.isprintable() or text in "\n\t\u00a0" else match[0]


WIKI_STEPS: tuple[Substitution, ...] = (
    (WIKI_TEMPLATE, _template_text),
    (WIKI_FILE, MARK),
    (WIKI_LINK, rf"{MARK}\1{MARK}"),
    (WIKI_CAPTION, MARK),
    (WIKI_QUOTES, rf"{MARK}\2{MARK}"),
)
TAG_STEPS: tuple[Substitution, ...] = (
    (REFERENCE, MARK),
    (CELL_BORDER, " | "),
    (SUPERSCRIPT, "^"),
    (BLOCK_TAG, "\n"),
    (TAG, MARK),
)
