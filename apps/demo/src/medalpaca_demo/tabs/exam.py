"""Exam: the user answers a block of questions first; then the correct answers and the models' choices are shown.

Before handing in, the page receives neither the correct answers nor the models' choices. The user's answers are not
stored. An audit log has two entries for each question that the models answer after handing in.
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

from ..context import Context, list_steps
from ..html import (
    DASH,
    ENGINE_OPTIONS,
    PRESS_OPTIONS,
    SIDE_NAMES,
    button_html,
    download_button,
    event_fields,
    interactive_html,
    notice,
    question_html,
    select_field,
)
from ..job import SIDES, Side
from ..side_by_side import RIGHT_MARK, WRONG_MARK
from .compare import CompareTab

BLOCK_SIZES = (10, 20, 40)
# As in the licensing examinations.
SECONDS_PER_QUESTION = 90
# Time that an answer may need on its way from the browser.
GRACE_SECONDS = 2.0
# Below this number of questions, the result page adds a note that they are too few.
MIN_QUESTIONS = 30

# Letters chosen by each model, by index of the question in the exam.
ModelChoices = Mapping[Side, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class ExamSession:
    """A block of questions and the user's answers.

    `order` holds indexes into the exam, `answers` maps them to letters. Times are seconds of a monotonic clock;
    `limit` is None without a time limit, `ended` is None before handing in.
    """

    order: tuple[int, ...]
    began: float
    limit: float | None = None
    position: int = 0
    answers: Mapping[int, str] = field(default_factory=dict)
    ended: float | None = None

    @property
    def index(self) -> int:
        """Index in the exam of the question on the page."""
        return self.order[self.position]

    @property
    def unanswered(self) -> int:
        """Number of questions without an answer."""
        return len(self.order) - len(self.answers)

    def seconds_left(self, now: float) -> float | None:
        """Return the remaining time in seconds; None without a time limit."""
        return None if self.limit is None else max(0.0, self.began + self.limit - now)

    def pick(self, letter: str, now: float) -> ExamSession:
        """Return the session with `letter` as the answer to the question on the page.

        After handing in or the time limit, return the ended session without a new answer.
        """
        if self.ended is not None or self.is_over(now):
            return self.end(now)
        return replace(self, answers={**self.answers, self.index: letter})

    def move(self, by: int) -> ExamSession:
        """Return the session `by` questions further (or back, if negative), within the block."""
        return replace(self, position=min(max(0, self.position + by), len(self.order) - 1))

    def is_over(self, now: float) -> bool:
        """Return whether the time limit and `GRACE_SECONDS` have passed; False without a limit."""
        return self.limit is not None and now > self.began + self.limit + GRACE_SECONDS

    def end(self, now: float) -> ExamSession:
        """Return the session as handed in at `now`; unchanged if it has been handed in before."""
        return self if self.ended is not None else replace(self, ended=now)


def start_session(
    items: Sequence[Item], size: int, step: str, timed: bool, now: float, seed: int
) -> ExamSession:
    """Return a session with a random block of `size` questions, or of all if there are fewer.

    `step` is empty for all steps. `timed` sets a limit of `SECONDS_PER_QUESTION` for each question.
    """
    pool = [index for index, item in enumerate(items) if not step or str(item.step) == step]
    order = tuple(random.Random(seed).sample(pool, min(size, len(pool))))  # noqa: S311
    return ExamSession(order, now, SECONDS_PER_QUESTION * len(order) if timed else None)


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers of user and models among `n` questions of the block or of one subject, which is `name`."""

    name: str
    n: int
    you: int
    models: Mapping[Side, int]


def count_scores(session: ExamSession, items: Sequence[Item], chosen: ModelChoices) -> list[Score]:
    """Return the scores of the block, then of each subject. Unanswered questions count as wrong."""
    groups: dict[str, list[int]] = {"All": list(session.order)}
    for index in session.order:
        if subject := items[index].subject:
            groups.setdefault(subject, []).append(index)

    def count_right(letters: Mapping[int, str], indexes: list[int]) -> int:
        return sum(letters.get(index) == items[index].answer for index in indexes)

    return [
        Score(
            name,
            len(indexes),
            count_right(session.answers, indexes),
            {side: count_right(chosen[side], indexes) for side in SIDES},
        )
        for name, indexes in groups.items()
    ]


def as_json(session: ExamSession, items: Sequence[Item], exam_sha256: str, chosen: ModelChoices) -> str:
    """Return the session as JSON: ids, letters and times, without text of the exam or a user's name."""
    return json.dumps(
        {
            "exam_sha256": exam_sha256,
            "seconds": round((session.ended or session.began) - session.began, 1),
            "limit_seconds": session.limit,
            "answers": [
                {"id": items[index].id, "key": items[index].answer, "you": session.answers.get(index)}
                | {side: chosen[side].get(index) for side in SIDES}
                for index in session.order
            ],
        },
        indent=1,
    )


