"""`--model medalpaca`: the `hf` model of lm-eval, with each question encoded once and fewer logits computed.

The results are those of `hf`, within rounding. One request of the first batch of each method is also computed by `hf`
itself. If the two differ, or the model does not support the method, `hf` computes all remaining requests, and a warning
gives the reason. Requests longer than an attention window of the model are computed by `hf`, too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm  # type: ignore[import-untyped]

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import sha256_json

from ..hub import resolve_commit
from ..model_identity import identify_model, pop_quantization_config, split_adapter
from .likelihood import LogLikelihood, ScoredBatch, score_batches

# Default number of tokens in a batch: as many as fit the caches of a CPU core, or keep a GPU busy.
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
DEFAULT_BATCH_TOKENS = 4096
# Allowed difference from hf of a log-likelihood per token: in 32 bits, and in fewer bits or quantized.
FULL, HALF = 1e-3, 0.1
# Allowed rounding error in addition, in units of the last digit of the log-likelihood.
ROUNDINGS = 8
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}

# Arguments that do not change the results, so `identity` does not contain them.
NOT_IN_IDENTITY = {"device", "batch_size", "max_batch_size", "tokens_per_batch", "parallelize"}

Encoded = tuple[tuple[str, str], list[int], list[int]]
log = logging.getLogger("lm_eval.medalpaca")


@contextmanager
def ignore_future_warnings() -> Iterator[None]:
    """Suppress FutureWarning inside the context, while a model is loaded: lm-eval and peft cause it, not the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


