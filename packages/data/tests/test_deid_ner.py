"""Named-entity recognition with a model directory: a tiny BERT, trained here, finds names. Other models are errors."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from medalpaca_data.build import build, estimate_rephrasing
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import Refused
from medalpaca_data.deid import ner_model
from medalpaca_data.deid.find import find_identifiers
from medalpaca_data.deid.ner import load_tagger
from medalpaca_data.deid.ner_model import Tag, decode, load_model, merge_windows
from medalpaca_data.deid.rules import Span
from medalpaca_data.deid.settings import Deidentification
from medalpaca_data.recipe import load_recipe

NAMES = ["quillon", "zebra", "tamsin", "orlaith", "wexcombe", "bryndis"]
WORDS = [
    "the",
    "patient",
    "slept",
    "well",
    "and",
    "saw",
    "pain",
    "is",
    "better",
    "today",
    "with",
    "fever",
    ".",
]
LABELS = ["O", "B-PER", "I-PER"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the directory of a BERT with 16 positions that has learned to label the words of `NAMES`."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra medalpaca-data[ner])")
    transformers = pytest.importorskip("transformers")
    import tokenizers

    directory = tmp_path_factory.mktemp("ner") / "tiny"
    # "qui" and "llon": names of several sub-words.
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *NAMES[1:], "qui", "##llon", "##x"]
    tokenizer = tokenizers.BertWordPieceTokenizer(
        {word: n for n, word in enumerate(vocabulary)}, lowercase=True
    )
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer._tokenizer, model_max_length=16)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, id2label=dict(enumerate(LABELS)),
        label2id={label: n for n, label in enumerate(LABELS)}, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    net = transformers.BertForTokenClassification(config).train()
    draw = torch.Generator().manual_seed(0)
    tagged = [
        (n, 1 if word in (*NAMES, "qui") else 2 if word == "##llon" else 0)
        for n, word in enumerate(vocabulary)
    ]
    ids = torch.tensor([n for n, _ in tagged[4:]])
    of_id = torch.tensor([label for _, label in tagged])
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        batch = ids[torch.randint(len(ids), (16, 14), generator=draw)]
        loss = net(input_ids=batch, labels=of_id[batch]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05
    net.save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


@pytest.fixture
def copy(model, tmp_path):
    """Return a function that copies the model and changes config.json."""

    def _copy(**changes):
        directory = tmp_path / "model"
        shutil.copytree(model, directory)
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | changes))
        return directory

    return _copy


def test_a_model_finds_what_the_rules_do_not(model):
    text = "the patient slept well and quillon saw Zebra ."
    assert find_identifiers([text]) == [[]]
    tagger = load_tagger("tiny", model.parent)
    assert find_identifiers([text], tagger)[0] == [
        Span(27, 34, "name", "NER PER"),
        Span(39, 44, "name", "NER PER"),
    ]
    assert tagger("") == [] and tagger("pain is better today") == []


def test_a_long_text_is_read_in_overlapping_windows(model):
    text = " ".join([*WORDS[:12] * 20, "tamsin", *WORDS[:12] * 20, "quillon"])
    found = load_model(model)(text)
    assert [text[span.start : span.end] for span in found] == ["tamsin", "quillon"]
    # A window has 14 words and shares 4 with the next one: positions 11 to 14 are 1 to 4 there, and 13 and 3 are the
    # worst. Beginning and end of the text are no edges.
    best = merge_windows(load_model(model)._tags(text))
    assert [text[tag.start : tag.end] for tag in best] == [*text.split()[:-1], "qui", "llon"]
    assert min(tag.margin for tag in best) == 3 and best[0].margin == 15 and best[-1].margin > 3


def test_the_version_is_the_hash_of_the_files(copy):
    directory = copy()
    first = load_model(directory)
    assert first.version.startswith("model, SHA-256 ") and len(first.version) == 15 + 64
    assert load_model(directory) is first
    (directory / "README.md").write_text("changed")
    assert load_model(directory).version != first.version


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "O", "1": "B-PER", "2": "B-HUE"}, r"config.json: label 'B-HUE' in id2label is not known; .*PATIENT"),
        ({"0": "O", "1": "B-ORG", "2": "I-MISC"}, "no label in id2label is a kind of identifier"),
        (None, "no key 'id2label'"),
    ],
)  # fmt: skip
def test_labels_that_are_not_known_are_refused(copy, labels, message):
    with pytest.raises(UserError, match=message):
        load_model(copy(id2label=labels))


def test_files_that_are_missing_or_unsafe_are_refused(copy, tmp_path):
    with pytest.raises(
        UserError, match=r"deidentify.ner=.*nowhere: no such directory; allowed: false, presidio"
    ):
        load_model(tmp_path / "nowhere")
    directory = copy()
    (directory / "tokenizer.json").rename(directory / "t.json")
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        load_model(directory)
    (directory / "t.json").rename(directory / "tokenizer.json")
    (directory / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(Refused, match="can run code"):
        load_model(directory)
    (directory / "pytorch_model.bin").unlink()
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*.safetensors weights"):
        load_model(directory)


def test_weights_without_a_classifier_are_refused(copy):
    from safetensors.torch import load_file, save_file

    directory = copy()
    weights = load_file(directory / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"no 'classifier.weight', so this is not a trained token classification"
    ):
        load_model(directory)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(ner_model, "LIBRARIES", ("json", "no_such_library"))
    with pytest.raises(UserError, match=r"needs no_such_library, .* install medalpaca-data\[ner\]"):
        load_model(tmp_path)


# Labels and windows -------------------------------------------------------------------------------------------


def tags(text, *labels):
    """Return a tag for each word of the text."""
    result, at = [], 0
    for word, label in zip(text.split(), labels, strict=True):
        at = text.index(word, at)
        result.append(Tag(at, at + len(word), label, 9))
        at += len(word)
    return result


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (("B-PER", "I-PER", "O", "B-PER"), ["Ann Lee", "Bo"]),
        (("B-PER", "B-PER", "O", "I-PER"), ["Ann", "Lee", "Bo"]),
        (("B-PER", "E-PER", "O", "S-PER"), ["Ann Lee", "Bo"]),
        (("B-PER", "L-PER", "U-PER", "U-PER"), ["Ann Lee", "met", "Bo"]),
        (("PATIENT", "PATIENT", "O", "HCW"), ["Ann Lee", "Bo"]),
        (("I-per", "I-per", "O", "O"), ["Ann Lee"]),
        (("B-PER", "I-PER", "B-LOC", "I-LOC"), ["Ann Lee", "met Bo"]),
        (("B-ORG", "I-MISC", "O", "O"), []),
    ],
)
def test_labels_of_all_schemes_become_spans(labels, found):
    text = "Ann Lee met Bo"
    assert [text[span.start : span.end] for span in decode(text, tags(text, *labels))] == found


def test_a_span_is_extended_to_whole_words():
    # Of "Wexcombe-Smith", a model labels one sub-word.
    assert decode("x Wexcombe y", [Tag(4, 6, "B-PER", 1)]) == [Span(2, 10, "name", "NER PER")]
    # Sub-words of one word belong together, whatever their prefix and label.
    both = [Tag(2, 4, "B-PER", 1), Tag(4, 10, "B-LOC", 1)]
    assert decode("x Wexcombe y", both) == [Span(2, 10, "name", "NER PER")]


def test_ages_up_to_89_are_kept():
    text = "58 91 ninety-two"
    assert [text[s.start : s.end] for s in decode(text, tags(text, *["S-AGE"] * 3))] == ["91", "ninety-two"]


def test_the_tag_with_the_most_context_is_used():
    at_the_edge, inside = Tag(0, 3, "O", 1), Tag(0, 3, "B-PER", 5)
    assert merge_windows(iter([at_the_edge, inside, Tag(4, 6, "O", 2)])) == [inside, Tag(4, 6, "O", 2)]


# Recipes and builds -------------------------------------------------------------------------------------------


def test_true_of_older_recipes_is_presidio():
    assert Deidentification(limit=1, ner=True).ner == "presidio"
    assert Deidentification(limit=1).ner is False
    assert Deidentification(limit=1, ner="models/x").ner == "models/x"


@pytest.mark.parametrize("value", ["", " ", None, 3, ["presidio"]])
def test_other_values_are_refused(write, value):
    recipe = write("r.yaml", yaml.safe_dump(recipe_of(ner=value)))
    with pytest.raises(
        UserError, match=r"r.yaml: key 'deidentify.ner': allowed: false, presidio, or the directory"
    ):
        load_recipe(str(recipe))


def recipe_of(**deidentify):
    return {
        "name": "notes",
        "sources": [
            {
                "kind": "alpaca",
                "name": "notes",
                "path": "rows.jsonl",
                "licence": "internal",
                "patient_text": True,
            }
        ],
        "deidentify": {"mode": "replace", "limit": 10_000, **deidentify},
        "validation": 0,
    }


@pytest.mark.parametrize("ner", ["nowhere", "empty"])
@pytest.mark.parametrize("command", ["build", "estimate"])
def test_an_unusable_model_ends_the_build_before_anything_is_read(write, tmp_path, ner, command):
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    # There is no file rows.jsonl: the model is checked before it.
    recipe, root = load_recipe(str(write("r.yaml", yaml.safe_dump(recipe_of(ner=ner)))))
    with pytest.raises(UserError, match=f"{ner}: no (such directory|config.json)"):
        if command == "build":
            build(recipe, root, tmp_path / "out")
        else:
            estimate_rephrasing(recipe.model_copy(update={"rephrase": {"prompts": {}}}), root)


def test_a_build_replaces_what_the_model_finds_and_records_its_hash(model, write, tmp_path):
    shutil.copytree(model, tmp_path / "tiny")
    rows = [
        {"instruction": f"How is patient {n}?", "input": "", "output": f"tamsin slept well after day {n}."}
        for n in range(3)
    ]
    write("rows.jsonl", rows)
    recipe, root = load_recipe(str(write("r.yaml", yaml.safe_dump(recipe_of(ner="tiny")))))
    built = build(recipe, root, tmp_path / "out")
    [record] = built.ledger["deidentification"]
    assert record["ner"] == load_model(tmp_path / "tiny").version and record["hits"]["name"] == 3
    assert "tamsin" not in (tmp_path / "out/jsonl/train.jsonl").read_text()
    assert build(recipe, root, tmp_path / "out").reused
