"""The ledger of a build: rows read = rows kept + rows rejected, for every source and stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.case_columns import is_heading
from .core.files import read_json, sha256_file
from .deid.secret import key_id, keyed_hash
from .shard import Shard, read_account, total

if TYPE_CHECKING:
    from .exams.exam import Exam
    from .recipe import Recipe

LEDGER = "ledger.json"
FORMAT = 5
# Format number -> the rule that it changed. The oldest format that can be read is the one before the first of these.
CHANGED_RULES = {
    3: "a de-identification record no longer counts as passed; its counts are the detector's own, and they are not "
    "independently checked",
    4: "group and source_id of patient text are keyed hashes, surrogates depend on a key that is not in the ledger, "
    "and deidentify.limit applies to the upper 95 % bound of an independent check, without a default with "
    "deidentify.mode=replace",
    5: "a number is kept as it is or its row is rejected, columns with the case are joined to the question and unread "
    "columns are listed, near-duplicates that differ in a content word are kept, and short exam questions are also "
    "found inside lines",
}
# Formats that can be read.
FORMATS = (min(CHANGED_RULES) - 1, *CHANGED_RULES)


class UnbalancedError(RuntimeError):
    """The counts of a build are inconsistent: an error of the program, not of the data."""


@dataclass(slots=True)
class Stage:
    """Counts of one stage for one source: rows read, rows kept, rejected rows by reason, and other counts.

    `counts` are numbers of changes or of identifiers found, by kind.
    """

    name: str
    read: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "read": self.read,
            "kept": self.kept,
            "rejected": self.rejected,
            "reasons": dict(sorted(self.reasons.items())),
            **({"changed": dict(sorted(self.counts.items()))} if self.counts else {}),
        }


@dataclass(slots=True)
class Account:
    """Counts of one source in all stages, in order."""

    source: str
    stages: list[Stage] = field(default_factory=list)

    def open(self, stage: str) -> Stage:
        """Add a stage with counts of zero and return it."""
        self.stages.append(Stage(stage))
        return self.stages[-1]

    def balance(self) -> None:
        """Raise UnbalancedError if rows are missing within a stage or between two stages."""
        for stage in self.stages:
            if stage.read != stage.kept + stage.rejected:
                raise UnbalancedError(
                    f"{self.source}/{stage.name}: read {stage.read}, kept {stage.kept}, rejected {stage.rejected}"
                )
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if before.kept != after.read:
                raise UnbalancedError(
                    f"{self.source}: {before.name} kept {before.kept}, {after.name} read {after.read}"
                )

    @property
    def read(self) -> int:
        return self.stages[0].read

    @property
    def kept(self) -> int:
        return self.stages[-1].kept

    @property
    def rejected(self) -> int:
        return sum(stage.rejected for stage in self.stages)


def make_ledger(
    recipe: Recipe,
    fingerprint: str,
    inputs: Mapping[str, Sequence[tuple[str, str]]],
    exams: Sequence[Exam],
    trail: Sequence[tuple[str, Sequence[Shard]]],
    written: Mapping[str, Any],
    contradictions: Mapping[str, int],
    deidentified: Sequence[Mapping[str, Any]],
    secret: bytes | None = None,
) -> dict[str, Any]:
    """Return the ledger of a build. Raises UnbalancedError if counts and written rows are inconsistent.

    `contradictions` are their numbers by kind.
    `secret` is the key of patient text. It is not in the ledger; the names of raw files of patient text are hashed.
    """
    sources = []
    for source in recipe.used:
        account = _account(source.name, trail)
        account.balance()
        splits = written["sources"][source.name]
        if account.kept != sum(splits.values()):
            raise UnbalancedError(f"{source.name}: kept {account.kept}, wrote {splits}")
        read = [read_account(shard) or {} for shard in trail[0][1] if shard.source == source.name]
        context = total(read, "context")
        unread = _unread_columns(read, secret if source.private else None)
        sources.append(
            {
                "name": source.name,
                "kind": source.kind,
                "licence": source.licence,
                "attribution": None if source.private else source.attribution,
                "url": None if source.private else source.url,
                "patient_text": source.private,
                "published": source.published,
                **_files(inputs[source.name], read, secret if source.private else None),
                **({"context": dict(sorted(context.items()))} if context else {}),
                # Columns that are not read, with the number of values; only of sources that count them.
                **unread,
                "read": account.read,
                "kept": account.kept,
                "rejected": account.rejected,
                "rows": splits,
                "stages": [stage.as_json() for stage in account.stages],
            }
        )
    return {
        "format": FORMAT,
        "name": recipe.name,
        "fingerprint": fingerprint,
        "key_id": key_id(secret) if secret else None,
        "recipe": _public_recipe(recipe, secret),
        "sources": sources,
        "skipped": list(recipe.skip),
        "exams": [_exam(exam) for exam in exams],
        "contradictions": dict(contradictions),
        "deidentification": list(deidentified),
        "rows": written["rows"],
        "licences": written["licences"],
        "attributions": written["attributions"],
        "files": written["files"],
    }


def _unread_columns(read: Sequence[Mapping[str, Any]], secret: bytes | None) -> dict[str, Any]:
    """Return the columns that are not read, with the number of values, and the reasons of those that have one.

    Only some sources count them. With `secret`, a heading that may be a text of a patient is hashed (`is_heading`).
    """
    counted = next((account for account in read if account.get("unread") is not None), None)
    if counted is None:
        return {}

    def public(name: str) -> str:
        return name if secret is None or is_heading(name) else keyed_hash(secret, name)

    reasons = {public(name): reason for name, reason in counted.get("unread_reasons", {}).items()}
    return {
        "unread_columns": {public(name): count for name, count in counted["unread"].items()},
        **({"unread_reasons": reasons} if reasons else {}),
    }


# Keys of a `FileNote` that the entry of the file has.
NOTE_KEYS = ("encoding", "guessed", "samples", "delimiter", "sheet", "filled_cells")


def _files(
    inputs: Sequence[tuple[str, str]], read: Sequence[Mapping[str, Any]], secret: bytes | None
) -> dict[str, Any]:
    """Return the key `files` of a source, and `left_out` if its folders, archives or workbooks have unread parts.

    A file has its encoding and delimiter if they are not the usual ones. With `secret`, names are hashed.
    """

    def public(name: str) -> str:
        return keyed_hash(secret, name) if secret else name

    files: dict[str, dict[str, Any]] = {
        name: {"name": public(name), "sha256": digest} for name, digest in inputs
    }
    left_out = []
    for note in (note for account in read for note in account.get("notes", ())):
        found: dict[str, Any] = {key: note[key] for key in NOTE_KEYS if key in note}
        if secret:
            # Texts of patients are not shown.
            found.pop("samples", None)
        if "sheet" in found:
            found["sheet"] = public(found["sheet"])
        if note.get("member") and found:
            members = files[note["file"]].setdefault("members", [])
            members.append({"name": public(note["member"]), **found})
        elif found:
            files[note["file"]].update(found)
        where = ": ".join(filter(None, (note["file"], note.get("member"))))
        left_out += [
            {"name": public(f"{where}: {entry['name']}"), "reason": entry["reason"]}
            for entry in note.get("left_out", ())
        ]
    return {"files": list(files.values()), **({"left_out": left_out} if left_out else {})}


def _exam(exam: Exam) -> dict[str, Any]:
    """Return the entry of an exam; `too_short` is the number of its items that are too short to judge inside a line."""
    from .exams.contamination import too_short

    return {
        "name": exam.name,
        "sha256": exam.sha256,
        "items": len(exam.items),
        "too_short": len(too_short(exam.items)),
    }


# Keys of `deidentify` with words of a site, which may be names of people; the ledger has their numbers.
SITE_KEYS = ("patterns", "keep", "always")
# Keys of a source of patient text that the ledger has as they are; other texts, such as paths, are hashed.
PUBLIC_KEYS = frozenset({"kind", "name", "licence", "split"})


def _public_recipe(recipe: Recipe, secret: bytes | None) -> dict[str, Any]:
    """Return the recipe as JSON without what may identify a patient: paths, file names and words of a site."""
    values = recipe.model_dump(mode="json", exclude={"deidentify": {"secret"}})
    private = {source.name for source in recipe.sources if source.private}
    values["sources"] = [
        _public_source(source, secret) if source["name"] in private else source
        for source in values["sources"]
    ]
    if section := values["deidentify"]:
        values["deidentify"] = {key: len(v) if v and key in SITE_KEYS else v for key, v in section.items()}
    return values


def _public_source(source: Mapping[str, Any], secret: bytes | None) -> dict[str, Any]:
    public = {
        key: value if key in PUBLIC_KEYS else _hash_texts(value, secret) for key, value in source.items()
    }
    return {**public, "attribution": None, "url": None}


def _hash_texts(value: Any, secret: bytes | None) -> Any:
    """Return a JSON value with a keyed hash in place of each text, or null if there is no key."""
    match value:
        case str():
            return keyed_hash(secret, value) if secret else None
        case list():
            return [_hash_texts(inner, secret) for inner in value]
        case dict():
            return {key: _hash_texts(inner, secret) for key, inner in value.items()}
        case _:
            return value


def _account(source: str, trail: Sequence[tuple[str, Sequence[Shard]]]) -> Account:
    account = Account(source)
    for name, shards in trail:
        stage = account.open(name)
        for shard in shards:
            if shard.source == source:
                found = read_account(shard) or {}
                stage.read += found["read"]
                stage.kept += found["kept"]
                stage.reasons.update(found["reasons"])
                stage.counts.update(found["counts"])
    return account


def read_ledger(directory: Path) -> dict[str, Any] | None:
    """Return the content of ledger.json in a directory, or None if the file is missing or no JSON object."""
    file = directory / LEDGER
    value = read_json(file) if file.is_file() else None
    return value if isinstance(value, dict) else None


def in_current_form(ledger: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a ledger with its de-identification records in the form of `FORMAT`; None for an unknown format.

    `format` stays the number that the ledger was written with.
    """
    match ledger.get("format"):
        case 4 | 5:
            return dict(ledger)
        case 3:
            # The seed of the surrogates is not passed on, for instance to the manifest of a run.
            records = [
                {key: value for key, value in record.items() if key != "seed"}
                for record in ledger.get("deidentification", ())
            ]
            return {**ledger, "key_id": None, "deidentification": records}
        case 2:
            records = [_record_of_format_2(record) for record in ledger.get("deidentification", ())]
            return {**ledger, "key_id": None, "deidentification": records}
        case _:
            return None


