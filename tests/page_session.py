"""One shell session in a folder: runs a page's blocks in order, as a user would type them, and says what failed."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .documents import Block

PATIENCE = 300  # seconds for a block, on a machine that is shared
TYPED = "a long enough password\na long enough password\n"  # what a user types, where a command asks

# Bash keeps its variables and its place from block to block, and says on fd 9 which line it is on.
SHELL = """\
cd "$(cat {state}/folder)"; . {state}/variables
keep() {{ export -p | grep -v DOCUMENTS > {state}/variables; pwd > {state}/folder; }}
trap 'documents_end=$?; keep; exit $documents_end' EXIT
exec 9> {state}/lines; BASH_XTRACEFD=9 PS4='+$LINENO '
set -eo pipefail -x; . {state}/block
"""


class BlockFailed(AssertionError):
    """A block did not do what the page says."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a block started, how it was run, and the CPU seconds that it took."""

    command: str
    how: str
    cpu: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a block, and what it started."""

    block: Block
    said: str = ""
    commands: tuple[Command, ...] = ()


class Surroundings(Protocol):
    """Where programs are found and what is set, for a folder and a block's tags; see `stand_ins.House`."""

    def environment(self, folder: Path, tags: str = "", port: int = 0) -> dict[str, str]: ...


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Session:
    """One user in one folder; `state` holds what the shell keeps between blocks."""

    house: Surroundings
    folder: Path
    state: Path
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.state / "folder").write_text(str(self.folder))
        (self.state / "variables").write_text("")
        (self.state / "typed").write_text(TYPED)
        (self.state / "journal").touch()

    def do(self, block: Block) -> None:
        """Whatever the page means to be done with the block. Raises BlockFailed."""
        match block.kind:
            case "write":
                file = self.folder / block.tags["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
                self.outcomes.append(Outcome(block))
            case "run":
                self.run(block)
            case "compare":
                self.compare(block)
            case _:
                self.outcomes.append(Outcome(block))

    def compare(self, block: Block) -> None:
        said = self.outcomes[-1].said
        if " ".join(block.text.split()) != " ".join(said.split()):
            raise BlockFailed(f"{block.place}: the page shows\n{block.text}\nand it printed\n{said}")
        self.outcomes.append(Outcome(block))

    def run(self, block: Block) -> None:
        """Run it as a user would type it; keep what it said."""
        state, out = self.state, self.state / "said"
        text = block.text if block.language == "bash" else f"uv run python {state}/block.py\n"
        (state / "block").write_text(text)
        (state / "block.py").write_text(block.text)
        (state / "shell").write_text(SHELL.format(state=state))
        started = len(self._journal())
        tags = " ".join(block.tags)
        environment = self.house.environment(self.folder, tags, port := free_port())
        with (state / "typed").open() as typed, out.open("w") as said:
            process = subprocess.Popen(
                ["bash", state / "shell"],
                env=environment,
                stdin=typed,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                dry = "elsewhere" in block.tags
                if "server" in block.tags and not dry:
                    self._serve(block, process, port)
                else:
                    process.wait(PATIENCE)
            except (subprocess.TimeoutExpired, BlockFailed) as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise self._failed(block, str(error)) from None
        expected = int(block.tags.get("exit", "0"))
        served = "server" in block.tags and process.returncode in (0, 130, -signal.SIGINT)
        if not served and (process.returncode != expected or (expected and not self._at_its_end(block))):
            raise self._failed(block, f"exit code {process.returncode}, not {expected}")
        journal = self._journal()[started:]
        self.outcomes.append(Outcome(block, out.read_text(), tuple(journal)))

    def _journal(self) -> list[Command]:
        return [Command(**json.loads(line)) for line in (self.state / "journal").read_text().splitlines()]

    def _line(self) -> int:
        """Of the block, the last one that bash has begun."""
        traced = (self.state / "lines").read_text().partition("documents_end=")[0]
        return int((re.findall(r"^\+\+(\d+) ", traced, re.MULTILINE) or ["1"])[-1])

    def _at_its_end(self, block: Block) -> bool:
        """Whether the last command was reached: an expected failure must not be that of an earlier one."""
        lines = block.text.rstrip().splitlines()
        last = len(lines)
        while last > 1 and lines[last - 2].endswith("\\"):
            last -= 1
        return block.language == "python" or self._line() >= last

    def _failed(self, block: Block, what: str) -> BlockFailed:
        said = (self.state / "said").read_text()[-4000:]
        line = self._line() if block.language == "bash" and (self.state / "lines").exists() else 1
        command = block.text.splitlines()[line - 1] if line <= len(block.text.splitlines()) else ""
        return BlockFailed(f"{block.page}:{block.line + line - 1}: {what}\n$ {command}\n{said}")

    def _serve(self, block: Block, process: subprocess.Popen[bytes], port: int) -> None:
        """Wait for an answer at the port, then interrupt as a user would."""
        end = time.monotonic() + PATIENCE
        while not answers(port):
            if process.poll() is not None:
                raise BlockFailed(f"it ended before it served, with exit code {process.returncode}")
            if time.monotonic() > end:
                raise BlockFailed("it does not serve")
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)


def answers(port: int) -> bool:
    """Whether somebody answers there, in clear text or over TLS."""
    unverified = ssl._create_unverified_context()  # noqa: S323 - a page's own certificate, on this machine
    for kind in (
        http.client.HTTPConnection("127.0.0.1", port, timeout=5),
        http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=unverified),
    ):
        try:
            kind.request("GET", "/")
            return kind.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            continue
        finally:
            kind.close()
    return False


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome in plain data, for the summary."""
    kinds = {"write": "files", "compare": "outputs, compared", "show": "shown", "parse": "read and checked"}
    tags = [tag for tag in outcome.block.tags if tag not in ("file", "output", "exit")]
    run = f"run with a stand-in ({', '.join(tags)})" if tags else "run as they stand"
    commands = [asdict(command) for command in outcome.commands]
    return {"page": str(outcome.block.page), "kind": kinds.get(outcome.block.kind, run), "commands": commands}


def summary(blocks: list[dict[str, Any]]) -> list[str]:
    """How many blocks were done how, and every command that was not run as it stands."""
    commands = [Command(**command) for block in blocks for command in block["commands"]]
    own = [command for command in commands if command.how != "inside"]
    lines = [f"{len(blocks)} blocks of {len({block['page'] for block in blocks})} pages:"]
    lines += [f"  {n:4} {kind}" for kind, n in sorted(Counter(block["kind"] for block in blocks).items())]
    seconds = sum(command.cpu for command in commands)
    lines += [
        f"{len(own)} commands, {seconds:.0f} CPU seconds; the dearest, and what was not run as it stands:"
    ]
    lines += [
        f"  {one.cpu:5.1f} s  {one.command[:90]}" for one in sorted(commands, key=lambda one: -one.cpu)[:5]
    ]
    return lines + [f"  {one.command[:90]}: {one.how}".replace("\n", " ") for one in own if one.how != "run"]
