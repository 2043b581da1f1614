"""Data files of a source: find them in folders, by patterns and in lists, and read their records.

In a folder, a pattern or an archive, test splits and files of other types are left out and listed. A file that is named
itself is refused instead.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import UserError
from ..core.files import existing, read_json, unique_names
from ..core.records import SUFFIXES, FileNote, OnNote, ReadOptions, data_suffix, read_records
from ..core.streams import archive_members, with_data
from ..core.weights import refuse_pickle
from ..formats.tabular import read_sheet_records
from .splits import DEV_NAMES, SEPARATOR, is_test_file, refuse_test_file, split_from_name

ARCHIVES, WORKBOOK = (".zip", ".tar", ".tgz"), ".xlsx"
MEMBER_SUFFIXES = (*SUFFIXES, WORKBOOK)
DATA_FILE_SUFFIXES = (*MEMBER_SUFFIXES, *ARCHIVES)
# Columns of the Alpaca layout that are found whatever the case of their letters. Other layouts are named in `fields`.
# Also the number of sets of columns that are remembered.
KNOWN_COLUMNS = frozenset({"instruction", "input", "output", "response", "split"})
MAX_RENAMED = 1000
# Files that describe the data files beside them.
METADATA = frozenset({"state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
TEST_SPLIT, OTHER_TYPE = "test split", "file type that is not read"
NOT_OF_DATASET = "not a data file of the saved dataset"
# What reads a file of another type, or what to do with it.
REMEDIES = {
    (".apkg", ".colpkg"): "use kind: anki",
    (".xml",): "use kind: medquad, mediqa, stack_exchange or wikidoc, by its content",
    (".7z",): "use kind: stack_exchange for Posts.xml in a .7z archive, or unpack it",
    (".ttl",): "use kind: cord19",
    (".html", ".htm"): "use kind: wikidoc for saved wiki pages, or make a table of questions and answers",
    (".txt", ".md"): "use kind: anki for an Anki text export, or make a table of questions and answers",
    (".pdf", ".docx", ".doc", ".odt", ".rtf", ".pptx", ".epub"): (
        "documents are not rows; make a table of questions and answers from its text"
    ),
    (".xls", ".xlsb", ".ods", ".numbers"): "save it as .xlsx or .csv",
    (".db", ".sqlite", ".sqlite3", ".sav", ".dta", ".sas7bdat", ".rds", ".feather", ".orc", ".avro"): (
        "export it as .csv or .parquet"
    ),
    (".yaml", ".yml", ".toml"): "convert it to .json",
    (".rar", ".bz2", ".xz", ".zst"): "unpack it, or pack its files as .zip or .tar.gz",
}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file: its path, its unique name in the source, and the split that its name in a folder declares."""

    path: Path
    name: str
    split: str | None = None


@dataclass(slots=True)
class Selection:
    """The data files of a source, and what is left out of folders and patterns, as notes."""

    files: list[DataFile] = field(default_factory=list)
    left_out: list[FileNote] = field(default_factory=list)


def select_files(
    root: Path, paths: Iterable[str], suffixes: tuple[str, ...], source: str, split: str | None = None
) -> Selection:
    """Return the data files that `paths` name: files, folders with their subfolders, and patterns with * ? [].

    Paths are relative to `root`. The files of a folder or pattern are sorted by name. `source` is the name of the
    source in messages, and `split` the split that its settings declare.

    Raises UserError for a path without a file, and for a file that is named itself and is a test split or of another
    type. Also for a folder or pattern without a data file.
    """
    selection = Selection()
    for text in paths:
        path = root / Path(text).expanduser()
        if path.is_dir():
            # The directory of the recipe itself, ".", may have any name.
            refuse_test_file(Path(text), split)
            _add(selection, path.name or str(path), _in_folder(path), suffixes, split)
        elif path.exists() or not glob.has_magic(text):
            file = existing(path, f"file (source {source!r})")
            refuse_type(file, suffixes)
            selection.files.append(DataFile(refuse_test_file(file, split), file.name))
        else:
            _add(selection, text, _matches(path), suffixes, split)
    # Links are not followed: in the cache of the hub, equal files are links to one file.
    unique: dict[str, DataFile] = {}
    for found in selection.files:
        unique.setdefault(os.path.normpath(found.path.absolute()), found)
    files = list(unique.values())
    names = Counter(file.name for file in files)
    longer = unique_names([file.path for file in files])
    selection.files = [
        replace(file, name=longer[file.path]) if names[file.name] > 1 else file for file in files
    ]
    return selection


def _add(
    selection: Selection,
    name: str,
    found: Iterable[tuple[Path, str, str]],
    suffixes: tuple[str, ...],
    split: str | None,
) -> None:
    """Add the files found under `name`, given as (path, relative name, reason to leave it out or "")."""
    left_out = []
    files = []
    for path, relative, reason in sorted(found, key=itemgetter(1)):
        if reason := reason or reason_to_leave_out(relative, suffixes, split):
            left_out.append((relative, reason))
        else:
            files.append(DataFile(path, relative, _dev_split(relative)))
    if not files:
        others = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise UserError(
            f"{name}: no file to read, and {len(left_out)} left out{others}; allowed are {' '.join(suffixes)}"
        )
    selection.files += files
    if left_out:
        selection.left_out.append(FileNote(file=name, left_out=tuple(left_out)))


