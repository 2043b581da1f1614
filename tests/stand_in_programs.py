"""The programs that documentation calls, by the name under which this is started: `uv`, `srun`, `vllm`, ...

`uv run NAME` runs NAME of the environment that the tests run in, by the fork server; what needs other machines, GPUs,
a hub or programs that are nobody's dependency is done small, or checked without being run ("dry"), and only where the
block is tagged so. Everything that was started is a line of the journal. Standard library only: it starts in 20 ms.

Environment: DOCUMENTS (this run's settings as JSON: see `stand_ins.py`) and DOCUMENTS_TAGS (the block's).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

OURS = ("data", "train", "exam", "demo", "quickstart", "lm_eval", "torchrun", "accelerate", "python")
ELSEWHERE = ("vllm", "ollama", "docker", "podman", "llama-server", "llama-cli", "llama-quantize")
DOWNLOADS = ("hf", "git", "pip", "pipx")
STAND_INS = (
    "srun",
    "sbatch",
    "scontrol",
    "unshare",
)  # unshare: no namespace here; test_sealed_loop.py has one
PROGRAMS = ("uv", "uvx", "python", "python3", *STAND_INS, *ELSEWHERE, *DOWNLOADS)

# Commands that are seen to be there and not run, since something else runs them.
LONG = {
    "quickstart": "run whole, with three seeds, by tests/test_quickstart.py",
    "train": "the pocket recipe: a step of quickstart",
}
# `uv run` options without a value, and with one.
FLAGS = {"--no-sync", "--frozen", "--offline", "--quiet", "--all-extras", "--no-dev"}
VALUES = {"--extra", "--with", "--package", "--group", "--python"}
OUTPUTS = {"-o", "--out", "--outfile", "--output", "--local-dir"}
SWITCHES_READ_AT_START = ("MEDALPACA_SEALED", "MEDALPACA_NO_AUTOLOAD")

SETTINGS = json.loads(os.environ.get("DOCUMENTS", "{}"))
TAGS = os.environ.get("DOCUMENTS_TAGS", "").split()


def main() -> None:
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if (
        name in OURS and Path(sys.argv[0]).parent.name == "environment"
    ):  # in an environment that was activated, or started by torchrun
        sys.exit(start(name, words))
    if name == "uv":
        sys.exit(uv(words))
    note(name, words, "stand-in" if name in STAND_INS else "dry")
    match name:
        case "srun" | "sbatch" | "scontrol":
            need("cluster", name)
            sys.exit({"srun": srun, "sbatch": sbatch, "scontrol": scontrol}[name](words))
        case "unshare":
            need("elsewhere", name)
            sys.exit(together([(dict(os.environ), words[words.index("--") + 1 :])], tags=""))
        case "hf" | "git" | "pip" | "pipx":
            need("hub", name)
            sys.exit(download(name, words))
        case "python" | "python3" if not words or not words[0].startswith("llama.cpp"):
            sys.exit(fail(f"{name} by itself is not this project's; write `uv run python`"))
        case _:
            need("elsewhere", name)
            sys.exit(dry(name, words))


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def fail(text: str) -> int:
    say(f"stand-in: {text}")
    return 97


def note(name: str, words: list[str], how: str, seconds: float = 0) -> None:
    with Path(SETTINGS["journal"]).open("a") as journal:
        journal.write(json.dumps({"command": " ".join([name, *words]), "how": how, "cpu": seconds}) + "\n")


def need(tag: str, what: str) -> None:
    """What is not the real thing may run only where the page's source says so."""
    if tag not in TAGS:
        sys.exit(fail(f"{what} without the tag `{tag}` above its block"))


# uv -----------------------------------------------------------------------------------------------------------


def uv(words: list[str]) -> int:
    if words[:1] != ["run"]:
        note("uv", words, "dry")
        return options_are_known(words)
    words = words[1:]
    while words and words[0].startswith("-") and words[0] != "--script":
        option = words.pop(0)
        if option in VALUES:
            words.pop(0)
        elif option not in FLAGS and option.partition("=")[0] not in VALUES:
            return fail(f"uv run {option}: an option that this stand-in does not know")
    if words[0] == "--script":
        note("uv run --script", words[1:], "dry")
        return script(words[1], words[2:])
    if why := LONG.get(" ".join(words)):
        note("uv run", words, f"resolved only: {why}")
        return 0 if Path(SETTINGS["python"]).with_name(words[0]).is_file() else fail(f"no {words[0]}")
    if words[0] == "pytest":
        note("uv run", words, "resolved only: tests of this suite")
        paths = [word for word in words[1:] if "/" in word]
        return next((fail(f"no {path}") for path in paths if not (Path(SETTINGS["root"]) / path).exists()), 0)
    return start(words[0], words[1:])


