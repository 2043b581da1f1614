"""`--model medalpaca` against stock `hf`: same answers, on architectures that differ where it matters."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness.model.model_type import MedAlpacaLM

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GROUPED = {"num_key_value_heads": 2}
PADDED = {"pad_token_id": 1}
CONFIGS = {
    "llama": transformers.LlamaConfig(**SIZES, **GROUPED),
    "qwen2": transformers.Qwen2Config(**SIZES, **GROUPED),
    "qwen3": transformers.Qwen3Config(**SIZES, **GROUPED, head_dim=16),
    "gemma": transformers.GemmaConfig(**SIZES, **PADDED, num_key_value_heads=1, head_dim=16),
    # Caps on logits and on attention's scores; every second layer sees a window only.
    "gemma2": transformers.Gemma2Config(**SIZES, **PADDED, **GROUPED, head_dim=16),
    "gpt_neox": transformers.GPTNeoXConfig(**SIZES),
    "phi3": transformers.Phi3Config(**SIZES, **PADDED),
    # Logits and embeddings are multiplied by numbers of the configuration.
    "granite": transformers.GraniteConfig(**SIZES, **GROUPED, logits_scaling=4.0, embedding_multiplier=3.0),
}
FIVE = ("llama", "qwen3", "gemma", "gpt_neox", "phi3")


def make(config: Any, directory: Path, tokenizer: Any) -> Path:
    """A random model far enough from uniform that what it attends to shows in its answers."""
    torch.manual_seed(1)
    tokenizer.save_pretrained(directory)
    config.vocab_size = len(tokenizer)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "embed" not in name:
            parameter.data.mul_(3)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def architecture(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Any) -> Any:
    """The directory of a tiny model of the architecture, made once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = make(CONFIGS[name], tmp_path_factory.mktemp(name), byte_tokenizer())
        return made[name]

    return get


@pytest.fixture(scope="session")
def lora(architecture, tmp_path_factory) -> Any:
    """A random adapter on every linear layer of that model."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            torch.manual_seed(2)
            config = LoraConfig(
                r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
            )
            base = transformers.AutoModelForCausalLM.from_pretrained(architecture(name))
            made[name] = tmp_path_factory.mktemp(f"{name}-lora")
            get_peft_model(base, config).save_pretrained(made[name])
        return made[name]

    return get


# Requests ---------------------------------------------------------------------------------------------------

FINDINGS = (
    "fever",
    "a rash on both arms",
    "cough",
    "pain in the left knee",
    "loss of weight",
    "no complaint",
)


def question(number: int, letters: bool) -> str:
    told = ". ".join(FINDINGS[(number + i) % len(FINDINGS)] for i in range(2 + number % 5))
    shown = "\nA: rest\nB: ice\nC: surgery" if letters else ""
    return f"### Instruction:\nCase {number}: {told}.{shown}\n\n### Response:\n"


def instances(*pairs: tuple[str, str]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]


def requests() -> list[Instance]:
    """Letters and texts, 2 to 26 options, mixed as a group of tasks mixes them."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    texts = ("rest", "rest and ice", "ice", "surgery of the knee as soon as can be", "r", "rest and rice")
    pairs = []
    for number in range(6):
        options = alphabet[: (2, 3, 4, 5, 9, 26)[number]]
        pairs += [(question(number, letters=True), letter) for letter in options]
        pairs += [(question(number, letters=False), text) for text in texts[: 2 + number % 5]]
    # What acc_mutual_info asks besides, and what needs no question at all.
    pairs += [("", text) for text in texts]
    pairs += [("Choose: ", "rest"), ("e", "r"), (question(0, letters=False), "</s>")]
    return instances(*pairs)


def ask(kind: type[HFLM], model: Path, given: list[Instance], **arguments: Any) -> list[tuple[float, bool]]:
    lm = kind(pretrained=str(model), device="cpu", batch_size=8, **arguments)
    found: list[tuple[float, bool]] = lm.loglikelihood(given, disable_tqdm=True)
    if kind is MedAlpacaLM:
        assert lm._fallback_reason is None
    return found


