"""The pins for people without uv: every package with one version and its hashes, from nowhere in particular."""

import re
import tomllib
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import ROOT
from .test_structure import MEMBERS

LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
PINS = [line for line in LINES if line and not line.lstrip().startswith("#")]


def test_each_has_one_version_and_hashes():
    assert len(PINS) > 100
    for line in PINS:
        pin, *hashes = re.split(r"\s+--hash=", line)
        assert [bound.operator for bound in Requirement(pin).specifier] == ["=="], pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", digest) for digest in hashes), pin


def test_no_host_and_no_path():
    text = "\n".join(LINES)
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)|/(home|root|tmp|work|opt)/", text, re.MULTILINE)


def test_all_that_the_members_declare_is_there():
    pinned: dict[str, list[Requirement]] = {}
    for line in PINS:
        pin = Requirement(line.partition(" --hash")[0])
        pinned.setdefault(canonicalize_name(pin.name), []).append(pin)
    for folder in MEMBERS.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        for wanted in map(Requirement, chain(project["dependencies"], *extras)):
            if wanted.name.startswith("medalpaca"):
                continue
            for pin in pinned[canonicalize_name(wanted.name)]:
                [version] = [bound.version for bound in pin.specifier]
                assert version in wanted.specifier, wanted
