"""Evaluation of a base model and its adapter in one pass, with one copy of the weights.

The output is two ordinary lm-eval results with logged samples, as two runs of lm-eval would write them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from peft import PeftModel

from medalpaca_data.core.errors import UserError

from .. import preflight
from ..lm_eval_run import check_task_names, evaluate_side
from ..model_identity import MODEL_TYPE
from .likelihood import LogLikelihood
from .model_type import Encoded, MedAlpacaLM, ignore_future_warnings

# In this order: the pass of the tuned side also computes the log-likelihoods of the base.
SIDES = ("tuned", "base")


def evaluate_both(
    base: str,
    adapter: str,
    tasks: Sequence[str],
    out: Path,
    *,
    model_args: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    device: str | None = None,
    batch_size: int | str = 1,
    **options: Any,
) -> tuple[Path, Path]:
    """Evaluate `base`, and `base` with `adapter`; write both results and return (`out/base`, `out/tuned`).

    `model_args` are those of `--model medalpaca`, without `pretrained` and `peft`. `metadata` is the value of
    lm_eval's `--metadata`. `options` are arguments of `simple_evaluate` (`limit`, `apply_chat_template`). Raises
    UserError for an unknown task, for an exam or model that cannot be loaded, and if a directory has results already.
    """
    check_task_names(tasks)
    directories = {side: out / side for side in SIDES}
    for directory in directories.values():
        if any(directory.rglob("results_*.json")):
            raise UserError(f"{directory}: already holds results; choose another --out")
    given = dict(model_args or {})
    if named := {"pretrained", "peft"} & set(given):
        raise UserError(f"--model_args {min(named)}=: not allowed; BASE and ADAPTER name the models")
    models = {"tuned": {"pretrained": base, "peft": adapter}, "base": {"pretrained": base}}
    task_metadata = {side: models[side] | given | dict(metadata or {}) for side in SIDES}
    for side in SIDES:
        preflight.before_model({"tasks": list(tasks), "metadata": task_metadata[side]})
    with ignore_future_warnings():
        lm = TwoSidedLM(**models["tuned"], **given, device=device, batch_size=batch_size)
    for side in SIDES:
        lm.adapted = side == "tuned"
        evaluate_side(
            lm,
            MODEL_TYPE,
            directories[side],
            tasks,
            task_metadata[side],
            model_args=models[side] | given,
            device=device,
            batch_size=batch_size,
            **options,
        )
    return directories["base"], directories["tuned"]


class TwoSidedLM(MedAlpacaLM):
    """A base model with an adapter that the attribute `adapted` switches on and off.

    A request for log-likelihoods with the adapter also computes those of the base model. They are kept in memory for
    the evaluation of the base model. Raises UserError if the adapter's tokenizer has more tokens than the base model.
    """

    _model: Any

    def __init__(self, pretrained: str, peft: str, **arguments: Any) -> None:
        self.adapted = True
        self._base_answers: dict[tuple[str, str], LogLikelihood] = {}
        super().__init__(pretrained, peft=peft, **arguments)

    def _create_model(self, *args: Any, peft: str, **kwargs: Any) -> None:
        super()._create_model(*args, peft=None, **kwargs)
        self._base_parameters = self._model.num_parameters()
        # With an adapter, hf resizes the vocabulary to the tokenizer; here the base model must keep its own.
        size, needed = self._model.get_input_embeddings().num_embeddings, len(self.tokenizer)
        if needed > size:
            raise UserError(
                f"{peft}: its tokenizer has {needed} tokens, the base model {size}, so the two cannot share weights; "
                "run lm_eval once for each model"
            )
        self._model = PeftModel.from_pretrained(self._model, peft, revision=kwargs.get("revision"))

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[LogLikelihood]:
        """Return log-likelihoods as `hf` does; without the adapter, the stored ones if all requests have one."""
        if not self.adapted and all(one.args in self._base_answers for one in requests):
            return [self._base_answers[one.args] for one in requests]
        answers: list[LogLikelihood] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[LogLikelihood]:
        with self._side():
            answers = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        if self.adapted and all(names is not None for names, _, _ in requests):
            with self.model.disable_adapter():
                base = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            self._base_answers |= zip((names for names, _, _ in requests), base, strict=True)
        return answers

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Return generated texts as `hf` does, with the adapter if `adapted` is set."""
        with self._side():
            answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return answers

    def get_model_info(self) -> dict[str, Any]:
        """Return the model info of `hf`; if `adapted` is not set, without the adapter's hash and parameters."""
        info: dict[str, Any] = super().get_model_info()
        if not self.adapted:
            info.pop("peft_sha", None)
            info["model_num_parameters"] = self._base_parameters
        return info

    def _side(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.adapted else self.model.disable_adapter()
