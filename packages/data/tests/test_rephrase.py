"""The rephrase stage with a server in its own process, real shards and real stores."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from rich.console import Console

from medalpaca_data import cost
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_file
from medalpaca_data.core.row import Row
from medalpaca_data.executor import no_progress, run_shard
from medalpaca_data.rephrase.client import RetryPolicy, request_all
from medalpaca_data.rephrase.prompts import Rephrase
from medalpaca_data.shard import Shard, frame, read_account, write_shard
from medalpaca_data.sources.anki import CARD_INSTRUCTION, ONE_GAP_INSTRUCTION, Anki
from medalpaca_data.stages.rephrase import RephraseStage

SERVER = Path(__file__).with_name("rephrase_server.py")
ORGANS = ("kidney", "liver", "spleen", "heart", "lung", "brain", "retina", "cornea", "femur", "tibia")


class Endpoint:
    """The test server, and what it counted."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}/v1"

    def counts(self) -> dict:
        with urllib.request.urlopen(f"{self.base}/counts") as response:
            return json.load(response)

    @property
    def requests(self) -> int:
        return sum(map(len, self.counts()["came"].values()))

    @property
    def answered(self) -> int:
        return sum(self.counts()["answered"].values())


@contextmanager
def server(*flags: str) -> Iterator[Endpoint]:
    process = subprocess.Popen([sys.executable, str(SERVER), *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Endpoint(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


def card(n: int) -> Row:
    organ, other = ORGANS[n % 10], ORGANS[n // 10 % 10]
    front = f"Which dose reaches the {organ} when the {other} has number {n}?"
    return Row(
        instruction=CARD_INSTRUCTION, input=front, output=f"{n} mg reach the {organ}", source_id=f"deck {n}"
    )


def shards(tmp_path: Path, rows: list[Row], source: str = "cards") -> list[Shard]:
    made = []
    for number, start in enumerate(range(0, len(rows), 400)):
        shard = Shard(tmp_path / "before", source, number)
        write_shard(shard, read=len(rows[start : start + 400]), kept=frame(rows[start : start + 400]))
        made.append(shard)
    return made


def settings(*endpoints: str, **keys) -> Rephrase:
    model = {"model": "test"} if endpoints else {}
    return Rephrase(prompts={"cards": "flash_card"}, endpoints=endpoints, **model, **keys)


def stage(config: Rephrase, root: Path) -> RephraseStage:
    return RephraseStage(config, root, [Anki(name="cards", path="deck.apkg")])


def run(config: Rephrase, tmp_path: Path, before: list[Shard], out: str = "after") -> list[Shard]:
    return apply_stage(stage(config, tmp_path), before, tmp_path / out)


def apply_stage(made: RephraseStage, before: list[Shard], folder: Path) -> list[Shard]:
    folder.mkdir(exist_ok=True)
    made.prepare(before, folder, no_progress)
    for shard in before:
        run_shard(made, shard, shard.within(folder))
    return [shard.within(folder) for shard in before]


def rows_of(made: list[Shard]) -> list[dict]:
    return [row for shard in made for row in shard.read().iter_rows(named=True)]


CHILD = """
import sys
from pathlib import Path
from medalpaca_data.core.offline import is_sealed, seal
from medalpaca_data.rephrase.prompts import Rephrase
from medalpaca_data.sources.anki import Anki
from medalpaca_data.executor import run_shard, no_progress
from medalpaca_data.stages.rephrase import RephraseStage
from medalpaca_data.shard import Shard
if is_sealed():
    seal()
root, shards, out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config = Rephrase.model_validate_json(sys.argv[4])
before = [Shard(root / "before", "cards", n) for n in range(shards)]
stage = RephraseStage(config, root, [Anki(name="cards", path="deck.apkg")])
(root / out).mkdir(exist_ok=True)
stage.prepare(before, root / out, no_progress)
for shard in before:
    run_shard(stage, shard, shard.within(root / out))
"""


def start(config: Rephrase, tmp_path: Path, before: list[Shard], out: str) -> subprocess.Popen:
    arguments = [str(tmp_path), str(len(before)), out, config.model_dump_json()]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments])


@pytest.mark.parametrize("cards", [600, pytest.param(6000, marks=pytest.mark.slow)])
def test_faults_and_a_kill_lose_no_row_and_repeat_only_requests_in_flight(tmp_path, cards):
    in_flight = 32
    before = shards(tmp_path, [card(n) for n in range(cards)])
    with server("--faults", "--delay", "0.1") as endpoint:
        config = settings(endpoint.url, concurrency=in_flight, timeout=3)
        child = start(config, tmp_path, before, "after")
        while endpoint.answered < cards / 2:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed = time.time()
        assert endpoint.answered < cards
        made = run(config, tmp_path, before)
        counts = endpoint.counts()
        rows = rows_of(made)
        # No row is lost or doubled, and each has its own answer.
        assert [row["source_id"] for row in rows] == [f"deck {n}" for n in range(cards)]
        assert [(row["instruction"], row["output"]) for row in rows] == [
            (card(n).input, card(n).output) for n in range(cards)
        ]
        assert all(row["input"] == "" and json.loads(row["generator"])["model"] == "test" for row in rows)
        # Every kind of fault occurred, and only requests in flight were sent twice.
        expected = {"429 seconds", "429 date", "500", "stall", "dropped", "malformed"}
        assert (
            set(counts["faults"].values()) >= expected
            if cards > 1000
            else expected & set(counts["faults"].values())
        )
        assert sum(times - 1 for times in counts["answered"].values()) <= in_flight
        # Connections of the killed client may still be open.
        assert counts["most_in_flight"] <= 2 * in_flight
        waited = [
            second - first
            for key, fault in counts["faults"].items()
            if fault.startswith("429")
            for first, second in zip(counts["came"][key], counts["came"][key][1:], strict=False)
            # The killed process could not wait.
            if second < killed or first > killed
        ]
        assert waited
        assert min(waited) >= 1
        # The answers that no parser usage were config for again, with another seed.
        extra = len(counts["answered"]) - cards
        assert extra == sum(json.loads(row["generator"])["seed"] > 0 for row in rows) > 0
        # Another run sends nothing and writes the same bytes.
        again = run(config, tmp_path, before, "again")
        assert endpoint.requests == sum(map(len, counts["came"].values()))
    assert [sha256_file(one.rows) for one in again] == [sha256_file(one.rows) for one in made]


def test_the_store_is_private_and_sums_the_tokens(tmp_path):
    rows = [card(n) for n in range(20)]
    before = shards(tmp_path, [*rows, rows[0]])
    with server() as endpoint:
        config = settings(endpoint.url, price={"input": 1.0, "output": 10.0})
        first = cost.estimate(stage(config, tmp_path), before, tmp_path)
        assert (first.rows, first.requests, first.completed, first.to_send) == (21, 20, 0, 20)
        assert first.cost() < first.cost(most=True)
        assert endpoint.requests == 0
        made = run(config, tmp_path, before)
        # The same card twice is one request.
        assert endpoint.requests == 20
    after = cost.estimate(stage(config, tmp_path), before, tmp_path)
    assert (after.completed, after.to_send, after.cost()) == (20, 0, 0)
    usage = cost.usage(stage(config, tmp_path), before)
    assert (usage.rows, usage.rephrased, usage.totals.completions) == (21, 21, 20)
    assert (usage.totals.prompt_tokens, usage.totals.completion_tokens) == (2000, 400)
    assert usage.cost == pytest.approx(0.002 + 0.004)
    console = Console(record=True, width=100)
    cost.show_estimate(first, console)
    cost.show_usage(usage, console)
    assert "rule of thumb" in console.export_text()
    assert list(cost.estimate_as_json(first)) == [
        "rows", "requests", "settled", "to_send", "counted", "first_prompt_tokens", "first_completion_tokens",
        "most_prompt_tokens", "most_completion_tokens", "price", "first_cost", "most_cost",
    ]  # fmt: skip
    assert cost.estimate_as_json(first)["to_send"] == 20
    assert cost.usage_as_json(usage) == {
        "rows": 21,
        "rephrased": 21,
        "taken": {"answers": 20, "prompt_tokens": 2000, "completion_tokens": 400, "uncounted": 0},
        "refused": {},
        "price": {"input": 1.0, "output": 10.0},
        "cost": usage.cost,
    }
    files = list(paths.cache().glob("answers.sqlite*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert rows_of(made)[0] == rows_of(made)[20]


def test_the_changes_contain_the_original(tmp_path):
    before = shards(tmp_path, [card(1)])
    with server() as endpoint:
        [made] = run(settings(endpoint.url, temperature=0.5), tmp_path, before)
    import polars as pl

    [row] = rows_of([made])
    changes = {entry["field"]: entry for entry in pl.read_parquet(made.changes).iter_rows(named=True)}
    assert {name: entry["before"] for name, entry in changes.items()} == {
        "instruction": CARD_INSTRUCTION,
        "input": card(1).input,
    }
    assert {(entry["id"], entry["was"]) for entry in changes.values()} == {(row["id"], card(1).id)}
    generator = json.loads(row["generator"])
    prompt = stage(settings(), tmp_path).prompts["cards"]
    assert generator == {
        "model": "test",
        "prompt": "flash_card",
        "prompt_sha256": prompt.sha256,
        "temperature": 0.5,
        "max_tokens": 512,
        "seed": 0,
    }
    assert " " not in row["generator"]


def test_a_server_without_schemas_gets_requests_without_schema(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(30)])
    with server("--plain") as endpoint:
        made = run(settings(endpoint.url, concurrency=4), tmp_path, before)
        sent = endpoint.requests
        run(settings(endpoint.url, concurrency=4), tmp_path, before, "again")
        assert endpoint.requests == sent
    assert read_account(made[0])["counts"] == {"by the model": 30}
    # Only the requests in flight at the first refusal were refused.
    assert 31 <= sent <= 34


def test_requests_are_distributed_and_a_dead_endpoint_is_avoided(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(200)])
    with server() as endpoint:
        dead = endpoint.url
    with server("--delay", "0.02") as one, server("--delay", "0.02") as two:
        config = settings(one.url, two.url, dead, concurrency=8)
        made = run(config, tmp_path, before)
        assert read_account(made[0])["counts"] == {"by the model": 200}
        assert min(one.answered, two.answered) > 50
        assert one.answered + two.answered == 200
        assert max(one.counts()["most_in_flight"], two.counts()["most_in_flight"]) <= 8


def test_the_api_key_comes_from_the_variable_and_is_written_nowhere(tmp_path, monkeypatch):
    before = shards(tmp_path, [card(1)])
    config = settings("http://127.0.0.1:9/v1", api_key_env="TEST_KEY")
    with pytest.raises(UserError, match=r"TEST_KEY.*not set"):
        stage(config, tmp_path)
    without_requests = RephraseStage(config, tmp_path, [Anki(name="cards", path="d")], sends_requests=False)
    assert cost.estimate(without_requests, before, tmp_path).to_send == 1
    with pytest.raises(UserError, match=r"rephrase\.endpoints: none in the recipe"):
        cost.estimate(stage(settings(), tmp_path), before, tmp_path)
    monkeypatch.setenv("TEST_KEY", "s3cret-value")
    with server() as endpoint:
        run(settings(endpoint.url, api_key_env="TEST_KEY"), tmp_path, before)
        assert endpoint.counts()["headers"][0]["Authorization"] == "Bearer s3cret-value"
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes()


def test_without_an_endpoint_rows_are_rephrased_by_rules(tmp_path):
    rows = [
        Row(instruction=ONE_GAP_INSTRUCTION, input="The ____ filters blood.", output="kidney"),
        Row(instruction=CARD_INSTRUCTION, input="Treatment of gout", output="Rest and cold packs"),
        Row(instruction=CARD_INSTRUCTION, input="A statement", output="Another"),
    ]
    [made] = run(settings(), tmp_path, shards(tmp_path, rows))
    assert [row["instruction"] for row in rows_of([made])] == [
        "What belongs in the gap in this text?\nThe ____ filters blood.",
        "What is the treatment of gout?",
        CARD_INSTRUCTION,
    ]
    assert [row["output"] for row in rows_of([made])] == [row.output for row in rows]
    assert {row["generator"] for row in rows_of([made])} == {None}
    assert (read_account(made)["counts"], paths.cache().exists()) == (
        {"by rule": 2, "kept as it was": 1},
        False,
    )


@pytest.mark.parametrize("on_failure", ["reject", "rule", "keep"])
def test_a_row_that_no_attempt_can_rephrase(tmp_path, on_failure):
    # The server answers with the sides of the card, and this front is no question.
    rows = [card(1), Row(instruction=CARD_INSTRUCTION, input="Treatment of gout", output="Rest")]
    before = shards(tmp_path, rows)
    with server() as endpoint:
        [made] = run(settings(endpoint.url, on_failure=on_failure, tries=2), tmp_path, before)
        assert endpoint.requests == 3
    account, last = read_account(made), rows_of([made])[-1]
    if on_failure == "reject":
        assert (account["kept"], account["reasons"]) == (1, {"not rephrased: no question mark": 1})
        [line] = made.rejected.read_text().splitlines()
        entry = json.loads(line)
        assert (entry["record"]["input"], entry["refused"]) == ("Treatment of gout", ["no question mark"] * 2)
    else:
        assert account["counts"]["not by the model: no question mark"] == 1
        assert last["generator"] is None
        assert last["instruction"] == (
            CARD_INSTRUCTION if on_failure == "keep" else "What is the treatment of gout?"
        )


def test_rows_of_other_sources_are_unchanged(tmp_path):
    rows = [card(1)]
    before = shards(tmp_path, rows, source="others")
    config = settings("http://127.0.0.1:9/v1")
    sources = [Anki(name="cards", path="d"), Anki(name="others", path="d")]
    made = apply_stage(RephraseStage(config, tmp_path, sources), before, tmp_path / "after")
    assert rows_of(made) == rows_of(before)


def test_an_unreachable_endpoint_or_wrong_address_ends_the_run(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(5)])
    with server() as endpoint:
        gone = endpoint.url
    made = stage(settings(gone), tmp_path)
    with made.store() as store, pytest.raises(UserError, match="cannot connect to http://127"):
        request_all(
            made.config,
            made.attempts(before),
            store,
            lambda done: None,
            RetryPolicy(attempts=2, first_wait=0.01),
        )
    with server() as endpoint:
        wrong = stage(settings(f"{endpoint.base}/v2"), tmp_path)
        with wrong.store() as store, pytest.raises(UserError, match="HTTP 404"):
            request_all(wrong.config, wrong.attempts(before), store, lambda done: None)


@pytest.mark.parametrize(
    ("status", "message", "sent"),
    [(500, "5 requests in a row got no completion", 10), (400, "all 50 requests so far", 100)],
)
def test_a_server_that_fails_for_all_rows_ends_the_run(tmp_path, status, message, sent):
    before = shards(tmp_path, [card(n) for n in range(100)])
    with server("--broken", str(status)) as endpoint:
        made = stage(settings(endpoint.url, concurrency=1), tmp_path)
        with made.store() as store, pytest.raises(UserError, match=message):
            request_all(
                made.config,
                made.attempts(before),
                store,
                lambda done: None,
                RetryPolicy(attempts=2, first_wait=0.01),
            )
        assert endpoint.requests == sent


def test_a_refused_row_is_counted_and_requested_again_by_the_next_run(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(3)])
    with server("--broken", "413") as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before)
    assert read_account(made)["counts"]["not by the model: refused by the server (HTTP 413)"] == 3
    with server() as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before, "again")
    assert read_account(made)["counts"] == {"by the model": 3}


def test_another_process_writes_the_same_rows(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(20)])
    with server() as endpoint:
        made = stage(settings(endpoint.url), tmp_path)
        [here] = apply_stage(made, before, tmp_path / "after")
    there = here.within(tmp_path / "there")
    shutil.copytree(tmp_path / "after", there.folder)
    # Only the folder of the stage is needed.
    shutil.rmtree(paths.cache())
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(run_shard, made, before[0], there).result(timeout=60)
    assert sha256_file(there.rows) == sha256_file(here.rows)


def test_a_sealed_process_sends_requests_to_this_machine(tmp_path, monkeypatch):
    before = shards(tmp_path, [card(1)])
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with server() as endpoint:
        for n, url in enumerate((endpoint.url, endpoint.url.replace("127.0.0.1", "localhost"))):
            config = settings(url, store=f"{n}.sqlite")
            assert start(config, tmp_path, before, f"after{n}").wait() == 0
        assert endpoint.answered == 2


def test_proxies_are_not_used(tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = shards(tmp_path, [card(1)])
    with server() as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before)
    assert read_account(made)["counts"] == {"by the model": 1}
