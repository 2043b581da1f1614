"""A page's working folder, small and real, and one shell session in it that runs the page's blocks in order.

What a page may count on (`<!-- given: ... -->`) is made once, by the commands themselves: a tiny Llama, a LoRA run on
it, an exam of our own, a Meadow directory, results of both sides. Programs come from `stand_in_programs.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .documents import GIVEN, Block, Page
from .page_session import Session, free_port
from .stand_in_programs import OURS, PROGRAMS

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass
class House:
    """Where a session's stand-ins are: programs, template of the working folder, the fork server's socket."""

    folder: Path

    @property
    def template(self) -> Path:
        return self.folder / "template"

    def environment(self, folder: Path, tags: str = "", port: int = 0) -> dict[str, str]:
        """A user's, in `folder`: our programs first, none of the tests' own environment's."""
        own = Path(sys.executable).parent
        path = [part for part in os.environ["PATH"].split(":") if Path(part).resolve() != own.resolve()]
        kept = {
            key: os.environ[key] for key in ("LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE") if key in os.environ
        }
        settings = {
            "python": sys.executable,
            "root": str(ROOT),
            "uv": shutil.which("uv"),
            "programs": str(self.folder / "programs"),
            "template": str(self.template),
            "socket": str(self.folder / "socket"),
            "journal": str(folder.parent / "journal"),
            "input": str(folder.parent / "typed"),
            "port": port or free_port(),
        }
        return kept | {
            "PATH": ":".join([str(self.folder / "programs"), *path]),
            "HOME": str(folder.parent),
            "COLUMNS": "120",
            "PYTHONUTF8": "1",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
            "MEDALPACA_HOME": str(folder.parent / "home"),
            "DOCUMENTS": json.dumps(settings),
            "DOCUMENTS_TAGS": tags,
        }


def write_programs(made: House) -> None:
    """All programs, by their names: what a user finds on the PATH, and what an activated environment adds."""
    for below, names in (("programs", PROGRAMS), ("programs/environment", OURS)):
        (made.folder / below).mkdir()
        for name in names:
            program = made.folder / below / name
            program.write_text(
                f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(HERE)!r})\n"
                "from stand_in_programs import main\nmain()\n"
            )
            program.chmod(0o755)


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Programs, a fork server, and the template."""
    made = House(folder)
    write_programs(made)
    start = [sys.executable, str(HERE / "fork_server.py"), str(folder / "socket")]
    known = made.environment(folder / "nobody") | {"PATH": os.environ["PATH"]}
    with subprocess.Popen(start, env=known, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            make_template(made)
            yield made
        finally:
            server.terminate()


# The working folder -------------------------------------------------------------------------------------------

DRUGS = ("aspirin", "heparin", "insulin", "digoxin", "morphine", "naloxone", "warfarin", "atropine")
USES = ("fever", "clots", "diabetes", "a failing heart", "pain", "overdose", "thrombosis", "a slow heart")
RECIPE = """\
name: my-meadow
sources:
  - kind: alpaca
    name: discharge_letters
    path: letters.jsonl
    licence: internal
    group: 'case (\\d+)'
  - kind: pubmed_causal
    path: pubmed_causal_language_use.csv
    encoding: causal-language-use
  - kind: medqa
    path: medqa/train.jsonl
    split: train
