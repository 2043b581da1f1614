"""Exam and documents of a task: where the exam is read from, which items are used, and what is logged."""

from __future__ import annotations

import http.server
import io
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import polars
import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import exam_prompt, exam_prompt_id
from medalpaca_evalharness import hub, task_data, tasks
from medalpaca_evalharness.task_data import (
    GROUPS,
    TASKS,
    build_dataset,
    build_documents,
    load_task_exam,
    prepare_task,
)

STEP2, WHOLE, POCKET = "medalpaca_usmle_step2", "medalpaca_exam", "medalpaca_pocket"


@pytest.fixture(autouse=True)
def capture_warnings(caplog):
    # If another test made lm-eval set up its loggers, their records do not reach the root logger.
    logging.getLogger("lm_eval").propagate = True
    caplog.set_level(logging.WARNING)


def test_documents_equal_the_prompts_of_the_data_package(write_exam):
    directory = write_exam()
    rows = build_documents(
        "medalpaca_usmle_step2", prepare_task("medalpaca_usmle_step2", {"exam": str(directory)})
    )
    items = [item for item in load_exam(directory).items if item.step == 2]
    assert [row["prompt"] for row in rows] == [exam_prompt(item, "letter").prompt for item in items]
    assert [row["choices"] for row in rows] == [list(item.options) for item in items]
    assert [row["letters"][row["gold"]] for row in rows] == [item.answer for item in items]


def test_any_number_of_options_is_kept(write_exam):
    rows = list(build_dataset(medalpaca_task=WHOLE, exam=str(write_exam()))["test"])
    assert sorted({len(row["choices"]) for row in rows}) == [4, 5, 6]
    assert all(None not in row["choices"] for row in rows)


def test_documents_identify_exam_and_model(write_exam, tiny, adapter):
    directory = write_exam()
    given = {
        "exam": str(directory),
        "pretrained": str(tiny),
        "peft": str(adapter),
        "dtype": "float32",
        "version": 1.0,
    }
    rows = list(build_dataset(medalpaca_task=STEP2, **given)["test"])
    assert len(rows) == 3
    for row in rows:
        assert row["exam_sha256"] == load_exam(directory).sha256
        assert row["prompt_id"] == exam_prompt_id("letter")
        assert (row["base"], row["adapter"]) == (str(tiny), str(adapter))
        assert len(row["base_sha256"]) == len(row["adapter_sha256"]) == 64
        assert row["item_id"].startswith("step2-")
        assert row["step"] == 2


def test_the_pocket_exam_scores_texts():
    rows = list(build_dataset(medalpaca_task=POCKET)["test"])
    assert rows[0]["prompt_id"] == exam_prompt_id("text")
    assert all(len(set(row["choices"])) == len(row["choices"]) for row in rows)
    assert not any(letter in row["choices"] for row in rows for letter in "ABCD")


def test_exclusions_are_logged_by_id_without_texts(write_exam, caplog):
    directory = write_exam()
    questions = json.loads((directory / "step2.json").read_text())
    questions[1]["options"] = {"A": "", "B": ""}
    (directory / "step2.json").write_text(json.dumps(questions))
    (directory / "question_with_images.json").write_text('{"step2": [3], "step1": [1]}')
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(directory))["test"]) == 1
    message = [record.getMessage() for record in caplog.records if record.name == "lm_eval.medalpaca"]
    assert message == [
        "medalpaca_usmle_step2: 1 of 3 items not scored (empty options): step2-2",
        "medalpaca_usmle_step2: 1 of 3 items not scored (needs an image): step2-3",
    ]
    caplog.clear()
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(directory), images="keep")["test"]) == 2
    assert "Case" not in caplog.text
    assert "remedy" not in caplog.text


def test_warnings_of_the_exam_are_logged(write_exam, caplog):
    build_dataset(medalpaca_task=WHOLE, exam=str(write_exam()))
    assert "need a picture" in caplog.text


SHEET = "ID,Question text,Option A,Option B,Correct,Case\n1,Which?,Na,K,b,A man of 40.\n2,Why?,Na,K,A,\n"
FIELDS = {"id": "ID", "question": "Question text", "options": ["Option A", "Option B"], "answer": "Correct"}


