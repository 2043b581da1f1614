"""Words beside a name that belong to it, for the profile `recall`: surnames, initials, particles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import recall_context as context
from .recall_evidence import is_medical
from .recall_tokens import Token
from .recall_words import (
    is_common_name,
    is_given,
    is_listed,
    is_loose_compound,
    is_term,
    may_be_german_name,
)

NAME_GAP = re.compile(r"\.? |\.|-|\u2010|\u2011|\n|\.? {2}")


def mark_neighbours(tokens: Sequence[Token], text: str, german: bool) -> None:
    """Set `Token.name` for surnames, given names, initials and particles beside a token that is a name already."""
    for _ in range(2):
        for n, token in enumerate(tokens):
            if not token.name:
                continue
            at = n + 1
            # After the name.
            while at < len(tokens) and at < n + 5:
                other = tokens[at]
                if other.name or not re.fullmatch(r"\.? |-|\u2010|\u2011", other.gap):
                    break
                if other.gap == ". " and _ends_sentence(tokens[at - 1]):
                    break
                if other.gap != "-" and other.lower in context.SUFFIXES and other.shape in "TUI":
                    other.name = True
                    break
                initial = other.shape == "I" and (
                    other.lower not in ("a", "i") or text[other.end : other.end + 1] == "."
                )
                if initial and text[other.start - 1 : other.start] == "/":
                    break
                particle = (
                    other.lower in context.PARTICLES
                    and other.shape != "U"
                    and at + 1 < len(tokens)
                    and tokens[at + 1].shape in "TU"
                    and tokens[at + 1].gap in (" ", "-", "'")
                    and other.gap == " "
                    and not (german and other.shape == "T")
                )
                if initial or particle:
                    nearby = tokens[at + 1] if at + 1 < len(tokens) else None
                    if (
                        particle
                        or (
                            nearby
                            and NAME_GAP.fullmatch(nearby.gap)
                            and (nearby.name or _surname_like(nearby, token, german))
                        )
                        or text[other.end : other.end + 1] == "."
                        or text[other.end : other.end + 1] in "\n,;)|"
                    ):
                        other.name = not german or particle or other.lower != "i"
                        at += 1
                        continue
                    break
                if _surname_like(other, token, german) and not is_medical(tokens, at, text):
                    other.name = True
                    at += 1
                    continue
                break
            # Before the name.
            at = n - 1
            while at >= 0:
                other, gap = tokens[at], tokens[at + 1].gap
                if other.name or not (re.fullmatch(r"\.? |\.|-", gap)):
                    break
                if gap == ". " and _ends_sentence(other):
                    break
                if (
                    (
                        other.shape == "I"
                        and text[other.start - 1 : other.start] != "/"
                        and (
                            gap.startswith(".")
                            or (other.lower not in ("a", "i") and not _is_lettered(tokens, at))
                        )
                    )
                    or (
                        other.lower in context.PARTICLES
                        and gap in (" ", "-")
                        and other.shape in "lT"
                        and (not german or (other.lower in ("von", "van") and _titled(tokens, at)))
                        and not (
                            other.lower
                            in (
                                "st",
                                "le",
                                "la",
                                "du",
                                "op",
                                "ap",
                                "af",
                                "di",
                                "das",
                                "den",
                                "der",
                                "die",
                                "ten",
                                "e",
                            )
                            and other.shape == "l"
                            and (
                                at
                                and tokens[at - 1].shape == "l"
                                and tokens[at - 1].lower not in context.PARTICLES
                            )
                        )
                    )
                    or (gap in (" ", "-") and _given_like(other, german) and not is_medical(tokens, at, text))
                ):
                    other.name = True
                else:
                    break
                at -= 1


def continue_lists(tokens: Sequence[Token], text: str, german: bool) -> None:
    """Set `Token.name` for listed names in a list after a name: "Stone, Xu and Young"."""
    for n in range(1, len(tokens)):
        before, token = tokens[n - 1], tokens[n]
        if (
            token.name
            or token.shape != "T"
            or token.lower in context.NO_NAME
            or token.lower in context.TITLES
            or is_medical(tokens, n, text)
        ):
            continue
        linked = (before.name and token.gap in (", ", " & ", "/", " / ", "; ")) or (
            n > 1
            and before.lower in ("and", "und", "or")
            and tokens[n - 2].name
            and token.gap == " "
            and before.gap in (" ", ", ")
        )
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            linked
            and is_listed(token.lower)
            and not is_term(token.lower)
            and not (
                after
                and after.gap == " "
                and (
                    (after.shape == "T" and not is_listed(after.lower))
                    or (
                        after.shape == "l"
                        and token.gap != " "
                        and after.lower not in ("and", "or", "to", "at", "on", "from", "und")
                    )
                )
            )
            and (
                not german
                or is_given(token.lower)
                or token.kind == "n"
                or ((after is None or after.starts) and may_be_german_name(token.lower))
            )
        ):
            token.name = True


def _ends_sentence(token: Token) -> bool:
    """Return whether a dot after a word ends a sentence: not after an initial or an abbreviation such as "Wm."."""
    return token.shape != "I" and len(token.lower) > 3


def _titled(tokens: Sequence[Token], n: int) -> bool:
    """Return whether a name, a title or an initial is before a particle: "Frau von Hagen", but not "Befund von"."""
    return n > 0 and (
        tokens[n - 1].name or tokens[n - 1].lower in context.TITLES or tokens[n - 1].shape == "I"
    )


def _is_lettered(tokens: Sequence[Token], n: int) -> bool:
    return n > 0 and tokens[n - 1].lower in context.LETTERED


def _surname_like(other: Token, name: Token, german: bool) -> bool:
    """Return whether the word directly after a name is a part of it."""
    lower = other.lower
    if other.shape not in "TU" or (
        other.shape == "U" and name.shape != "U" and (len(lower) < 4 or other.kind == "a")
    ):
        return False
    if (
        lower in context.NO_NAME
        or lower in context.CREDENTIALS
        or lower in context.TITLES
        or (lower in context.ORGANISATIONS and not is_given(name.lower))
    ):
        return False
    if other.kind == "n":
        return True
    if (
        german
        and other.shape == "T"
        and other.gap == " "
        and (is_given(name.lower) or (name.kind == "n" and is_loose_compound(lower)))
        and may_be_german_name(lower)
    ):
        return True
    if other.capitals and other.kind == "w" and not (is_given(name.lower) and is_common_name(lower)):
        return False
    return is_listed(lower) and (
        is_given(name.lower) or other.gap == "-" or (other.kind != "w" and is_given(lower)) or is_given(lower)
    )


def _given_like(other: Token, german: bool) -> bool:
    lower = other.lower
    if (
        other.shape not in "TU"
        or lower in context.NO_NAME
        or lower in context.TITLES
        or lower in context.ROLES
        or lower in context.RELATIVES
        or lower in context.CREDENTIALS
    ):
        return False
    if other.capitals and other.kind == "w" and not is_given(lower):
        return False
    return is_given(lower) or (other.kind == "e" and is_listed(lower))


def can_follow(token: Token) -> bool:
    """Return whether a word can be the second or a later word of a name."""
    lower = token.lower
    if (
        token.shape not in "TUX"
        or lower in context.NO_NAME
        or lower in context.CREDENTIALS
        or lower in context.TITLES
    ):
        return False
    if token.kind == "n":
        return token.shape != "X"
    if token.shape == "U" and token.kind == "a":
        return False
    return is_common_name(lower) if token.kind == "w" else is_listed(lower)
