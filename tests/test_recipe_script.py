"""The script of docs/recipes, the very file, on tiny raw files and a tiny model: from raw data to a verified report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Pair

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "docs" / "recipes" / "qwen3-8b.sh"
TINY = "max_tokens=512 batch_tokens=1024 accumulate=1 validation=0 save_every=1"

PLACES = ("wrist", "knee", "elbow", "ankle", "shoulder", "hip")


def write_raw_files(raw: Path) -> None:
    """Every raw file that the script names, in its true layout; the texts are ours."""
    rows = [
        {"instruction": "Answer this question truthfully", "input": asked, "output": answer}
        for place in PLACES
        for asked, answer in (
            (
                f"What causes pain of the {place}?",
                f"Pain of the {place} mostly comes from overuse or a fall.",
            ),
            (
                f"What is the outlook of pain of the {place}?",
                f"Rest helps; the {place} mostly heals in weeks.",
            ),
        )
    ]
    (raw / "medical_meadow_small.json").write_text(json.dumps(rows))
    pairs = "".join(
        f'<QAPair pid="{n}"><Question qid="1-{n}" qtype="treatment">What helps a stiff {place}?</Question>'
        f"<Answer>Moving the {place} a little every hour helps most people.</Answer></QAPair>"
        for n, place in enumerate(PLACES)
    )
    document = raw / "MedQuAD" / "2_GARD_QA" / "0000001.xml"
    document.parent.mkdir(parents=True)
    head = '<?xml version="1.0" encoding="UTF-8"?><Document id="0000001" source="GARD" url="https://example.org/">'
    document.write_text(f"{head}<Focus>Stiff joints</Focus><QAPairs>{pairs}</QAPairs></Document>")
    abstracts = {
        str(100 + n): {
            "QUESTION": f"Does cold help the {place}?",
            "CONTEXTS": [f"Ten people cooled the {place}.", "Pain fell in seven."],
            "LABELS": ["METHODS", "RESULTS"],
            "MESHES": ["Cold"],
            "final_decision": "yes",
            "LONG_ANSWER": f"Cold eased the {place} in most.",
        }
        for n, place in enumerate(PLACES)
    }
    (raw / "ori_pqal.json").write_text(json.dumps(abstracts))
    (raw / "test_ground_truth.json").write_text(json.dumps({"100": "yes"}))
    sentences = [
        f"Bending the {place} often was linked to its pain,{n % 4}" for n, place in enumerate(PLACES)
    ]
    (raw / "pubmed_causal_language_use.csv").write_text("sentence,label\n" + "\n".join(sentences) + "\n")
    from medalpaca_data.sources.mmlu import SUBJECTS

    for part in ("dev", "val"):
        (raw / "mmlu" / part).mkdir(parents=True)
        for subject in SUBJECTS:
            line = f"Which of these is a question of {subject} in {part}?,This one,That one,Both,None\n"
            (raw / "mmlu" / part / f"{subject}_{part}.csv").write_text(line.replace("\n", ",A\n"))


def run_script(folder: Path, pair: Pair) -> subprocess.CompletedProcess[str]:
    """As its head says, with a stand-in for `uv` that finds the commands beside this Python."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    stand_in = programs / "uv"
    places = f'exec "{Path(sys.executable).parent}/$name" "$@"'
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = run ] && shift\nname=$1; shift\n{places}\n')
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "120"}
    for name in ("MEDALPACA_EXAM", "REVISION"):
        environment.pop(name, None)
    environment |= {
        "MEDALPACA_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "passive",
        "MODEL": str(pair.base),
        "METHOD": "lora",
        "DEVICE": "cpu",
        "WORK": "work",
        "EXAM": str(pair.exam),
        "TASK": "medalpaca_usmle",
        "SOURCES": "",
        "MAX_STEPS": "2",
        "TRAIN": TINY,
    }
    return subprocess.run(["bash", str(SCRIPT)], cwd=folder, env=environment, capture_output=True, text=True)


def test_from_raw_files_to_a_verified_report_and_again(tmp_path: Path, pair: Pair) -> None:
    raw = tmp_path / "work" / "raw"
    raw.mkdir(parents=True)
    write_raw_files(raw)
    done = run_script(tmp_path, pair)
    assert done.returncode == 0, done.stderr[-4000:]
    work = tmp_path / "work"
    ledger = json.loads((work / "meadow" / "ledger.json").read_text())
    assert {source["name"] for source in ledger["sources"]} == {
        "wikidoc_patient_info",
        "medquad",
        "pubmedqa",
        "pubmed_causal",
        "mmlu",
    }
    report = json.loads((work / "report.json").read_text())
    assert len(report["items"]) == 6
    assert len(report["stress"]) == 2
    assert (work / "run-merged" / "model.safetensors").is_file()
    assert "side by side:" in done.stdout

    # Given again, it does nothing twice: weights, answers and scores are the very files.
    kept = [
        *work.glob("run*/*.safetensors"),
        *work.glob("results/**/*.jsonl"),
        *work.glob("stress/*/stress.json"),
    ]
    assert len(kept) == 2 + 2 * 3 + 2
    before = {file: file.stat().st_mtime_ns for file in kept}
    again = run_script(tmp_path, pair)
    assert again.returncode == 0, again.stderr[-4000:]
    assert {file: file.stat().st_mtime_ns for file in kept} == before
