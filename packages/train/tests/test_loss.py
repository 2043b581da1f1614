"""Loss and packing: gradients equal those of single rows on every architecture, and known traps are avoided."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medalpaca_data.core.errors import UserError
from medalpaca_train import attention, loss
from medalpaca_train.hardware import Hardware
from medalpaca_train.loss import (
    Objective,
    choose_objective,
    forward,
    linear_cross_entropy,
    supervised_hidden_states,
    supervised_logits,
)
from medalpaca_train.packing import group_by_length, make_packed_batch, make_padded_batch
from medalpaca_train.tokenize import Sample

CPU = Hardware(torch.device("cpu"), "fp32", "")
SIZE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": 8},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "Qwen3": {"head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Gemma3Text": {
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Phi3": {"sliding_window": 8},
    "Olmo2": {},
    "GPTNeoX": {},
}
LENGTHS = ((5, 2), (17, 9), (11, 0), (11, 4), (23, 20), (2, 1), (40, 7))


def make(kind: str, **extra: Any) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = SIZE | HEADS | ENDS | ARCHITECTURES.get(kind, {}) | extra
    if kind == "GPTNeoX":
        del settings["num_key_value_heads"]
    config = getattr(transformers, f"{kind}Config")(**settings)
    return getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config)


def samples() -> list[Sample]:
    draw = np.random.default_rng(0)
    return [Sample(str(i), draw.integers(3, 64, n).astype(np.int32), g) for i, (n, g) in enumerate(LENGTHS)]


def one_by_one(model: Any, rows: list[Sample]) -> torch.Tensor:
    """Return the reference loss: each row alone, with the model's own forward method and attention."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.from_numpy(row.ids.astype(np.int64))
        logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0]
        start = max(row.prompt_length, 1)
        total = total + functional.cross_entropy(logits[start - 1 :], ids[start:], reduction="sum")
    return total


