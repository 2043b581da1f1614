"""SECURITY.md names tests; each of them is there."""

from __future__ import annotations

import ast
import re

import pytest

from .conftest import ROOT

NAMED = re.findall(
    r"`((?:tests|packages|apps)/[\w/]+\.py)::(\w+)`(\s\*)?", (ROOT / "SECURITY.md").read_text()
)


def test_every_promise_names_a_test():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promises = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")
    ]
    assert len(promises) > 20
    assert all("::test_" in line for line in promises)
    assert len(NAMED) == text.count("::test_")


@pytest.mark.parametrize(("file", "name", "star"), NAMED)
def test_it_is_there_and_marked_slow_if_it_is(file, name, star):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"{file} has no {name}"
    slow = any("mark.slow" in ast.unparse(decorator) for decorator in found[0].decorator_list)
    slow |= any("mark.slow" in ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign))
    assert slow == bool(star)