TIME_UP_NOTICE = notice(
    "<p><b>Time is up.</b> Your answers until now count.</p>"
    + button_html("Show the result", "hand-in", kind="mp-primary", key="Enter", event="ask")
)


def build(context: Context, compare: CompareTab, tabs: gr.Tabs) -> None:
    """Lay out the tab."""
    items = context.items

    def press(session: ExamSession | None, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        fields, now = event_fields(event), time.monotonic()
        skip = (gr.skip(),) * (1 + len(compare.outputs))
        act, value = fields.get("act"), fields.get("value", "")
        if act == "start":
            size = {str(block): block for block in BLOCK_SIZES}.get(fields.get("size", ""), BLOCK_SIZES[0])
            step = fields.get("step", "") if fields.get("step") in list_steps(items) else ""
            drawn = start_session(items, size, step, fields.get("time") == "yes", now, secrets.randbits(32))
            return drawn, question_page(context, drawn, now), *skip
        if session is None or act == "again":
            return None, start_page(context), *skip
        if session.ended is not None:
            index = next((n for n in session.order if items[n].id == value), None)
            if act == "open" and index is not None:
                opened = compare.open(index, session.order, "your block", visitor)
                return gr.skip(), gr.skip(), gr.Tabs(selected="compare"), *opened
            return gr.skip(), gr.skip(), *skip
        if act == "pick" and value in items[session.index].options:
            session = session.pick(value, now)
        elif act == "move":
            session = session.move(-1 if value == "back" else 1)
        late = session.ended is not None or session.is_over(now)
        return (
            session.end(now) if late else session,
            TIME_UP_NOTICE if late else question_page(context, session, now),
            *skip,
        )

    def hand_in(
        session: ExamSession | None, event: gr.EventData, visitor: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Show the result page. Questions without a logged answer are put to the models first."""
        event_fields(event)
        if session is None:
            yield None, start_page(context)
            return
        session = session.end(time.monotonic())
        for done, chosen, error in find_model_choices(context, session, visitor):
            if chosen is not None:
                yield session, result_page(context, session, chosen, error)
            else:
                waiting = f"The models answer\N{HORIZONTAL ELLIPSIS} {done} of {len(session.order)} done"
                yield session, notice(f"<p>{waiting}</p>", "waiting")

    session = gr.State(None)
    sheet = interactive_html(start_page(context), "mp-exam")
    sheet.act(press, session, [session, sheet, tabs, *compare.outputs], **PRESS_OPTIONS)
    sheet.ask(hand_in, session, [session, sheet], **ENGINE_OPTIONS)


def find_model_choices(
    context: Context, session: ExamSession, visitor: gr.Request
) -> Iterator[tuple[int, ModelChoices | None, str]]:
    """Find both models' choices in the results, or score the options now.

    Yields (questions done, None, "") before each question that is scored now, then (all, choices, error). Stops without
    the last if the browser session has started another job.
    """
    choices: dict[Side, dict[int, str]] = {side: {} for side in SIDES}
    logged = {"base": context.results.base, "tuned": context.results.tuned}
    error = ""
    for done, index in enumerate(session.order):
        item = context.items[index]
        letters = list(item.options)
        if all(item.id in logged[side] for side in SIDES):
            for side in SIDES:
                choices[side][index] = letters[logged[side][item.id].chosen]
            continue
        yield done, None, ""
        request = context.request(item, max_new_tokens=0)
        stream = context.sessions.stream(visitor.session_hash or "", request, visitor.username)
        with closing(stream):
            for progress in stream:
                if progress is None:
                    return
                if progress.state == "failed":
                    error = progress.error
                elif progress.final:
                    for side, why in progress.unrated.items():
                        error = f"{SIDE_NAMES[side]}: no scores from this endpoint, {why}"
                    for side, scores in progress.scores.items():
                        choices[side][index] = letters[scores.chosen]
    yield len(session.order), choices, error


def start_page(context: Context) -> str:
    """Return the form for a new block: number of questions, step, time limit."""
    steps = list_steps(context.items)
    lists = select_field("size", "Questions", [(str(n), str(n)) for n in BLOCK_SIZES], str(BLOCK_SIZES[0]))
    if len(steps) > 1:
        lists += select_field("step", "Step", [("", "all"), *((s, f"Step {s}") for s in steps)], "")
    limit = f"{SECONDS_PER_QUESTION:.0f} s per question"
    lists += select_field("time", "Time", [("no", "no limit"), ("yes", limit)], "no")
    return (
        '<section class="mp-card"><h2>Answer first, then see the answers of the models</h2>'
        "<p>The questions are drawn at random. You see the correct answers and the models' choices after you have "
        "handed in your answers.</p>"
        f'<form class="mp-fields" data-act="start">{lists}'
        '<button type="submit" class="mp-button mp-primary" data-key="Enter">Start</button></form>'
        '<p class="mp-soft">Keys: A, B, C … choose an option, j next, k previous.</p></section>'
    )


def question_page(context: Context, session: ExamSession, now: float) -> str:
    """Return one question of the block. The page must not reveal the correct answer."""
    item, picked = context.items[session.index], session.answers.get(session.index)
    options = "".join(
        f'<li><button type="button" class="mp-pick-option" data-act="pick" data-value="{escape(letter)}" '
        f'data-key="{escape(letter.lower())}" aria-pressed="{"true" if letter == picked else "false"}">'
        f"<b>{escape(letter)}</b><span>{escape(text.strip())}</span></button></li>"
        for letter, text in item.options.items()
    )
    left = session.seconds_left(now)
    clock = f'<span class="mp-clock" data-left="{left:.0f}" role="timer"></span>' if left is not None else ""
    number, count = session.position + 1, len(session.order)
    hand_in = button_html("Hand in", "hand-in", kind="" if session.unanswered else "mp-primary", event="ask")
    unanswered = f"{session.unanswered} unanswered" if session.unanswered else "all answered"
    return (
        f'<div class="mp-count"><p role="status">Question {number} of {count} · {unanswered}</p>{clock}'
        f"{button_html('Previous', 'move', value='back', key='k', disabled=number == 1)}"
        f"{button_html('Next', 'move', value='on', key='j', disabled=number == count)}"
        f"{hand_in}</div>"
        f'{question_html(item)}<ol class="mp-options">{options}</ol>'
    )


def result_page(context: Context, session: ExamSession, chosen: ModelChoices, error: str) -> str:
    """Return the scores of user and models, and all questions with the three answers."""
    counted = count_scores(session, context.items, chosen)
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td class="mp-num" data-label="n">{one.n}</td>'
        + "".join(
            f'<td class="mp-num" data-label="{name}"><b>{right}</b><small>{100 * right / one.n:.0f} %</small></td>'
            for name, right in [("you", one.you), *((SIDE_NAMES[side], one.models[side]) for side in SIDES)]
        )
        + "</tr>"
        for one in counted
    )
    few = " Too few questions to show a difference." if len(session.order) < MIN_QUESTIONS else ""
    failed = (
        notice(f"<p>The models did not answer all questions: {escape(error)}.</p>", "failed") if error else ""
    )
    total = counted[0]
    text = as_json(session, context.items, context.exam.sha256, chosen)
    review = "".join(_review(context, session, index, chosen) for index in session.order)
    actions = button_html("Another block", "again", kind="mp-primary", key="Enter") + download_button(
        "Save these answers (JSON)", "sitting.json", text
    )
    heads = ("Subject", "n", "You", "Base", "Fine-tuned")
    return (
        f'{failed}<section class="mp-card"><h2>You {total.you} of {total.n}, base {total.models["base"]}, '
        f'fine-tuned {total.models["tuned"]}</h2><p class="mp-soft">Your time: {_minutes(session)}.{few}</p>'
        f"{_table('Right answers by subject', heads, rows, 'mp-num')}"
        f'<p class="mp-actions">{actions}</p></section><h2 class="mp-h2">Review</h2>'
        f"{_table('Answers', ('Question', 'Correct', 'You', 'Base', 'Fine-tuned'), review)}"
    )


def _table(caption: str, heads: tuple[str, ...], rows: str, kind: str = "") -> str:
    shown = "".join(
        f'<th scope="col"{f" class={kind}" if kind and n else ""}>{head}</th>' for n, head in enumerate(heads)
    )
    return (
        f'<div class="mp-scroll"><table class="mp-list"><caption class="mp-sr">{caption}</caption>'
        f"<thead><tr>{shown}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _review(context: Context, session: ExamSession, index: int, chosen: ModelChoices) -> str:
    item = context.items[index]
    letters = [
        ("you", session.answers.get(index)),
        *((SIDE_NAMES[side], chosen[side].get(index)) for side in SIDES),
    ]
    cells = "".join(f'<td data-label="{name}">{_mark(letter, item.answer)}</td>' for name, letter in letters)
    beginning = " ".join(item.question.split())[:90]
    return (
        f'<tr><th scope="row"><button type="button" class="mp-open" data-act="open" data-value="{escape(item.id)}">'
        f"{escape(item.id)}<span>{escape(beginning)}</span></button></th>"
        f'<td data-label="correct">{escape(item.answer)}</td>{cells}</tr>'
    )


def _mark(letter: str | None, key: str) -> str:
    if letter is None:
        return f'<span class="mp-none">{DASH}<span class="mp-sr">none</span></span>'
    kind, sign, word = (
        ("mp-right", RIGHT_MARK, "right") if letter == key else ("mp-wrong", WRONG_MARK, "wrong")
    )
    return f'<span class="{kind}">{escape(letter)} {sign}<span class="mp-sr">{word}</span></span>'


def _minutes(session: ExamSession) -> str:
    minutes, seconds = divmod(round((session.ended or session.began) - session.began), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
