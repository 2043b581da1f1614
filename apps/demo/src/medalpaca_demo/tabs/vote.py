"""Blind vote: two answers without names on sides drawn by a coin. The names reach the page with the vote.

Blind votes: which side holds which model, what was voted, and what the votes can show.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, Literal

import gradio as gr

from medalpaca_evalharness.statistics import mcnemar_exact

from ..context import Scene
from ..html import ARM_NAMES, ENGINE, PRESS, acted, button, download, html, notice, pressable, stem
from ..job import ARMS, Arm, Progress
from ..side_by_side import answer_column

Choice = Literal["left", "right", "same", "poor"]
CHOICES: dict[Choice, str] = {"left": "Left", "right": "Right", "same": "Same", "poor": "Both poor"}


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote. `left` is the arm that stood on the left; `seconds` from the first words to the vote."""

    item_id: str
    left: Arm
    choice: Choice
    seconds: float

    @property
    def winner(self) -> Arm | None:
        """The arm that was preferred, if one was."""
        match self.choice:
            case "left":
                return self.left
            case "right":
                return other(self.left)
            case _:
                return None


def other(arm: Arm) -> Arm:
    """The arm on the other side."""
    return ARMS[1 - ARMS.index(arm)]


def left_arm(seed: int, item_id: str) -> Arm:
    """Which model stands on the left for this question: a coin per question, the same when it is shown again."""
    return random.Random(f"{seed} {item_id}").choice(ARMS)  # noqa: S311


