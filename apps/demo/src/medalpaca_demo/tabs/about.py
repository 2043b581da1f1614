"""About: what is compared, named by hashes; the limits; and what is kept (nothing)."""

from __future__ import annotations

from medalpaca_data.exams.asked import exam_prompt_id

from ..page.about import about
from ..page.parts import html
from ..scene import Scene


def build(scene: Scene) -> None:
    """The tab's contents."""
    prompt_id = exam_prompt_id(scene.scoring)
    said = about(scene.pair, scene.exam, scene.scoring, prompt_id, scene.max_new_tokens, scene.recorded)
    html(said, "mp-about")