def step(value: float, dtype: str) -> float:
    """What two computations of a log-likelihood may differ by: in bf16, the last of its 8 bits."""
    return 1e-4 if dtype == "float32" else max(1e-4, float(torch.finfo(torch.bfloat16).eps) * abs(value))


def assert_same(found: Any, stock: Any, given: list[Instance], dtype: str = "float32") -> None:
    for one, other in zip(found, stock, strict=True):
        assert one[0] == pytest.approx(other[0], abs=step(other[0], dtype))
        if dtype == "float32":
            assert one[1] == other[1]
    for context in {one.args[0] for one in given}:
        options = [index for index, one in enumerate(given) if one.args[0] == context]
        best, *others = sorted((stock[index][0] for index in options), reverse=True)
        if others and best - others[0] > 2 * step(best, dtype):
            assert max(options, key=lambda index: found[index][0]) == max(
                options, key=lambda index: stock[index][0]
            )


# Equality ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapted", [False, True], ids=["base", "lora"])
@pytest.mark.parametrize("name", FIVE)
def test_results_equal_hf(architecture, lora, name, adapted, dtype):
    arguments = {"dtype": dtype} | ({"peft": str(lora(name))} if adapted else {})
    given = requests()
    stock = ask(HFLM, architecture(name), given, **arguments)
    assert_same(ask(MedAlpacaLM, architecture(name), given, **arguments), stock, given, dtype)


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(FIVE)))
def test_results_equal_hf_for_other_architectures(architecture, name):
    given = requests()
    assert_same(ask(MedAlpacaLM, architecture(name), given), ask(HFLM, architecture(name), given), given)


def test_an_adapter_changes_the_results(architecture, lora):
    given = requests()
    base = ask(MedAlpacaLM, architecture("llama"), given)
    tuned = ask(MedAlpacaLM, architecture("llama"), given, peft=str(lora("llama")))
    assert max(abs(one[0] - other[0]) for one, other in zip(base, tuned, strict=True)) > 0.1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_kinds_of_masked_attention(architecture, attention):
    given = requests()
    found = ask(MedAlpacaLM, architecture("llama"), given, attn_implementation=attention)
    assert_same(found, ask(HFLM, architecture("llama"), given, attn_implementation=attention), given)


@pytest.mark.parametrize("arguments", [{"mixed_precision_dtype": "bfloat16"}, {"softmax_dtype": "float32"}])
def test_precision_equals_hf(architecture, arguments):
    given = requests()
    dtypes = {"dtype": "bfloat16"} if "softmax_dtype" in arguments else {}
    found, stock = (
        ask(kind, architecture("llama"), given, **arguments, **dtypes) for kind in (MedAlpacaLM, HFLM)
    )
    apart = [
        abs(one[0] - other[0]) / len(r.args[1]) for one, other, r in zip(found, stock, given, strict=True)
    ]
    assert max(apart) < 0.02  # per token; 16 bits, in batches of another shape


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("add_bos_token", [None, True])
def test_start_token(tmp_path, byte_tokenizer, bos, add_bos_token):
    model = make(CONFIGS["llama"], tmp_path, byte_tokenizer(bos=bos))
    given = requests()
    found = ask(MedAlpacaLM, model, given, add_bos_token=add_bos_token)
    assert_same(found, ask(HFLM, model, given, add_bos_token=add_bos_token), given)


def test_tokens_that_merge_across_prompt_and_option(tmp_path, byte_tokenizer):
    """ "feve" + "r": the tokens of the whole are not those of the parts one after the other."""
    model = make(CONFIGS["llama"], tmp_path, byte_tokenizer(merges=("e r", "s t")))
    given = instances(("He has feve", "r now"), ("He has feve", "rish"), ("the we", "re"), ("the we", "st"))
    assert_same(ask(MedAlpacaLM, model, given), ask(HFLM, model, given), given)
    with pytest.raises(UserError, match="1 of 2 requests have no token to score"):
        ask(MedAlpacaLM, model, instances(("He has feve", "r"), ("He has feve", "x")))