def options_are_known(words: list[str]) -> int:
    """`uv sync --extra x` and the like: the subcommand and its options are those of the uv that is here."""
    subcommand = [word for word in words if not word.startswith("-")][
        : 2 if words[0] in ("pip", "tool") else 1
    ]
    try:
        helped = subprocess.run([SETTINGS["uv"], *subcommand, "--help"], capture_output=True, text=True)
    except (OSError, TypeError):
        return 0
    if helped.returncode:
        return fail(f"uv {' '.join(subcommand)}: {helped.stderr.strip()}")
    unknown = [w for w in words if w.startswith("--") and w.partition("=")[0] not in helped.stdout]
    return fail(f"uv {' '.join(subcommand)}: no option {unknown[0]}") if unknown else 0


def script(name: str, words: list[str]) -> int:
    """A script with dependencies of its own: it is there, and its help names every option that it is given."""
    file = Path(SETTINGS["root"]) / name
    if not file.is_file():
        return fail(f"no {name} in this project")
    helped = subprocess.run([sys.executable, "-S", file, "--help"], capture_output=True, text=True)
    if helped.returncode:
        return fail(f"{name} --help: {helped.stderr.strip()}")
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in helped.stdout]
    return fail(f"{name} has no option {unknown[0]}") if unknown else 0


# Commands of this environment ---------------------------------------------------------------------------------


def start(name: str, words: list[str]) -> int:
    if name not in OURS:
        say(f"error: Failed to spawn: `{name}`\n  Caused by: No such file or directory (os error 2)")
        return 2
    if "elsewhere" in TAGS:
        note(name, words, "dry")
        return dry(name, words)
    if "hub" in TAGS:
        hub_models(words)
    if "inside" in TAGS:  # started by torchrun or srun, which are in the journal
        return forked(name, words)
    if name == "torchrun":
        return torchrun(words)
    return forked(name, at_a_free_port(words) if name == "demo" and words[:1] != ["audit"] else words)


def at_a_free_port(words: list[str]) -> list[str]:
    """A page is served on this machine only, and where no other test serves."""
    kept = list(words)
    if kept[:1] == ["password"]:
        return kept
    for option, value in (("--port", str(SETTINGS["port"])), ("--host", "127.0.0.1")):
        if option in kept:
            kept[kept.index(option) + 1] = value
        elif option == "--port":
            kept += [option, value]
    return kept


def hub_models(words: list[str]) -> None:
    """A model of a hub is a directory of that name here: the base's copy."""
    for word in words:
        for name in re.findall(r"(?:^|=)([\w-]+/[\w.-]+)(?=$|,)", word):
            if not Path(name).exists() and not Path(name).parent.exists():
                shutil.copytree(Path(SETTINGS["template"]) / "BASE", name)


def torchrun(words: list[str]) -> int:
    """torchrun itself, with 2 processes for 8 GPUs; several nodes are several torchruns here."""
    line = " ".join(words)
    nodes = int(found[1]) if (found := re.search(r"--nnodes[= ](\d+)", line)) else 1
    if nodes > 1:
        need("cluster", "torchrun --nnodes")
    elif "cluster" not in TAGS:
        need("gpu", "torchrun")
    line = re.sub(r"(--nproc-per-node[= ])\d+", rf"\g<1>{1 if nodes > 1 else 2}", line)
    line = re.sub(r"(--rdzv-endpoint[= ])\S+", rf"\g<1>127.0.0.1:{SETTINGS['port']}", line)
    note("torchrun", words, f"run as: torchrun {line}")
    # Its workers too are forked; and several torchruns at once need no port in common.
    os.environ["PYTHON_EXEC"] = str(Path(SETTINGS["programs"]) / "environment" / "python")
    if "--rdzv-endpoint" not in line:
        line = f"--master-port {SETTINGS['port']} {line}"
    return together([(dict(os.environ), ["torchrun", *line.split()])] * nodes)


def together(commands: list[tuple[dict[str, str], list[str]]], tags: str = "inside") -> int:
    """Start all, wait for all; the first code that is not 0."""
    environment = Path(SETTINGS["programs"]) / "environment"
    quiet = {"DOCUMENTS_TAGS": " ".join([*TAGS, tags] if tags else [])}
    running = [
        subprocess.Popen(
            [environment / words[0] if words[0] in OURS else words[0], *words[1:]], env=known | quiet
        )
        for known, words in commands
    ]
    codes = [process.wait() for process in running]
    return next((code for code in codes if code), 0)


