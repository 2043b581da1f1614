"""Fuzz all readers of files: a damaged or wrongly typed file must give one line (UserError), never another exception.

    uv run python tools/fuzz_readers.py [--mutations N] [--seed N] [--only TEXT]

Each reader in `fuzz_seeds.py` has sound files. This script mutates one of them at a time and calls the reader in this
process. A finding is another exception than UserError or OSError (which the command line prints in one line), a panic
of a Rust library, more than 10 seconds, or more than 1 GiB of memory. The same seed gives the same mutations.
Exit codes: 0 no findings, 1 findings.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_mutations import mutate

SECONDS = 10.0
MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader with its sound files: `write` makes them in an empty directory, and `read` reads all of them.

    `files` are patterns of the files that are mutated, relative to the directory.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    files: tuple[str, ...] = ("**/*",)


@dataclass(frozen=True, slots=True)
class Finding:
    """Mutation `number` of a file that caused `problem`; `frame` is the last line of the project in its traceback."""

    reader: str
    file: str
    number: int
    problem: str
    frame: str

    def __str__(self) -> str:
        return f"{self.reader}, {self.file}, mutation {self.number}: {self.problem} at {self.frame}"


class Timeout(BaseException):
    """A reader that ran longer than `SECONDS`. Not an Exception, so that no reader catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Timeout in the block after `seconds`."""

    def stop(*_: object) -> None:
        raise Timeout(f"more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def memory(field: str) -> int:
    """Return a value of /proc/self/status in bytes, such as VmHWM, the largest memory in use; 0 on other systems."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), 0)


def problem_of(read: Callable[[], object]) -> tuple[str, str] | None:
    """Call `read` and return its problem and where it occurred; None without a problem."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory("VmRSS")
    try:
        with time_limit(SECONDS):
            read()
    except (UserError, OSError):
        pass
    except KeyboardInterrupt:
        raise
    # A panic of a Rust library is a BaseException.
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "medalpaca" in f.filename]
        frame = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", frame
    if (used := memory("VmHWM") - before) > MEMORY:
        return f"{used >> 20} MB of memory", "?"
    return None


def mutable_files(reader: Reader, folder: Path) -> list[Path]:
    """Return the files that are mutated, in a fixed order."""
    return sorted({file for pattern in reader.files for file in folder.glob(pattern) if file.is_file()})


def fuzz(
    reader: Reader, mutations: int, seed: int = 0, keep: Path | None = None
) -> tuple[int, list[Finding]]:
    """Return the number of mutations run and the findings of one reader. `keep` is a directory for their files.

    Raises RuntimeError if the reader fails on its sound files.
    """
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        folder = Path(name)
        reader.write(folder)
        files = mutable_files(reader, folder)
        try:
            reader.read(folder)
        except Exception as error:
            raise RuntimeError(f"{reader.name}: its sound files are refused: {error!r}") from error
        sound = {file: file.read_bytes() for file in files}
        for number in range(mutations):
            draw = random.Random(f"{reader.name} {seed} {number}")
            file = draw.choice(files)
            data = mutate(file.name, sound[file], draw)
            file.write_bytes(data)
            if problem := problem_of(lambda: reader.read(folder)):
                found.append(Finding(reader.name, str(file.relative_to(folder)), number, *problem))
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    label = reader.name.replace("/", "_").replace(" ", "_")
                    (keep / f"{label}-{number}-{file.name}").write_bytes(data)
            file.write_bytes(sound[file])
    return mutations, found


def main(words: Sequence[str] | None = None) -> int:
    from fuzz_seeds import readers

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutations", type=int, default=100, help="mutations of each reader (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default 0)")
    parser.add_argument("--only", default="", help="only readers whose name contains this text")
    parser.add_argument("--keep", type=Path, help="directory for the files of the findings")
    given = parser.parse_args(words)
    chosen = [reader for reader in readers() if given.only in reader.name]
    total, findings = 0, list[Any]()
    for reader in chosen:
        count, found = fuzz(reader, given.mutations, given.seed, given.keep)
        total += count
        findings += found
        for finding in found:
            print(finding, flush=True)
    print(f"{total:,} mutations of {len(chosen)} readers: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
