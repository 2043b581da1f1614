"""`README.md` and `Modelfile` of a merged model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.prompt import wrap

from ..record.card import held

CARD = """\
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
    return CARD.format(
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
