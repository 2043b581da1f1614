"""`data fetch`: raw files that may be downloaded freely, at a pinned commit, resumed where it broke off, and hashed."""

from __future__ import annotations

import csv
import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .core.errors import UserError, nearest, one_line
from .core.files import sha256_file
from .core.offline import is_sealed, sealed_setting

CHUNK = 1 << 16
TIMEOUT = 30  # seconds without a byte
TRIES = 5

Told = Callable[[str, int, int], None]  # (file, bytes so far, bytes)


@dataclass(frozen=True, slots=True)
class Download:
    """One raw file: where it lies, and what it must be."""

    kind: str
    file: str  # below the directory it is fetched to
    url: str
    bytes: int
    sha256: str


def downloads() -> list[Download]:
    """All that is known to be free to download."""
    with files(__package__).joinpath("downloads.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [Download(r["kind"], r["file"], r["url"], int(r["bytes"]), r["sha256"]) for r in rows]


def fetch(
    kind: str, to: Path, wanted: Sequence[Download] | None = None, told: Told | None = None
) -> list[Path]:
    """The raw files of a kind of source in `to`; those that are there already are checked and left.

    Raises UserError when sealed, for a kind that cannot be fetched, and when what comes is not what was pinned.
    """
    if is_sealed():
        raise UserError(
            f"data fetch {kind}: {sealed_setting()} forbids it; fetch elsewhere and carry the files over"
        )
    known = downloads() if wanted is None else wanted
    chosen = [download for download in known if download.kind == kind]
    if not chosen:
        kinds = sorted({download.kind for download in known})
        guess = nearest(kind, kinds)
        hint = f"did you mean {guess!r}?" if guess else f"it can fetch {', '.join(kinds)}"
        raise UserError(
            f"data fetch {kind}: not to be had by a download; `data sources` says where to get it; {hint}"
        )
    return [_one(download, to / download.file, told or (lambda *_: None)) for download in chosen]


def _one(download: Download, target: Path, told: Told) -> Path:
    if target.exists():
        if sha256_file(target) != download.sha256:
            raise UserError(f"{target}: is another file than the one to be fetched; move it away first")
        told(download.file, download.bytes, download.bytes)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(TRIES):
        try:
            _resume(download, part, told)
            break
        except HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{download.url}: {error.code} {error.reason}") from None
            last: Exception = error
        except (URLError, http.client.HTTPException, OSError) as error:
            last = error
        if attempt == TRIES - 1:
            raise UserError(
                f"{download.url}: {_cause(last)}; the same command goes on from where it broke off"
            )
    if sha256_file(part) != download.sha256:
        part.unlink()
        raise UserError(f"{download.url}: gave another file than the one pinned by SHA-256; nothing was kept")
    part.replace(target)
    return target


def _cause(error: Exception) -> str:
    """What an error of the network says, without the names and numbers around it."""
    if isinstance(error, HTTPError):
        return f"{error.code} {error.reason}"
    reason = error.reason if isinstance(error, URLError) else error
    said = reason.strerror if isinstance(reason, OSError) else None
    return said or one_line(reason) if isinstance(reason, BaseException) else reason


def _resume(download: Download, part: Path, told: Told) -> None:
    """Append to `part` until it is as long as the file. Raises OSError when the connection ends before."""
    have = part.stat().st_size if part.exists() else 0
    if have >= download.bytes:
        return
    if not download.url.startswith(("https://", "http://127.0.0.1:")):
        raise UserError(f"{download.url}: only https is fetched")
    request = Request(download.url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - checked above
    with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        if have and answer.status != 206:  # it does not know how to go on: from the start
            have = 0
        with part.open("ab" if have else "wb") as file:
            # One byte more than it should be is enough to know that it is another file.
            while have <= download.bytes and (data := answer.read(CHUNK)):
                file.write(data)
                have += len(data)
                told(download.file, have, download.bytes)
    if have < download.bytes:
        raise OSError(f"the connection ended after {have:,} of {download.bytes:,} bytes")