def forked(name: str, words: list[str]) -> int:
    """By the fork server; by itself where a switch is read before anything is imported."""
    # As `uv run` does; and what a command starts by itself (lm_eval asks git) is no command of the page.
    path = [part for part in os.environ["PATH"].split(":") if not part.startswith(SETTINGS["programs"])]
    path = [str(Path(SETTINGS["python"]).parent), *path]
    known = os.environ | {"PATH": ":".join(path)}
    if any(switch in os.environ for switch in SWITCHES_READ_AT_START):
        process = subprocess.Popen([Path(SETTINGS["python"]).with_name(name), *words], env=known)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches both; the command decides
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
        took = resource.getrusage(resource.RUSAGE_CHILDREN)
        note(name, words, "run", took.ru_utime + took.ru_stime)
        return code if code >= 0 else 128 - code
    asked = {"name": name, "arguments": words, "folder": str(Path.cwd()), "environment": known}
    message = json.dumps(asked).encode()
    if SETTINGS["input"] and os.fstat(0).st_ino == Path(SETTINGS["input"]).stat().st_ino:
        os.lseek(0, 0, os.SEEK_SET)  # each command is typed to anew
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SETTINGS["socket"])
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(message)
        answers = connection.makefile()
        pid = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: os.kill(pid, received))
        told, _, used = answers.readline().partition(" ")
    note(name, words, "run" if "inside" not in TAGS else "inside", float(used or 0))
    status = int(told or -9)
    return status if status >= 0 else 128 - status


# Slurm --------------------------------------------------------------------------------------------------------


def sbatch(words: list[str]) -> int:
    """Runs the script at once, with the variables of one node and two tasks."""
    file = Path(words[-1])
    asked = " ".join(re.findall(r"^#SBATCH (.*)$", file.read_text(), re.MULTILINE)) + " " + " ".join(words)
    nodes = 2 if re.search(r"(--nodes|-N)[= ]([2-9]|\d\d)", asked) else 1
    job = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "node[1-2]" if nodes > 1 else "node1",
        "SLURM_NTASKS": "2",
    }
    job |= {"SLURM_NNODES": str(nodes), "SLURM_NTASKS_PER_NODE": str(2 // nodes), "SLURM_CPUS_PER_TASK": "1"}
    sys.stdout.write("Submitted batch job 1\n")
    sys.stdout.flush()
    return subprocess.run(["bash", file, *words[len(words) :]], env=os.environ | job).returncode


def srun(words: list[str]) -> int:
    """Two tasks at once, with what Slurm tells each."""
    while words[0].startswith("-"):
        option = words.pop(0)
        if "=" not in option and not option[1:].isalpha() and not words[0].startswith("-"):
            words.pop(0)
    tasks = int(os.environ.get("SLURM_NTASKS", "2"))
    here = int(os.environ.get("SLURM_NTASKS_PER_NODE", "1"))
    port = {"MASTER_PORT": str(SETTINGS["port"])} if "MASTER_PORT" in os.environ else {}
    known = [
        os.environ
        | port
        | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n % here), "SLURM_NODEID": str(n // here)}
        for n in range(tasks)
    ]
    return together([(one, words) for one in known])


def scontrol(words: list[str]) -> int:
    if words[:2] != ["show", "hostnames"]:
        return fail(f"scontrol {' '.join(words)}: only `show hostnames` is known")
    sys.stdout.write("127.0.0.1\n" * int(os.environ.get("SLURM_NNODES", "1")))
    return 0


# Programs of others -------------------------------------------------------------------------------------------


def dry(name: str, words: list[str]) -> int:
    """Not run: every argument that names a file names one that is here; what it would write is there afterwards."""
    for path in re.findall(r"(?:^|[ ,])(?:pretrained|peft|model|data)=([^, ]+)", " ".join(words)):
        if not Path(path).exists() and "hub" not in TAGS:
            return fail(f"{name}: {path} is not there")
    before = name
    for word in words if not words[:1] or not words[0].startswith("llama.cpp") else words[1:]:
        path = word.partition("=")[2] if word.startswith("--") and "=" in word else word
        if before in OUTPUTS:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
        elif names_a_file(path, before) and "hub" not in TAGS and not Path(path).expanduser().exists():
            return fail(f"{name}: {path} is not there")
        if before == "-f" and name == "ollama":
            base = re.search(r"^FROM (\S+)", Path(path).read_text(), re.MULTILINE)
            if not base or not (Path(path).parent / base[1]).exists():
                return fail(f"{path}: what it is made FROM is not there")
        before = word
    return 0


def names_a_file(word: str, before: str) -> bool:
    """Whether an argument is a path: after `serve` and `-f`, by its slash, or by its ending."""
    if word.startswith("-") or "://" in word or before == "--output_path":
        return False
    return "/" in word or word.endswith((".py", ".gguf", ".yaml", ".jsonl")) or before in ("serve", "-f")


def download(name: str, words: list[str]) -> int:
    """`hf download OWNER/NAME --local-dir DIR` brings the base's copy; git and pip bring nothing."""
    if name == "hf" and words[:1] == ["download"]:
        to = words[words.index("--local-dir") + 1] if "--local-dir" in words else words[1]
        source = "meadow" if "dataset" in words else "BASE"
        shutil.copytree(Path(SETTINGS["template"]) / source, to, dirs_exist_ok=True)
    return 0
