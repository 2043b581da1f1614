"""Rephrasing as a stage: a real server in its own process, real shards, real stores."""

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
    """The test server as a client sees it."""

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


def stage(asked: Rephrase, root: Path) -> RephraseStage:
    return RephraseStage(asked, root, [Anki(name="cards", path="deck.apkg")])


def run(asked: Rephrase, tmp_path: Path, before: list[Shard], out: str = "after") -> list[Shard]:
    return through(stage(asked, tmp_path), before, tmp_path / out)


def through(made: RephraseStage, before: list[Shard], folder: Path) -> list[Shard]:
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
from medalpaca_data.executor import run_shard, silent
from medalpaca_data.stages.rephrase import Rephrasing
from medalpaca_data.shard import Shard
if is_sealed():
    seal()
root, shards, out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
asked = Rephrase.model_validate_json(sys.argv[4])
before = [Shard(root / "before", "cards", n) for n in range(shards)]
stage = Rephrasing(asked, root, [Anki(name="cards", path="deck.apkg")])
(root / out).mkdir(exist_ok=True)
stage.prepare(before, root / out, silent)
for shard in before:
    run_shard(stage, shard, shard.within(root / out))
"""


def start(asked: Rephrase, tmp_path: Path, before: list[Shard], out: str) -> subprocess.Popen:
    arguments = [str(tmp_path), str(len(before)), out, asked.model_dump_json()]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments])


@pytest.mark.parametrize("cards", [600, pytest.param(6000, marks=pytest.mark.slow)])
def test_faults_and_a_kill_lose_nothing_double_nothing_and_repeat_only_what_was_in_flight(tmp_path, cards):
    in_flight = 32
    before = shards(tmp_path, [card(n) for n in range(cards)])
    with server("--faults", "--delay", "0.1") as endpoint:
        asked = settings(endpoint.url, concurrency=in_flight, timeout=3)
        child = start(asked, tmp_path, before, "after")
        while endpoint.answered < cards / 2:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed = time.time()
        assert endpoint.answered < cards
        made = run(asked, tmp_path, before)
        counts = endpoint.counts()
        rows = rows_of(made)
        # No row lost, none doubled, each with its own answer.
        assert [row["source_id"] for row in rows] == [f"deck {n}" for n in range(cards)]
        assert [(row["instruction"], row["output"]) for row in rows] == [
            (card(n).input, card(n).output) for n in range(cards)
        ]
        assert all(row["input"] == "" and json.loads(row["generator"])["model"] == "test" for row in rows)
        # Every kind of fault was met, and no answer but those in flight was asked for twice.
        told = {"429 seconds", "429 date", "500", "stall", "dropped", "malformed"}
        assert set(counts["said"].values()) >= told if cards > 1000 else told & set(counts["said"].values())
        assert sum(times - 1 for times in counts["answered"].values()) <= in_flight
        assert counts["most_in_flight"] <= 2 * in_flight  # the killed client's connections may linger
        waited = [
            second - first
            for key, said in counts["said"].items()
            if said.startswith("429")
            for first, second in zip(counts["came"][key], counts["came"][key][1:], strict=False)
            if second < killed or first > killed  # whoever was killed had no time to wait
        ]
        assert waited
        assert min(waited) >= 1
        # The answers that no parser took were asked for again, with another seed.
        extra = len(counts["answered"]) - cards
        assert extra == sum(json.loads(row["generator"])["seed"] > 0 for row in rows) > 0
        # A third run sends nothing, and makes the same bytes.
        again = run(asked, tmp_path, before, "again")
        assert endpoint.requests == sum(map(len, counts["came"].values()))
    assert [sha256_file(one.rows) for one in again] == [sha256_file(one.rows) for one in made]


def test_the_store_is_private_and_sums_what_was_spent(tmp_path):
    rows = [card(n) for n in range(20)]
    before = shards(tmp_path, [*rows, rows[0]])
    with server() as endpoint:
        asked = settings(endpoint.url, price={"input": 1.0, "output": 10.0})
        first = cost.estimate(stage(asked, tmp_path), before, tmp_path)
        assert (first.rows, first.requests, first.settled, first.to_send) == (21, 20, 0, 20)
        assert first.cost() < first.cost(most=True)
        assert endpoint.requests == 0
        made = run(asked, tmp_path, before)
        assert endpoint.requests == 20  # the same card twice is one request
    after = cost.estimate(stage(asked, tmp_path), before, tmp_path)
    assert (after.settled, after.to_send, after.cost()) == (20, 0, 0)
    took = cost.usage(stage(asked, tmp_path), before)
    assert (took.rows, took.rephrased, took.taken.answers) == (21, 21, 20)
    assert (took.taken.prompt_tokens, took.taken.completion_tokens) == (2000, 400)
    assert took.cost == pytest.approx(0.002 + 0.004)
    console = Console(record=True, width=100)
    cost.show_estimate(first, console)
    cost.show_usage(took, console)
    assert "rule of thumb" in console.export_text()
    assert (cost.usage_as_json(took)["cost"], cost.estimate_as_json(first)["to_send"]) == (took.cost, 20)
    files = list(paths.cache().glob("answers.sqlite*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert rows_of(made)[0] == rows_of(made)[20]


def test_the_original_stands_in_the_changes(tmp_path):
    before = shards(tmp_path, [card(1)])
    with server() as endpoint:
        [made] = run(settings(endpoint.url, temperature=0.5), tmp_path, before)
    import polars as pl

    [row] = rows_of([made])
    changes = {entry["field"]: entry for entry in pl.read_parquet(made.changes).iter_rows(named=True)}
    told = {name: entry["before"] for name, entry in changes.items()}
    assert told == {"instruction": CARD_INSTRUCTION, "input": card(1).input}
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


def test_a_server_without_schemas_is_asked_in_plain_json(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(30)])
    with server("--plain") as endpoint:
        made = run(settings(endpoint.url, concurrency=4), tmp_path, before)
        sent = endpoint.requests
        run(settings(endpoint.url, concurrency=4), tmp_path, before, "again")
        assert endpoint.requests == sent
    assert read_account(made[0])["counts"] == {"by the model": 30}
    # Refused once for each request that was under way when the first refusal came, never again.
    assert 31 <= sent <= 34


def test_work_is_shared_and_a_dead_endpoint_is_left_out(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(200)])
    with server() as endpoint:
        dead = endpoint.url
    with server("--delay", "0.02") as one, server("--delay", "0.02") as two:
        asked = settings(one.url, two.url, dead, concurrency=8)
        made = run(asked, tmp_path, before)
        assert read_account(made[0])["counts"] == {"by the model": 200}
        assert min(one.answered, two.answered) > 50
        assert one.answered + two.answered == 200
        assert max(one.counts()["most_in_flight"], two.counts()["most_in_flight"]) <= 8


def test_the_key_comes_from_the_named_variable_and_stays_out_of_everything(tmp_path, monkeypatch):
    before = shards(tmp_path, [card(1)])
    asked = settings("http://127.0.0.1:9/v1", api_key_env="TEST_KEY")
    with pytest.raises(UserError, match=r"TEST_KEY.*not set"):
        stage(asked, tmp_path)
    before_asking = RephraseStage(asked, tmp_path, [Anki(name="cards", path="d")], asks=False)
    assert cost.estimate(before_asking, before, tmp_path).to_send == 1
    with pytest.raises(UserError, match="no endpoints"):
        cost.estimate(stage(settings(), tmp_path), before, tmp_path)
    monkeypatch.setenv("TEST_KEY", "s3cret-value")
    with server() as endpoint:
        run(settings(endpoint.url, api_key_env="TEST_KEY"), tmp_path, before)
        assert endpoint.counts()["headers"][0]["Authorization"] == "Bearer s3cret-value"
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes()


def test_without_an_endpoint_it_is_done_by_rule(tmp_path):
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
def test_a_row_that_no_try_can_rephrase(tmp_path, on_failure):
    # The server answers with the card's sides, and this question is none.
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


def test_other_sources_pass_untouched(tmp_path):
    rows = [card(1)]
    before = shards(tmp_path, rows, source="others")
    asked = settings("http://127.0.0.1:9/v1")
    sources = [Anki(name="cards", path="d"), Anki(name="others", path="d")]
    made = through(RephraseStage(asked, tmp_path, sources), before, tmp_path / "after")
    assert rows_of(made) == rows_of(before)


def test_an_endpoint_that_is_not_there_ends_the_run_in_one_line(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(5)])
    with server() as endpoint:
        gone = endpoint.url
    made = stage(settings(gone), tmp_path)
    with made.store() as store, pytest.raises(UserError, match="cannot connect to http://127"):
        request_all(
            made.asked, made.tries(before), store, lambda done: None, RetryPolicy(attempts=2, first=0.01)
        )
    with server() as endpoint:
        wrong = stage(settings(f"{endpoint.base}/v2"), tmp_path)
        with wrong.store() as store, pytest.raises(UserError, match="HTTP 404"):
            request_all(wrong.asked, wrong.tries(before), store, lambda done: None)


@pytest.mark.parametrize(
    ("status", "told", "sent"),
    [(500, "5 requests in a row got no answer", 10), (400, "all 50 requests so far", 100)],
)
def test_a_server_that_answers_nobody_ends_the_run_and_no_row_is_blamed(tmp_path, status, told, sent):
    before = shards(tmp_path, [card(n) for n in range(100)])
    with server("--broken", str(status)) as endpoint:
        made = stage(settings(endpoint.url, concurrency=1), tmp_path)
        with made.store() as store, pytest.raises(UserError, match=told):
            request_all(
                made.asked, made.tries(before), store, lambda done: None, RetryPolicy(attempts=2, first=0.01)
            )
        assert endpoint.requests == sent


def test_a_row_that_the_server_never_answers_is_told_as_such_and_asked_again_by_the_next_run(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(3)])
    with server("--broken", "413") as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before)
    assert read_account(made)["counts"]["not by the model: refused by the server (HTTP 413)"] == 3
    with server() as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before, "again")
    assert read_account(made)["counts"] == {"by the model": 3}


def test_another_process_judges_alike(tmp_path):
    before = shards(tmp_path, [card(n) for n in range(20)])
    with server() as endpoint:
        made = stage(settings(endpoint.url), tmp_path)
        [here] = through(made, before, tmp_path / "after")
    there = here.within(tmp_path / "there")
    shutil.copytree(tmp_path / "after", there.folder)
    shutil.rmtree(paths.cache())  # nothing but the stage's own folder is needed
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(run_shard, made, before[0], there).result(timeout=60)
    assert sha256_file(there.rows) == sha256_file(here.rows)


def test_a_sealed_process_asks_this_machine(tmp_path, monkeypatch):
    before = shards(tmp_path, [card(1)])
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with server() as endpoint:
        for n, url in enumerate((endpoint.url, endpoint.url.replace("127.0.0.1", "localhost"))):
            asked = settings(url, store=f"{n}.sqlite")
            assert start(asked, tmp_path, before, f"after{n}").wait() == 0
        assert endpoint.answered == 2


def test_proxies_are_not_asked(tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = shards(tmp_path, [card(1)])
    with server() as endpoint:
        [made] = run(settings(endpoint.url), tmp_path, before)
    assert read_account(made)["counts"] == {"by the model": 1}