def _record_of_format_2(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in ("passed", "seed")}
    return {
        **kept,
        "profile": "precise",
        "within_limit": record.get("passed") is True,
        "counted_by": "same detector",
        "independent_check": None,
    }


def changed_rules(written: int) -> str:
    """Return one line with the rules that have changed since the ledger format `written`, or "" if none has."""
    rules = [rule for number, rule in CHANGED_RULES.items() if number > written]
    if not rules:
        return ""
    return f"ledger of format {written}, now {FORMAT}; changed since: {'; '.join(rules)}"


def changed_since(patient_text: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each older ledger format in the manifest of a training run: the rules changed since.

    `patient_text` is the value of this key in the manifest. Without `ledger_format`, the format is 2.
    """
    entries = (patient_text, patient_text.get("validation") or {})
    formats = {entry.get("ledger_format", 2) for entry in entries if entry.get("basis") == "ledger"}
    return tuple(line for written in sorted(formats) if (line := changed_rules(written)))


def same_files(directory: Path, ledger: Mapping[str, Any]) -> bool:
    """Return whether all files that the ledger lists are in the directory, with the same SHA-256."""
    files = {directory / name: digest for name, digest in ledger["files"].items()}
    return all(file.is_file() and sha256_file(file) == digest for file, digest in files.items())
