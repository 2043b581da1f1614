"""Cleaning: what a format left behind is taken out and counted; what is no answer at all is dropped.

Only what is certain is touched: `p<0.05`, `CD4 < 200` and Greek letters are text; `<br>`, `[[a|b]]` and `&nbsp;` not.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from ..row import TEXTS, content_id
from .base import Stage, Verdict
from .shard import Drop, Shard

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

TAGS = (
    "a|b|i|u|em|strong|p|br|hr|div|span|ul|ol|li|dl|dt|dd|sup|sub|table|tbody|thead|tr|td|th|font|center|img|h[1-6]|"
    "small|big|blockquote|code|pre|ref|references|gallery|nowiki|noinclude|script|style"
)
BREAKS = re.compile(r"<(?:br|/p|/div|/li|/tr|/h[1-6])\b[^<>]*>", re.IGNORECASE)
TAG = re.compile(rf"</?(?:{TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
REF = re.compile(r"<ref\b[^<>]*>.*?</ref>", re.IGNORECASE | re.DOTALL)
ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)
WIKI_FILE = re.compile(r"\[\[(?:file|image|category):[^\[\]]*\]\]", re.IGNORECASE)
WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
WIKI_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
WIKI_QUOTES = re.compile(
    r"(?<!\w)('{5}|'{2,3})(?=\S)(.+?)(?<=\S)\1(?!\w)"
)  # in pairs: 5'' is a place in a strand
WIKI_CAPTION = re.compile(r"\bthumb\|(?:[^|\n]*\|)*")
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]"
)
SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")

# A row that fails this test is as it should be, and most do. Rust runs it, so it has no look-around.
SUSPECT = (
    r"<[/a-zA-Z]|&[#a-zA-Z]|\[\[|\{\{|''|thumb\||[^\x20-\x7e\n]|[ \t]\n|\n\n\n|^\s|\s$|###|<\||\[/?INST\]"
    r"|\{(?:instruction|input|output)\}"
)

TEMPLATE = re.compile(
    r"^### ?(?:Instruction|Input|Response):|<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>|\[/?INST\]|"
    r"</?s>|\{(?:instruction|input|output)\}",
    re.MULTILINE,
)
REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large)(?: language)? (?:model|assistant)\b", re.IGNORECASE
)
NOTHING = {
    "",
    "nan",
    "none",
    "null",
    "n/a",
    "na",
    "nil",
    "todo",
    "tbd",
    "-",
    ".",
    "?",
    "...",
    "undefined",
    "[]",
    "{}",
}
# What an English sentence cannot end on; an answer that does was cut off.
DANGLING = re.compile(
    r"(?:,|\(|\b(?:and|or|the|an|of|with|by|from|that|which|because|such as|including|e\.g\.|i\.e\.))$",
    re.IGNORECASE,
)
LONG = 40  # characters: below, an answer may be a bare term


class Clean(Stage):
    """Takes markup residue out of the three texts, and drops rows without a usable answer."""

    name: ClassVar[str] = "clean"

    def judge(self, table: pl.DataFrame, shard: Shard, folder: Path) -> Verdict:
        import polars as pl

        suspect = pl.any_horizontal(pl.col(name).str.contains(SUSPECT) for name in TEXTS)
        texts: dict[str, list[str]] = {name: table[name].to_list() for name in TEXTS}
        ids = table["id"].to_list()
        counts: Counter[str] = Counter()
        changes: list[dict[str, Any]] = []
        for n in table.select(suspect.arg_true()).to_series().to_list():
            before = {name: texts[name][n] for name in TEXTS}
            after = {}
            for name, text in before.items():
                after[name], done = clean_text(text)
                counts.update(done)
            if after == before:
                continue
            for name in TEXTS:
                texts[name][n] = after[name]
            old, ids[n] = ids[n], content_id(*after.values())
            changes += [
                {"id": ids[n], "was": old, "stage": self.name, "field": name, "before": before[name]}
                for name in TEXTS
                if after[name] != before[name]
            ]
        columns = {**texts, "id": ids}
        cleaned = table.with_columns(
            *(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())
        )
        drops = {
            n: Drop(reason=reason)
            for n, parts in enumerate(zip(*texts.values(), strict=True))
            if (reason := fault(*parts))
        }
        listed = pl.DataFrame(
            changes, schema=dict.fromkeys(("id", "was", "stage", "field", "before"), pl.String)
        )
        return Verdict(frame=cleaned, drops=drops, changes=listed, counts=counts)


def clean_text(text: str) -> tuple[str, list[str]]:
    """The text without residue, and what was done to it."""
    done: list[str] = []

    def apply(what: str, changed: str) -> str:
        if changed != text:
            done.append(what)
        return changed

    text = apply("unicode form", unicodedata.normalize("NFC", text))
    text = apply("HTML entities", ENTITY.sub(_entity, text) if "&" in text else text)
    text = apply("line breaks", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = apply("invisible characters", SPACES.sub(" ", INVISIBLE.sub("", text)))
    if "[[" in text or "{{" in text or "''" in text or "thumb|" in text:
        plain = WIKI_LINK.sub(r"\1", WIKI_FILE.sub("", WIKI_TEMPLATE.sub("", text)))
        text = apply("wiki markup", WIKI_QUOTES.sub(r"\2", WIKI_CAPTION.sub("", plain)))
    if "<" in text:
        text = apply("HTML tags", TAG.sub("", BREAKS.sub("\n", REF.sub("", text))))
    text = apply("white space", BLANK_LINES.sub("\n\n", LINE_END.sub("", text)).strip())
    return text, done


def fault(instruction: str, input: str, output: str) -> str | None:
    """Why a cleaned row is not to be learned from; None when it is."""
    answer = output.strip()
    if answer.lower() in NOTHING:
        return "no answer"
    if not (instruction.strip() or input.strip()):
        return "no question"
    if TEMPLATE.search(answer) or TEMPLATE.search(input) or TEMPLATE.search(instruction):
        return "prompt template in the text"
    if REFUSAL.search(answer):
        return "a model speaks of itself"
    if len(answer) >= LONG and DANGLING.search(answer):
        return "answer breaks off"
    return None


def _entity(found: re.Match[str]) -> str:
    text = html.unescape(found[0])
    # An entity for half a surrogate pair or a control character is left to be seen, not made.
    return text if text.isprintable() or text in "\n\t\u00a0" else found[0]