def test_fields_in_the_metadata_name_the_columns(tmp_path, caplog):
    file = tmp_path / "sheet.csv"
    file.write_text(
        SHEET.replace("Case\n", "Case,Note\n").replace("of 40.", "of 40.,n").replace("A,\n", "A,,\n")
    )
    first, second = build_dataset(medalpaca_task=WHOLE, exam=str(file), fields=FIELDS)["test"]
    assert "A man of 40.\n\nWhich?\nA: Na\nB: K" in first["prompt"]
    assert [(row["item_id"], row["gold"]) for row in (first, second)] == [("1", 1), ("2", 0)]
    assert f"{WHOLE}: columns of sheet that are not read: Note 1" in caplog.messages
    assert f"{WHOLE}: 1 items of sheet: 'Case' joined before the question" in caplog.messages
    with pytest.raises(UserError, match=r"fields: answers: .*allowed: question, options, answer"):
        build_dataset(medalpaca_task=WHOLE, exam=str(file), fields=FIELDS | {"answers": "Correct"})


def test_items_without_a_step_are_logged(tmp_path, caplog):
    file = tmp_path / "mixed.jsonl"
    base = {"options": ["x", "y"], "answer": "B"}
    rows = [base | {"question": "One?", "step": 2}, base | {"question": "Two?"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(file))["test"]) == 1
    assert "1 items of mixed have no step" in caplog.text


def test_every_task_has_a_yaml_file():
    named = {file.stem for file in Path(tasks.__path__[0]).glob("*.yaml")}
    assert named == set(TASKS) | set(GROUPS)


STEP, LOCAL = TASKS["medalpaca_usmle_step1"], TASKS["medalpaca_exam"]


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch):
    for name in ("MEDALPACA_EXAM", "MEDALPACA_SEALED", *hub.OFFLINE_SWITCHES):
        monkeypatch.delenv(name, raising=False)


def test_metadata_precedes_the_environment(write_exam, monkeypatch):
    named, other = write_exam("named"), write_exam("other", texts=" (other)")
    monkeypatch.setenv("MEDALPACA_EXAM", str(other))
    assert load_task_exam("t", LOCAL, {"exam": str(named)}).name == "named"
    assert load_task_exam("t", LOCAL, {}).name == "other"


def test_the_environment_precedes_the_hub(write_exam, monkeypatch):
    monkeypatch.setenv("MEDALPACA_EXAM", str(write_exam()))
    monkeypatch.setattr(task_data, "fetch_hub_exam", lambda repository: pytest.fail("the hub was asked"))
    assert load_task_exam("t", STEP, {}).name == "exam"


def test_a_bundled_exam_ignores_metadata_and_environment(write_exam, monkeypatch):
    monkeypatch.setenv("MEDALPACA_EXAM", str(write_exam()))
    for name in ("medalpaca_pocket", "medalpaca_vignettes"):
        assert load_task_exam("t", TASKS[name], {"exam": "/nowhere"}).name == name


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("MEDALPACA_SEALED", "1"),
        ("MEDALPACA_SEALED", "yes"),
        ("HF_HUB_OFFLINE", "1"),
        ("TRANSFORMERS_OFFLINE", "1"),
    ],
)
def test_no_hub_request_in_sealed_or_offline_mode(monkeypatch, switch, value):
    monkeypatch.setenv(switch, value)
    monkeypatch.setattr(task_data, "fetch_hub_exam", lambda repository: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match=f"the hub is disabled because {switch}.*--metadata .*MEDALPACA_EXAM"):
        load_task_exam("medalpaca_usmle_step1", STEP, {})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"exam": 3}, "'exam' is 3; expected a string"),
        ({"exam": "/no/where"}, "/no/where: no such exam"),
        ({"exam": "/", "images": "maybe"}, "images='maybe'"),
    ],
)
def test_invalid_metadata_is_one_line(metadata, message):
    with pytest.raises(UserError, match=message) as caught:
        load_task_exam("t", STEP, metadata)
    assert "\n" not in str(caught.value)


def test_a_missing_step_lists_the_existing_ones(write_exam):
    exam = str(write_exam(steps={1: 2, 3: 4}))
    with pytest.raises(UserError, match=r"no scorable item of step 2; it has 2 of step 1, 4 of step 3"):
        prepare_task("medalpaca_usmle_step2", {"exam": exam})


