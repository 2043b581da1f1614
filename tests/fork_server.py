"""One process that has imported what our commands import, and is forked for each of them.

A command takes seconds to import torch, transformers, peft and lm_eval, and documentation has a hundred commands.
Started as `python fork_server.py SOCKET`; `stand_in_programs.py` speaks to it. What runs is the console script's own
entry point with its own arguments, folder, environment and files; what differs is that libraries are loaded already.
Nothing here may start a thread: a fork takes only the one that forks along. Polars starts some, so it is not here.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

LOADED = (
    "torch",
    "torch.distributed.run",
    "transformers.models.llama.modeling_llama",
    "transformers.generation",
    "peft",
    "bitsandbytes",
    "lm_eval.__main__",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "gradio",
    "rich.console",
)


def main(where: str) -> None:
    """Serve until killed; returns only in a child, which is then the command."""
    for name in LOADED:
        importlib.import_module(name)
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    others = [name for name in threads if name != "jemalloc_bg_thd"]  # an allocator's, which knows of forks
    assert len(others) == 1, f"threads that a fork would lose: {threads}"
    assert "polars" not in sys.modules
    list_tasks_once()
    gc.freeze()  # what a child would collect it would have to copy first
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(where)
        server.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print("ready", flush=True)  # noqa: T201 - to whoever started it
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                break
            connection.close()
    name, arguments = keep(connection)
    end(lambda: run(name, arguments))


def list_tasks_once() -> None:
    """lm_eval reads ten thousand files to know its own tasks, whatever is asked; read them before the fork."""
    import lm_eval.tasks
    from lm_eval.tasks import _index

    own, read, known = Path(lm_eval.tasks.__file__).parent, _index.load_yaml, {}

    def load_yaml(path: Path, **options: object) -> object:
        if not Path(path).is_relative_to(own):
            return read(path, **options)
        key = (path, *sorted(options.items()))
        if key not in known:
            known[key] = read(path, **options)
        return known[key]

    _index.load_yaml = load_yaml
    _index.TaskIndex.build([own])


def keep(connection: socket.socket) -> tuple[str, list[str]]:
    """Fork the command and tell its process id and its end. Returns in the command itself only."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        asked = json.loads(stream.read(int.from_bytes(length, "big")))
    pid = os.fork()
    if pid == 0:
        connection.close()
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        random.seed()
        return asked["name"], asked["arguments"]
    connection.sendall(b"%d\n" % pid)
    ready, _, _ = select.select([connection.fileno(), os.pidfd_open(pid)], [], [])
    if connection.fileno() in ready:  # whoever asked is gone
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    connection.sendall(b"%d %.2f\n" % (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime))
    os._exit(0)


def end(call: Callable[[], None]) -> NoReturn:
    """Call, and end as an interpreter does, without taking the libraries to pieces: that alone is two seconds."""
    code: object = 0
    try:
        call()
    except SystemExit as exit_:
        code = exit_.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def run(name: str, arguments: list[str]) -> None:
    """What the console script, or `python`, would do with these arguments."""
    script = str(Path(sys.executable).with_name(name))
    if name == "python":
        words = iter([word for word in arguments if word != "-u"])
        python(next(words), words)
        return
    if [name, *arguments[:1]] == ["data", "fetch"]:
        from stand_in_hub import serve_downloads

        serve_downloads()
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    [entry] = {point.value: point for point in entry_points(group="console_scripts", name=name)}.values()
    sys.exit(entry.load()())


def python(first: str, words: Iterator[str]) -> None:
    """`python -c CODE`, `python -m MODULE` or `python FILE`."""
    if first in ("-c", "-m"):
        what, sys.path[0] = next(words), ""
        sys.argv = [first, *words]
        if first == "-c":
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is asked to
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *words], str(Path(first).absolute().parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
