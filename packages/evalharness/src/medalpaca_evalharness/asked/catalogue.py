"""The tasks: what each asks, of which exam, and how its answer is told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from medalpaca_data.exams.asked import Asking
from medalpaca_data.exams.exam import Excluded
from medalpaca_data.exams.item import POCKET, VIGNETTES, Item

from .hub import MEDMCQA, MEDQA, MMLU, PUBMEDQA, USMLE, Repository

STEPS = (1, 2, 3)
HOW: dict[str, Asking] = {"": "letter", "_text": "text", "_gen": "reasoning", "_2023": "protocol_2023"}
MEDQA_PARTS = {"step1": "step1", "step2_3": "step2&3"}  # in a task's name, and in MedQA's `meta_info`


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one task asks of which exam."""

    scoring: Asking
    step: int | None = None  # only the items of this step
    part: str | None = None  # only the items whose subject this is
    bundled: str | None = None  # the exam that comes with the package
    key: str | None = None  # the exam's name under "exams" in --metadata, of a task of `medalpaca_medical`
    file: str | None = None  # of an exam that has one file per subject
    hub: Repository | None = None  # where the exam is fetched from when nobody named one

    @property
    def generates(self) -> bool:
        """Whether the model writes, and its answer has to be found in that."""
        return self.scoring in ("reasoning", "protocol_2023")

    def asks(self, entry: Item | Excluded) -> bool:
        """Whether this item of its exam is the task's, or would be if it could be scored."""
        if self.part is not None:
            return isinstance(entry, Excluded) or entry.subject == self.part
        return self.step is None or entry.step == self.step


TASKS: dict[str, Task] = {
    **{
        f"medalpaca_usmle{how}_step{step}": Task(scoring=scoring, step=step, hub=USMLE)
        for how, scoring in HOW.items()
        for step in STEPS
    },
    **{
        f"medalpaca_exam{how}": Task(scoring=scoring)
        for how, scoring in HOW.items()
        if scoring != "protocol_2023"
    },
    "medalpaca_pocket": Task(scoring="text", bundled=POCKET),
    "medalpaca_vignettes": Task(scoring="letter", bundled=VIGNETTES),
    **{
        f"medalpaca_medqa_{name}": Task(scoring="letter", part=part, key="medqa", hub=MEDQA)
        for name, part in MEDQA_PARTS.items()
    },
    "medalpaca_medmcqa": Task(scoring="letter", key="medmcqa", hub=MEDMCQA),
    "medalpaca_pubmedqa": Task(scoring="letter", key="pubmedqa", hub=PUBMEDQA),
    **{
        f"medalpaca_mmlu_{subject}": Task(
            scoring="letter", key="mmlu", file=f"{subject}_test.csv", hub=MMLU[subject]
        )
        for subject in MMLU
    },
}
_MEDQA = tuple(f"medalpaca_medqa_{name}" for name in MEDQA_PARTS)
_MMLU = tuple(f"medalpaca_mmlu_{subject}" for subject in MMLU)
# Groups, with the tasks in them however deep they lie.
GROUPS: dict[str, tuple[str, ...]] = {
    **{f"medalpaca_usmle{how}": tuple(f"medalpaca_usmle{how}_step{step}" for step in STEPS) for how in HOW},
    "medalpaca_medqa": _MEDQA,
    "medalpaca_mmlu": _MMLU,
    "medalpaca_medical": (*_MEDQA, "medalpaca_medmcqa", "medalpaca_pubmedqa", *_MMLU),
}
EXAM_KEYS = tuple(dict.fromkeys(task.key for task in TASKS.values() if task.key))


def tasks_in(names: object) -> list[str]:
    """Our tasks among `names` as lm-eval is given them, groups resolved; everybody else's are left out."""
    given = [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
    resolved = chain.from_iterable(GROUPS.get(name, (name,)) for name in given)
    return [name for name in dict.fromkeys(resolved) if name in TASKS]


def whole_exam(name: str) -> str:
    """The task that asks all items of any exam in the way in which `name` asks."""
    how = next(how for how, scoring in HOW.items() if scoring == TASKS[name].scoring)
    found = f"medalpaca_exam{how}"
    return found if found in TASKS else "medalpaca_exam"
