"""Declared media of an exam record: the columns with a picture, and the values that mean that there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import is_blank
from .item import encodable_text

IMAGE_COLUMNS = (
    "image", "image_url", "images", "image_path", "media", "picture", "pictures", "img", "figure", "figures", "video",
    "audio", "attachment", "attachments",
)  # fmt: skip
MEDIA_FLAGS = ("has_media", "has_image", "has_images")
# Values of a media column for an item without media.
NO_MEDIA = frozenset(
    ("", "false", "f", "no", "n", "0", "0.0", "none", "null", "nan", "n/a", "na", "no image", "no images", "no picture",
     "no figure", "no media", "no video", "no audio", "no attachment")
)  # fmt: skip
# An empty list or object as text, such as [], {}, [null] and {'bytes': None, 'path': None}.
_EMPTY_STRUCTURE = re.compile(
    r"""[\[{](?:\s|,|["']["']|["']\w+["']\s*:|\bnull\b|\bnone\b)*[\]}]""", re.IGNORECASE
)


def media(record: Mapping[str, Any], columns: Sequence[str] = IMAGE_COLUMNS) -> str | None:
    """Return the name of a declared picture, or "declared" for another mark; None if no media are declared."""
    for name in (*columns, *MEDIA_FLAGS):
        value = record.get(name)
        if _is_none(value):
            continue
        text = value if isinstance(value, str) and name not in MEDIA_FLAGS else "declared"
        return encodable_text(text, name, "")
    return None


def _is_none(value: Any) -> bool:
    """Return whether the value of a media column means that the item has no media."""
    if isinstance(value, Mapping):
        return all(map(_is_none, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_none, value))
    text = "" if is_blank(value) else str(value).strip()
    # A dash, or several of them, is written into an empty cell.
    return (
        text.strip("-\u2010\u2011\u2012\u2013\u2014.").strip().casefold() in NO_MEDIA
        or _EMPTY_STRUCTURE.fullmatch(text) is not None
    )
