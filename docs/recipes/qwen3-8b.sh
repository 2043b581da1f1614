#!/usr/bin/env bash
# From raw data to verdict: Qwen3-8B-Base, fine-tuned on free medical text, examined against itself. Read it from top to
# bottom; run it from the root of a clone:   bash docs/recipes/qwen3-8b.sh
#
# NOT RUN HERE with this model or on any GPU. A test runs this very file with a tiny model and tiny raw files.
#
# model     Qwen/Qwen3-8B-Base, 8.2 billion weights, Apache-2.0. Chosen because its licence lets anybody use and pass on
#           what comes out, it fits one 24 GB card in 4 bits, and its architecture is among those that the tests here go
#           through. It was trained on 36 trillion tokens that nobody outside can search: the exam may be among them.
# data      25,885 rows, 26 million characters, counted from the files of November 2026 (CC BY-SA 3.0, CC BY 4.0, MIT,
#           and the causal corpus, which its authors publish under GPL-3.0): no patients' text, no exam but MMLU's dev and val.
# disk      45 GB: base 16.4, merged model 16.4, checkpoints and results below 4, environment and caches.
# GPU       24 GB. The formula of `train`'s own estimate gives 13 GB for training (4 bits, checkpointing); examining holds
#           the merged model in bf16, 16.4 GB. METHOD=lora: 24 GB by the formula, so a card of 40 GB.
# hours     by the same formula (40 % of the card's peak, 2 epochs of about 6.2 million tokens): RTX 4090 1.6, A100 0.8,
#           H100 0.3; what checkpointing computes twice and 4 bits cost comes on top. Building takes a minute or two.
#
# Stopped? Give the same command again: what is done is left alone, and training goes on where it was.
set -euo pipefail

MODEL=${MODEL:-Qwen/Qwen3-8B-Base}      # a hub id, or a directory with safetensors weights
METHOD=${METHOD:-qlora}                 # lora: the base in bf16, for a card of 40 GB
DEVICE=${DEVICE:-cuda}                  # cpu
WORK=${WORK:-work/qwen3-8b}             # everything is made below it
EXAM=${EXAM:-medalpaca_vignettes}       # yours: EXAM=usmle TASK=medalpaca_usmle
TASK=${TASK:-medalpaca_vignettes}
SOURCES=${SOURCES-wikidoc_patient_info pubmedqa pubmed_causal mmlu}   # to download; empty: they lie in $WORK/raw
MEDQUAD=${MEDQUAD:-https://github.com/abachaa/MedQuAD}
MAX_STEPS=${MAX_STEPS:-}                # a trial: MAX_STEPS=20
TRAIN=${TRAIN:-}                        # more keys of `train`: TRAIN="epochs=1 seed=1"

# 0  One place, and paths that hold from everywhere.
mkdir -p "$WORK/raw"
WORK=$(realpath "$WORK")
if [ -e "$EXAM" ]; then EXAM=$(realpath "$EXAM"); fi
if [ -d "$MODEL" ]; then MODEL=$(realpath "$MODEL"); fi

# 1  Raw files, pinned and checked by hash; and MedQuAD, which is thousands of small files of a repository.
for kind in $SOURCES; do
    uv run data fetch "$kind" "out=$WORK/raw"
done
if [ ! -d "$WORK/raw/MedQuAD" ]; then
    rm -rf "$WORK/raw/MedQuAD.part"
    git clone "$MEDQUAD" "$WORK/raw/MedQuAD.part"
    git -C "$WORK/raw/MedQuAD.part" checkout --quiet 577bd37b96c02d1833b2c9eed2de9f96964e96cb
    mv "$WORK/raw/MedQuAD.part" "$WORK/raw/MedQuAD"
fi

# 2  The model: safetensors and JSON only. From here on nothing needs a network, and nothing gets one.
if [ ! -d "$MODEL" ]; then
    uv run hf download "$MODEL" --local-dir "$WORK/base" \
        --include "*.safetensors" --include "*.json" --include "*.txt" --include LICENSE
    MODEL=$WORK/base
fi
export MEDALPACA_SEALED=1 HF_HUB_OFFLINE=1

# 3  Rows. What holds half of an exam question's word runs is dropped; every rejected record is kept with its reason.
cat > "$WORK/meadow.yaml" <<'YAML'
name: qwen3-8b
language: en
sources:
  - kind: wikidoc_patient_info
    path: raw/medical_meadow_small.json
  - kind: medquad
    path: raw/MedQuAD
  - kind: pubmedqa
    path: raw/ori_pqal.json
  - kind: pubmed_causal
    path: raw/pubmed_causal_language_use.csv
    encoding: causal-language-use   # of the labels; another copy of the corpus has 1 and 3 swapped
  - kind: mmlu
    path: raw/mmlu
YAML
uv run data build "$WORK/meadow.yaml" "out=$WORK/meadow" "exams=[$EXAM]"

# 4  Is the exam in them? Exit code 1, and the end, if half of any question is.
uv run exam inspect "$EXAM"
uv run data check "$WORK/meadow" --exam "$EXAM" --fail-over 0.5

# 5  Fine-tune. The same words continue a run that was cut off.
# shellcheck disable=SC2086  # TRAIN is a list of words
uv run train "$METHOD" "model=$MODEL" "data=$WORK/meadow" "out=$WORK/run" ${MAX_STEPS:+max_steps=$MAX_STEPS} $TRAIN

# 6  One model: adapter and base in one, checked against each other. It is what would be put to use, so it is what is
#    examined; for QLoRA it holds the base as it was trained on, so its score has the cost of 4 bits in it.
if [ ! -d "$WORK/run-merged" ]; then
    uv run train merge "$WORK/run" "out=$WORK/run-merged"
fi

# 7  Examine base and tuned: the same prompt to the token, every answer logged.
export MEDALPACA_EXAM=$EXAM
for side in base tuned; do
    if [ "$side" = base ]; then weights=$MODEL; else weights=$WORK/run-merged; fi
    if [ ! -d "$WORK/results/$side" ]; then
        rm -rf "$WORK/results/$side.part"
        uv run lm_eval --model medalpaca --model_args "pretrained=$weights" --tasks "$TASK" --device "$DEVICE" \
            --log_samples --output_path "$WORK/results/$side.part"
        mv "$WORK/results/$side.part" "$WORK/results/$side"
    fi
    # 8  Is it knowledge or a habit? The exam in other orders, without its key, its question, its options. One model at
    #    a time, so that one fits on the card.
    if [ ! -f "$WORK/stress/$side/stress.json" ]; then
        uv run exam stress "$weights" --exam "$EXAM" --device "$DEVICE" --out "$WORK/stress/$side"
    fi
done

# 9  The verdict, a page of it, and every figure of the page once more from the logged samples.
uv run exam compare "$WORK/results/base" "$WORK/results/tuned" --meadow "$WORK/meadow" --exam "$EXAM" --items
uv run exam report "$WORK/results/base" "$WORK/results/tuned" --meadow "$WORK/meadow" --exam "$EXAM" \
    --stress "$WORK/stress/base" "$WORK/stress/tuned" --out "$WORK/report.html"
uv run exam verify "$WORK/report.html" --weights

# 10 What would it give away of its data, and how does it look? Both are yours to start; the first trains once more.
echo "memorisation:  uv run train canary $WORK/run"
echo "side by side:  uv run demo --base $MODEL --adapter $WORK/run-merged --exam $EXAM" \
    "--results $WORK/results/base $WORK/results/tuned"
