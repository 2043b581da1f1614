"""README, docs and the rest: every page fits the convention, and (slow) every block of it does what the page says."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .documents import NotADocument, pages, read_page, slugs
from .page_session import BlockFailed, Outcome, Session, told
from .stand_ins import ROOT, House, furnish, house, write_programs

PAGES = pages(ROOT)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
EVERY_PAGE = pytest.mark.parametrize("path", PAGES, ids=NAMES)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server needs Linux")


# The parser ---------------------------------------------------------------------------------------------------


def parse(tmp_path: Path, text: str) -> Any:
    page = tmp_path / "page.md"
    page.write_text(text)
    return read_page(page)


def test_a_page_is_its_blocks_with_their_tags(tmp_path):
    page = parse(
        tmp_path,
        "# Head\n<!-- given: BASE EXAM -->\n\n<!-- hub; exit: 1 -->\n```bash\nuv run x\n\n    y\n```\n"
        "<!-- output -->\n```text\nno\n```\n<!-- file: a/b.yaml -->\n```yaml\na: 1\n```\n\n```text\n+--+\n```\n",
    )
    run, output, file, picture = page.blocks
    assert page.given == ("BASE", "EXAM")
    assert (run.kind, run.line, run.text, run.tags) == (
        "run",
        6,
        "uv run x\n\n    y\n",
        {"hub": "", "exit": "1"},
    )
    assert [block.kind for block in page.blocks] == ["run", "compare", "write", "show"]
    assert (output.text, file.tags, picture.tags) == ("no\n", {"file": "a/b.yaml"}, {})
    assert "uv run" not in page.prose


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("```console\n$ x\n```\n", "page.md:1: language 'console'"),
        ("text\n\n    uv run x\n", "page.md:3: an indented block"),
        ("<!-- gpus -->\n```bash\nx\n```\n", "page.md:1: tag 'gpus'"),
        ("<!-- exit -->\n```bash\nx\n```\n", "tag 'exit'"),
        ("<!-- gpu -->\n\n```bash\nx\n```\n", "page.md:2: tags (gpu) that are not directly above"),
        ("<!-- gpu -->\n```text\nx\n```\n", "`gpu` above a block of text"),
        ("<!-- output -->\n```text\nx\n```\n", "an output without a block before it"),
        ("<!-- given: BASE MODEL -->\n", "given ['MODEL']"),
        ("- x\n  ```bash\n  x\n  ```\n", "page.md:2: a fence that is not"),
        ("```bash\nx\n", "the page ends inside a block"),
    ],
)
def test_whatever_is_not_known_is_refused_with_its_line(tmp_path, text, what):
    with pytest.raises(NotADocument, match=re.escape(what)):
        parse(tmp_path, text)


# Every page, read ---------------------------------------------------------------------------------------------


@EVERY_PAGE
def test_blocks_are_what_their_language_says(path):
    for block in read_page(path).blocks:
        match block.language:
            case "bash":
                done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
                assert done.returncode == 0, f"{block.place}: {done.stderr}"
                assert not re.search(r"<[A-Za-z][\w -]*>", block.text), f"{block.place}: a placeholder in <>"
            case "python":
                ast.parse(block.text)
            case "yaml":
                recipe_or_part(yaml.safe_load(block.text), block)
            case "json":
                json.loads(block.text)
            case "toml":
                tomllib.loads(block.text)


def recipe_or_part(held: Any, block: Any) -> None:
    """YAML on our pages is a recipe of data or training, or some keys of one; or a file of another kind."""
    if not isinstance(held, dict) or (
        "file" in block.tags and not held.keys() & {"sources", "model", "data"}
    ):
        return
    from medalpaca_data.recipe import Recipe as Build
    from medalpaca_train.recipe import Recipe as Training

    if held.keys() <= Build.model_fields.keys():
        Build.model_validate({"name": "x", "sources": [{"kind": "pocket"}]} | held)
    else:
        Training.model_validate({"model": "x", "data": "x"} | held)


@EVERY_PAGE
def test_links_files_and_tests_that_are_named_exist(path):
    page = read_page(path)
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\])", "", page.prose)):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path}: [{label}] leads to {target}, which is not there"
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in slugs(read_page(file)), f"{path}: {target} has no such heading"
    for named in re.findall(
        r"`((?:docs|tests|packages|apps|benchmarks|tools|recipes)/[\w./-]+(?:::\w+)?)`", path.read_text()
    ):
        name, _, test = named.partition("::")
        if "..." not in name and "NAME" not in name:
            assert (ROOT / name).exists(), f"{path}: no {name}"
            assert not test or f"def {test}(" in (ROOT / name).read_text(), f"{path}: no {named}"


# A session ----------------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path):
    """A folder and programs; nothing that needs the fork server."""
    made = House(tmp_path / "house")
    made.folder.mkdir()
    write_programs(made)
    (tmp_path / "clone").mkdir()
    return Session(made, tmp_path / "clone", tmp_path)


def do(session: Session, text: str) -> str:
    """Do a page's blocks; what the last said."""
    for block in parse(session.state, text).blocks:
        session.do(block)
    return session.outcomes[-1].said


