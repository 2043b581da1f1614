"""Several processes learn what one process learns: the same losses, weights and files; and they all end together.

The processes are real and communicate over gloo. They are forked, so that they need not import everything again.
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
from medalpaca_train.distributed import assign_work
from medalpaca_train.estimate import Estimate
from medalpaca_train.process_group import SINGLE_PROCESS, ProcessGroup, read_process_group
from medalpaca_train.tokenize import Sample
from medalpaca_train.trackers import read_metrics

RunTraining = Callable[..., tuple[Path, str]]
# Seconds until hanging processes are killed; the machine may be busy.
TIMEOUT = 240


@dataclass
class ProcessResult:
    """Exit code and output of a process."""

    code: int
    out: str
    err: str


TrainProcesses = Callable[..., list[ProcessResult]]


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
    # A forked process runs no exit handlers: its own are run below, and pytest's are not.
    atexit._clear()
    before(rank)
    try:
        cli.entry()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()


@pytest.fixture
def train_processes(settings: dict[str, Any], tmp_path: Path) -> TrainProcesses:
    """Train `settings` with changes in several processes; return the result of each."""

    def call(
        *, size: int = 2, before: Callable[[int], None] = lambda rank: None, **changes: Any
    ) -> list[ProcessResult]:
        recipe = tmp_path / "train_processes.yaml"
        # Set, so that rows are not searched for identifiers: the threads of polars do not survive a fork.
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
        deadline = time.monotonic() + TIMEOUT
        for process in processes:
            process.join(max(0, deadline - time.monotonic()))
        hung = [process for process in processes if process.is_alive()]
        for process in hung:
            process.kill()
            process.join()
        results = [
            ProcessResult(
                p.exitcode or 0, *((tmp_path / f"{rank}.{end}").read_text() for end in ("out", "err"))
            )
            for rank, p in enumerate(processes)
        ]
        assert not hung, results
        return results

    return call


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = run.glob("*model.safetensors")
    return load_file(file)


def assert_same(run: Path, reference: Path, most: float = 1e-6) -> None:
    """Compare every loss, gradient norm and weight."""
    one, two = read_metrics(reference / "metrics.jsonl"), read_metrics(run / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in one] == [(line["kind"], line["step"]) for line in two]
    for here, there in zip(one, two, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=most)
        # torch's sum of squares of a large fp32 matrix is off by 1e-5 itself, and by less over each half of it.
        assert there.get("grad_norm", 0) == pytest.approx(here.get("grad_norm", 0), rel=max(most, 1e-5))
    own, expected = weights(run), weights(reference)
    assert own.keys() == expected.keys()
    for name, weight in expected.items():
        assert own[name].dtype == weight.dtype
        torch.testing.assert_close(own[name], weight, rtol=0, atol=most)
    assert {path.name for path in run.iterdir()} == {path.name for path in reference.iterdir()}


def assert_success(results: list[ProcessResult]) -> None:
    assert [result.code for result in results] == [0] * len(results), results
    assert not any(result.err for result in results), results
    assert not any(result.out for result in results[1:]), results


# Three micro-batches per step, one in the last step of an epoch: the two processes never have equally many.
UNEVEN = {"batch_tokens": 128, "accumulate": 3}


@pytest.mark.parametrize(("method", "shard"), [("lora", "none"), ("full", "full")])
def test_two_processes_learn_what_one_learns(
    run_training: RunTraining,
    train_processes: TrainProcesses,
    tmp_path: Path,
    base: Path,
    method: str,
    shard: str,
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    changes = {**UNEVEN, "epochs": 1, "method": method, "lora": {"r": 4, "alpha": 8, "dropout": 0.2}}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    results = train_processes(**changes, shard=shard)
    assert_success(results)
    run = tmp_path / "run"
    assert_same(run, reference)
    output = results[0].out
    held = "the whole model in each (DDP)" if shard == "none" else "a share of every weight in each (FSDP2)"
    assert f"2 processes, 2 on this node, over gloo: {held}" in output
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
def test_all_methods_with_two_processes(
    run_training: RunTraining,
    train_processes: TrainProcesses,
    tmp_path: Path,
    changes: dict[str, Any],
    shard: str,
) -> None:
    changes = UNEVEN | {"epochs": 2} | changes
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    assert_success(train_processes(**changes, shard=shard))
    assert_same(tmp_path / "run", reference)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_processes_without_work_do_not_change_the_sum(
    run_training: RunTraining, train_processes: TrainProcesses, tmp_path: Path, shard: str
) -> None:
    changes: dict[str, Any] = {"method": "full", "epochs": 1, "accumulate": 1}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    results = train_processes(size=3, **changes, shard=shard)
    assert_success(results)
    assert_same(tmp_path / "run", reference)
    assert "only 1 of 3 processes have work" in results[0].out
    assert "accumulate=3 makes more" in results[0].out


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_bf16(run_training: RunTraining, train_processes: TrainProcesses, tmp_path: Path, shard: str) -> None:
    changes: dict[str, Any] = {**UNEVEN, "epochs": 2, "precision": "bf16"}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    assert_success(train_processes(**changes, shard=shard))
    assert_same(tmp_path / "run", reference, most=1e-3)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_model_that_cannot_be_packed(
    train_processes: TrainProcesses,
    run_training: RunTraining,
    tmp_path: Path,
    tokenizer: Any,
    shard: str,
) -> None:
    """Rows are padded in groups, and the processes have different numbers of groups."""
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
    reference, output = run_training(out=str(tmp_path / "reference"), **changes)
    assert "slower path" in output
    assert_success(train_processes(**changes, shard=shard))
    assert_same(tmp_path / "run", reference)


def save_model_with_idle_weights(name: str, folder: Path, tokenizer: Any) -> Path:
    """Save a model of which some weights get no gradient from text, or none from a few tokens."""
    import transformers

    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    torch.manual_seed(1)
    if name == "mixtral":
        config = transformers.MixtralConfig(**text, **heads, num_local_experts=8, num_experts_per_tok=1)
    else:
        config = transformers.Gemma3Config(
            text_config=text | heads | {"head_dim": 16},
            vision_config=text | heads | {"image_size": 28, "patch_size": 14},
            mm_tokens_per_image=4,
        )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "mixtral"])
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("shard", ["none", "full"])
def test_weights_without_a_gradient_end_no_process(
    run_training: RunTraining,
    train_processes: TrainProcesses,
    tmp_path: Path,
    tokenizer: Any,
    name: str,
    method: str,
    shard: str,
) -> None:
    base = save_model_with_idle_weights(name, tmp_path / "base", tokenizer)
    changes = {**UNEVEN, "model": str(base), "epochs": 1, "method": method, "learning_rate": 1e-3}
    reference, _ = run_training(**changes, out=str(tmp_path / "reference"))
    assert_success(train_processes(**changes, shard=shard))
    assert_same(tmp_path / "run", reference, most=2e-5)


def in_process_1(number: int, action: Callable[[], None]) -> Callable[[int], None]:
    """Return a value for `before`: process 1 calls `action` before step `number` (from 0)."""
    step = loop.Trainer._step

    def stepping(self: loop.Trainer, at: int, *others: Any) -> dict[str, Any]:
        if at == number:
            action()
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
    run_training: RunTraining,
    train_processes: TrainProcesses,
    tmp_path: Path,
    method: str,
    first: tuple[int, str],
    second: tuple[int, str],
) -> None:
    changes: dict[str, Any] = {**UNEVEN, "method": method, "eval_every": 3}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    before = in_process_1(6, lambda: os.kill(os.getpid(), signal.SIGKILL))
    results = train_processes(size=first[0], shard=first[1], before=before, **changes)
    assert results[1].code == -signal.SIGKILL
    assert [result.code for result in results if result is not results[1]] == [1] * (first[0] - 1)
    # Exactly one of the remaining processes prints one line.
    assert "".join(result.err for result in results) == (
        "error: another process of this run has ended; the same command continues\n"
    )
    if second[0] == 1:
        _, output = run_training(**changes)
    else:
        results = train_processes(size=second[0], shard=second[1], **changes)
        assert_success(results)
        output = results[0].out
    assert f"resuming from step 4 of 16, saved by {first[0]} and continued by {second[0]} process" in output
    assert_same(tmp_path / "run", reference)


@pytest.mark.slow  # two trainings each
@pytest.mark.parametrize("shard", ["none", "full"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_stops_all_and_saves_once(
    run_training: RunTraining,
    train_processes: TrainProcesses,
    tmp_path: Path,
    sent: signal.Signals,
    shard: str,
) -> None:
    changes: dict[str, Any] = {**UNEVEN, "method": "full", "shard": shard}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    results = train_processes(before=in_process_1(5, lambda: os.kill(os.getpid(), sent)), **changes)
    assert [result.code for result in results] == [0 if sent == signal.SIGTERM else 130] * 2, results
    assert results[0].out.count("saved at step 6 of 16; the same command continues") == 1
    assert "".join(result.err for result in results) == ("" if sent == signal.SIGTERM else "interrupted\n")
    results = train_processes(**changes)
    assert_success(results)
    assert "resuming from step 6 of 16\n" in results[0].out
    assert_same(tmp_path / "run", reference)


def test_error_of_all_processes_is_printed_once(train_processes: TrainProcesses) -> None:
    results = train_processes(data="/no/where.json")
    assert [result.code for result in results] == [2, 2]
    assert results[0].err == "error: /no/where.json: no such data file or directory\n"
    assert results[1].err == ""


@pytest.mark.slow  # imports, and waits for the main process's error
def test_error_of_one_process_is_printed_by_it(
    train_processes: TrainProcesses, tmp_path: Path, data: Path
) -> None:
    def change_directory(rank: int) -> None:
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        (folder / "rows.json").write_text(data.read_text() if rank == 0 else "[]")
        os.chdir(folder)

    results = train_processes(data="rows.json", before=change_directory)
    assert [result.code for result in results] == [2, 2], results
    assert "".join(result.err for result in results).count("\n") == 1
    assert results[1].err.startswith("error: process 1 of 2: ")


@pytest.mark.slow  # a training
def test_other_data_on_another_node_is_refused(
    train_processes: TrainProcesses, tmp_path: Path, data: Path
) -> None:
    def change_directory(rank: int) -> None:
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        rows = data.read_text()
        (folder / "rows.json").write_text(rows if rank == 0 else rows.replace("pain", "paint"))
        os.chdir(folder)

    results = train_processes(data="rows.json", before=change_directory)
    assert [result.code for result in results] == [2, 2], results
    assert [result.err for result in results] == [
        "error: data= differs between process 1 and process 0; give a path on a file system that all nodes share\n",
        "",
    ]


@pytest.mark.slow  # two trainings
@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_full_disk_ends_all(train_processes: TrainProcesses, tmp_path: Path, shard: str) -> None:
    def limit_file_size(rank: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    results = train_processes(method="full", shard=shard, before=limit_file_size)
    assert [result.code for result in results] == [2, 2], results
    assert "the checkpoint of step 4 cannot be written" in results[0].err
    assert results[0].err.count("\n") == 1
    assert results[1].err == ""
    assert_success(train_processes(method="full", shard=shard))


@pytest.mark.slow  # a training
def test_loss_that_is_not_finite_is_printed_once(train_processes: TrainProcesses) -> None:
    results = train_processes(method="full", learning_rate=1e30, warmup=0, max_grad_norm=1e30)
    assert [result.code for result in results] == [2, 2], results
    assert "check these rows or lower learning_rate" in results[0].err
    assert [result.err.count("\n") for result in results] == [1, 0]


@pytest.mark.slow  # two trainings
def test_finished_run_is_unchanged_and_locked_run_refused(
    run_training: RunTraining, train_processes: TrainProcesses, tmp_path: Path
) -> None:
    from medalpaca_train.run_dir import run_lock

    with run_lock(tmp_path / "run"):
        results = train_processes(max_steps=2)
    assert [result.code for result in results] == [2, 2], results
    assert results[0].err.startswith("error: another train is running in")
    assert results[1].err == ""
    run_training(max_steps=2)
    results = train_processes(max_steps=2)
    assert_success(results)
    assert "is a finished run of this recipe; nothing to do" in results[0].out


@given(
    st.lists(st.lists(st.integers(2, 60), min_size=1, max_size=5), min_size=1, max_size=9),
    st.integers(1, 5),
)
def test_work_is_balanced_and_counts_every_row_once(steps: list[list[int]], size: int) -> None:
    import numpy as np

    flat = [length for lengths in steps for length in lengths]
    samples = [Sample(str(n), np.zeros(length, np.int32), 1) for n, length in enumerate(flat)]
    ends = np.cumsum([0, *map(len, steps)])
    micro = [list(range(a, b)) for a, b in pairwise(ends)]

    def parts(rows: Sequence[Sample]) -> list[list[Sample]]:
        return [[row] for row in rows if row.length > 30] + [[row for row in rows if row.length <= 30]]

    shares = [assign_work(micro, samples, parts, ProcessGroup(rank, size)) for rank in range(size)]
    assert len({len(parts) for parts in shares}) == 1
    counted = [s.row_id for parts in shares for part in parts if part.counted for s in part.samples]
    assert sorted(counted, key=int) == [sample.row_id for sample in samples]
    assert all(part.samples for parts in shares for part in parts if not part.counted)


def test_estimate_per_process() -> None:
    expected = Estimate(
        weights=160, training_state=480, activations=70, checkpointed=7, seconds=80.0, free=1000
    )
    world, cpu, gpu = ProcessGroup(0, 8, 0, 4), torch.device("cpu"), torch.device("cuda")
    assert expected.per_process(SINGLE_PROCESS, cpu, sharded=True) == expected
    assert expected.per_process(world, cpu, sharded=False).total(checkpointing=False) == 710
    assert expected.per_process(world, cpu, sharded=True).total(checkpointing=False) == 150
    assert [expected.per_process(world, on, sharded=True).free for on in (cpu, gpu)] == [250, 1000]
    assert expected.per_process(world, cpu, sharded=False).seconds == 10


@pytest.mark.parametrize("name", ["RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_of_a_launcher_is_named(name: str, value: str) -> None:
    whole = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "node", "MASTER_PORT": "1"}
    with pytest.raises(UserError, match=f"environment variable {name} is empty"):
        read_process_group(whole | {name: value})
    with pytest.raises(UserError, match=f"environment variable {name} is empty"):
        read_process_group({name: value})


def test_ranks_from_the_environment() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    where = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert read_process_group(torchrun | where) == ProcessGroup(3, 4, 1, 2)
    assert read_process_group({}) == read_process_group({"RANK": "0", "WORLD_SIZE": "1"}) == SINGLE_PROCESS
    assert read_process_group({"RANK": "1", "WORLD_SIZE": "2", **where}) == ProcessGroup(1, 2, 1, 2)
    with pytest.raises(UserError, match="MASTER_PORT is not set; start with torchrun"):
        read_process_group(torchrun | {"MASTER_ADDR": "node1"})
    with pytest.raises(UserError, match=r"RANK=4 with WORLD_SIZE=4.*must be less"):
        read_process_group(torchrun | where | {"RANK": "4"})
    with pytest.raises(UserError, match="invalid literal"):
        read_process_group(torchrun | where | {"RANK": "one"})
