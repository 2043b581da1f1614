"""`README.md` of a run: a model card in which every number is computed.

`README.md` and `Modelfile` of a merged model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.core.prompt import wrap

CARD = """\
---
library_name: {library}
base_model: {base}
tags: [medical, instruction-tuning, research-only]
---

# {title}

{what} trained on medical instruction rows by `medalpaca-train`.

**Not for clinical use.** This is a research artefact. Its answers have not been checked by a clinician; it
can be wrong, out of date or harmful, and it does not know when it is. Do not use it to diagnose, treat or triage.

## Data

| | |
|---|---|
| rows read | {rows_read:,} |
| trained on | {rows_train:,} |
| held out for validation | {rows_validation:,} |
| rejected (see `rejected.jsonl`) | {rows_rejected:,} |
| cut at the end (see `cut.jsonl`) | {rows_cut:,} |
| tokens per epoch | {tokens:,} |
| of these learned | {supervised_tokens:,} |
| SHA-256 | `{data_sha256}` |

Patients' text: {patient_text}.

Licences and origin of the rows are in the card of the data they were read from.

## Training

| | |
|---|---|
| method | {method} |
| steps | {steps:,} |
| seconds | {seconds:,.0f} |
| validation loss before (nats per learned token) | {before} |
| validation loss after | {after} |
| base SHA-256 | `{base_sha256}` |
| base held | {held} |
| prompt | `{prompt_id}` |

`recipe.yaml` has every setting, `metrics.jsonl` every step, `manifest.json` hashes, versions and hardware.

## Limits

A lower validation loss says that the text of such rows is better predicted. It does not say that the model
answers examinations better; compare it with its own base for that:

```
{command}
```
"""


def make_card(manifest: dict[str, Any], title: str, command: str) -> str:
    """The card of a finished run. `command` examines it."""
    data, loss = manifest["data"], manifest["validation_loss"]
    lora = manifest["kind"] == "lora"
    return CARD.format(
        library="peft" if lora else "transformers",
        base=manifest["base"]["path"],
        title=title,
        what=f"A LoRA adapter of `{manifest['base']['path']}`," if lora else "A causal language model,",
        method="LoRA" if lora else "all weights",
        data_sha256=data["sha256"],
        patient_text=manifest.get("patient_text", {}).get("said", "not recorded"),
        base_sha256=manifest["base"]["sha256"] or "none: trained from nothing",
        held=held(manifest["base"]),
        prompt_id=manifest["prompt_id"],
        steps=manifest["steps"],
        seconds=manifest["seconds"],
        before=show(loss["before"]),
        after=show(loss["after"]),
        command=command,
        **{key: data[key] for key in COUNTS},
    )


COUNTS = (
    "rows_read",
    "rows_train",
    "rows_validation",
    "rows_rejected",
    "rows_cut",
    "tokens",
    "supervised_tokens",
)


def held(base: dict[str, Any]) -> str:
    """How the base's weights were kept while it was trained on, in bitsandbytes' words."""
    words = base.get("quantization") or {}
    return ", ".join(f"{key}={value}" for key, value in words.items()) or "as it is, not quantised"


def show(loss: float | None) -> str:
    """A loss for reading."""
    return "not measured" if loss is None else f"{loss:.4f}"


MERGED_CARD = """\
---
library_name: transformers
base_model: {base}
tags: [medical, instruction-tuning, research-only, merged]
---

# {title}

`{base}` with a LoRA update merged into its weights by `medalpaca-train`. The update's own card, with data and
training, is in the run it was made from.

**Not for clinical use.** This is a research artefact. Its answers have not been checked by a clinician; it
can be wrong, out of date or harmful, and it does not know when it is. Do not use it to diagnose, treat or triage.

## How it was merged

| | |
|---|---|
| base SHA-256 | `{base_sha256}` |
| base while it was trained on | {held} |
| adapter SHA-256 | `{adapter_sha256}` |
| merged into the | {into} |
| summed in, stored in | {summed_in}, {stored_in} |
| SHA-256 of this model | `{model_sha256}` |
| trained on (SHA-256 of the rows) | `{data_sha256}` |
| prompt | `{prompt_id}` |

## Checked against the adapter on its base

On {number} {rows}, after reading this model back from the disk:

| | |
|---|---|
| loss of the adapter on its base (nats per learned token) | {loss_adapter:.5f} |
| loss of this model | {loss_merged:.5f} |
| largest difference of a logit, over {tokens:,} tokens of packed rows | {largest:.3g} |

Licences of base and rows hold for this model as well.

## Use

```
lm_eval --model hf --model_args pretrained={out} --tasks medalpaca_usmle --log_samples --output_path results
vllm serve {out}
ollama create NAME -f {out}/Modelfile
```

`manifest.json` has hashes, versions and hardware.
"""

MODELFILE = '''\
# Read by `ollama create NAME -f Modelfile`. For a GGUF file, name it here in place of the dot.
FROM .
TEMPLATE """{template}"""
PARAMETER stop "{eos}"
PARAMETER temperature 0
'''


def make_merged_card(manifest: dict[str, Any], out: Path) -> str:
    """The card of the merged model at `out`."""
    base, check = manifest["base"], manifest["check"]
    return MERGED_CARD.format(
        title=out.name,
        base=base["path"],
        base_sha256=base["sha256"],
        held=held(base),
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
    """What Ollama needs beside the weights: the prompt that was trained with, in its own template language."""
    prompt = wrap("{{ .Prompt }}")
    return MODELFILE.format(
        template="{{ if .System }}{{ .System }}\n\n{{ end }}" + prompt + "{{ .Response }}", eos=eos
    )
