"""Write the software bill of materials (SBOM), the table of licences, and the result of a search for known weaknesses.

    uv run python tools/sbom.py sbom --wheels DIST --out sbom.json    CycloneDX 1.6 JSON of wheels and pins
    uv run python tools/sbom.py licences                              writes docs/licences.md
    uv run python tools/sbom.py advisories DATABASE [--out FILE]      exit code 1 if a pinned version is affected

The pins are those of requirements.txt, with their hashes. Licences are read from the metadata of installed packages
and from tools/licences.yaml, which has those that are not installed on every machine. DATABASE is a directory or a ZIP
of OSV files (https://ossf.github.io/osv-schema/) in JSON, such as `PyPI/all.zip` of osv.dev. It is fetched before; this
program opens no connection.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
PINS, LICENCES, TABLE = (
    ROOT / "requirements.txt",
    Path(__file__).with_name("licences.yaml"),
    "docs/licences.md",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of requirements.txt: name, version, environment marker (or ""), and SHA-256 of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def read_pins(file: Path = PINS) -> list[Pin]:
    """Return the pins of a requirements file, one for each line with a requirement."""
    pins = []
    for line in file.read_text(encoding="utf-8").replace("\\\n", "").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, *hashes = re.split(r"\s+--hash=sha256:", line)
        requirement = Requirement(text)
        [bound] = requirement.specifier
        if bound.operator != "==":
            raise SystemExit(f"{file.name}: {text.strip()}: not pinned with ==")
        name = canonicalize_name(requirement.name)
        pins.append(Pin(name, bound.version, str(requirement.marker or ""), tuple(h.strip() for h in hashes)))
    return pins


# Licences -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """The file licences.yaml: allowed SPDX ids with remarks, their spellings, and packages without usable metadata."""

    allowed: dict[str, str]
    spellings: dict[str, str]
    packages: dict[str, str]


def read_rules(file: Path = LICENCES) -> Rules:
    return Rules(**yaml.safe_load(file.read_text(encoding="utf-8")))


def declared(fields: Any) -> str:
    """Return the licence that the metadata of a package state: the expression, else the classifiers, else the text."""
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [line for line in fields.get_all("Classifier") or [] if line.startswith("License ::")]
    text = str(fields.get("License") or "").strip()
    # A long text is the licence itself, and names nothing.
    if text and len(text) <= 40 and "\n" not in text:
        return text
    return " AND ".join(sorted(line.rpartition(" :: ")[2] for line in classifiers))


def licence_of(name: str, rules: Rules, stated: str | None = None) -> str:
    """Return the SPDX expression of a package, or "" if it is unknown. `stated` replaces the installed metadata."""
    if name in rules.packages:
        return rules.packages[name]
    if stated is None:
        try:
            stated = declared(metadata.metadata(name))
        except metadata.PackageNotFoundError:
            return ""
    return rules.spellings.get(stated, stated)


def not_allowed(expression: str, rules: Rules) -> list[str]:
    """Return the licences of an SPDX expression that are not allowed; an empty expression is unknown.

    For an OR, every alternative has to be allowed, so that no choice has to be recorded.
    """
    words = re.split(r"\s+(?:AND|OR)\s+|[()]", expression)
    found = [word.strip() for word in words if word.strip()]
    return [word for word in found if word not in rules.allowed] if found else ["unknown"]


def faults(pins: Sequence[Pin], rules: Rules) -> list[str]:
    """Return one line for each pinned package whose licence is unknown or not allowed."""
    lines = []
    for name in sorted({pin.name for pin in pins}):
        expression = licence_of(name, rules)
        if wrong := not_allowed(expression, rules):
            lines.append(f"{name}: licence {', '.join(wrong)} is not in tools/licences.yaml")
    return lines


def licence_table(pins: Sequence[Pin], rules: Rules) -> str:
    """Return the page of licences in Markdown: the licences with remarks, then every package."""
    by_package = {name: licence_of(name, rules) for name in sorted({pin.name for pin in pins})}
    lines = [
        "# Licences of dependencies",
        "",
        "`uv run python tools/sbom.py licences` writes this page from requirements.txt, the metadata of the packages",
        "and tools/licences.yaml. `tests/test_supply_chain.py` fails if a licence is unknown or not listed there.",
        "",
        "## Licences with conditions",
        "",
        "| licence | packages | what it means here |",
        "|---|---|---|",
    ]
    for licence, remark in rules.allowed.items():
        names = [name for name, held in by_package.items() if licence in re.split(r"[\s()]+", held)]
        if remark and names:
            lines.append(f"| {licence} | {', '.join(names)} | {remark} |")
    lines += ["", "## All packages", "", "| package | licence |", "|---|---|"]
    lines += [f"| {name} | {licence} |" for name, licence in by_package.items()]
    return "\n".join(lines) + "\n"


# SBOM ---------------------------------------------------------------------------------------------------------


def component(kind: str, name: str, version: str, licence: str, hashes: Sequence[str] = ()) -> dict[str, Any]:
    """Return a CycloneDX component. A pin has the hashes of several files, which are properties, not its own hash."""
    found: dict[str, Any] = {
        "type": kind,
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    if licence:
        is_id = re.fullmatch(r"[A-Za-z0-9.+-]+", licence) and not licence.startswith("LicenseRef-")
        found["licenses"] = [{"license": {"id": licence}} if is_id else {"expression": licence}]
    if hashes:
        found["properties"] = [{"name": "medalpaca:file:sha256", "value": value} for value in hashes]
    return found


def read_wheel(file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the component of a wheel, with the SHA-256 of the file, and the names that it depends on."""
    with zipfile.ZipFile(file) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        fields = HeaderParser().parsestr(wheel.read(name).decode("utf-8"))
    known = component("library", canonicalize_name(fields["Name"]), fields["Version"], declared(fields))
    known["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
    wanted = {canonicalize_name(Requirement(line).name) for line in fields.get_all("Requires-Dist") or []}
    return known, sorted(wanted)


def make_sbom(pins: Sequence[Pin], wheels: Sequence[Path], rules: Rules) -> dict[str, Any]:
    """Return a CycloneDX 1.6 document of the pins and the wheels. Equal input gives an equal document."""
    components = [
        component("library", pin.name, pin.version, licence_of(pin.name, rules), pin.hashes) for pin in pins
    ]
    refs: dict[str, list[str]] = {}
    for known in components:
        refs.setdefault(known["name"], []).append(known["bom-ref"])
    ours = [read_wheel(file) for file in sorted(wheels)]
    for known, _ in ours:
        refs.setdefault(known["name"], []).append(known["bom-ref"])
    dependencies = [
        {"ref": known["bom-ref"], "dependsOn": sorted(ref for name in wanted for ref in refs.get(name, []))}
        for known, wanted in ours
    ]
    components = sorted([*components, *(known for known, _ in ours)], key=lambda known: known["bom-ref"])
    content = json.dumps([components, dependencies], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "medalpaca", "name": "medalpaca"}},
        "components": components,
        "dependencies": [
            {"ref": "medalpaca", "dependsOn": sorted(known["bom-ref"] for known, _ in ours)},
            *dependencies,
        ],
    }


