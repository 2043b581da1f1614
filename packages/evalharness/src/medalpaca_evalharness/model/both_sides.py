"""Base and tuned examined in one pass: one copy of the weights, every question put to both while it is at hand.

What is written are two ordinary results of lm-eval with logged samples, as two runs of it would have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from peft import PeftModel

from medalpaca_data.core.errors import UserError, nearest

from .. import preflight
from ..model_identity import MODEL_TYPE
from ..task_list import GROUPS, TASKS
from .likelihood import LogLikelihood
from .model_type import Encoded, MedAlpacaLM, ignore_future_warnings

SIDES = ("tuned", "base")  # in this order: the tuned side asks for both


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
    """Examine `base`, and `adapter` on it; the directories `out/base` and `out/tuned` with their results.

    `model_args` as for `--model medalpaca`, `metadata` as for lm_eval's `--metadata`, `options` are arguments of
    `simple_evaluate` (`limit`, `apply_chat_template`). Raises UserError for what cannot be asked or loaded, and
    when `out` holds results already.
    """
    for name in tasks:
        if name not in TASKS and name not in GROUPS:
            hint = f"; did you mean {near}?" if (near := nearest(name, [*TASKS, *GROUPS])) else ""
            raise UserError(f"--tasks {name}: no task of this package{hint}")
    places = {side: out / side for side in SIDES}
    for place in places.values():
        if any(place.rglob("results_*.json")):
            raise UserError(f"{place}: holds results already; give another --out")
    given = dict(model_args or {})
    if named := {"pretrained", "peft"} & set(given):
        raise UserError(f"--model_args {min(named)}=: base and adapter are named by themselves")
    models = {"tuned": {"pretrained": base, "peft": adapter}, "base": {"pretrained": base}}
    told = {side: models[side] | given | dict(metadata or {}) for side in SIDES}
    for side in SIDES:
        preflight.before_model({"tasks": list(tasks), "metadata": told[side]})
    with ignore_future_warnings():
        lm = TwoSidedLM(**models["tuned"], **given, device=device, batch_size=batch_size)
    for side in SIDES:
        lm.adapted = side == "tuned"
        tracker = EvaluationTracker(output_path=str(places[side]))
        results = simple_evaluate(
            model=lm,
            model_args=models[side] | given,
            tasks=list(tasks),
            task_manager=_make_task_manager(told[side]),
            evaluation_tracker=tracker,
            device=device,
            batch_size=batch_size,
            **options,
        )
        results["config"]["model"] = MODEL_TYPE
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for name in results["configs"]:
            tracker.save_results_samples(task_name=name, samples=samples[name])
    return places["base"], places["tuned"]


class TwoSidedLM(MedAlpacaLM):
    """A base with an adapter that can be taken off: `adapted` says which of the two answers.

    Log-likelihoods asked of the adapted side are asked of the base at once, and kept until it is asked for them.
    """

    _model: Any

    def __init__(self, pretrained: str, peft: str, **arguments: Any) -> None:
        self.adapted = True
        self._of_base: dict[tuple[str, str], LogLikelihood] = {}
        super().__init__(pretrained, peft=peft, **arguments)

    def _create_model(self, *args: Any, peft: str, **kwargs: Any) -> None:
        super()._create_model(*args, peft=None, **kwargs)
        self._base_parameters = self._model.num_parameters()
        # With an adapter, hf cuts the vocabulary down to the tokenizer's; here the base has to keep its own.
        held, needed = self._model.get_input_embeddings().num_embeddings, len(self.tokenizer)
        if needed > held:
            raise UserError(
                f"{peft}: its tokenizer has {needed} tokens and the base {held}, so the two cannot share weights; "
                "run lm_eval once for each"
            )
        self._model = PeftModel.from_pretrained(self._model, peft, revision=kwargs.get("revision"))

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[LogLikelihood]:
        """As in `hf`; of the base, what was asked of the adapted side is known."""
        if not self.adapted and all(one.args in self._of_base for one in requests):
            return [self._of_base[one.args] for one in requests]
        found: list[LogLikelihood] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[LogLikelihood]:
        with self._side():
            found = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        if self.adapted and all(names is not None for names, _, _ in requests):
            with self.model.disable_adapter():
                base = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            self._of_base |= zip((names for names, _, _ in requests), base, strict=True)
        return found

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """As in `hf`, by the side that is asked."""
        with self._side():
            found: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return found

    def get_model_info(self) -> dict[str, Any]:
        """As in `hf`; of the base, without the adapter."""
        info: dict[str, Any] = super().get_model_info()
        if not self.adapted:
            info.pop("peft_sha", None)
            info["model_num_parameters"] = self._base_parameters
        return info

    def _side(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.adapted else self.model.disable_adapter()


def _make_task_manager(metadata: Mapping[str, Any]) -> TaskManager:
    """Our tasks alone (listing lm-eval's own takes ten seconds)."""
    from .. import tasks

    return TaskManager(
        include_defaults=False, include_path=next(iter(tasks.__path__)), metadata=dict(metadata)
    )
