"""Several processes learn what one does: the same losses and weights, in the same run directory, and they end together.

The processes are real and talk over gloo; they are forked, so that they need not import everything anew.
"""

from __future__ import annotations

import atexit
import io
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from medalpaca_data.core.errors import UserError
from medalpaca_train import cli, loop
from medalpaca_train.distributed import share
from medalpaca_train.estimate import Estimate
from medalpaca_train.process_group import ALONE, World, find_world
from medalpaca_train.tokenize import Sample
from medalpaca_train.trackers import read_journal

Go = Callable[..., tuple[Path, str]]
PATIENCE = 240  # seconds until processes that hang are killed; the machine may be busy


@dataclass
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def _process(
    rank: int, size: int, port: int, words: Sequence[str], folder: Path, before: Callable[[int], None]
) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TOKENIZERS_PARALLELISM="false",
    )  # fmt: skip
    for place, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), place)
    sys.stdout, sys.stderr = io.open(1, "w", closefd=False), io.open(2, "w", closefd=False)  # noqa: UP020, SIM115
    sys.argv = ["train", *words]
    # A forked process runs no exit handlers by itself: its own are run below, and not pytest's.
    atexit._clear()
    before(rank)
    try:
        cli.entry()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()


@pytest.fixture
def together(settings: dict[str, Any], tmp_path: Path) -> Callable[..., list[Ended]]:
    """Train with changed settings in several processes; returns how each ended."""

    def call(
        *, size: int = 2, before: Callable[[int], None] = lambda rank: None, **changes: Any
    ) -> list[Ended]:
        recipe = tmp_path / "together.yaml"
        # Said, so that nothing is looked for: the sieve's threads (polars) would not survive the fork.
        recipe.write_text(yaml.safe_dump({"patient_text": False} | settings | changes))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("fork")
        processes = [
            context.Process(target=_process, args=(rank, size, port, [str(recipe)], tmp_path, before))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            process.join(max(0, deadline - time.monotonic()))
        hung = [process for process in processes if process.is_alive()]
        for process in hung:
            process.kill()
            process.join()
        ended = [
            Ended(p.exitcode or 0, *((tmp_path / f"{rank}.{end}").read_text() for end in ("out", "err")))
            for rank, p in enumerate(processes)
        ]
        assert not hung, ended
        return ended

    return call


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = run.glob("*model.safetensors")
    return load_file(file)


def assert_same(run: Path, whole: Path, most: float = 1e-6) -> None:
    """Every loss of every step and validation, every gradient norm, every weight."""
    one, two = read_journal(whole / "metrics.jsonl"), read_journal(run / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in one] == [(line["kind"], line["step"]) for line in two]
    for here, there in zip(one, two, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=most)
        # torch's sum of squares of a large fp32 matrix is off by 1e-5 itself, and by less over each half of it.
        assert there.get("grad_norm", 0) == pytest.approx(here.get("grad_norm", 0), rel=max(most, 1e-5))
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert ours[name].dtype == weight.dtype
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=most)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}


def assert_went_well(ended: list[Ended]) -> None:
    assert [end.code for end in ended] == [0] * len(ended), ended
    assert not any(end.err for end in ended), ended
    assert not any(end.out for end in ended[1:]), ended


# Three micro-batches a step, the last step of an epoch has one: never as many for both.
UNEVEN = {"batch_tokens": 128, "accumulate": 3}


