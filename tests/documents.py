"""A page of documentation as blocks with their tags. Whatever does not fit the convention is an error with its line.

A fence stands at the left margin and names its language. A comment on the line directly above it tags it:

    <!-- file: meadow.yaml -->      the block is written to that file
    <!-- hub; gpu; exit: 1 -->      several tags, separated by semicolons

and one comment near the top says what lies ready in the page's working folder: `<!-- given: BASE RUN -->`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

LANGUAGES = ("bash", "python", "yaml", "json", "csv", "toml", "text")

# Tag -> whether it takes a value, and what it can stand above.
TAGS = {
    "file": (True, ("bash", "python", "yaml", "json", "csv", "toml", "text")),
    "exit": (True, ("bash", "python")),
    "output": (False, ("text",)),
    "hub": (False, ("bash", "python")),
    "gpu": (False, ("bash", "python")),
    "cluster": (False, ("bash",)),
    "elsewhere": (False, ("bash", "python")),
    "server": (False, ("bash",)),
}
GIVEN = ("BASE", "RUN", "EXAM", "usmle", "meadow.yaml", "meadow", "results", "rows.jsonl", "QUESTIONS")
MARKS = (
    "benchmarks",
    "/benchmarks",
    "floors",
)  # by which other tests find a part of a page; they tag nothing
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->")


class NotADocument(ValueError):
    """Something on a page that the convention does not know; PAGE:LINE and what it is."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fence: its language, its text without the fence, and the line on which the text begins (from 1)."""

    page: Path
    line: int
    language: str
    text: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def kind(self) -> str:
        """What is done with it: `write`, `run`, `compare`, `show` (a picture: nothing), or `parse` (any other)."""
        if "file" in self.tags:
            return "write"
        if self.language in ("bash", "python"):
            return "run"
        if self.language == "text":
            return "compare" if "output" in self.tags else "show"
        return "parse"


@dataclass(frozen=True, slots=True)
class Page:
    """A file, what must lie ready for it, its blocks in order, and its text without any block."""

    path: Path
    given: tuple[str, ...]
    blocks: tuple[Block, ...]
    prose: str


def pages(root: Path) -> list[Path]:
    """Every page of the project, found anew: a page that is added is tested without being listed."""
    patterns = (
        "*.md",
        "docs/**/*.md",
        "packages/*/*.md",
        "apps/*/*.md",
        "benchmarks/*.md",
        "recipes/**/*.md",
    )
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def read_page(path: Path) -> Page:
    """Parse a page. Raises NotADocument."""
    blocks: list[Block] = []
    prose: list[str] = []
    given: list[str] = []
    tags: dict[str, str] = {}
    fence: int | None = None  # the line on which the open block's text begins
    language, held, before = "", [], ""  # type: str, list[str], str

    def wrong(what: str) -> NotADocument:
        return NotADocument(f"{path}:{number}: {what}")

    number = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if fence is not None:
            if line != "```":
                held.append(line)
                continue
            block = Block(path, fence, language, "".join(f"{one}\n" for one in held), tags)
            if block.kind == "compare" and not (blocks and blocks[-1].kind == "run"):
                raise wrong("an output without a block before it that is run")
            blocks.append(block)
            fence, tags, before = None, {}, ""
            continue
        elif line.startswith("```"):
            language = line[3:]
            if language not in LANGUAGES:
                raise wrong(f"language {language!r}; known: {', '.join(LANGUAGES)}")
            for tag in tags:
                if language not in TAGS[tag][1]:
                    raise wrong(f"`{tag}` above a block of {language}")
            fence, held = number + 1, []
        elif tags:
            raise wrong(f"tags ({', '.join(tags)}) that are not directly above a fence")
        elif "```" in line or line.startswith("~~~"):
            raise wrong("a fence that is not three backquotes at the left margin")
        elif line.startswith(("    ", "\t")) and not before.strip():
            raise wrong("an indented block; use a fence")
        elif comment := COMMENT.fullmatch(line.strip()):
            name, _, value = comment[1].partition(":")
            if comment[1] in MARKS:
                pass
            elif name == "given":
                if given or blocks:
                    raise wrong("`given` stands once, above the first block")
                given = value.split()
                if unknown := set(given) - set(GIVEN):
                    raise wrong(f"given {sorted(unknown)}; known: {', '.join(GIVEN)}")
            else:
                tags = _tags(comment[1], wrong)
        elif "<!--" in line:
            raise wrong("a comment that does not stand alone on its line")
        if fence is None:
            prose.append(line)
        before = line
    if fence is not None or tags:
        raise wrong("the page ends inside a block")
    return Page(path, tuple(given), tuple(blocks), "\n".join(prose))


def _tags(text: str, wrong: object) -> dict[str, str]:
    tags: dict[str, str] = {}
    for word in text.split(";"):
        name, colon, value = (part.strip() for part in word.partition(":"))
        if name not in TAGS or name in tags or bool(colon and value) != TAGS[name][0]:
            raise wrong(f"tag {word.strip()!r}; known: {', '.join(TAGS)}")  # type: ignore[operator]
        tags[name] = value
    return tags


def slugs(page: Page) -> set[str]:
    """The anchors that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ +(.*?) *$", page.prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