def cast_choice(value: str) -> Choice:
    """A vote from the page. Raises ValueError for anything else."""
    for known in CHOICES:
        if value == known:
            return known
    raise ValueError(value)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes add up to. A second vote on a question replaces the first."""

    base: int
    tuned: int
    same: int
    poor: int

    @property
    def n(self) -> int:
        """All votes."""
        return self.base + self.tuned + self.same + self.poor

    @property
    def p(self) -> float:
        """Exact sign test, two-sided: votes for neither say nothing about which is better, and stay out."""
        return mcnemar_exact(self.tuned, self.base)


def tally(votes: Sequence[Vote]) -> Tally:
    """Count the last vote on each question."""
    last = {vote.item_id: vote for vote in votes}.values()
    return Tally(
        base=sum(vote.winner == "base" for vote in last),
        tuned=sum(vote.winner == "tuned" for vote in last),
        same=sum(vote.choice == "same" for vote in last),
        poor=sum(vote.choice == "poor" for vote in last),
    )


def as_jsonl(votes: Sequence[Vote], exam_sha256: str) -> str:
    """One vote a line: ids and sides, no text and no name."""
    return "".join(
        json.dumps(
            {
                "exam_sha256": exam_sha256,
                "id": vote.item_id,
                "left": vote.left,
                "right": other(vote.left),
                "vote": vote.choice,
                "winner": vote.winner,
                "seconds": round(vote.seconds, 1),
            }
        )
        + "\n"
        for vote in votes
    )


@dataclass(frozen=True, slots=True)
class Booth:
    """One visitor's votes. `order` is a walk through the exam by the visitor's own seed."""

    seed: int
    at: int = 0
    began: float | None = None
    votes: tuple[Vote, ...] = field(default=())


def build(scene: Scene) -> None:
    """The tab's contents."""
    items = scene.items

    def index(booth: Booth) -> int:
        return (booth.seed + booth.at) % len(items)

    def left(booth: Booth) -> Arm:
        return left_arm(booth.seed, items[index(booth)].id)

    def sides(booth: Booth, progress: Progress | None) -> tuple[str, str]:
        arms = (left(booth), other(left(booth)))
        return answer_column(arms[0], progress, title="Left"), answer_column(arms[1], progress, title="Right")

    def sheet(booth: Booth) -> tuple[Any, ...]:
        return booth, stem(items[index(booth)]), *sides(booth, None), panel(scene, booth, None)

    def press(booth: Booth | None, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        said, session = acted(event), visitor.session_hash or ""
        booth = booth or Booth(secrets.randbits(32))
        match said.get("act"):
            case "next":
                scene.visits.leave(session)
                return sheet(replace(booth, at=booth.at + 1, began=None))
            case "vote" if said.get("value") in CHOICES and booth.began is not None:
                scene.visits.stop(session)
                cast = Vote(
                    item_id=items[index(booth)].id,
                    left=left(booth),
                    choice=cast_choice(said["value"]),
                    seconds=time.monotonic() - booth.began,
                )
                booth = replace(booth, votes=(*booth.votes, cast), began=None)
                return booth, gr.skip(), gr.skip(), gr.skip(), panel(scene, booth, cast)
            case _:
                return (gr.skip(),) * 5

    def show(booth: Booth | None, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Both answers without names, and the vote at once: nobody has to wait for the end."""
        booth = replace(booth or Booth(secrets.randbits(32)), began=time.monotonic())
        yield booth, stem(items[index(booth)]), *sides(booth, None), voting()
        asked = scene.request(items[index(booth)])
        with closing(scene.visits.show(visitor.session_hash or "", asked, visitor.username)) as stream:
            for progress in stream:
                if progress is None:
                    yield (gr.skip(),) * 5
                elif progress.state == "failed":
                    said = notice(f"<p>No answer: {escape(progress.error)}.</p>", "failed")
                    yield gr.skip(), gr.skip(), *sides(booth, None), said + start_button()
                elif not (scene.engine.together or progress.final):
                    # Whose turn comes first would tell who is who: both appear at once, when both are done.
                    yield (gr.skip(),) * 5
                else:
                    # The stream must not touch the panel: a vote may have been cast in the meantime.
                    yield gr.skip(), gr.skip(), *sides(booth, progress), gr.skip()

    booth = gr.State(None)
    with gr.Row(elem_classes="mp-pick"):
        begin = gr.Button(
            "Show two answers", variant="primary", elem_id="mp-vote-start", min_width=180, scale=0
        )
    board = pressable(welcome(), "mp-vote")
    question = html("", "mp-vote-question")
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            one = html("", "mp-vote-left")
        with gr.Column(min_width=300):
            two = html("", "mp-vote-right")
    outputs = [booth, question, one, two, board]
    begin.click(show, booth, outputs, **ENGINE)
    board.act(press, booth, outputs, **PRESS)


def welcome() -> str:
    """Before the first question."""
    return notice(
        "<p>Two answers to the same question, without names, the sides drawn by a coin. "
        "Vote as soon as you know; then you learn which was which.</p>"
    )


def start_button() -> str:
    """What to press next is the tab's own button; say so."""
    return (
        '<p class="mp-soft">Press "Show two answers" to try again, or go on to another question.</p>'
        + button("Another question", "next", key="j")
    )


def voting() -> str:
    """The four votes."""
    votes = "".join(
        button(name, "vote", value=value, key=str(number))
        for number, (value, name) in enumerate(CHOICES.items(), 1)
    )
    return (
        '<div class="mp-ballot" role="group" aria-label="Which answer is better?">'
        f"<p>Which answer is better?</p>{votes}</div>"
    )


def panel(scene: Scene, booth: Booth, cast: Vote | None) -> str:
    """After a vote: who was who, and what all votes say. Between questions: only how many there are."""
    if cast is None:
        count = tally(booth.votes).n
        said = f"{count} vote{'' if count == 1 else 's'} so far." if count else "No vote yet."
        return notice(f'<p>{said} Press "Show two answers".</p>')
    names = f"Left was <b>{ARM_NAMES[cast.left].lower()}</b>, right was <b>{ARM_NAMES[other(cast.left)].lower()}</b>."
    return (
        f'<section class="mp-card"><p role="status">{names}</p>{counted(booth.votes)}'
        f'<p class="mp-actions">{button("Next question", "next", kind="mp-primary", key="j")}'
        f"{download('Save votes (JSONL)', 'votes.jsonl', as_jsonl(booth.votes, scene.exam.sha256))}</p></section>"
    )


def counted(votes: Sequence[Vote]) -> str:
    """The tally in words, with the sign test."""
    found = tally(votes)
    decided = found.base + found.tuned
    test = (
        f"Sign test on {decided}: p = {found.p:.4f}"
        + (
            "; that can be chance"
            if found.p >= 0.05
            else f"; {ARM_NAMES['tuned' if found.tuned > found.base else 'base'].lower()} is preferred"
        )
        if decided
        else "No vote preferred a side, so there is nothing to test"
    )
    return (
        f"<p>{found.n} question{'' if found.n == 1 else 's'} by one rater: "
        f"fine-tuned preferred {found.tuned}, base {found.base}, same {found.same}, both poor {found.poor}. {test}.</p>"
    )
