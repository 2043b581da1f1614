"""Text of the model cards of runs and merged models, and of Ollama's `Modelfile`.

All numbers in a card are from the manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.core.prompt import wrap

CARD_TEMPLATE = """\
---
library_name: {library}
base_model: {base}
tags: [medical, instruction-tuning, research-only]
---

# {title}

{what} trained on medical instruction rows by `medalpaca-train`.

**Not for clinical use.** This is a research artefact. Its answers have not been checked by a clinician; it
can be wrong, out of date or harmful without any sign of it. Do not use it to diagnose, treat or triage.

## Data

| | |
|---|---|
| rows read | {rows_read:,} |
| trained on | {rows_train:,} |
| held out for validation | {rows_validation:,} |
| rejected (see `rejected.jsonl`) | {rows_rejected:,} |
| cut at the end (see `cut.jsonl`) | {rows_cut:,} |
| tokens per epoch | {tokens:,} |
| of these supervised | {supervised_tokens:,} |
| SHA-256 | `{data_sha256}` |

Patients' text: {patient_text}.

The card of the data that the rows were read from has their licences and origin.

## Training

| | |
|---|---|
| method | {method} |
| steps | {steps:,} |
| seconds | {seconds:,.0f} |
| validation loss before (nats per supervised token) | {before} |
| validation loss after | {after} |
| base SHA-256 | `{base_sha256}` |
| base held | {held} |
| prompt | `{prompt_id}` |

`recipe.yaml` has every setting, `metrics.jsonl` every step, `manifest.json` hashes, versions and hardware.

## Limits

A lower validation loss means that the text of such rows is predicted better. It does not mean that the model
answers exam questions better. Compare it with its own base for that:

```
{command}
```
"""


def make_card(manifest: dict[str, Any], title: str, command: str) -> str:
    """Return the model card of a finished run from its manifest; `command` is the lm_eval command in it."""
    data, loss = manifest["data"], manifest["validation_loss"]
    lora = manifest["kind"] == "lora"
    return CARD_TEMPLATE.format(
        library="peft" if lora else "transformers",
        base=manifest["base"]["path"],
        title=title,
        what=f"A LoRA adapter of `{manifest['base']['path']}`," if lora else "A causal language model,",
        method="LoRA" if lora else "all weights",
        data_sha256=data["sha256"],
        patient_text=manifest.get("patient_text", {}).get("said", "not recorded"),
        base_sha256=manifest["base"]["sha256"] or "none: trained from random weights",
        held=describe_quantization(manifest["base"]),
        prompt_id=manifest["prompt_id"],
        steps=manifest["steps"],
        seconds=manifest["seconds"],
        before=format_loss(loss["before"]),
        after=format_loss(loss["after"]),
        command=command,
        **{key: data[key] for key in COUNT_KEYS},
    )


COUNT_KEYS = (
    "rows_read",
    "rows_train",
    "rows_validation",
    "rows_rejected",
    "rows_cut",
    "tokens",
    "supervised_tokens",
)


def describe_quantization(base: dict[str, Any]) -> str:
    """Return how the base was quantised in training, as arguments of bitsandbytes, or `not quantised`.

    `base` is the value of `base` in the manifest.
    """
    quantization = base.get("quantization") or {}
    return ", ".join(f"{key}={value}" for key, value in quantization.items()) or "not quantised"


def format_loss(loss: float | None) -> str:
    """Return a loss with four decimals, or `not measured` for None."""
    return "not measured" if loss is None else f"{loss:.4f}"


MERGED_CARD_TEMPLATE = """\
---
library_name: transformers
base_model: {base}
tags: [medical, instruction-tuning, research-only, merged]
---

# {title}

`{base}` with a LoRA adapter merged into its weights by `medalpaca-train`. The run that trained the adapter has a card
with data and training.

**Not for clinical use.** This is a research artefact. Its answers have not been checked by a clinician; it
can be wrong, out of date or harmful without any sign of it. Do not use it to diagnose, treat or triage.

## How it was merged

| | |
|---|---|
| base SHA-256 | `{base_sha256}` |
| base in training | {held} |
| adapter SHA-256 | `{adapter_sha256}` |
| merged into the | {into} |
| dtype of the sum, of the stored weights | {summed_in}, {stored_in} |
| SHA-256 of this model | `{model_sha256}` |
| trained on (SHA-256 of the rows) | `{data_sha256}` |
| prompt | `{prompt_id}` |

## Checked against the adapter on its base

On {number} {rows}, with this model read back from disk:

| | |
|---|---|
| loss of the adapter on its base (nats per supervised token) | {loss_adapter:.5f} |
| loss of this model | {loss_merged:.5f} |
| largest difference of a logit, over {tokens:,} tokens of packed rows | {largest:.3g} |

The licences of base and rows apply to this model as well.

## Use

```
lm_eval --model hf --model_args pretrained={out} --tasks medalpaca_usmle --log_samples --output_path results
vllm serve {out}
ollama create NAME -f {out}/Modelfile
```

`manifest.json` has hashes, versions and hardware.
"""

MODELFILE_TEMPLATE = '''\
# Read by `ollama create NAME -f Modelfile`. For a GGUF file, put its name in place of the dot.
FROM .
TEMPLATE """{template}"""
PARAMETER stop "{eos}"
PARAMETER temperature 0
'''


def make_merged_card(manifest: dict[str, Any], out: Path) -> str:
    """Return the model card of the merged model at `out` from its manifest."""
    base, check = manifest["base"], manifest["check"]
    return MERGED_CARD_TEMPLATE.format(
        title=out.name,
        base=base["path"],
        base_sha256=base["sha256"],
        held=describe_quantization(base),
        adapter_sha256=manifest["adapter"]["sha256"],
        model_sha256=manifest["model"]["sha256"],
        data_sha256=manifest["data"]["sha256"],
        prompt_id=manifest["prompt_id"],
        rows=check["rows"],
        number=check["number"],
        tokens=check["tokens"],
        largest=check["largest_logit_difference"],
        loss_adapter=check["loss"]["adapter"],
        loss_merged=check["loss"]["merged"],
        out=out,
        **manifest["merge"],
    )


def make_modelfile(eos: str) -> str:
    """Return Ollama's Modelfile: the training prompt in Ollama's template language, and `eos` as the stop text."""
    prompt = wrap("{{ .Prompt }}")
    return MODELFILE_TEMPLATE.format(
        template="{{ if .System }}{{ .System }}\n\n{{ end }}" + prompt + "{{ .Response }}", eos=eos
    )