def test_contexts_longer_than_the_model(architecture, caplog):
    given = instances(
        *((question(number, letters=True) * 2, text) for number in range(3) for text in ("A", "rest"))
    )
    stock = ask(HFLM, architecture("llama"), given, max_length=100)
    with caplog.at_level(logging.WARNING, logger="lm_eval.medalpaca"):
        assert_same(ask(MedAlpacaLM, architecture("llama"), given, max_length=100), stock, given)
    assert "6 requests are longer than 100 tokens; their beginnings are truncated" in caplog.text
    with pytest.raises(UserError, match="an option has 101 tokens, more than the 100 tokens"):
        ask(MedAlpacaLM, architecture("llama"), instances(("a", "b" * 101)), max_length=100)


def test_one_request(architecture):
    given = instances(("a", "b"))
    assert_same(
        ask(MedAlpacaLM, architecture("llama"), given), ask(HFLM, architecture("llama"), given), given
    )
    assert ask(MedAlpacaLM, architecture("llama"), []) == []


@pytest.mark.parametrize("tokens", [1, 300, 100_000])
def test_batch_size_does_not_change_results(architecture, tokens):
    given = requests()
    found = ask(MedAlpacaLM, architecture("llama"), given, tokens_per_batch=tokens)
    assert_same(found, ask(HFLM, architecture("llama"), given), given)


def test_rolling_and_generation_equal_hf(architecture):
    texts = [Instance("loglikelihood_rolling", {}, (question(n, letters=True) * 8,), n) for n in range(3)]
    written = [
        Instance("generate_until", {}, (question(n, letters=True), {"until": ["\n"], "max_gen_toks": 8}), n)
        for n in range(3)
    ]
    stock, ours = (
        kind(pretrained=str(architecture("llama")), device="cpu", batch_size=2, max_length=500)
        for kind in (HFLM, MedAlpacaLM)
    )
    assert ours.loglikelihood_rolling(texts) == pytest.approx(stock.loglikelihood_rolling(texts), abs=1e-2)
    assert ours.generate_until(written) == stock.generate_until(written)


def test_few_shot_examples(architecture):
    """Few-shot: what all questions begin with is encoded once, in every batch the same."""
    shots = "".join(question(n, letters=True) + "B\n\n" for n in range(4))
    given = instances(*((shots + question(n, letters=True), letter) for n in range(9) for letter in "ABC"))
    lm = MedAlpacaLM(pretrained=str(architecture("llama")), device="cpu", tokens_per_batch=300)
    passed: list[int] = []
    hook = lm.model.register_forward_pre_hook(
        lambda _, __, told: passed.append(told["input_ids"].numel() if told else 0), with_kwargs=True
    )
    found = lm.loglikelihood(given, disable_tqdm=True)
    hook.remove()
    assert "prefix" in lm._verified
    assert sum(passed) < 9 * len(shots)
    assert_same(found, ask(HFLM, architecture("llama"), given), given)


# Falling back -----------------------------------------------------------------------------------------------


def fallen_back(model: Path, given: list[Instance], caplog: Any, **arguments: Any) -> str:
    """The one line that says so; the answers are hf's."""
    with caplog.at_level(logging.WARNING, logger="lm_eval.medalpaca"):
        lm = MedAlpacaLM(pretrained=str(model), device="cpu", batch_size=4, **arguments)
        found = lm.loglikelihood(given, disable_tqdm=True)
    stock = HFLM(pretrained=str(model), device="cpu", batch_size=4, **arguments)
    assert_same(found, stock.loglikelihood(given, disable_tqdm=True), given)
    lines = [record.getMessage() for record in caplog.records if record.name == "lm_eval.medalpaca"]
    assert len(lines) == 1
    return lines[0]


def test_recurrent_layers(tmp_path, byte_tokenizer, caplog):
    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4)
    message = fallen_back(make(config, tmp_path, byte_tokenizer()), requests(), caplog)
    assert "layers that are not attention" in message
    assert "--model hf" in message