class MedAlpacaLM(HFLM):  # type: ignore[misc]
    """The `hf` model of lm-eval with shared encoding of questions.

    Accepts all arguments of `hf`, and `tokens_per_batch`, the maximal number of tokens in a batch, padding included;
    its default depends on the device. The default device is the GPU if there is one. `pretrained` may be a local
    adapter directory, which names its base. `load_in_8bit` and `load_in_4bit` work with transformers 5. `batch_size`
    affects only generation and requests that `hf` computes. Raises UserError for arguments or weights that
    `identify_model` refuses.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        peft: str | None = None,
        tokens_per_batch: int | None = None,
        **arguments: Any,
    ) -> None:
        self._quantization = pop_quantization_config(arguments)
        named = {"pretrained": pretrained, "peft": peft}
        if isinstance(pretrained, str):
            named = {"peft": None} | split_adapter({key: value for key, value in named.items() if value})
            identify_model(named | arguments)
            arguments |= _pin_revision(named, arguments)
            if not arguments.get("device"):
                arguments["device"] = "cuda" if torch.cuda.is_available() else "cpu"
            arguments = {"use_safetensors": True} | arguments
        super().__init__(**named, **arguments)
        self.tokens_per_batch = int(
            tokens_per_batch or BATCH_TOKENS.get(self.device.type, DEFAULT_BATCH_TOKENS)
        )
        self._model_name = " + ".join(
            Path(str(name)).name for name in named.values() if isinstance(name, str)
        )
        self._window = _attention_window(self.config.get_text_config())
        # Methods of encoding whose results agreed with hf.
        self._verified: set[str] = set()
        self._fallback_reason: str | None = None
        if reason := _unsupported_reason(self):
            self._fall_back(reason)
        # The same question comes with each of its options in turn.
        self._encode_cached = lru_cache(maxsize=8)(super().tok_encode)
        self._settings = {
            key: str(value)
            for key, value in sorted((named | arguments).items())
            if key not in NOT_IN_IDENTITY
        }
        self._named = named | {key: arguments.get(key) for key in ("revision", "subfolder")}

    def _create_model(self, *args: Any, **kwargs: Any) -> None:
        if self._quantization is not None:
            kwargs["quantization_config"] = self._quantization
        super()._create_model(*args, **kwargs)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return the token ids of `string` as `hf` does, with a cache of the last eight texts."""
        return list(self._encode_cached(string, add_special_tokens, left_truncate_len, **kwargs))

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[LogLikelihood]:
        self._check(requests)
        results: dict[int, LogLikelihood] = {}
        fast = [index for index, one in enumerate(requests) if self._fits(one)]
        if self._fallback_reason is None:
            if len(fast) < len(requests):
                log.warning(
                    "%d of %d requests exceed the attention window of %d tokens and are computed as by --model hf",
                    *(len(requests) - len(fast), len(requests), self._window),
                )
            results = self._score_fast(requests, fast, disable_tqdm)
        if rest := [index for index in range(len(requests)) if index not in results]:
            remaining = [requests[index] for index in rest]
            scored = super()._loglikelihood_tokens(remaining, disable_tqdm, override_bs)
            results |= zip(rest, scored, strict=True)
        return [results[index] for index in range(len(requests))]

    def _score_fast(
        self, requests: Sequence[Encoded], chosen: list[int], disable_tqdm: bool
    ) -> dict[int, LogLikelihood]:
        """Return results by index of `requests`; after a fallback, some of `chosen` are missing."""
        results: dict[int, LogLikelihood] = {}
        hidden = disable_tqdm or self.rank != 0
        with tqdm(total=len(chosen), disable=hidden, desc="Running loglikelihood requests") as bar:
            for batch in self._batches([requests[index][1:] for index in chosen]):
                scored = {chosen[index]: answer for index, answer in batch.answers.items()}
                if not (batch.methods | {"rows"}) <= self._verified and not self._agrees(
                    requests, scored, batch.methods
                ):
                    return results
                results |= scored
                for index, answer in scored.items():
                    # None: a window of loglikelihood_rolling.
                    if (names := requests[index][0]) is not None:
                        self.cache_hook.add_partial("loglikelihood", names, answer)
                bar.update(len(scored))
        return results

    def _batches(self, requests: Sequence[tuple[list[int], list[int]]]) -> Iterator[ScoredBatch]:
        mixed = self.mixed_precision_dtype
        batches = score_batches(
            self.model,
            requests,
            tokens=self.tokens_per_batch,
            longest=self.max_length,
            softmax_dtype=self.softmax_dtype,
        )
        while True:
            with torch.autocast(self.device.type, dtype=mixed, enabled=mixed is not None):
                try:
                    batch = next(batches, None)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:
                    # An unsupported model may raise any error.
                    self._fall_back(one_line(error)[:120] or type(error).__name__)
                    return
            if batch is None:
                return
            yield batch

    def _agrees(
        self, requests: Sequence[Encoded], scored: Mapping[int, LogLikelihood], methods: frozenset[str]
    ) -> bool:
        """Return whether the last request of a batch agrees with `hf`; else switch to `hf` for the other requests.

        The last request is the last branch of a row with padding. Agreement marks `methods` as verified.
        """
        index, (likelihood, _) = list(scored.items())[-1]
        ((reference, _),) = super()._loglikelihood_tokens([requests[index]], disable_tqdm=True, override_bs=1)
        difference = abs(likelihood - reference)
        # Not "difference > allowed", which would accept nan. If the result of hf is nan, any result is accepted.
        if not difference <= self._tolerance(len(requests[index][2]), reference) and reference == reference:
            self._fall_back(f"log-likelihood {likelihood:.4g}, by hf {reference:.4g}")
            return False
        self._verified |= methods | {"rows"}
        return True

    def _tolerance(self, tokens: int, likelihood: float) -> float:
        """Return the allowed difference from `hf` in nats, for rounding and for the shape of the batch."""
        given = (self.model.dtype, self.mixed_precision_dtype, self.softmax_dtype)
        coarsest = max(float(torch.finfo(dtype).eps) for dtype in given if dtype is not None)
        quantized = getattr(self.config, "quantization_config", None) or self._quantization
        each = FULL if coarsest < FULL / 10 and not quantized else HALF
        return tokens * each + ROUNDINGS * coarsest * abs(likelihood)

    def _check(self, requests: Sequence[Encoded]) -> None:
        if empty := sum(not context or not continuation for _, context, continuation in requests):
            raise UserError(
                f"{empty} of {len(requests)} requests have no token to score: an option is empty, or the tokenizer "
                "merges its text into the prompt"
            )
        if (most := max((len(one[2]) for one in requests), default=0)) > self.max_length:
            raise UserError(
                f"an option has {most} tokens, more than the {self.max_length} tokens that the model allows; "
                "use a model with a longer context"
            )
        if cut := sum(len(one[1]) + len(one[2]) > self.max_length + 1 for one in requests):
            log.warning(
                "%d requests are longer than %d tokens; their beginnings are truncated", cut, self.max_length
            )

    def _fits(self, request: Encoded) -> bool:
        return self._window is None or len(request[1]) + len(request[2]) - 1 <= self._window

    def _fall_back(self, reason: str) -> None:
        self._fallback_reason = reason
        log.warning("%s: each option is computed separately, as by --model hf (%s)", self._model_name, reason)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Set the hook, and add the identity of the model to its cache keys, so that models share no cached results."""
        super().set_cache_hook(cache_hook)
        if cache_hook.dbdict is not None:
            identity = self.identity()
            cache_hook.dbdict.encode_key = lambda key: f"{identity}:{key}"

    def identity(self) -> str:
        """Return the SHA-256 of weights, tokenizer and all settings that the results depend on.

        For a model that was passed as an object, it is valid in this process only.
        """
        model = identify_model(self._named) if isinstance(self.pretrained, str) else None
        weights = (
            [model.base, model.base_sha256, model.adapter, model.adapter_sha256] if model else [id(self)]
        )
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        vocabulary = backend.to_str() if backend is not None else sorted(self.tokenizer.get_vocab().items())
        return sha256_json([weights, vocabulary, self._settings, str(self.model.dtype), self.max_length])


def _pin_revision(named: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"revision": checked commit} for a hub model, because a branch may move before the download.

    Returns {} for a local model, and for a model with an adapter of the hub. lm-eval would load that adapter at the
    same commit, which its repository does not have.
    """
    peft = named.get("peft")
    if Path(named["pretrained"]).expanduser().is_dir() or (peft and not Path(peft).expanduser().is_dir()):
        return {}
    where = {"subfolder": arguments.get("subfolder") or "", "cache": arguments.get("cache_dir") or ""}
    return {
        "revision": resolve_commit(named["pretrained"], revision=arguments.get("revision") or "main", **where)
    }


def _unsupported_reason(lm: HFLM) -> str | None:
    """Return why the configuration of a model does not support token trees; None if it does."""
    config = lm.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if lm.backend != "causal":
        return "not a causal language model"
    if recurrent := kinds - ATTENTION_LAYERS:
        return f"layers that are not attention: {', '.join(sorted(recurrent))}"
    attention = getattr(config, "_attn_implementation", None) or "eager"
    return None if attention in ("sdpa", "eager") else f"attention by {attention}"


def _attention_window(config: Any) -> int | None:
    """Return the smallest attention window in tokens; None if the configuration has none in use."""
    kinds = getattr(config, "layer_types", None)
    if kinds and not set(kinds) - {"full_attention"}:
        return None
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((window for window in windows if isinstance(window, int)), default=None)
