"""`--model medalpaca`: lm-eval's `hf`, with each question encoded once and logits only where they are asked.

Answers are those of `hf`. The first batch is also asked in hf's own way, and where the two do not agree, or
a model cannot be asked like this, everything is, with one line that says so.
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

from ..model_identity import identify_model, pop_quantization_config, resolve_commit, split_adapter
from .likelihood import LogLikelihood, ScoredBatch, score_batches

BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}  # of a batch: what a core's caches hold; what a GPU is busy with
DEFAULT_BATCH_TOKENS = 4096
FULL, HALF = 1e-3, 0.1  # how far from hf's a log-likelihood per token may be, in 32 bits and in fewer
ROUNDINGS = 8  # and its sum besides, in last digits
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}

# Arguments that say where and how fast, not what the answers are.
NOT_IN_IDENTITY = {"device", "batch_size", "max_batch_size", "tokens_per_batch", "parallelize"}

Encoded = tuple[tuple[str, str], list[int], list[int]]
log = logging.getLogger("lm_eval.medalpaca")


@contextmanager
def ignore_future_warnings() -> Iterator[None]:
    """Around the loading of a model by a command of ours: what lm-eval and peft call is theirs to put right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


class MedAlpacaLM(HFLM):  # type: ignore[misc]
    """All arguments of lm-eval's `hf`, and `tokens_per_batch` (default by device, padding counted). The device is
    the GPU where there is one.

    `pretrained` may be an adapter directory, whose base is found; `load_in_8bit` and `load_in_4bit` work with
    transformers 5. `batch_size` matters for generation only. Raises UserError for weights that may not be loaded.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        peft: str | None = None,
        tokens_per_batch: int | None = None,
        **arguments: Any,
    ) -> None:
        self._quantisation = pop_quantization_config(arguments)
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
        self._agreed: set[str] = set()  # ways of encoding that gave hf's answers
        self._plain: str | None = None
        if reason := _unsupported_reason(self):
            self._fall_back(reason)
        # A question is asked with each of its options, one after the other.
        self._encode_lately = lru_cache(maxsize=8)(super().tok_encode)
        self._settings = {
            key: str(value)
            for key, value in sorted((named | arguments).items())
            if key not in NOT_IN_IDENTITY
        }
        self._named = named | {key: arguments.get(key) for key in ("revision", "subfolder")}

    def _create_model(self, *args: Any, **kwargs: Any) -> None:
        if self._quantisation is not None:
            kwargs["quantization_config"] = self._quantisation
        super()._create_model(*args, **kwargs)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """As in `hf`; the last few texts are remembered."""
        return list(self._encode_lately(string, add_special_tokens, left_truncate_len, **kwargs))

    # Scoring ------------------------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[LogLikelihood]:
        self._check(requests)
        found: dict[int, LogLikelihood] = {}
        fast = [index for index, one in enumerate(requests) if self._fits(one)]
        if self._plain is None:
            if len(fast) < len(requests):
                log.warning(
                    "%d of %d requests are longer than the model's window of %d tokens and asked as by --model hf",
                    *(len(requests) - len(fast), len(requests), self._window),
                )
            found = self._fast(requests, fast, disable_tqdm)
        if rest := [index for index in range(len(requests)) if index not in found]:
            asked = [requests[index] for index in rest]
            plain = super()._loglikelihood_tokens(asked, disable_tqdm, override_bs)
            found |= zip(rest, plain, strict=True)
        return [found[index] for index in range(len(requests))]

    def _fast(
        self, requests: Sequence[Encoded], chosen: list[int], disable_tqdm: bool
    ) -> dict[int, LogLikelihood]:
        """The answers by index; what is missing has to be asked in hf's own way."""
        found: dict[int, LogLikelihood] = {}
        hidden = disable_tqdm or self.rank != 0
        with tqdm(total=len(chosen), disable=hidden, desc="Running loglikelihood requests") as bar:
            for batch in self._batches([requests[index][1:] for index in chosen]):
                answered = {chosen[index]: answer for index, answer in batch.answers.items()}
                if not (batch.ways | {"rows"}) <= self._agreed and not self._agrees(
                    requests, answered, batch.ways
                ):
                    return found
                found |= answered
                for index, answer in answered.items():
                    if (names := requests[index][0]) is not None:  # None: a window of loglikelihood_rolling
                        self.cache_hook.add_partial("loglikelihood", names, answer)
                bar.update(len(answered))
        return found

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
                    # What a model cannot do shows in as many ways as there are models.
                    self._fall_back(one_line(error)[:120] or type(error).__name__)
                    return
            if batch is None:
                return
            yield batch

    def _agrees(
        self, requests: Sequence[Encoded], answered: Mapping[int, LogLikelihood], ways: frozenset[str]
    ) -> bool:
        """Ask the last request of a batch, the last branch of a row with padding, in hf's own way as well."""
        index, (found, _) = list(answered.items())[-1]
        ((stock, _),) = super()._loglikelihood_tokens([requests[index]], disable_tqdm=True, override_bs=1)
        apart = abs(found - stock)
        # Not "apart > allowed", which nan would pass; where hf gives nan itself, nan is the answer.
        if not apart <= self._allowed(len(requests[index][2]), stock) and stock == stock:
            self._fall_back(f"a log-likelihood of {stock:.4g} came out as {found:.4g}")
            return False
        self._agreed |= ways | {"rows"}
        return True

    def _allowed(self, tokens: int, likelihood: float) -> float:
        """How far from hf's own way a log-likelihood may be: by its rounding, and by what the batch's shape does."""
        given = (self.model.dtype, self.mixed_precision_dtype, self.softmax_dtype)
        coarsest = max(float(torch.finfo(dtype).eps) for dtype in given if dtype is not None)
        quantised = getattr(self.config, "quantization_config", None) or self._quantisation
        each = FULL if coarsest < FULL / 10 and not quantised else HALF
        return tokens * each + ROUNDINGS * coarsest * abs(likelihood)

    def _check(self, requests: Sequence[Encoded]) -> None:
        if empty := sum(not context or not continuation for _, context, continuation in requests):
            raise UserError(
                f"{empty} of {len(requests)} requests have no token to score: an empty option, or one whose text "
                "the tokenizer merges into the prompt"
            )
        if (most := max((len(one[2]) for one in requests), default=0)) > self.max_length:
            raise UserError(f"an option of {most} tokens; the model sees {self.max_length} at once")
        if cut := sum(len(one[1]) + len(one[2]) > self.max_length + 1 for one in requests):
            log.warning(
                "%d requests are longer than %d tokens and lose their beginnings", cut, self.max_length
            )

    def _fits(self, request: Encoded) -> bool:
        return self._window is None or len(request[1]) + len(request[2]) - 1 <= self._window

    def _fall_back(self, reason: str) -> None:
        self._plain = reason
        log.warning("%s: every option is asked by itself, as by --model hf (%s)", self._model_name, reason)

    # The cache of answers -----------------------------------------------------------------------------------

    def set_cache_hook(self, cache_hook: Any) -> None:
        """lm-eval's `--use_cache` with keys that name the model: other weights, other answers."""
        super().set_cache_hook(cache_hook)
        if cache_hook.dbdict is not None:
            identity = self.identity()
            cache_hook.dbdict.encode_key = lambda key: f"{identity}:{key}"

    def identity(self) -> str:
        """SHA-256 over weights, tokenizer and all settings that answers depend on."""
        found = identify_model(self._named) if isinstance(self.pretrained, str) else None
        weights = (
            [found.base, found.base_sha256, found.adapter, found.adapter_sha256] if found else [id(self)]
        )
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend is not None else sorted(self.tokenizer.get_vocab().items())
        return sha256_json([weights, words, self._settings, str(self.model.dtype), self.max_length])