exams: [usmle]
validation: 0.1
"""


def raw_files(folder: Path) -> None:
    """The raw files that the recipe names, each in its true layout."""
    letters = [
        {
            "instruction": "Summarise the letter.",
            "input": f"case {n}: treated with {drug}.",
            "output": f"{drug} for {use}.",
        }
        for n, (drug, use) in enumerate(zip(DRUGS * 3, USES * 3, strict=True))
    ]
    (folder / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in letters))
    causal = [
        f'{n % 4},{n},"In this study of {drug} the outcome number {n} was looked at in {20 + n} adults over a year."\n'
        for n, drug in enumerate(DRUGS)
    ]
    (folder / "pubmed_causal_language_use.csv").write_text("label,pmid,sentence\n" + "".join(causal))
    (folder / "medqa").mkdir()
    questions = [
        {
            "question": f"A patient of {30 + n} years is given {drug}. What for?",
            "options": {"A": USES[n], "B": USES[n - 1], "C": USES[n - 2], "D": USES[n - 3], "E": USES[n - 4]},
            "answer_idx": "A",
            "answer": USES[n],
            "meta_info": "step1",
        }
        for n, drug in enumerate(DRUGS)
    ]
    (folder / "medqa/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))


def write_exam(folder: Path) -> None:
    """Twelve items in the reference layout: `step1.json` and `step1_solutions.json`, and so on."""
    folder.mkdir()
    for step in (1, 2, 3):
        items = [
            {
                "no": n,
                "question": f"Visit {step}.{n}: somebody with {USES[(3 * n + step) % 8]} asks. Which is right?",
                "options": {
                    letter: DRUGS[(3 * n + step + i) % 8] for i, letter in enumerate("ABCDE"[: 3 + n % 3])
                },
            }
            for n in range(1, 5)
        ]
        keys = {str(item["no"]): "ABC"[(int(item["no"]) + step) % 3] for item in items}  # type: ignore[call-overload]
        (folder / f"step{step}.json").write_text(json.dumps(items))
        (folder / f"step{step}_solutions.json").write_text(json.dumps(keys))


def write_base(folder: Path) -> None:
    """A Llama of 20,000 weights with the pocket tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from medalpaca_data.core.prompt import chat_template, render
    from medalpaca_train.model import CONTEXT_LENGTH, make_pocket_tokenizer

    tokenizer = make_pocket_tokenizer(
        render(f"Which drug treats {use}?") + drug for drug, use in zip(DRUGS, USES, strict=True)
    )
    tokenizer.chat_template = chat_template(add_bos=True)
    set_seed(1)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MAKE = """\
uv run data build meadow.yaml out=meadow
uv run train lora model=BASE data=rows.jsonl out=RUN max_steps=3
uv run exam ask BASE RUN --tasks medalpaca_usmle --exam EXAM --device cpu --out results
"""


def make_template(made: House) -> None:
    """All that can be given, in one folder; by the commands of which the pages speak."""
    folder = made.template
    folder.mkdir()
    raw_files(folder)
    (folder / "meadow.yaml").write_text(RECIPE)
    rows = [
        {"instruction": f"Which drug treats {use}? ({n})", "input": "", "output": f"It is {drug}."}
        for n, (drug, use) in enumerate(zip(DRUGS * 3, USES * 3, strict=True))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = ["id,step,subject,question,A,B,C,D,answer"]
    table += [
        f'q{n},{1 + n % 3},Drugs,"What is {DRUGS[n]} given for?",{USES[n]},{USES[n - 1]},{USES[n - 2]},tea,A'
        for n in range(8)
    ]
    (folder / "QUESTIONS").write_text("\n".join(table) + "\n")
    write_exam(folder / "EXAM")
    shutil.copytree(folder / "EXAM", folder / "usmle")
    write_base(folder / "BASE")
    session = Session(made, folder, made.folder)
    session.run(Block(Path("stand_ins.py"), 1, "bash", MAKE))


def furnish(made: House, page: Page, folder: Path) -> None:
    """Copies of what a page is given, and nothing else; raw files come with the recipe that names them."""
    folder.mkdir()
    for name in page.given:
        assert name in GIVEN
        source = made.template / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder)
    if "meadow.yaml" in page.given:
        raw_files(folder)
    for name in ("benchmarks", "docs", "tests", "tools"):  # of a clone, what commands name
        (folder / name).symlink_to(ROOT / name)
    for name, copied in (("base", "BASE"), ("run", "RUN")):  # as if quickstart had been there
        shutil.copytree(made.template / copied, folder.parent / "home/quickstart" / name)
    activate = folder / ".venv/bin/activate"  # of the clone in which a user stands
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export VIRTUAL_ENV="$PWD/.venv" PATH="{made.folder}/programs/environment:$PATH"\n')