@pytest.mark.parametrize(("method", "shard"), [("lora", "none"), ("full", "full")])
def test_two_processes_learn_what_one_does(
    go: Go, together: Callable[..., list[Ended]], tmp_path: Path, base: Path, method: str, shard: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    changes = {**UNEVEN, "epochs": 1, "method": method, "lora": {"r": 4, "alpha": 8, "dropout": 0.2}}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    ended = together(**changes, shard=shard)
    assert_went_well(ended)
    run = tmp_path / "run"
    assert_same(run, whole)
    said = ended[0].out
    held = "the whole model in each (DDP)" if shard == "none" else "a share of every weight in each (FSDP2)"
    assert f"2 processes, 2 on this node, over gloo: {held}" in said
    assert json.loads((run / "manifest.json").read_text())["hardware"]["processes"] == 2
    if method == "lora":
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run)
    else:
        AutoModelForCausalLM.from_pretrained(run)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "full"},
        {"lora": {"r": 3, "alpha": 8, "dropout": 0.3}, "eval_every": 2},
        {"lora": {"r": 4, "alpha": 8, "use_dora": True}},
        {"method": "full", "checkpointing": "always"},
        {"checkpointing": "always"},
        {"method": "full", "batch_rows": 7, "max_grad_norm": 0.1},
        {"method": "full", "model": "pocket", "max_steps": 3, "learning_rate": 1e-4},  # tied weights
    ],
    ids=str,
)
def test_however_they_learn(
    go: Go, together: Callable[..., list[Ended]], tmp_path: Path, changes: dict[str, Any], shard: str
) -> None:
    changes = UNEVEN | {"epochs": 2} | changes
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    assert_went_well(together(**changes, shard=shard))
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_processes_without_work_do_not_change_the_sum(
    go: Go, together: Callable[..., list[Ended]], tmp_path: Path, shard: str
) -> None:
    changes: dict[str, Any] = {"method": "full", "epochs": 1, "accumulate": 1}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    ended = together(size=3, **changes, shard=shard)
    assert_went_well(ended)
    assert_same(tmp_path / "run", whole)
    assert "only 1 of 3 processes have work" in ended[0].out
    assert "accumulate=3 makes more" in ended[0].out


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_bf16(go: Go, together: Callable[..., list[Ended]], tmp_path: Path, shard: str) -> None:
    changes: dict[str, Any] = {**UNEVEN, "epochs": 2, "precision": "bf16"}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    assert_went_well(together(**changes, shard=shard))
    assert_same(tmp_path / "run", whole, most=1e-3)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_model_that_cannot_be_packed(
    together: Callable[..., list[Ended]], go: Go, tmp_path: Path, tokenizer: Any, shard: str
) -> None:
    """Rows are padded in groups then, of which the processes have different numbers."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(2)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    changes: dict[str, Any] = {**UNEVEN, "epochs": 1, "model": str(tmp_path / "gemma"), "method": "full"}
    whole, said = go(out=str(tmp_path / "whole"), **changes)
    assert "slower path" in said
    assert_went_well(together(**changes, shard=shard))
    assert_same(tmp_path / "run", whole)


def dying(number: int, how: Callable[[], None]) -> Callable[[int], None]:
    """For `before`: process 1 does `how` before step `number` (from 0). The change stays in that process."""
    step = loop.Trainer._step

    def stepping(self: loop.Trainer, at: int, *others: Any) -> dict[str, Any]:
        if at == number:
            how()
        return step(self, at, *others)

    def before(rank: int) -> None:
        if rank == 1:
            loop.Trainer._step = stepping  # type: ignore[method-assign]

    return before


@pytest.mark.slow  # several trainings
@pytest.mark.parametrize(
    ("first", "second"),
    [((2, "full"), (1, "none")), ((2, "full"), (3, "full")), ((3, "none"), (2, "full"))],
    ids=str,
)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_and_continued_by_another_number(
    go: Go,
    together: Callable[..., list[Ended]],
    tmp_path: Path,
    method: str,
    first: tuple[int, str],
    second: tuple[int, str],
) -> None:
    changes: dict[str, Any] = {**UNEVEN, "method": method, "eval_every": 3}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    before = dying(6, lambda: os.kill(os.getpid(), signal.SIGKILL))
    ended = together(size=first[0], shard=first[1], before=before, **changes)
    assert ended[1].code == -signal.SIGKILL
    assert [end.code for end in ended if end is not ended[1]] == [1] * (first[0] - 1)
    # One of those that are left speaks, in one line.
    assert "".join(end.err for end in ended) == (
        "error: another process of this run has ended; the same command continues\n"
    )
    if second[0] == 1:
        _, said = go(**changes)
    else:
        ended = together(size=second[0], shard=second[1], **changes)
        assert_went_well(ended)
        said = ended[0].out
    assert f"resuming from step 4 of 16, saved by {first[0]} and continued by {second[0]} process" in said
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_stops_all_and_saves_once(
    go: Go,
    together: Callable[..., list[Ended]],
    tmp_path: Path,
    sent: signal.Signals,
    shard: str,
) -> None:
    changes: dict[str, Any] = {**UNEVEN, "method": "full", "shard": shard}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    ended = together(before=dying(5, lambda: os.kill(os.getpid(), sent)), **changes)
    assert [end.code for end in ended] == [0 if sent == signal.SIGTERM else 130] * 2, ended
    assert ended[0].out.count("saved at step 6 of 16; the same command continues") == 1
    assert "".join(end.err for end in ended) == ("" if sent == signal.SIGTERM else "interrupted\n")
    ended = together(**changes)
    assert_went_well(ended)
    assert "resuming from step 6 of 16\n" in ended[0].out
    assert_same(tmp_path / "run", whole)


def test_an_error_that_all_meet_is_said_once(together: Callable[..., list[Ended]]) -> None:
    ended = together(data="/no/where.json")
    assert [end.code for end in ended] == [2, 2]
    assert ended[0].err == "error: /no/where.json: no such data file or directory\n"
    assert ended[1].err == ""


@pytest.mark.slow  # imports, and waits to hear whether the first meets it too
def test_an_error_that_one_meets_is_said_by_that_one(
    together: Callable[..., list[Ended]], tmp_path: Path, data: Path
) -> None:
    def elsewhere(rank: int) -> None:
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        (folder / "rows.json").write_text(data.read_text() if rank == 0 else "[]")
        os.chdir(folder)

    ended = together(data="rows.json", before=elsewhere)
    assert [end.code for end in ended] == [2, 2], ended
    assert "".join(end.err for end in ended).count("\n") == 1
    assert ended[1].err.startswith("error: process 1 of 2: ")


@pytest.mark.slow  # a training
def test_other_data_on_another_node_is_refused(
    together: Callable[..., list[Ended]], tmp_path: Path, data: Path
) -> None:
    def elsewhere(rank: int) -> None:
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        rows = data.read_text()
        (folder / "rows.json").write_text(rows if rank == 0 else rows.replace("pain", "paint"))
        os.chdir(folder)

    ended = together(data="rows.json", before=elsewhere)
    assert [end.code for end in ended] == [2, 2], ended
    assert [end.err for end in ended] == [
        "error: data= is not the same for process 1 as for the first; give a place that all nodes share\n",
        "",
    ]


@pytest.mark.slow  # two trainings
@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_full_disk_ends_all(together: Callable[..., list[Ended]], tmp_path: Path, shard: str) -> None:
    def small(rank: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    ended = together(method="full", shard=shard, before=small)
    assert [end.code for end in ended] == [2, 2], ended
    assert "the checkpoint of step 4 cannot be written" in ended[0].err
    assert ended[0].err.count("\n") == 1
    assert ended[1].err == ""
    assert_went_well(together(method="full", shard=shard))


@pytest.mark.slow  # a training
def test_a_loss_that_is_no_number_is_said_once(together: Callable[..., list[Ended]]) -> None:
    ended = together(method="full", learning_rate=1e30, warmup=0, max_grad_norm=1e30)
    assert [end.code for end in ended] == [2, 2], ended
    assert "look at these rows or lower learning_rate" in ended[0].err
    assert [end.err.count("\n") for end in ended] == [1, 0]


@pytest.mark.slow  # two trainings
def test_a_finished_run_is_left_alone_and_a_held_one_refused(
    go: Go, together: Callable[..., list[Ended]], tmp_path: Path
) -> None:
    from medalpaca_train.run_dir import alone

    with alone(tmp_path / "run"):
        ended = together(max_steps=2)
    assert [end.code for end in ended] == [2, 2], ended
    assert ended[0].err.startswith("error: another train is running in")
    assert ended[1].err == ""
    go(max_steps=2)
    ended = together(max_steps=2)
    assert_went_well(ended)
    assert "is a finished run of this recipe; nothing to do" in ended[0].out


@given(
    st.lists(st.lists(st.integers(2, 60), min_size=1, max_size=5), min_size=1, max_size=9),
    st.integers(1, 5),
)
def test_shares_are_equally_many_and_count_every_row_once(steps: list[list[int]], size: int) -> None:
    import numpy as np

    flat = [length for lengths in steps for length in lengths]
    samples = [Sample(str(n), np.zeros(length, np.int32), 1) for n, length in enumerate(flat)]
    ends = np.cumsum([0, *map(len, steps)])
    micro = [list(range(a, b)) for a, b in pairwise(ends)]

    def parts(rows: Sequence[Sample]) -> list[list[Sample]]:
        return [[row] for row in rows if row.length > 30] + [[row for row in rows if row.length <= 30]]

    shares = [share(micro, samples, parts, World(rank, size)) for rank in range(size)]
    assert len({len(parts) for parts in shares}) == 1
    counted = [s.row_id for parts in shares for part in parts if part.counted for s in part.samples]
    assert sorted(counted, key=int) == [sample.row_id for sample in samples]
    assert all(part.samples for parts in shares for part in parts if not part.counted)


def test_the_estimate_of_one_among_several() -> None:
    guess = Estimate(weights=160, training=480, activations=70, checkpointed=7, seconds=80.0, free=1000)
    world, cpu, gpu = World(0, 8, 0, 4), torch.device("cpu"), torch.device("cuda")
    assert guess.shared(ALONE, cpu, sharded=True) == guess
    assert guess.shared(world, cpu, sharded=False).total(checkpointing=False) == 710
    assert guess.shared(world, cpu, sharded=True).total(checkpointing=False) == 150
    assert [guess.shared(world, on, sharded=True).free for on in (cpu, gpu)] == [250, 1000]
    assert guess.shared(world, cpu, sharded=False).seconds == 10


def test_who_we_are() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    where = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert find_world(torchrun | where) == World(3, 4, 1, 2)
    assert find_world({}) == find_world({"RANK": "0", "WORLD_SIZE": "1"}) == ALONE
    assert find_world({"RANK": "1", "WORLD_SIZE": "2", **where}) == World(1, 2, 1, 2)
    with pytest.raises(UserError, match="MASTER_PORT is not set; start with torchrun"):
        find_world(torchrun | {"MASTER_ADDR": "node1"})
    with pytest.raises(UserError, match=r"RANK=4 of WORLD_SIZE=4.*not possible"):
        find_world(torchrun | where | {"RANK": "4"})
    with pytest.raises(UserError, match="invalid literal"):
        find_world(torchrun | where | {"RANK": "one"})