def test_an_exam_without_steps_needs_the_task_for_all_items(tmp_path):
    file = tmp_path / "mine.jsonl"
    item = {"question": "Which?", "options": ["x", "y", "z"], "answer": "B"}
    file.write_text("\n".join(json.dumps(item | {"question": f"Which {i}?"}) for i in range(3)))
    with pytest.raises(UserError, match="medalpaca_exam for all items"):
        prepare_task("medalpaca_usmle_step1", {"exam": str(file)})
    rows = build_documents("medalpaca_exam", prepare_task("medalpaca_exam", {"exam": str(file)}))
    assert [row["step"] for row in rows] == [None] * 3


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download needs: HEAD and GET of a file at a revision."""

    COMMIT = "c" * 40

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool):
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        content = self.server.files.get(urllib.parse.unquote(rest.partition("/")[2]))
        if "/resolve/" in self.path:  # the client library has questions of its own
            self.server.asked.append((self.command, self.path))
        known = repository == f"datasets/{self.server.repository}" and content is not None
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", self.COMMIT)
        if not known:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", f'"{abs(hash(content))}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and known:
            self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def local_hub(write_exam):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repository = task_data.USMLE.name
    server.files = {file.name: file.read_bytes() for file in write_exam("origin").iterdir()}
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch_in_new_process(
    tmp_path, endpoint: str, task: str = "medalpaca_usmle_step1", **switches: str
) -> subprocess.CompletedProcess[str]:
    # huggingface_hub reads its settings when it is imported.
    code = (
        "from medalpaca_evalharness.task_data import TASKS\n"
        "from medalpaca_evalharness.task_data import load_task_exam\n"
        "from medalpaca_data.core.errors import UserError\n"
        "try:\n"
        f"    exam = load_task_exam('t', TASKS[{task!r}], {{}})\n"
        "    print(exam.read, sorted({item.step for item in exam.items}), exam.warnings)\n"
        "except UserError as error:\n"
        "    print('refused:', error)\n"
    )
    environment = (
        os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"} | switches
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_exam_from_the_hub(tmp_path, local_hub):
    done = fetch_in_new_process(tmp_path, f"http://127.0.0.1:{local_hub.server_port}")
    assert done.stdout.startswith("12 [1, 2, 3]"), done.stderr
    fetched = {path.rpartition("/")[2] for command, path in local_hub.asked if command == "GET"}
    assert fetched == set(task_data.USMLE.files)
    # One revision for all: after the first question, everything is asked by commit.
    assert {path.split("/resolve/")[1].split("/")[0] for _, path in local_hub.asked[1:]} == {Hub.COMMIT}


def test_the_image_list_of_the_hub_is_used(tmp_path, local_hub):
    local_hub.files["question_with_images.json"] = b'{"step1": [1, 2], "step2": [], "step3": []}'
    done = fetch_in_new_process(tmp_path, f"http://127.0.0.1:{local_hub.server_port}")
    assert done.stdout.startswith("12 [1, 2, 3] ()"), done.stderr


@pytest.mark.parametrize("missing", ["step1.json", "step3_solutions.json"])
def test_a_file_missing_on_the_hub(tmp_path, local_hub, missing):
    del local_hub.files[missing]
    done = fetch_in_new_process(tmp_path, f"http://127.0.0.1:{local_hub.server_port}")
    assert done.stdout.startswith("refused: t: no exam given, and hub dataset medalpaca/"), done.stderr
    assert f"{missing} could not be downloaded" in done.stdout
    assert "MEDALPACA_EXAM" in done.stdout


def test_an_unreachable_hub_fails_quickly(tmp_path):
    done = fetch_in_new_process(tmp_path, "http://127.0.0.1:9")
    assert done.stdout.startswith("refused:"), done.stderr
    assert "Retrying" not in done.stderr


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    polars.DataFrame(rows).write_parquet(buffer)
    return buffer.getvalue()


MEDICAL = {
    "medalpaca_medqa_step1": (
        b'{"question": "Q?", "options": {"A": "x", "B": "y"}, "answer_idx": "B", "meta_info": "step1"}'
    ),
    "medalpaca_medmcqa": parquet(
        [{"id": "m", "question": "Q?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": 0}]
    ),
    "medalpaca_pubmedqa": parquet(
        [{"pubid": 1, "question": "Q?", "context": {"contexts": ["C."]}, "final_decision": "no"}]
    ),
    "medalpaca_mmlu_anatomy": parquet(
        [{"question": "Q?", "subject": "anatomy", "choices": ["w", "x"], "answer": 1}]
    ),
}


@pytest.mark.parametrize("task", MEDICAL)
def test_medical_exams_from_the_hub(tmp_path, local_hub, task):
    repository = TASKS[task].hub
    local_hub.repository, local_hub.files = repository.name, {repository.files[0]: MEDICAL[task]}
    done = fetch_in_new_process(tmp_path, f"http://127.0.0.1:{local_hub.server_port}", task)
    assert done.stdout.startswith("1 "), done.stdout + done.stderr
    sealed = fetch_in_new_process(
        tmp_path, f"http://127.0.0.1:{local_hub.server_port}", task, MEDALPACA_SEALED="1"
    )
    assert "the hub is disabled because MEDALPACA_SEALED=1" in sealed.stdout
