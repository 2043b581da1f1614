"""Exam: the person answers first; only then the key and the models' choices reach the page.

A sitting: a block of questions that a person answers before seeing what the models chose. Kept by nobody.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.exams.item import Item

from ..context import Scene
from ..html import ARM_NAMES, ENGINE, NOTHING, PRESS, acted, button, choice, download, notice, pressable, stem
from ..job import ARMS, Arm
from ..results import steps
from ..side_by_side import RIGHT, WRONG
from .compare import Compare

BLOCKS = (10, 20, 40)
SECONDS_PER_QUESTION = 90  # what the licensing examinations give
GRACE = 2.0  # seconds that an answer may take on its way here


@dataclass(frozen=True, slots=True)
class Sitting:
    """`order` holds indexes into the exam, `answers` what was picked. Times are a monotonic clock's seconds."""

    order: tuple[int, ...]
    began: float
    limit: float | None = None
    at: int = 0
    answers: Mapping[int, str] = field(default_factory=dict)
    ended: float | None = None

    @property
    def index(self) -> int:
        """The question in front of the person."""
        return self.order[self.at]

    @property
    def open(self) -> int:
        """How many are not answered yet."""
        return len(self.order) - len(self.answers)

    def left(self, now: float) -> float | None:
        """Seconds left; None without a limit."""
        return None if self.limit is None else max(0.0, self.began + self.limit - now)

    def pick(self, letter: str, now: float) -> Sitting:
        """Answer, or answer otherwise. After the end nothing changes."""
        if self.ended is not None or self.over(now):
            return self.end(now)
        return replace(self, answers={**self.answers, self.index: letter})

    def move(self, by: int) -> Sitting:
        """Some questions on or back, within the block."""
        return replace(self, at=min(max(0, self.at + by), len(self.order) - 1))

    def over(self, now: float) -> bool:
        """Whether time is up."""
        return self.limit is not None and now > self.began + self.limit + GRACE

    def end(self, now: float) -> Sitting:
        """Hand in."""
        return self if self.ended is not None else replace(self, ended=now)


def sit(items: Sequence[Item], size: int, step: str, timed: bool, now: float, seed: int) -> Sitting:
    """A block drawn at random from the exam, or from one step of it; all there are when they are fewer."""
    pool = [index for index, item in enumerate(items) if not step or str(item.step) == step]
    order = tuple(random.Random(seed).sample(pool, min(size, len(pool))))  # noqa: S311
    return Sitting(order, now, SECONDS_PER_QUESTION * len(order) if timed else None)


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the end page: how many were right, of how many."""

    name: str
    n: int
    you: int
    models: Mapping[Arm, int]


def scores(sitting: Sitting, items: Sequence[Item], chosen: Mapping[Arm, Mapping[int, str]]) -> list[Score]:
    """The block, then each of its subjects. A question left open counts as wrong, for person and model alike."""
    groups: dict[str, list[int]] = {"All": list(sitting.order)}
    for index in sitting.order:
        if subject := items[index].subject:
            groups.setdefault(subject, []).append(index)

    def right(letters: Mapping[int, str], those: list[int]) -> int:
        return sum(letters.get(index) == items[index].answer for index in those)

    return [
        Score(
            name, len(those), right(sitting.answers, those), {arm: right(chosen[arm], those) for arm in ARMS}
        )
        for name, those in groups.items()
    ]


def as_json(
    sitting: Sitting, items: Sequence[Item], exam_sha256: str, chosen: Mapping[Arm, Mapping[int, str]]
) -> str:
    """The sitting for keeping: ids and letters, none of the exam's text and no name."""
    return json.dumps(
        {
            "exam_sha256": exam_sha256,
            "seconds": round((sitting.ended or sitting.began) - sitting.began, 1),
            "limit_seconds": sitting.limit,
            "answers": [
                {"id": items[index].id, "key": items[index].answer, "you": sitting.answers.get(index)}
                | {arm: chosen[arm].get(index) for arm in ARMS}
                for index in sitting.order
            ],
        },
        indent=1,
    )


TIME_IS_UP = notice(
    "<p><b>Time is up.</b> What you answered until then counts.</p>"
    + button("See the result", "hand-in", kind="mp-primary", key="Enter", event="ask")
)
Chosen = Mapping[Arm, Mapping[int, str]]