def _pin_revision(named: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The commit that was checked, for a model of a hub: a branch may move between the check and the loading.

    An adapter of a hub would be asked for at the same commit, and has none of that name.
    """
    peft = named.get("peft")
    if Path(named["pretrained"]).expanduser().is_dir() or (peft and not Path(peft).expanduser().is_dir()):
        return {}
    where = {"subfolder": arguments.get("subfolder") or "", "cache": arguments.get("cache_dir") or ""}
    return {
        "revision": resolve_commit(named["pretrained"], revision=arguments.get("revision") or "main", **where)
    }


def _unsupported_reason(lm: HFLM) -> str | None:
    """Why a model cannot be asked in trees of text at all, where its configuration says so."""
    config = lm.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if lm.backend != "causal":
        return "not a causal language model"
    if recurrent := kinds - ATTENTION_LAYERS:
        return f"layers that are not attention: {', '.join(sorted(recurrent))}"
    attention = getattr(config, "_attn_implementation", None) or "eager"
    return None if attention in ("sdpa", "eager") else f"attention by {attention}"


def _attention_window(config: Any) -> int | None:
    """The longest text that no layer of the model sees only a part of; None when all see everything."""
    kinds = getattr(config, "layer_types", None)
    if kinds and not set(kinds) - {"full_attention"}:
        return None
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((window for window in windows if isinstance(window, int)), default=None)
