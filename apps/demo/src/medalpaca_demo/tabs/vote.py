"""Blind vote: two answers without names; the side of each model is random. The names are shown after the vote."""

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

from ..context import Context
from ..html import (
    ENGINE_OPTIONS,
    PRESS_OPTIONS,
    SIDE_NAMES,
    button_html,
    download_button,
    event_fields,
    html,
    interactive_html,
    notice,
    question_html,
)
from ..job import SIDES, Progress, Side
from ..side_by_side import answer_card

Choice = Literal["left", "right", "same", "poor"]
CHOICE_LABELS: dict[Choice, str] = {
    "left": "Left",
    "right": "Right",
    "same": "Equally good",
    "poor": "Both poor",
}


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote. `left` is the model on the left; `seconds` is the time from the start of the answers to the vote."""

    item_id: str
    left: Side
    choice: Choice
    seconds: float

    @property
    def winner(self) -> Side | None:
        """Preferred model; None if neither was preferred."""
        match self.choice:
            case "left":
                return self.left
            case "right":
                return other_side(self.left)
            case _:
                return None


def other_side(side: Side) -> Side:
    """Return the other model of the pair."""
    return SIDES[1 - SIDES.index(side)]


def draw_left_side(seed: int, item_id: str) -> Side:
    """Draw the model on the left. The same seed and question give the same side again."""
    return random.Random(f"{seed} {item_id}").choice(SIDES)  # noqa: S311


def parse_choice(value: str) -> Choice:
    """Return a vote that the page has sent. Raises ValueError if it is not one of `CHOICE_LABELS`."""
    for known in CHOICE_LABELS:
        if value == known:
            return known
    raise ValueError(value)


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of questions on which base or tuned was preferred, both were equally good, or both were poor."""

    base: int
    tuned: int
    same: int
    poor: int

    @property
    def n(self) -> int:
        """Number of questions with a vote."""
        return self.base + self.tuned + self.same + self.poor

    @property
    def p(self) -> float:
        """P value of the exact two-sided sign test; votes for neither model do not count."""
        return mcnemar_exact(self.tuned, self.base)


def count_votes(votes: Sequence[Vote]) -> Tally:
    """Count the votes; only the last vote on each question counts."""
    last = {vote.item_id: vote for vote in votes}.values()
    return Tally(
        base=sum(vote.winner == "base" for vote in last),
        tuned=sum(vote.winner == "tuned" for vote in last),
        same=sum(vote.choice == "same" for vote in last),
        poor=sum(vote.choice == "poor" for vote in last),
    )


def as_jsonl(votes: Sequence[Vote], exam_sha256: str) -> str:
    """Return one JSON line for each vote: ids, sides, choice and seconds, without texts or a name."""
    return "".join(
        json.dumps(
            {
                "exam_sha256": exam_sha256,
                "id": vote.item_id,
                "left": vote.left,
                "right": other_side(vote.left),
                "vote": vote.choice,
                "winner": vote.winner,
                "seconds": round(vote.seconds, 1),
            }
        )
        + "\n"
        for vote in votes
    )


@dataclass(frozen=True, slots=True)
class VotingSession:
    """Votes of one visitor. `seed` sets the first question and the sides; `began` is None between questions.

    `position` counts the questions before this one; `began` is the time in seconds at which the answers began.
    """

    seed: int
    position: int = 0
    began: float | None = None
    votes: tuple[Vote, ...] = field(default=())