def gradients(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


class KeepFp64(TorchFunctionMode):
    """Keep fp64 where models compute norms, softmax and positions in fp32, which would hide smaller differences."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = args[0].dtype if isinstance(args[0] if args else None, torch.Tensor) else None
        trained_base = kind == torch.float64
        if kind in (torch.float64, torch.int64) and function is torch.Tensor.float:
            # Positions are integers at first.
            return args[0].double()
        if trained_base and function is torch.Tensor.to and torch.float32 in args:
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        if trained_base and kwargs.get("dtype") is torch.float32:
            kwargs = kwargs | {"dtype": torch.float64}
        return function(*args, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_packed_gradients_are_those_of_one_by_one(kind: str, dtype: torch.dtype) -> None:
    model, rows = make(kind).to(dtype), samples()
    with KeepFp64() if dtype == torch.float64 else nullcontext():
        expected = gradients(model, one_by_one(model, rows))
        choice = choose_objective(model, rows, CPU)
        assert choice.reasons == []
        assert (choice.objective.packing, choice.objective.fused_loss) == (True, True)
        computed = gradients(model, sum(choice.objective.losses(rows), torch.zeros(())))
    assert distance(computed, expected) < (1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("kind", ["Llama", "Gemma3Text"])
def test_gradient_checkpointing_changes_nothing(kind: str) -> None:
    model, rows = make(kind), samples()
    expected = gradients(model, one_by_one(model, rows))
    objective = choose_objective(model, rows, CPU).objective
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert distance(gradients(model, next(objective.losses(rows))), expected) < 1e-6


def test_trap_cache_on() -> None:
    """A packed row with the library's attention and the default cache has wrong gradients, without an error."""
    model, rows = make("Llama"), samples()
    assert model.config.use_cache
    expected = gradients(model, one_by_one(model, rows))
    assert distance(gradients(model, stock(model, rows, use_cache=True)), expected) > 0.1
    assert (
        distance(gradients(model, next(choose_objective(model, rows, CPU).objective.losses(rows))), expected)
        < 1e-6
    )


def test_trap_mask_of_ones() -> None:
    """An attention mask of ones gives wrong gradients as well; batches have no mask."""
    model, rows = make("Llama"), samples()
    expected = gradients(model, one_by_one(model, rows))
    ones = torch.ones(1, sum(row.length - 1 for row in rows), dtype=torch.long)
    assert (
        distance(gradients(model, stock(model, rows, use_cache=False, attention_mask=ones)), expected) > 0.1
    )
    assert distance(gradients(model, stock(model, rows, use_cache=False)), expected) < 1e-6
    assert "attention_mask" not in (make_packed_batch(rows, CPU.device).packing_kwargs or {})


def stock(model: Any, rows: list[Sample], **options: Any) -> torch.Tensor:
    """Return the loss of a packed row with position ids only and the library's own attention."""
    batch = make_packed_batch(rows, CPU.device)
    assert batch.packing_kwargs is not None
    logits = model(batch.inputs, position_ids=batch.packing_kwargs["position_ids"], **options).logits[0]
    return functional.cross_entropy(logits[batch.positions], batch.targets, reduction="sum")


@pytest.mark.parametrize("kind", ["Mistral", "Qwen2", "Gemma3Text", "Phi3"])
def test_trap_window_shorter_than_a_document(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing that ignores the sliding window changes gradients, and `choose_objective` notices it."""
    model, rows = make(kind), samples()
    expected = gradients(model, one_by_one(model, rows))
    packed_attention = attention.packed_attention

    def boundless(*args: Any, sliding_window: Any = None, **others: Any) -> Any:
        return packed_attention(*args, **others)

    monkeypatch.setattr(attention, "packed_attention", boundless)
    choice = loss.choose_objective(model, rows, CPU)
    assert not choice.objective.packing
    (reason,) = choice.reasons
    assert "alone" in reason
    assert distance(gradients(model, sum(choice.objective.losses(rows), torch.zeros(()))), expected) < 1e-6
    model.set_attn_implementation(attention.ATTENTION_NAME)
    wrong = choice.objective.batch_loss(make_packed_batch(rows, CPU.device))
    assert distance(gradients(model, wrong), expected) > 1e-3


SLOWER: list[tuple[str, dict[str, Any], bool, bool, str]] = [
    ("Gemma2", {"head_dim": 8, "sliding_window": 8}, False, False, "caps its attention scores"),
    ("Granite", {"logits_scaling": 8.0}, True, False, "scaling or soft-capping"),
    ("Cohere", {"logit_scale": 0.25}, True, False, "scaling or soft-capping"),
    ("Phi", {"num_key_value_heads": 4}, True, False, "has a bias"),
    ("Mamba", {"state_size": 4, "use_mambapy": False}, False, True, ""),
    ("Bloom", {"n_head": 4}, False, True, ""),
]


@pytest.mark.parametrize(
    ("kind", "extra", "packing", "fused_loss", "reason"), SLOWER, ids=[s[0] for s in SLOWER]
)
def test_models_that_the_fast_path_gets_wrong_take_a_slower_path(
    kind: str, extra: dict[str, Any], packing: bool, fused_loss: bool, reason: str
) -> None:
    model, rows = make(kind, **extra), samples()
    expected = gradients(model, one_by_one(model, rows))
    choice = choose_objective(model, rows, CPU)
    assert (choice.objective.packing, choice.objective.fused_loss) == (packing, fused_loss)
    assert len(choice.reasons) == (not packing) + (not fused_loss)
    assert reason in "".join(choice.reasons)
    computed = gradients(model, sum(choice.objective.losses(rows), torch.zeros(())))
    assert distance(computed, expected) < 1e-6


def test_soft_cap_far_above_the_first_logits_is_detected() -> None:
    model = make("Gemma2", head_dim=8, attn_logit_softcapping=None, final_logit_softcapping=3e3)
    assert not choose_objective(model, samples(), CPU).objective.fused_loss


def test_adapter_on_the_output_layer_takes_the_slower_path() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        make("Llama"), LoraConfig(target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM")
    )
    choice = choose_objective(model, samples(), CPU)
    assert (choice.objective.packing, choice.objective.fused_loss) == (True, False)


def test_window_longer_than_every_document_keeps_the_fast_path() -> None:
    assert choose_objective(make("Mistral", sliding_window=4096), samples(), CPU).reasons == []


def test_one_sample_only() -> None:
    assert choose_objective(make("Llama"), samples()[1:2], CPU).reasons == []


def test_groups_of_similar_length_have_little_padding() -> None:
    lengths = [8 + (i * 7919) % 92 for i in range(200)]
    groups = group_by_length(range(200), lengths)
    assert sorted(i for group in groups for i in group) == list(range(200))
    assert all(min(lengths[i] for i in group) >= 0.8 * max(lengths[i] for i in group) for group in groups)


def test_no_token_is_padding_when_packed() -> None:
    rows = samples()
    batch = make_packed_batch(rows, CPU.device)
    assert batch.inputs.numel() == sum(row.length - 1 for row in rows)
    assert len(batch.targets) == sum(row.supervised for row in rows)
    assert make_padded_batch(rows, CPU.device).packing_kwargs is None


@pytest.mark.parametrize("fused_loss", [True, False])
def test_equals_the_library_loss(fused_loss: bool) -> None:
    model, row = make("Llama").eval(), samples()[1]
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    labels = ids.clone()
    labels[:, : row.prompt_length] = -100
    expected = model(input_ids=ids, labels=labels).loss * row.supervised
    objective = Objective(model, CPU, packing=False, fused_loss=fused_loss)
    assert objective.batch_loss(make_padded_batch([row], CPU.device)).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("Llama", {}),
        ("Granite", {"logits_scaling": 8.0}),
        ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 0.5, "sliding_window": 4}),
        ("Qwen3", {}),
    ],
)
def test_supervised_logits_are_the_models_own(kind: str, extra: dict[str, Any]) -> None:
    model = make(kind, **extra).eval()
    batch = make_padded_batch(samples(), CPU.device)
    expected = forward(model, batch).flatten(0, 1)[batch.positions]
    selected = supervised_logits(model, batch)
    assert selected.shape == (sum(row.supervised for row in samples()), 64)
    torch.testing.assert_close(selected, expected, rtol=1e-5, atol=1e-6)


def test_single_row_with_all_tokens_supervised() -> None:
    model, row = make("Llama"), samples()[2]
    batch = make_padded_batch([row], CPU.device)
    assert supervised_logits(model, batch).shape == (row.length - 1, 64)
    assert supervised_hidden_states(model, batch).shape == (row.length - 1, 32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [3, 7, 1000])
@pytest.mark.parametrize("frozen", [False, True])
def test_linear_cross_entropy_equals_plain_cross_entropy(
    dtype: torch.dtype, chunk: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loss.CHUNK_TOKENS, "cpu", chunk)
    torch.manual_seed(0)
    hidden = torch.randn(20, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn(50, 8, dtype=dtype, requires_grad=not frozen)
    targets = torch.randint(0, 50, (20,))
    inputs = [hidden] if frozen else [hidden, weight]
    plain = functional.cross_entropy(
        (hidden @ weight.T).float() if dtype == torch.bfloat16 else hidden @ weight.T,
        targets,
        reduction="sum",
    )
    fused = linear_cross_entropy(hidden, weight, targets)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(fused, plain.to(fused.dtype), rtol=tolerance, atol=0)
    for one, two in zip(
        torch.autograd.grad(fused / 3, inputs), torch.autograd.grad(plain / 3, inputs), strict=True
    ):
        assert one.dtype == two.dtype == dtype
        assert float((one - two).norm() / two.norm()) < tolerance
    with torch.no_grad():
        torch.testing.assert_close(
            linear_cross_entropy(hidden, weight, targets), fused.detach(), rtol=tolerance, atol=0
        )


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    total = linear_cross_entropy(hidden, weight, torch.tensor([1, 1]))
    assert total.item() == pytest.approx(2e4)
    total.backward()
    assert torch.isfinite(weight.grad).all()  # type: ignore[arg-type]


def test_logits_of_the_full_batch_are_never_in_memory() -> None:
    """The largest allocation is one chunk of the 4 million logits."""
    hidden = torch.randn(4096, 8, requires_grad=True)
    weight = torch.randn(1024, 8, requires_grad=True)
    targets = torch.zeros(4096, dtype=torch.long)
    with torch.profiler.profile(profile_memory=True) as profile:
        linear_cross_entropy(hidden, weight, targets).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= loss.CHUNK_TOKENS["cpu"] * 1024 * 4


def test_dropout_in_attention_is_tried_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of a GPU has no dropout, which is active in training mode only."""

    def refuse(*arguments: Any, dropout: float = 0.0, **others: Any) -> Any:
        if dropout:
            raise NotImplementedError("dropout in attention")
        return original(*arguments, dropout=dropout, **others)

    original = attention.packed_attention
    monkeypatch.setattr(attention, "packed_attention", refuse)
    model = make("Llama", attention_dropout=0.1)
    choice = choose_objective(model, samples(), CPU)
    assert not choice.objective.packing and not model.training
    assert "cannot be packed (dropout in attention)" in choice.reasons[0]
    assert choose_objective(make("Llama"), samples(), CPU).objective.packing


def test_dynamic_positions_of_long_rows_are_refused() -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = make("Llama", max_position_embeddings=32, rope_parameters=rope)
    with pytest.raises(
        UserError, match=r"a row has 40 tokens, .* above 32, by the rows before; set max_tokens=32"
    ):
        choose_objective(model, samples(), CPU)
    assert choose_objective(model, samples()[:5], CPU).objective.packing


def test_a_model_that_changes_with_the_width_of_a_batch_gets_single_rows() -> None:
    """As in longrope: the scaling of positions depends on the longest row of a batch."""

    class Widens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make("Llama")
            self.config = self.inner.config
            self.set_attn_implementation = self.inner.set_attn_implementation
            self.get_output_embeddings = self.inner.get_output_embeddings

        def forward(self, input_ids: torch.Tensor, **others: Any) -> Any:
            out = self.inner(input_ids, **others)
            out.logits = out.logits * (2.0 if input_ids.shape[1] > 30 else 1.0)
            return out

    choice = choose_objective(Widens(), samples(), CPU)
    assert [len(part) for part in choice.objective.split(samples())] == [1] * len(samples())
    assert "each row has its own forward pass" in choice.reasons[0]
