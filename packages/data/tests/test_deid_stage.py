"""De-identification stage: dropped and replaced rows, counts and records; refused builds; optional NER."""

import json
import pickle
import re

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import FIELDS, Row, content_id
from medalpaca_data.deid.find import rules_sha256
from medalpaca_data.deid.independent_check import make_check
from medalpaca_data.deid.rules import Span
from medalpaca_data.deid.settings import Deidentification, require_records
from medalpaca_data.executor import run_shard
from medalpaca_data.shard import Shard, frame, read_account, write_shard
from medalpaca_data.stages.deidentify import Deidentify

PLAIN = [("Answer.", f"What is dose {n}?", "Take 500 mg twice daily.") for n in range(8)]
LEAKS = [
    ("Answer.", "My name is Adaeze Nwosu, MRN: 4471902. Is it safe?", "Dear Mrs. Nwosu, yes."),
    ("Answer.", "Call me at 617-867-5309.", "I will."),
]
SECRETS = ("Adaeze", "Nwosu", "4471902", "867-5309")


@pytest.fixture(autouse=True)
def _key(fixed_key):
    fixed_key()


def shards(folder, **sources):
    made = []
    for name, texts in sources.items():
        rows = [
            Row(instruction=a, input=b, output=c, source=name, source_id=f"{name}.json row {n}")
            for n, (a, b, c) in enumerate(texts, 1)
        ]
        shard = Shard(folder, name, 0)
        write_shard(shard, read=len(rows), kept=frame(rows))
        made.append(shard)
    return made


def run(tmp_path, stage, **sources):
    before = shards(tmp_path / "read", **sources)
    folder = tmp_path / "deid"
    folder.mkdir()
    after = [shard.within(folder) for shard in before]
    for old, new in zip(before, after, strict=True):
        run_shard(stage, old, new)
    return after, {record["source"]: record for record in stage.records(after)}


def written(folder):
    return "".join(file.read_bytes().decode("latin-1") for file in folder.iterdir())


def test_replace_inserts_and_counts_surrogates(tmp_path):
    [shard], records = run(tmp_path, Deidentify(Deidentification(limit=1000)), chat=PLAIN + LEAKS)
    table = shard.read()
    assert table.height == 10
    text = "\n".join(table["input"].to_list() + table["output"].to_list())
    assert not [secret for secret in SECRETS if secret in text]
    assert table["input"].to_list()[:8] == [text for _, text, _ in PLAIN]
    assert table["id"].to_list() == [
        content_id(*row) for row in table.select("instruction", "input", "output").iter_rows()
    ]
    surname = table["input"][8].split()[4].strip(",")
    assert table["output"][8] == f"Dear Mrs. {surname}, yes."
    hits = records["chat"].pop("hits")
    assert hits["name"] in (2, 3) and {"phone": 1, "mrn": 1}.items() <= hits.items()
    check = records["chat"].pop("independent_check")
    assert check["rows"] == 10 and check["upper_95_per_1000"] >= 300
    assert check == make_check(read_account(shard)["checked"])
    assert records["chat"] == {
        "source": "chat", "mode": "replace", "profile": "precise", "rules": rules_sha256(), "ner": None,
        "rows": 10,
        "rows_with_hits": 2, "rows_left": 0, "left": {}, "limit": 1000.0,
        "within_limit": check["upper_95_per_1000"] <= 1000, "counted_by": "independent check",
    }  # fmt: skip


def test_check_drops_the_rows_and_fails_above_the_limit(tmp_path):
    stage = Deidentify(Deidentification(mode="check", limit=10))
    [shard], records = run(tmp_path, stage, chat=PLAIN + LEAKS)
    assert shard.read().height == 8
    assert read_account(shard)["reasons"] == {"identifiers of a person": 2}
    assert not records["chat"]["within_limit"]
    with pytest.raises(
        UserError, match=r"source 'chat': .* identifiers in 10 rows .* deidentify.limit=10 per 1,000"
    ):
        require_records({"chat": True}, list(records.values()))
    loose = Deidentify(Deidentification(mode="check", limit=1000))
    assert loose.records([shard])[0]["within_limit"]


@pytest.mark.parametrize("mode", ["check", "replace"])
def test_no_identifier_is_written_anywhere(tmp_path, mode):
    run(tmp_path, Deidentify(Deidentification(mode=mode, limit=1000)), chat=PLAIN + LEAKS)
    folder = tmp_path / "deid"
    text = written(folder) + "".join(map(str, Shard(folder, "chat", 0).read().rows()))
    assert not [secret for secret in SECRETS if secret in text]
    if mode == "check":
        rejects = [
            json.loads(line) for line in (folder / "chat-00000.rejected.jsonl").read_text().splitlines()
        ]
        assert rejects[1]["record"]["input"] == "Call me at [PHONE]."
        assert rejects[1]["identifiers"] == {"phone": 1}