def build(scene: Scene, compare: Compare, tabs: gr.Tabs) -> None:
    """The tab's contents."""
    items = scene.items

    def press(sitting: Sitting | None, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        said, now = acted(event), time.monotonic()
        skip = (gr.skip(),) * (1 + len(compare.outputs))
        act, value = said.get("act"), said.get("value", "")
        if act == "start":
            size = {str(block): block for block in BLOCKS}.get(said.get("size", ""), BLOCKS[0])
            step = said.get("step", "") if said.get("step") in steps(items) else ""
            drawn = sit(items, size, step, said.get("time") == "yes", now, secrets.randbits(32))
            return drawn, question(scene, drawn, now), *skip
        if sitting is None or act == "again":
            return None, start_page(scene), *skip
        if sitting.ended is not None:
            index = next((n for n in sitting.order if items[n].id == value), None)
            if act == "open" and index is not None:
                opened = compare.open(index, sitting.order, "your block", visitor)
                return gr.skip(), gr.skip(), gr.Tabs(selected="compare"), *opened
            return gr.skip(), gr.skip(), *skip
        if act == "pick" and value in items[sitting.index].options:
            sitting = sitting.pick(value, now)
        elif act == "move":
            sitting = sitting.move(-1 if value == "back" else 1)
        late = sitting.ended is not None or sitting.over(now)
        return (
            sitting.end(now) if late else sitting,
            TIME_IS_UP if late else question(scene, sitting, now),
            *skip,
        )

    def hand_in(
        sitting: Sitting | None, event: gr.EventData, visitor: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """The end page; where the examination did not ask a question, the models are asked now."""
        acted(event)
        if sitting is None:
            yield None, start_page(scene)
            return
        sitting = sitting.end(time.monotonic())
        for done, chosen, trouble in choices(scene, sitting, visitor):
            if chosen is not None:
                yield sitting, end_page(scene, sitting, chosen, trouble)
            else:
                asking = f"Asking the models\N{HORIZONTAL ELLIPSIS} {done} of {len(sitting.order)}"
                yield sitting, notice(f"<p>{asking}</p>", "waiting")

    sitting = gr.State(None)
    sheet = pressable(start_page(scene), "mp-exam")
    sheet.act(press, sitting, [sitting, sheet, tabs, *compare.outputs], **PRESS)
    sheet.ask(hand_in, sitting, [sitting, sheet], **ENGINE)


def choices(scene: Scene, sitting: Sitting, visitor: gr.Request) -> Iterator[tuple[int, Chosen | None, str]]:
    """What the models chose: from the examination where it asked, else by rating now. (done, choices, trouble)."""
    found: dict[Arm, dict[int, str]] = {arm: {} for arm in ARMS}
    examined = {"base": scene.results.base, "tuned": scene.results.tuned}
    trouble = ""
    for done, index in enumerate(sitting.order):
        item = scene.items[index]
        letters = list(item.options)
        if all(item.id in examined[arm] for arm in ARMS):
            for arm in ARMS:
                found[arm][index] = letters[examined[arm][item.id].chosen]
            continue
        yield done, None, ""
        asked = scene.request(item, max_new_tokens=0)
        with closing(scene.visits.show(visitor.session_hash or "", asked, visitor.username)) as stream:
            for progress in stream:
                if progress is None:
                    return
                if progress.state == "failed":
                    trouble = progress.error
                elif progress.final:
                    for arm, why in progress.unrated.items():
                        trouble = f"{ARM_NAMES[arm]}: no ratings from this endpoint, {why}"
                    for arm, rated in progress.scores.items():
                        found[arm][index] = letters[rated.chosen]
    yield len(sitting.order), found, trouble


def start_page(scene: Scene) -> str:
    """Before a block: how long, of what, with or without a clock."""
    of_steps = steps(scene.items)
    lists = choice("size", "Questions", [(str(n), str(n)) for n in BLOCKS], str(BLOCKS[0]))
    if len(of_steps) > 1:
        lists += choice("step", "Step", [("", "all"), *((s, f"Step {s}") for s in of_steps)], "")
    lists += choice("time", "Time", [("no", "no limit"), ("yes", "90 s per question")], "no")
    return (
        '<section class="mp-card"><h2>Answer first, then see what the models chose</h2>'
        "<p>A block is drawn at random. The key and the models' choices reach this page only after you hand in.</p>"
        f'<form class="mp-fields" data-act="start">{lists}'
        '<button type="submit" class="mp-button mp-primary" data-key="Enter">Start</button></form>'
        '<p class="mp-soft">Keys: A, B, C … pick an option, j next, k previous.</p></section>'
    )


def question(scene: Scene, sitting: Sitting, now: float) -> str:
    """One question of the block, without its key."""
    item, picked = scene.items[sitting.index], sitting.answers.get(sitting.index)
    options = "".join(
        f'<li><button type="button" class="mp-pick-option" data-act="pick" data-value="{escape(letter)}" '
        f'data-key="{escape(letter.lower())}" aria-pressed="{"true" if letter == picked else "false"}">'
        f"<b>{escape(letter)}</b><span>{escape(text.strip())}</span></button></li>"
        for letter, text in item.options.items()
    )
    left = sitting.left(now)
    clock = f'<span class="mp-clock" data-left="{left:.0f}" role="timer"></span>' if left is not None else ""
    number, count = sitting.at + 1, len(sitting.order)
    hand = button("Hand in", "hand-in", kind="" if sitting.open else "mp-primary", event="ask")
    open_ = f"{sitting.open} open" if sitting.open else "all answered"
    return (
        f'<div class="mp-count"><p role="status">Question {number} of {count} · {open_}</p>{clock}'
        f"{button('Previous', 'move', value='back', key='k', off=number == 1)}"
        f"{button('Next', 'move', value='on', key='j', off=number == count)}"
        f"{hand}</div>"
        f'{stem(item)}<ol class="mp-options">{options}</ol>'
    )


def end_page(scene: Scene, sitting: Sitting, chosen: Chosen, trouble: str) -> str:
    """The scores beside each other, and every question with three answers."""
    counted = scores(sitting, scene.items, chosen)
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td class="mp-num" data-label="n">{one.n}</td>'
        + "".join(
            f'<td class="mp-num" data-label="{name}"><b>{right}</b><small>{100 * right / one.n:.0f} %</small></td>'
            for name, right in [("you", one.you), *((ARM_NAMES[arm], one.models[arm]) for arm in ARMS)]
        )
        + "</tr>"
        for one in counted
    )
    few = " Too few questions to say who is better." if len(sitting.order) < 30 else ""
    failed = (
        notice(f"<p>The models did not answer all questions: {escape(trouble)}.</p>", "failed")
        if trouble
        else ""
    )
    whole = counted[0]
    text = as_json(sitting, scene.items, scene.exam.sha256, chosen)
    review = "".join(_review(scene, sitting, index, chosen) for index in sitting.order)
    actions = button("Another block", "again", kind="mp-primary", key="Enter") + download(
        "Save this sitting (JSON)", "sitting.json", text
    )
    return (
        f'{failed}<section class="mp-card"><h2>You {whole.you} of {whole.n}, base {whole.models["base"]}, '
        f'fine-tuned {whole.models["tuned"]}</h2><p class="mp-soft">In {_minutes(sitting)}.{few}</p>'
        f"{_table('Right answers by subject', ('Subject', 'n', 'You', 'Base', 'Fine-tuned'), rows, 'mp-num')}"
        f'<p class="mp-actions">{actions}</p></section><h2 class="mp-h2">Review</h2>'
        f"{_table('Answers', ('Question', 'Key', 'You', 'Base', 'Fine-tuned'), review)}"
    )


def _table(caption: str, heads: tuple[str, ...], rows: str, kind: str = "") -> str:
    shown = "".join(
        f'<th scope="col"{f" class={kind}" if kind and n else ""}>{head}</th>' for n, head in enumerate(heads)
    )
    return (
        f'<div class="mp-scroll"><table class="mp-list"><caption class="mp-sr">{caption}</caption>'
        f"<thead><tr>{shown}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _review(scene: Scene, sitting: Sitting, index: int, chosen: Chosen) -> str:
    item = scene.items[index]
    given = [("you", sitting.answers.get(index)), *((ARM_NAMES[arm], chosen[arm].get(index)) for arm in ARMS)]
    cells = "".join(f'<td data-label="{name}">{_mark(letter, item.answer)}</td>' for name, letter in given)
    begin = " ".join(item.question.split())[:90]
    return (
        f'<tr><th scope="row"><button type="button" class="mp-open" data-act="open" data-value="{escape(item.id)}">'
        f"{escape(item.id)}<span>{escape(begin)}</span></button></th>"
        f'<td data-label="key">{escape(item.answer)}</td>{cells}</tr>'
    )


def _mark(letter: str | None, key: str) -> str:
    if letter is None:
        return f'<span class="mp-none">{NOTHING}<span class="mp-sr">none</span></span>'
    kind, sign, word = ("mp-right", RIGHT, "right") if letter == key else ("mp-wrong", WRONG, "wrong")
    return f'<span class="{kind}">{escape(letter)} {sign}<span class="mp-sr">{word}</span></span>'


def _minutes(sitting: Sitting) -> str:
    minutes, seconds = divmod(round((sitting.ended or sitting.began) - sitting.began), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
