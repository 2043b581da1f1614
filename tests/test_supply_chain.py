"""Licences of the pins, the SBOM, members pinned to each other, and the search of a fetched advisory database."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from .conftest import ROOT
from .test_structure import MEMBERS

TOOL = ROOT / "tools" / "sbom.py"


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sbom"]


# Licences -----------------------------------------------------------------------------------------------------


def test_every_pin_has_a_known_licence_and_the_page_lists_it(sbom):
    pins, rules = sbom.read_pins(), sbom.read_rules()
    for name in {pin.name for pin in pins} - set(rules.packages):
        versions = [pin.version for pin in pins if pin.name == name]
        with contextlib.suppress(metadata.PackageNotFoundError):
            if metadata.version(name) not in versions:
                pytest.skip(
                    f"{name} {metadata.version(name)} is installed, and {' or '.join(versions)} pinned"
                )
    assert sbom.faults(pins, rules) == []
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert page == sbom.licence_table(pins, rules)
    assert "| py7zr | LGPL-2.1-or-later |" in page
    assert "| torch | Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND " in page


@pytest.mark.parametrize(
    ("name", "stated", "wrong"),
    [
        ("a", "AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("a", "MIT AND GPL-3.0-only", ["GPL-3.0-only"]),
        ("a", "MIT OR (Apache-2.0 AND SSPL-1.0)", ["SSPL-1.0"]),
        ("a", "", ["unknown"]),
        ("no-such-package-anywhere", None, ["unknown"]),
        ("a", "Apache Software License", []),
        ("a", "Apache-2.0 WITH LLVM-exception AND MIT", []),
        ("a", "LGPL-2.1+", []),
    ],
)
def test_an_unknown_or_unlisted_licence_is_refused(sbom, name, stated, wrong):
    rules = sbom.read_rules()
    assert sbom.not_allowed(sbom.licence_of(name, rules, stated), rules) == wrong


def test_a_pin_without_a_licence_fails_by_its_name(sbom):
    pins = [sbom.Pin("no-such-package-anywhere", "1.0", "", ())]
    assert sbom.faults(pins, sbom.read_rules()) == [
        "no-such-package-anywhere: licence unknown is not in tools/licences.yaml"
    ]


# SBOM ---------------------------------------------------------------------------------------------------------


def write_wheel(folder, name, version, *requires):
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as wheel:
        lines = [f"Name: {name}", f"Version: {version}", "License-Expression: Apache-2.0"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        info = zipfile.ZipInfo(f"{name.replace('-', '_')}-{version}.dist-info/METADATA")
        wheel.writestr(info, "\n".join(["Metadata-Version: 2.4", *lines, "", "text"]))


def test_the_sbom_has_every_pin_and_every_wheel(sbom, tmp_path):
    write_wheel(tmp_path, "medalpaca-data", "0.1.0", "py7zr>=1.1", 'numpy>=2; python_version < "4"')
    write_wheel(tmp_path, "medalpaca-train", "0.1.0", "medalpaca-data==0.1.0")
    command = [sys.executable, TOOL, "sbom", "--wheels", tmp_path, "--out", tmp_path / "sbom.json"]
    assert subprocess.run(command).returncode == 0
    made = json.loads((tmp_path / "sbom.json").read_text())
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    by_ref = {known["bom-ref"]: known for known in made["components"]}
    assert len(by_ref) == len(made["components"]) == len(sbom.read_pins()) + 2
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {f"pkg:pypi/{line.split('==')[0]}@{re.split('[ ;]', line.split('==')[1])[0]}" for line in lines if line[:1].isalnum()}  # fmt: skip # noqa: E501
    ours = {"pkg:pypi/medalpaca-data@0.1.0", "pkg:pypi/medalpaca-train@0.1.0"}
    assert set(by_ref) == pinned | ours
    [py7zr] = [known for known in made["components"] if known["name"] == "py7zr"]
    assert py7zr["licenses"] == [{"license": {"id": "LGPL-2.1-or-later"}}]
    assert all(re.fullmatch(r"[0-9a-f]{64}", held["value"]) for held in py7zr["properties"])
    [sha] = by_ref["pkg:pypi/medalpaca-data@0.1.0"]["hashes"]
    assert (sha["alg"], len(sha["content"])) == ("SHA-256", 64)
    needs = {held["ref"]: held["dependsOn"] for held in made["dependencies"]}
    assert needs["medalpaca"] == sorted(ours)
    assert needs["pkg:pypi/medalpaca-train@0.1.0"] == ["pkg:pypi/medalpaca-data@0.1.0"]
    assert [ref.split("@")[0] for ref in needs["pkg:pypi/medalpaca-data@0.1.0"]] == [
        *["pkg:pypi/numpy"] * sum(ref.startswith("pkg:pypi/numpy@") for ref in pinned),
        "pkg:pypi/py7zr",
    ]


def test_members_are_pinned_to_each_others_version():
    """Mixed versions of the members cannot be installed: the wheels declare these pins."""
    projects = {
        folder: tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in [ROOT, *MEMBERS.values()]
    }
    versions = {project["version"] for project in projects.values()}
    assert versions == {"0.1.0"}
    pins = [
        str(Requirement(line).specifier)
        for project in projects.values()
        for line in project["dependencies"]
        if line.startswith("medalpaca")
    ]
    # medalpaca: four; train and evalharness: data; demo: data, train and evalharness.
    assert pins == ["==0.1.0"] * 9


# Advisories ---------------------------------------------------------------------------------------------------


def advisory(name="demo", versions=(), events=(), **more):
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    entry = {"package": {"ecosystem": "PyPI", "name": name}, "versions": list(versions), "ranges": ranges}
    return {"id": "X-1", "summary": "a fault", "affected": [entry]} | more


@pytest.mark.parametrize(
    ("version", "versions", "events", "affected"),
    [
        ("1.2", ["1.2"], [], True),
        ("1.2", ["1.2.0"], [], True),  # equal versions
        ("1.2", ["1.20"], [], False),
        ("1.2", [], [{"introduced": "0"}], True),
        ("1.2", [], [{"introduced": "0"}, {"fixed": "1.2"}], False),
        ("1.2rc1", [], [{"introduced": "0"}, {"fixed": "1.2"}], True),
        ("1.10", [], [{"introduced": "1.9"}, {"fixed": "1.11"}], True),  # not compared as text
        ("1.2", [], [{"introduced": "0"}, {"last_affected": "1.2"}], True),
        ("1.3", [], [{"introduced": "0"}, {"last_affected": "1.2"}], False),
        ("2.5", [], [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"fixed": "2.6"}], True),
        ("1.5", [], [{"introduced": "2.0"}, {"fixed": "2.6"}, {"introduced": "0"}, {"fixed": "1.2"}], False),
    ],
)
def test_versions_of_an_advisory(sbom, version, versions, events, affected):
    [entry] = advisory(versions=versions, events=events)["affected"]
    assert sbom.is_affected(version, entry) is affected


def test_a_database_on_disk_is_searched(sbom, tmp_path, capsys):
    pins = [sbom.Pin("demo-package", "1.2", "", ()), sbom.Pin("other", "3", "", ())]
    found = advisory("Demo_Package", events=[{"introduced": "0"}, {"fixed": "1.3"}], aliases=["CVE-2024-1"])
    not_ours = advisory("other", versions=["3"], id="X-2", withdrawn="2024-01-01T00:00:00Z")
    elsewhere = advisory("other", versions=["3"], id="X-3")
    elsewhere["affected"][0]["package"]["ecosystem"] = "npm"
    folder, archive = tmp_path / "db", tmp_path / "all.zip"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        for n, record in enumerate((found, not_ours, elsewhere)):
            (folder / f"{n}.json").write_text(json.dumps(record))
            packed.writestr(f"{n}.json", json.dumps(record))
    line = "demo-package 1.2: X-1, CVE-2024-1: a fault"
    assert sbom.search_advisories(pins, folder) == (3, [line])
    assert sbom.search_advisories(pins, archive) == (3, [line])
    assert sbom.print_advisories(pins, archive, tmp_path / "result.md") == 1
    assert line in (tmp_path / "result.md").read_text()
    assert "1 findings for 2 pins of requirements.txt in 3 advisories" in capsys.readouterr().out
    assert sbom.print_advisories(pins[1:], archive, None) == 0
    (tmp_path / "empty").mkdir()
    assert sbom.print_advisories(pins, tmp_path / "empty", None) == 2


@pytest.mark.parametrize("text", ["[]", "{}", "not JSON"])
def test_a_damaged_database_is_no_clean_result(sbom, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SystemExit, match=r"x\.json: not"):
        sbom.search_advisories([], tmp_path)
