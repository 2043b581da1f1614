"""Names after a title, a role, a relative or a label, for the profile `recall`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from . import lists
from . import recall_context as context
from .recall_announcements import LABEL, PERSONAL, ROLE_GAP, SHORT_GAP, is_german_role
from .recall_evidence import FREE_SMALL, is_medical, mark_single
from .recall_neighbours import NAME_GAP, can_follow, continue_lists, mark_neighbours
from .recall_tokens import Token
from .recall_words import (
    is_abbreviation,
    is_common_name,
    is_german_word,
    is_given,
    is_listed,
    is_term,
    is_word,
    may_be_german_name,
)


def _mark_chain(tokens: Sequence[Token], n: int, accept: Callable[[Token], bool]) -> int:
    """Set `Token.name` for the words of a name from `n` on. Return the number of words that `accept` allows."""
    count = 0
    at = n
    while at < len(tokens) and at < n + 6:
        token = tokens[at]
        if at > n and not NAME_GAP.fullmatch(token.gap):
            break
        if "\n" in token.gap and at > n:
            break
        if (
            token.shape == "I"
            and at + 1 < len(tokens)
            and (token.lower not in ("a", "i") or "." in tokens[at + 1].gap or count)
        ):
            at += 1
            continue
        if (
            token.lower in context.PARTICLES
            and at + 1 < len(tokens)
            and tokens[at + 1].shape in "TUX"
            and token.shape != "U"
        ):
            at += 1
            continue
        if not accept(token):
            break
        for other in tokens[n : at + 1]:
            other.name = True
        count += 1
        at += 1
    return count


def _mark_titles(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    """Set `Token.name` for a name after a title, in capitals or small letters."""
    token = tokens[n]
    lower = token.lower
    if (
        lower not in context.TITLES
        or n + 1 >= len(tokens)
        or (token.shape == "l" and lower not in context.SMALL_TITLES)
    ):
        return
    if (
        lower
        in (
            "oa",
            "oä",
            "ca",
            "cä",
            "aa",
            "ass",
            "fr",
            "hr",
            "kollege",
            "kollegin",
            "kollegen",
            "schwester",
            "pfleger",
            "familie",
        )
        and not german
        and lower not in ("fr",)
    ):
        return
    at = n + 1
    while (
        at < len(tokens)
        and tokens[at].lower
        in (
            "dr",
            "prof",
            "med",
            "dent",
            "phil",
            "habil",
            "univ",
            "pd",
            "priv",
            "doz",
            "nat",
            "rer",
            "kollege",
            "kollegin",
            "dipl",
            "psych",
            "mr",
            "mrs",
            "ms",
            "and",
        )
        and at < n + 6
    ):
        at += 1
    if at >= len(tokens) or not SHORT_GAP.fullmatch(tokens[at].gap):
        return
    first = tokens[at]
    short = lower in context.SHORT_TITLES or at > n + 1
    if first.lower in context.NO_NAME and not (
        first.shape == "T" and first.lower in ("will", "may", "case") and short
    ):
        return
    if first.shape == "l":
        if token.shape == "l" or short:
            known = is_word(first.lower) or is_term(first.lower)
            if (
                (not known or (short and is_common_name(first.lower)))
                and len(first.lower) > 1
                and first.lower not in context.PARTICLES
            ):
                if not known or short:
                    first.name = True
                    _mark_small_surname(tokens, at + 1)
            elif first.lower in context.PARTICLES:
                _mark_chain(tokens, at, lambda t: t.shape in "TUX")
        return
    german_name = german and first.shape == "T" and first.lower not in lists.section("clinical.txt", "german")
    if first.shape in "TUXI" and (short or first.kind in "ne" or is_listed(first.lower) or german_name):
        if is_medical(tokens, at, text) and first.kind != "n":
            return
        if first.shape == "U" and first.kind == "a" and not first.capitals:
            return
        marked = False

        def accept(t: Token) -> bool:
            nonlocal marked
            if marked:
                return can_follow(t)
            marked = True
            return True

        _mark_chain(tokens, at, accept)
        if (
            german
            and lower in ("frau", "herr", "herrn")
            and at == n + 1
            and first.name
            and at + 1 < len(tokens)
            and tokens[at + 1].name
        ):
            token.name = True


def _mark_roles(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    """Set `Token.name` for a name after a role, relative, label or "per", "told", "with"."""
    token = tokens[n]
    if token.name or n == 0:
        return
    before = tokens[n - 1]
    left = text[max(0, token.start - 40) : token.start]
    label = LABEL.search(left) if (":" in token.gap or "=" in token.gap or "/" in token.gap) else None
    if (
        label is None
        and token.shape in "TUI"
        and (
            before.lower in context.BEFORE_PERSON
            or "/" in token.gap
            or "(" in token.gap
            or len(before.lower) < 3
            or tokens[n - 1].gap == "/"
        )
        and "\n" not in token.gap
    ):
        label = PERSONAL.search(left)
    relative = before.lower in context.RELATIVES or (
        before.lower.endswith("in-law") or (before.lower == "law" and n > 2 and tokens[n - 2].lower == "in")
    )
    role = (
        (before.lower in context.ROLES or relative or (german and is_german_role(before.lower)))
        and before.shape != "X"
        and ROLE_GAP.fullmatch(token.gap) is not None
    )
    if not (label or role):
        return
    lower = token.lower
    if (
        lower in context.NO_NAME
        or lower in context.ROLES
        or lower in context.RELATIVES
        or lower in context.TITLES
    ):
        return
    if token.shape == "l":
        direct = (
            role
            and token.gap in (" ", ", ", ": ", " (", " - ", "/")
            and before.lower not in ("to", "from", "re")
        )
        known = (
            is_term(lower)
            or (german and is_german_word(lower))
            or (is_word(lower) and not (relative and is_listed(lower) and lower not in lists.core_words()))
        )
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            relative
            and token.gap == " "
            and known
            and is_given(lower)
            and lower not in context.VERBS
            and after
            and after.gap == " "
            and (
                after.lower in ("at", "is", "was")
                or (after.lower in context.VERBS and after.lower not in context.WEAK_VERBS)
            )
        ):
            token.name = True
        if (
            (direct or label)
            and len(lower) > 2
            and not known
            and (
                is_listed(lower)
                or (
                    relative
                    and token.gap == " "
                    and not is_abbreviation(lower)
                    and not lower.endswith(("ed", "ing"))
                )
            )
        ):
            token.name = True
            _mark_small_surname(tokens, n + 1)
        return
    if token.shape not in "TUI" or is_medical(tokens, n, text):
        return
    if token.shape == "U" and token.kind == "a" and not token.capitals:
        return
    strong = label is not None or token.gap not in (" ",)
    if token.kind == "w" and token.shape != "I":
        listed = is_common_name(lower) or ((strong or label is not None) and is_listed(lower))
        listed = listed or (german and token.shape == "T" and may_be_german_name(lower))
        if not listed or (token.capitals and not (label or ":" in token.gap)):
            return
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            after
            and after.gap == " "
            and after.shape == "T"
            and after.kind == "w"
            and not is_common_name(after.lower)
        ):
            return
        if (
            after
            and after.gap == " "
            and after.shape == "l"
            and token.starts
            and label is None
            and after.lower not in context.VERBS
        ):
            return
    if (
        token.kind in "te"
        and label is not None
        and label.re is PERSONAL
        and not german
        and token.kind == "e"
        and is_listed(lower)
    ):
        pass
    elif (
        token.kind in "te"
        and not (strong and is_listed(lower))
        and not (
            token.kind == "e"
            and is_listed(lower)
            and before.lower not in ("patient", "pt", "infant", "child", "donor")
        )
    ):
        return
    if token.shape == "I" and not (
        n + 1 < len(tokens) and re.fullmatch(r"\.? ?", tokens[n + 1].gap) and tokens[n + 1].shape in "TUI"
    ):
        return
    first = True

    def accept(t: Token) -> bool:
        nonlocal first
        if first:
            first = False
            return True
        return can_follow(t)

    count = _mark_chain(tokens, n, accept)
    at = n + count
    if (
        label is not None
        and label.re is LABEL
        and count
        and at < len(tokens)
        and tokens[at].gap in (", ", ",")
        and tokens[at].shape == token.shape
        and tokens[at].lower not in context.NO_NAME
        and tokens[at].lower not in context.CREDENTIALS
        and is_listed(tokens[at].lower)
        and token.shape in "TU"
        and not (at + 1 < len(tokens) and tokens[at + 1].shape == "l" and tokens[at + 1].gap == " ")
    ):
        tokens[at].name = True


def mark_names(text: str, tokens: Sequence[Token], german: bool) -> None:
    """Set `Token.name` for tokens that are names by a title, role, relative or label, or by their own form."""
    for n, token in enumerate(tokens):
        if token.lower in context.TITLES:
            _mark_titles(tokens, n, text, german)
    for n, token in enumerate(tokens):
        if (
            n
            and not token.name
            and (token.shape != "l" or tokens[n - 1].lower in context.ANNOUNCING or ":" in token.gap)
        ):
            _mark_roles(tokens, n, text, german)
    for n, token in enumerate(tokens):
        if not token.name and (
            token.shape in "TU"
            or (token.shape == "l" and len(token.lower) >= FREE_SMALL and is_given(token.lower))
        ):
            mark_single(tokens, n, text, german)
    mark_neighbours(tokens, text, german)
    continue_lists(tokens, text, german)


def _mark_small_surname(tokens: Sequence[Token], at: int) -> None:
    """Set `name` of the token at `at` if it is a listed name in small letters, no ordinary word, after a space."""
    token = tokens[at] if at < len(tokens) else None
    if (
        token
        and token.gap == " "
        and token.shape == "l"
        and is_listed(token.lower)
        and not is_word(token.lower)
    ):
        token.name = True
