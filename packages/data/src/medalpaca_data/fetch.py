"""The command `data fetch`: download raw files; continue an interrupted download and verify the SHA-256."""

from __future__ import annotations

import csv
import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .core.errors import UserError, one_line
from .core.files import sha256_file
from .core.offline import is_sealed, sealed_setting

CHUNK = 1 << 16
# Seconds without data until an attempt fails.
TIMEOUT = 30
# Attempts per file and call.
ATTEMPTS = 5

# Called with (file, bytes received, bytes in total).
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Download:
    """One raw file: its URL, size and hash. `file` is the path below the output directory."""

    kind: str
    file: str
    url: str
    bytes: int
    sha256: str


def downloads() -> list[Download]:
    """Return all files that `data fetch` can download, from `downloads.tsv` of the package."""
    with files(__package__).joinpath("downloads.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [Download(r["kind"], r["file"], r["url"], int(r["bytes"]), r["sha256"]) for r in rows]


def fetch(
    kind: str,
    to: Path,
    available: Sequence[Download] | None = None,
    on_progress: OnProgress | None = None,
) -> list[Path]:
    """Download the raw files of a kind of source to the directory `to` and return their paths.

    Existing files are verified and kept. A partial file (`.part`) is continued. `available` replaces the list of the
    package. Raises UserError in sealed mode, for a kind without downloads, for a file with another SHA-256, and if a
    file cannot be downloaded.
    """
    if is_sealed():
        raise UserError(
            f"data fetch {kind}: {sealed_setting()} forbids it; download on another machine and copy the files"
        )
    known = downloads() if available is None else available
    chosen = [download for download in known if download.kind == kind]
    if not chosen:
        kinds = sorted({download.kind for download in known})
        raise UserError(
            f"data fetch {kind}: no download for this kind; `data sources {kind}` prints where to get it; "
            f"allowed: {', '.join(kinds)}"
        )
    return [_download(download, to / download.file, on_progress or (lambda *_: None)) for download in chosen]


def _download(download: Download, target: Path, on_progress: OnProgress) -> Path:
    if target.exists():
        if sha256_file(target) != download.sha256:
            raise UserError(f"{target}: exists with another SHA-256; move or remove it first")
        on_progress(download.file, download.bytes, download.bytes)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            _resume(download, part, on_progress)
            break
        except HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{download.url}: {error.code} {error.reason}") from None
            last: Exception = error
        except (URLError, http.client.HTTPException, OSError) as error:
            last = error
        if attempt == ATTEMPTS - 1:
            raise UserError(f"{download.url}: {_cause(last)}; run the command again to continue the download")
    if sha256_file(part) != download.sha256:
        part.unlink()
        raise UserError(f"{download.url}: the file has another SHA-256 than expected; it was removed")
    part.replace(target)
    return target


def _cause(error: Exception) -> str:
    """Return the cause of a network error without class names and numbers."""
    if isinstance(error, HTTPError):
        return f"{error.code} {error.reason}"
    reason = error.reason if isinstance(error, URLError) else error
    cause = reason.strerror if isinstance(reason, OSError) else None
    return cause or one_line(reason) if isinstance(reason, BaseException) else reason


def _resume(download: Download, part: Path, on_progress: OnProgress) -> None:
    """Append to `part` until it is complete. Raises OSError if the connection ends before."""
    have = part.stat().st_size if part.exists() else 0
    if have >= download.bytes:
        return
    if not download.url.startswith(("https://", "http://127.0.0.1:")):
        raise UserError(f"{download.url}: only https URLs are allowed")
    request = Request(download.url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - checked above
    with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        # A server without range requests sends the file from its start.
        if have and answer.status != 206:
            have = 0
        with part.open("ab" if have else "wb") as file:
            # One byte more than expected proves that it is another file.
            while have <= download.bytes and (data := answer.read(CHUNK)):
                file.write(data)
                have += len(data)
                on_progress(download.file, have, download.bytes)
    if have < download.bytes:
        raise OSError(f"the connection ended after {have:,} of {download.bytes:,} bytes")