def test_models_without_position_ids(tmp_path, byte_tokenizer, caplog):
    """Bloom derives distances from the mask and takes no position ids."""
    config = transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4)
    assert "as by --model hf" in fallen_back(make(config, tmp_path, byte_tokenizer()), requests(), caplog)


def test_attention_window(tmp_path, byte_tokenizer, caplog):
    model = make(
        transformers.MistralConfig(**SIZES, **GROUPED, sliding_window=120), tmp_path, byte_tokenizer()
    )
    message = fallen_back(model, requests(), caplog)
    assert "exceed the attention window of 120 tokens" in message


def test_a_wrong_result_triggers_the_fallback(architecture, caplog, monkeypatch):
    """Whatever makes the answers differ is found on the first batch, before any of them counts."""
    from transformers.models.llama import modeling_llama

    attention = modeling_llama.eager_attention_forward

    def blind_to_masks(
        module: Any, query: Any, key: Any, value: Any, mask: Any, *rest: Any, **others: Any
    ) -> Any:
        length = query.shape[-2]
        causal = torch.full((length, length), torch.finfo(query.dtype).min).triu(1)[None, None]
        return attention(module, query, key, value, causal, *rest, **others)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", blind_to_masks)
    message = fallen_back(architecture("llama"), requests(), caplog, attn_implementation="eager")
    assert "log-likelihood " in message


# Through lm-eval --------------------------------------------------------------------------------------------


def test_lm_eval_run_equals_hf(architecture, lora, evaluate, write_exam):
    exam = {"exam": str(write_exam())}
    models = {"pretrained": str(architecture("llama")), "peft": str(lora("llama"))}
    stock, ours = (
        evaluate(name, "medalpaca_exam", exam | models, model_args=models, device="cpu", batch_size=4)
        for name in ("hf", "medalpaca")
    )
    assert ours["config"]["model"] == "medalpaca"
    assert ours["results"] == stock["results"]
    for one, other in zip(ours["samples"]["medalpaca_exam"], stock["samples"]["medalpaca_exam"], strict=True):
        assert one["doc"] == other["doc"]
        assert len(one["doc"]["base_sha256"]) == len(one["doc"]["adapter_sha256"]) == 64
        assert one["doc_hash"] == other["doc_hash"]


def test_a_long_prompt_is_refused_before_inference(architecture, evaluate, write_exam):
    models = {"pretrained": str(architecture("llama")), "max_length": 60}
    with pytest.raises(UserError, match="do not fit the model's 60 tokens"):
        evaluate(
            "medalpaca",
            "medalpaca_exam",
            {"exam": str(write_exam())} | models,
            model_args=models,
            device="cpu",
        )


def test_mutual_information(architecture, tmp_path):
    """acc_mutual_info asks every option a second time, after nothing."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    rows = [
        {"prompt": question(n, letters=False), "choices": ["rest", "ice and rest", "surgery"], "gold": n % 3}
        for n in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mutual.yaml").write_text(
        "task: mutual\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "doc_to_text: prompt\ndoc_to_choice: choices\ndoc_to_target: gold\ntarget_delimiter: ''\n"
        "metric_list: [{metric: acc}, {metric: acc_mutual_info}]\n"
    )
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    stock, ours = (
        simple_evaluate(
            model=name,
            model_args={"pretrained": str(architecture("llama"))},
            tasks=["mutual"],
            task_manager=manager,
            device="cpu",
            batch_size=4,
            bootstrap_iters=0,
        )
        for name in ("hf", "medalpaca")
    )
    assert ours["results"] == stock["results"]
    for one, other in zip(ours["samples"]["mutual"], stock["samples"]["mutual"], strict=True):
        assert len(one["filtered_resps"]) == 6
        for mine, theirs in zip(one["filtered_resps"], other["filtered_resps"], strict=True):
            assert mine[0] == pytest.approx(theirs[0], abs=1e-4)
            assert mine[1] == theirs[1]