def reason_to_leave_out(name: str, suffixes: tuple[str, ...], split: str | None = None) -> str:
    """Return why a file in a folder or archive is not read, or "". `name` is its path in the folder."""
    if is_test_file(name, split):
        return TEST_SPLIT
    return "" if has_suffix(name, suffixes) else OTHER_TYPE


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a file name ends in one of `suffixes`, or in one and .gz."""
    return name.lower().removesuffix(".gz").endswith(suffixes)


def _dev_split(name: str) -> str | None:
    words = SEPARATOR.split(name.lower())
    return "dev" if split_from_name(name) == "dev" or set(words) & set(DEV_NAMES) else None


def refuse_type(file: Path, suffixes: tuple[str, ...]) -> None:
    """Raise UserError if a file has none of `suffixes`; the message names the kind of source that reads it."""
    if has_suffix(file.name, suffixes):
        return
    refuse_pickle(file)
    suffix = data_suffix(file.name)
    remedy = next((text for names, text in REMEDIES.items() if suffix in names), "")
    raise UserError(
        f"{file}: unknown suffix {suffix!r}; {remedy + '; ' if remedy else ''}"
        f"this kind reads {' '.join(suffixes)} (text also with .gz)"
    )


def _in_folder(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (path, relative name, reason or "") for the files of a folder, without hidden files and metadata."""
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        directory = Path(here)
        listed = _listed_files(directory)
        if listed is not None and "ledger.json" in names:
            folders.clear()
        for name in names:
            if name.startswith(".") or name in METADATA:
                continue
            path = directory / name
            reason = "" if listed is None or name in listed else NOT_OF_DATASET if listed else TEST_SPLIT
            yield path, path.relative_to(folder).as_posix(), reason


def _listed_files(directory: Path) -> set[str] | None:
    """Return the data files of a directory of `save_to_disk` or of a Meadow directory, None for any other.

    A saved test split has none.
    """
    state = directory / "state.json"
    if state.is_file() and any(directory.glob("*.arrow")):
        value = read_json(state)
        if isinstance(value, dict) and isinstance(value.get("_data_files"), list):
            if split_from_name(str(value.get("_split") or "")) == "test":
                return set()
            return {str(file.get("filename")) for file in value["_data_files"] if isinstance(file, dict)}
    if (directory / "ledger.json").is_file() and (directory / "train.parquet").is_file():
        return {"train.parquet", "validation.parquet"}
    return None


def _matches(pattern: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (path, relative name, reason or "") for the files that match a pattern, and those in matching folders."""
    fixed = list(takewhile(lambda part: not glob.has_magic(part), pattern.parts[:-1]))
    start = Path(*fixed)
    for path in start.glob("/".join(pattern.parts[len(fixed) :])):
        inside = path.relative_to(start)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.is_dir():
            for file, relative, reason in _in_folder(path):
                yield file, f"{inside.as_posix()}/{relative}", reason
        elif path.name not in METADATA:
            yield path, inside.as_posix(), ""


def read_data_file(
    file: DataFile, options: ReadOptions, sheet: str | None, on_note: OnNote, split: str | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield (location, value) for every record of a data file as `read_records` does, also of a workbook or archive.

    A location in an archive begins with the name of the member. Records without a split receive that of the file.
    `split` is the split that the settings of the source declare.
    """
    if data_suffix(file.name) in ARCHIVES:
        yield from _read_archive(file.path, options, sheet, on_note, split)
        return
    records = (
        read_sheet_records(file.path, sheet, on_note)
        if data_suffix(file.name) == WORKBOOK
        else read_records(file.path, options, on_note)
    )
    for location, value in records:
        yield location, _with_split(value, file.split)


def _read_archive(
    path: Path, options: ReadOptions, sheet: str | None, on_note: OnNote, split: str | None = None
) -> Iterator[tuple[str, Any]]:
    members, left_out = archive_members(path)
    chosen = []
    for member in members:
        name = member.member
        parts = PurePosixPath(name).parts
        if parts[0] == "__MACOSX" or parts[-1] in METADATA or any(part.startswith(".") for part in parts):
            continue
        if reason := reason_to_leave_out(name, MEMBER_SUFFIXES, split):
            left_out.append((name, reason))
            continue
        chosen.append(member)
    for member in with_data(chosen):
        name = member.member
        of_member = partial(_note_of_member, on_note, path.name, name)
        records = (
            read_sheet_records(member, sheet, of_member)
            if data_suffix(name) == WORKBOOK
            else read_records(member, options, of_member)
        )
        for location, value in records:
            yield f"{name} {location}", _with_split(value, _dev_split(name))
    if not chosen:
        raise UserError(
            f"{path}: no file to read in the archive, {len(left_out)} left out; allowed are {' '.join(MEMBER_SUFFIXES)}"
        )
    if left_out:
        on_note(FileNote(file=path.name, left_out=tuple(left_out)))


def _note_of_member(on_note: OnNote, archive: str, member: str, note: FileNote) -> None:
    on_note(replace(note, file=archive, member=member))


def _with_split(value: Any, split: str | None) -> Any:
    return (
        {**value, "split": split} if split and isinstance(value, dict) and not value.get("split") else value
    )


def with_known_names(records: Iterable[tuple[str, Any]], kept: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the records with the names of the Alpaca layout in lower case: Instruction as instruction.

    This holds only for records with an instruction and an output. A column is not renamed if it is in `kept`, or if
    another column has the name.
    """
    renamed: dict[tuple[str, ...], dict[str, str]] = {}
    for location, value in records:
        if not isinstance(value, dict):
            yield location, value
            continue
        columns = tuple(value)
        names = renamed.get(columns)
        if names is None:
            low = [name if name in kept else name.strip().lower() for name in columns]
            names = {
                old: new
                for old, new in zip(columns, low, strict=True)
                if old != new and new in KNOWN_COLUMNS and low.count(new) == 1
            }
            if "instruction" not in low or not {"output", "response"} & set(low):
                names = {}
            if len(renamed) < MAX_RENAMED:
                renamed[columns] = names
        yield location, {names.get(name, name): item for name, item in value.items()} if names else value
