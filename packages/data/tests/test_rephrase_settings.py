"""Rephrase settings: refused recipes, where rows may be sent, prompts and stores."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from medalpaca_data.core.config import load_config
from medalpaca_data.core.errors import UserError
from medalpaca_data.rephrase.prompts import Rephrase
from medalpaca_data.sources.anki import Anki
from medalpaca_data.sources.patient_dialogues import PatientDialogues
from medalpaca_data.stages.rephrase import RephraseStage


def settings(*endpoints: str, **keys) -> Rephrase:
    model = {"model": "test"} if endpoints else {}
    return Rephrase(prompts={"cards": "flash_card"}, endpoints=endpoints, **model, **keys)


def stage(config: Rephrase, root: Path) -> RephraseStage:
    return RephraseStage(config, root, [Anki(name="cards", path="deck.apkg")])


def test_patient_text_stays_on_this_machine(tmp_path, monkeypatch):
    patients = [PatientDialogues(name="cards", path="x.json")]
    for endpoint in ("http://127.0.0.1:8000/v1", "http://localhost:1/v1", "http://[::1]:8000"):
        RephraseStage(settings(endpoint), tmp_path, patients)
    outside = settings("https://api.example.org/v1")
    with pytest.raises(UserError, match=r"cards holds patient text.*api\.example\.org.*trusted_hosts"):
        RephraseStage(outside, tmp_path, patients)
    for name in ("http://127.0.0.1.example.org/v1", "http://localhost.example.org", "http://10.0.0.1"):
        with pytest.raises(UserError, match="patient text"):
            RephraseStage(settings(name), tmp_path, patients)
    # A deck of cards holds no patient text.
    stage(outside, tmp_path)
    trusted = outside.model_copy(update={"trusted_hosts": ("API.example.org",)})
    RephraseStage(trusted, tmp_path, patients)
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    RephraseStage(settings("http://127.0.0.1:8000/v1"), tmp_path, patients)
    for config in (trusted, outside):
        with pytest.raises(UserError, match="MEDALPACA_SEALED=1") as error:
            RephraseStage(config, tmp_path, patients)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"endpoints": ["127.0.0.1:8000"], "model": "m"}, "an endpoint is a URL"),
        ({"endpoints": ["http://user:word@host/v1"], "model": "m"}, "api_key_env"),
        ({"endpoints": ["http://127.0.0.1/v1"]}, "endpoints without a model"),
        ({"model": "m"}, "no endpoints"),
        ({"parameters": {"messages": []}}, "'messages' cannot be set in parameters"),
        ({"api_key_env": "sk-abc"}, "api_key_env"),
        ({"modle": "m"}, "did you mean 'model'"),
        ({"prompts": {}}, "prompts"),
    ],
)
def test_wrong_settings_are_refused(keys, message):
    with pytest.raises(UserError, match=message):
        load_config(Rephrase, {"prompts": {"cards": "flash_card"}, **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"endpoints": ["http://user:SECRET@host/v1"]},
        {"endpoints": ["http://user:SEC/RET@host/v1"]},
        {"endpoints": ["https://SECRET@host/v1", "http://127.0.0.1:8000/v1"]},
        {"endpoints": ["https://host/v1?key=SECRET&version=2"]},
        {"endpoints": ["https://host/v1#SECRET"]},
        {"endpoints": ["user:SECRET@host:8000"]},
        {"api_key_env": "SECRET-1"},
    ],
)
def test_a_message_never_contains_a_key(keys):
    with pytest.raises(UserError) as error:
        load_config(Rephrase, {"prompts": {"cards": "flash_card"}, "model": "m", **keys})
    assert not {"SEC", "RET", "SECRET"} & set(re.split(r"\W", str(error.value)))
    assert "***" in str(error.value) or "api_key_env" in keys


def test_an_address_without_a_key_is_shown_completely():
    address = "ftp://127.0.0.1:8000/v1"
    with pytest.raises(UserError, match=address):
        load_config(Rephrase, {"prompts": {"cards": "flash_card"}, "model": "m", "endpoints": [address]})


def test_an_unknown_source_or_prompt_is_refused(tmp_path):
    with pytest.raises(UserError, match="did you mean 'cards'"):
        RephraseStage(Rephrase(prompts={"card": "general"}), tmp_path, [Anki(name="cards", path="d")])
    with pytest.raises(UserError, match="did you mean 'flash_card'"):
        stage(Rephrase(prompts={"cards": "flashcard"}), tmp_path)


def test_a_custom_prompt(tmp_path):
    prompt = tmp_path / "mine.md"
    prompt.write_text(
        "---\nasks: [question]\nkeeps_input: true\n---\nAsk.\n---\n{input} {output} {x} {instruction}"
    )
    custom = stage(Rephrase(prompts={"cards": "mine.md"}), tmp_path).prompts["cards"]
    texts = {"instruction": "{output}", "input": "a", "output": "b"}
    # Inserted texts are not expanded again.
    assert custom.messages(texts)[1]["content"] == "a b {x} {output}"
    assert custom.sha256 in json.dumps(stage(Rephrase(prompts={"cards": "mine.md"}), tmp_path).settings())
    for bad, message in {
        "no head": "three parts",
        "---\nasks: [x]\n---\na\n---\nb": "asks",
        "---\n- a\n---\n-\n---\n": "head",
    }.items():
        prompt.write_text(bad)
        with pytest.raises(UserError, match=message):
            stage(Rephrase(prompts={"cards": "mine.md"}), tmp_path)


def test_a_file_that_is_not_a_store_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at" * 40)
    with pytest.raises(UserError, match="not a store of completions"):
        stage(settings(store="notes.txt"), tmp_path).store()
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")
    with sqlite3.connect(tmp_path / "later.sqlite") as later:
        later.execute("PRAGMA user_version = 9")
    with pytest.raises(UserError, match="store of version 9"):
        stage(settings(store="later.sqlite"), tmp_path).store()