def build(context: Context) -> None:
    """Lay out the tab."""
    items = context.items

    def index(session: VotingSession) -> int:
        return (session.seed + session.position) % len(items)

    def left_side(session: VotingSession) -> Side:
        return draw_left_side(session.seed, items[index(session)].id)

    def cards(session: VotingSession, progress: Progress | None) -> tuple[str, str]:
        left = left_side(session)
        return (
            answer_card(left, progress, title="Left"),
            answer_card(other_side(left), progress, title="Right"),
        )

    def press(session: VotingSession | None, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        fields, visitor_id = event_fields(event), visitor.session_hash or ""
        session = session or VotingSession(secrets.randbits(32))
        match fields.get("act"):
            case "next":
                context.sessions.end(visitor_id)
                session = replace(session, position=session.position + 1, began=None)
                question = question_html(items[index(session)])
                return session, question, *cards(session, None), result_panel(context, session, None)
            case "vote" if fields.get("value") in CHOICE_LABELS and session.began is not None:
                context.sessions.stop(visitor_id)
                vote = Vote(
                    item_id=items[index(session)].id,
                    left=left_side(session),
                    choice=parse_choice(fields["value"]),
                    seconds=time.monotonic() - session.began,
                )
                session = replace(session, votes=(*session.votes, vote), began=None)
                return session, gr.skip(), gr.skip(), gr.skip(), result_panel(context, session, vote)
            case _:
                return (gr.skip(),) * 5

    def show(session: VotingSession | None, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Stream both answers without names. The vote is possible from the start."""
        session = replace(session or VotingSession(secrets.randbits(32)), began=time.monotonic())
        item = items[index(session)]
        yield session, question_html(item), *cards(session, None), vote_buttons()
        request = context.request(item)
        with closing(
            context.sessions.stream(visitor.session_hash or "", request, visitor.username)
        ) as stream:
            for progress in stream:
                if progress is None:
                    yield (gr.skip(),) * 5
                elif progress.state == "failed":
                    message = notice(f"<p>No answer: {escape(progress.error)}.</p>", "failed")
                    yield gr.skip(), gr.skip(), *cards(session, None), message + retry_text()
                elif not (context.engine.shares_batch or progress.final):
                    # If the models answer in turn, the order would reveal them: show both answers at the end.
                    yield (gr.skip(),) * 5
                else:
                    # The panel is skipped: the user may have voted in the meantime.
                    yield gr.skip(), gr.skip(), *cards(session, progress), gr.skip()

    session = gr.State(None)
    with gr.Row(elem_classes="mp-pick"):
        begin = gr.Button(
            "Show two answers", variant="primary", elem_id="mp-vote-start", min_width=180, scale=0
        )
    panel = interactive_html(welcome(), "mp-vote")
    question = html("", "mp-vote-question")
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            left = html("", "mp-vote-left")
        with gr.Column(min_width=300):
            right = html("", "mp-vote-right")
    outputs = [session, question, left, right, panel]
    begin.click(show, session, outputs, **ENGINE_OPTIONS)
    panel.act(press, session, outputs, **PRESS_OPTIONS)


def welcome() -> str:
    """Return the explanation of the blind vote, as HTML, that the tab shows before the first question."""
    return notice(
        "<p>You see two answers to the same question without the names of the models. Their sides are random. "
        "You can vote at any time; after your vote, the names are shown.</p>"
    )


def retry_text() -> str:
    """Return the text after a failed answer."""
    return (
        '<p class="mp-soft">Press "Show two answers" to try again, or go to another question.</p>'
        + button_html("Another question", "next", key="j")
    )


def vote_buttons() -> str:
    """Return the buttons for the four votes."""
    votes = "".join(
        button_html(name, "vote", value=value, key=str(number))
        for number, (value, name) in enumerate(CHOICE_LABELS.items(), 1)
    )
    return (
        '<div class="mp-ballot" role="group" aria-label="Which answer is better?">'
        f"<p>Which answer is better?</p>{votes}</div>"
    )


def result_panel(context: Context, session: VotingSession, vote: Vote | None) -> str:
    """Return the names and the tally after a vote; between questions (`vote` is None) only the number of votes."""
    if vote is None:
        count = count_votes(session.votes).n
        text = f"{count} vote{'' if count == 1 else 's'} so far." if count else "No vote yet."
        return notice(f'<p>{text} Press "Show two answers".</p>')
    left, right = SIDE_NAMES[vote.left].lower(), SIDE_NAMES[other_side(vote.left)].lower()
    exported = as_jsonl(session.votes, context.exam.sha256)
    return (
        f'<section class="mp-card"><p role="status">Left was <b>{left}</b>, right was <b>{right}</b>.</p>'
        f"{tally_text(session.votes)}"
        f'<p class="mp-actions">{button_html("Next question", "next", kind="mp-primary", key="j")}'
        f"{download_button('Save votes (JSONL)', 'votes.jsonl', exported)}</p></section>"
    )


def tally_text(votes: Sequence[Vote]) -> str:
    """Return the tally and the result of the sign test in words."""
    tally = count_votes(votes)
    decided = tally.base + tally.tuned
    test = (
        f"Sign test on {decided} votes for one model: p = {tally.p:.4f}"
        + (
            "; the difference can be chance"
            if tally.p >= 0.05
            else f"; {SIDE_NAMES['tuned' if tally.tuned > tally.base else 'base'].lower()} is preferred"
        )
        if decided
        else "No vote preferred one model, so there is nothing to test"
    )
    return (
        f"<p>{tally.n} question{'' if tally.n == 1 else 's'} by one rater: fine-tuned preferred {tally.tuned}, "
        f"base {tally.base}, equally good {tally.same}, both poor {tally.poor}. {test}.</p>"
    )
