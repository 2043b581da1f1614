"""The one way in which a line gets on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def say(console: Console, text: str) -> None:
    """One line as it is, never wrapped: paths in it are copied.

    As a Text, because in a str rich would read `[a]` as a colour and `:b:` as a picture, also inside a path.
    """
    console.print(Text(text), soft_wrap=True)