def one_at_a_time(text):
    """Return the first doubled letter as a name: the next one is found only after this one is replaced."""
    match = re.search(r"\b([a-z])\1\b", text)
    return [Span(*match.span(), "name", "NER PERSON")] if match else []


def test_a_row_with_remaining_identifiers_is_dropped_counted_and_masked(tmp_path, monkeypatch):
    one_at_a_time.version = "slow"
    monkeypatch.setattr(Deidentify, "_tagger", lambda self: one_at_a_time)
    endless = [("Answer.", "aa bb cc dd ee ff gg", "Yes.")]
    [shard], records = run(tmp_path, Deidentify(Deidentification(limit=5)), chat=PLAIN + endless)
    assert read_account(shard)["reasons"] == {"identifiers of a person": 1}
    assert "[NAME]" in shard.rejected.read_text() and shard.read().height == len(PLAIN)
    record = records["chat"]
    assert (record["left"], record["rows_left"], record["within_limit"], record["ner"]) == (
        {"name": 1},
        1,
        False,
        "slow",
    )
    # The dropped row is not in the rows that the independent check reads.
    assert record["independent_check"]["rows"] == len(PLAIN)
    with pytest.raises(
        UserError,
        match=r"more than deidentify.limit=5; 8 rows cannot prove this limit, at least 600 are needed",
    ):
        require_records({"chat": True}, [record])


def test_the_stage_can_be_pickled_without_its_tagger_and_its_key(fixed_key):
    fixed_key(number=0xABCDEF0123456789)
    stage = Deidentify(Deidentification(limit=5), only={"chat"})
    assert stage.secret() == bytes(24) + bytes.fromhex("ABCDEF0123456789")
    assert bytes.fromhex("ABCDEF0123456789") not in pickle.dumps(stage)
    # Like a loaded NER, a lambda cannot be pickled.
    stage._loaded = lambda text: []
    assert pickle.loads(pickle.dumps(stage)).__dict__ == {**stage.__dict__, "_loaded": None}  # noqa: S301


def test_only_the_named_sources_are_changed(tmp_path):
    after, records = run(
        tmp_path, Deidentify(Deidentification(limit=1000), only={"chat"}), chat=LEAKS, wiki=LEAKS
    )
    assert list(records) == ["chat"]
    assert after[1].read()["input"].to_list() == [text for _, text, _ in LEAKS]
    assert after[0].read()["input"].to_list() != after[1].read()["input"].to_list()
    assert after[0].read().columns == list(FIELDS)


def test_the_account_balances(tmp_path):
    after, _ = run(tmp_path, Deidentify(Deidentification(mode="check")), chat=PLAIN + LEAKS)
    account = read_account(after[0])
    assert account["read"] == account["kept"] + sum(account["reasons"].values()) == 10


def test_the_settings_contain_the_hash_of_the_rules():
    one = Deidentify(Deidentification(limit=1000)).settings()
    assert rules_sha256() in one
    assert (
        one
        != Deidentify(Deidentification(limit=999)).settings()
        != Deidentify(Deidentification(limit=1000), only={"a"}).settings()
    )


@pytest.mark.parametrize("keys", [{"mode": "hide"}, {"limit": -1}, {"limit": float("nan")}, {"seeds": 1}])
def test_bad_settings_are_refused(keys):
    with pytest.raises(ValueError):
        Deidentification(**keys)


def test_ner_without_the_extra_names_the_extra():
    try:
        import presidio_analyzer  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"medalpaca-data\[phi\]"):
            Deidentify(Deidentification(limit=1000, ner=True)).settings()
    else:
        assert "presidio-analyzer" in Deidentify(Deidentification(limit=1000, ner=True)).settings()[-1]


def test_ner_spans_are_added_to_those_of_the_rules():
    from medalpaca_data.deid.replace import replace_identifiers

    def tagger(text):
        at = text.find("Zebulon")
        return [Span(at, at + 7, "name", "NER PERSON")] if at >= 0 else []

    done = replace_identifiers(["Zebulon slept. Later Zebulon ate."], "r", bytes(32), tagger)
    first, second = done.texts[0].split()[0], done.texts[0].split()[3]
    assert first == second != "Zebulon"