def test_blocks_share_folder_variables_and_files(session):
    page = "<!-- file: a/b.txt -->\n```text\nhere\n```\n```bash\nexport WHO=me\ncd a\n```\n"
    page += "```bash\ncat b.txt; echo $WHO\n```\n"
    assert do(session, page + "<!-- output -->\n```text\nhere me\n```\n") == ""
    assert session.outcomes[2].said == "here\nme\n"


def test_what_is_typed_is_typed_to_every_command(session):
    assert do(session, "```bash\nread first; echo $first\n```\n") == "a long enough password\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("```bash\ntrue\nfalse\ntrue\n```\n", "page.md:3: exit code 1, not 0\n$ false"),
        ("```bash\ntrue\nfalse | true\n```\n", "page.md:3: exit code 1"),
        ("```bash\necho $(false)\nno-such-program\n```\n", "page.md:3: exit code 127"),
        ("<!-- exit: 1 -->\n```bash\nfalse\nfalse\n```\n", "page.md:3: exit code 1, not 1\n$ false"),
        (
            "```bash\necho yes\n```\n<!-- output -->\n```text\nno\n```\n",
            "page.md:6: the page shows\nno\n\nand it printed\nyes",
        ),
        ("<!-- server -->\n```bash\ntrue\n```\n", "page.md:3: it ended before it served"),
        ("```bash\nuv run pytest tests/nothing.py\n```\n", "no tests/nothing.py"),
        (
            "```bash\nuv run --script benchmarks/data.py --slow\n```\n",
            "benchmarks/data.py has no option --slow",
        ),
        ("```bash\nuv run torchrun --nproc-per-node 8 x.py\n```\n", "torchrun without the tag `gpu`"),
        ("<!-- elsewhere -->\n```bash\nvllm serve x\n```\n", "vllm: x is not there"),
        ("```bash\npython x.py\n```\n", "write `uv run python`"),
    ],
)
def test_what_does_not_do_what_the_page_says_is_named(session, text, what):
    with pytest.raises(BlockFailed, match=re.escape(what)):
        do(session, text)


def test_an_expected_failure_of_the_last_command_passes(session):
    assert do(session, "<!-- exit: 3 -->\n```bash\necho a\nbash -c \\\n  'exit 3'\n```\n") == "a\n"


# Every page, done ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Any:
    with house(tmp_path_factory.mktemp("house")) as house_:
        yield house_


@linux
@pytest.mark.slow
@EVERY_PAGE
def test_every_block_does_what_the_page_says(path: Path, made: House, tmp_path: Path, record_property: Any):
    page = read_page(path)
    furnish(made, page, tmp_path / "clone")
    session = Session(made, tmp_path / "clone", tmp_path)
    failures = []
    for block in page.blocks:
        try:
            session.do(block)
        except BlockFailed as failed:  # the next ones may tell more
            failures.append(str(failed))
            session.outcomes.append(Outcome(block, "failed"))
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)
    assert [outcome.block for outcome in session.outcomes] == list(page.blocks)
    record_property("blocks", [told(outcome) for outcome in session.outcomes])
    shutil.rmtree(tmp_path / "clone")


@linux
@pytest.mark.slow
def test_a_forked_command_is_the_command(made, tmp_path):
    """The same code, output and message as the console script's own process."""
    script = Path(sys.executable).with_name("exam")
    Session(made, tmp_path / "clone", tmp_path)
    home = made.environment(tmp_path / "clone")
    for words in (["inspect", "medalpaca_pocket"], ["inspect", "nothing.json"], ["inspect"]):
        own = subprocess.run([script, *words], capture_output=True, text=True, cwd=tmp_path, env=home)
        ours = subprocess.run(
            ["uv", "run", "exam", *words], capture_output=True, text=True, cwd=tmp_path, env=home
        )
        assert (ours.returncode, ours.stdout, ours.stderr) == (own.returncode, own.stdout, own.stderr)
    assert own.returncode == 2