# Advisories ---------------------------------------------------------------------------------------------------


def read_advisories(database: Path) -> Iterator[dict[str, Any]]:
    """Yield the OSV records of a directory or a ZIP. A file that is not JSON ends the program."""
    if database.is_dir():
        files = ((str(file), file.read_bytes()) for file in sorted(database.rglob("*.json")))
    elif zipfile.is_zipfile(database):
        archive = zipfile.ZipFile(database)
        files = ((name, archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
    else:
        raise SystemExit(f"{database}: not a directory or ZIP of OSV files")
    for name, data in files:
        try:
            record = json.loads(data)
        except ValueError as error:
            raise SystemExit(f"{name}: not JSON ({error})") from None
        if not isinstance(record, dict) or "id" not in record:
            raise SystemExit(f"{name}: not an OSV record: no id")
        yield record


def is_affected(version: str, entry: dict[str, Any]) -> bool:
    """Return whether an `affected` entry of an OSV record has the version, by its list or by its ranges."""
    wanted = Version(version)
    if any(_parsed(listed) == wanted for listed in entry.get("versions", ())):
        return True
    for found in entry.get("ranges", ()):
        if found.get("type") != "ECOSYSTEM":
            continue
        inside = False
        # Events count in the order of versions; "0" is before every version.
        for bound, kind in sorted(_events(found)):
            if kind == "introduced" and wanted >= bound:
                inside = True
            elif (kind == "fixed" and wanted >= bound) or (kind == "last_affected" and wanted > bound):
                inside = False
        if inside:
            return True
    return False


def _events(found: dict[str, Any]) -> Iterator[tuple[Version, str]]:
    for event in found.get("events", ()):
        for kind in ("introduced", "fixed", "last_affected"):
            if kind in event:
                bound = Version("0.dev0") if event[kind] == "0" else _parsed(event[kind])
                if bound is None:
                    raise SystemExit(f"version {event[kind]!r} of an advisory cannot be read")
                yield bound, kind


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def search_advisories(pins: Sequence[Pin], database: Path) -> tuple[int, list[str]]:
    """Return the number of records that were read, and one line for each pin that one of them affects."""
    by_name: dict[str, list[Pin]] = {}
    for pin in pins:
        by_name.setdefault(pin.name, []).append(pin)
    count, lines = 0, []
    for record in read_advisories(database):
        count += 1
        if record.get("withdrawn"):
            continue
        for entry in record.get("affected", ()):
            package = entry.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            for pin in by_name.get(canonicalize_name(package.get("name", "")), ()):
                if is_affected(pin.version, entry):
                    aliases = ", ".join([record["id"], *record.get("aliases", ())])
                    lines.append(
                        f"{pin.name} {pin.version}: {aliases}: {record.get('summary', 'no summary')}"
                    )
    return count, sorted(set(lines))


# Command line -------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sbom = commands.add_parser("sbom", help="write a CycloneDX document")
    sbom.add_argument("--wheels", type=Path, metavar="DIR", help="directory of our wheels")
    sbom.add_argument("--out", type=Path, required=True)
    commands.add_parser("licences", help=f"write {TABLE}")
    advisories = commands.add_parser("advisories", help="search a fetched OSV database for the pins")
    advisories.add_argument("database", type=Path)
    advisories.add_argument("--out", type=Path, help="Markdown file for the result")
    args = parser.parse_args(argv)
    pins, rules = read_pins(), read_rules()
    if args.command == "advisories":
        return print_advisories(pins, args.database, args.out)
    if lines := faults(pins, rules):
        print("\n".join(lines), file=sys.stderr)
        return 1
    if args.command == "licences":
        (ROOT / TABLE).write_text(licence_table(pins, rules), encoding="utf-8")
        return 0
    wheels = sorted(args.wheels.glob("*.whl")) if args.wheels else []
    if args.wheels and not wheels:
        print(f"{args.wheels}: no wheels; make them with: uv build --all-packages", file=sys.stderr)
        return 2
    args.out.write_text(json.dumps(make_sbom(pins, wheels, rules), indent=2) + "\n", encoding="utf-8")
    return 0


def print_advisories(pins: Sequence[Pin], database: Path, out: Path | None) -> int:
    """Print the result and write it to `out`. Returns 1 if a pin is affected, and 2 for an empty database."""
    count, lines = search_advisories(pins, database)
    if not count:
        print(f"{database}: no OSV records", file=sys.stderr)
        return 2
    heading = f"{len(lines)} findings for {len(pins)} pins of requirements.txt in {count} advisories"
    print("\n".join([heading, *lines]))
    if out:
        text = [
            f"# Known weaknesses of the pinned versions\n\n{heading}.\n",
            *(f"- {line}" for line in lines),
        ]
        out.write_text("\n".join(text) + "\n", encoding="utf-8")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
