"""The bootstrap: lets stock lm-evaluation-harness find the tasks of this package by itself.

lm-eval reads no entry points yet (its pull requests 4013 and 4015 add them). Until a release does, one line
in `medalpaca_evalharness_autoload.pth` calls `install()` whenever Python starts. That puts one finder on
`sys.meta_path` which wakes up only when lm-eval itself is imported, and then

- adds the directories of the entry points in group "lm_eval.tasks" to what `TaskManager` searches, exactly as
  pull request 4015 does, and not at all once lm-eval does it itself;
- registers the entry points in group "lm_eval.models" as names for `--model`, as pull request 4013 does, and
  not once lm-eval does; nothing of them is imported before it is asked for;
- has our tasks' exam, model and adapter checked before the model is loaded, and the prompts' lengths before
  it is asked;
- lets lm-eval's command line report our own user errors in one line;
- with `MEDALPACA_SEALED=1`, refuses lm-eval any connection to another machine, and has the model and adapter of
  every run checked, whatever its tasks; an invalid value of the switch ends lm-eval. The switch is not read before
  lm-eval is imported, so the start of other programs cannot fail because of it.

Standard library only, under a millisecond, and nothing else here may break a program: whatever goes wrong is
logged and lm-eval runs as it would without us. `MEDALPACA_NO_AUTOLOAD=1` switches it off.
"""

from __future__ import annotations

import os
import sys

# Not imported from typing, which would be most of this file's cost at every start of Python.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType
    from typing import Any

TASK_GROUP = "lm_eval.tasks"
MODEL_GROUP = "lm_eval.models"
COMMAND_LINE = "lm_eval._cli.harness"


def install() -> None:
    """Put the finder in place, once. Called at interpreter start; by hand where .pth files are not read."""
    if os.environ.get("MEDALPACA_NO_AUTOLOAD") == "1":
        return
    if any(isinstance(finder, LmEvalFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, LmEvalFinder())
    for name, patch in PATCHES.items():
        if name in sys.modules:
            _apply_patch(patch, sys.modules[name])


class LmEvalFinder:
    """Lets the other finders find a module of lm-eval, and patches it once it has been executed."""

    def __init__(self) -> None:
        # Another package may ship the same kind of finder: each would ask the other for ever.
        self._asking: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        patch = PATCHES.get(name)
        if patch is None or name in self._asking:
            return None
        _seal_if_enabled(name)
        self._asking.add(name)
        try:
            spec = self._spec_of_others(name, path, target)
            if spec is not None and spec.loader is not None:
                _patch_after(spec.loader, patch)
        finally:
            self._asking.discard(name)
        return spec

    def _spec_of_others(self, name: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            if (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None


def _patch_after(loader: Any, patch: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _apply_patch(patch, module)

    loader.exec_module = exec_module


def _apply_patch(patch: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        patch(module)
    except Exception as error:
        _log(f"{module.__name__} could not be extended ({error!r}); MedAlpaca tasks need --include_path")


# What is patched --------------------------------------------------------------------------------------------


def _patch_task_manager(manager: ModuleType) -> None:
    if hasattr(manager, "discover_plugin_task_paths"):
        return  # this lm-eval reads the entry points itself
    import functools

    original = manager.TaskManager.__init__

    @functools.wraps(original)
    def with_plugins(
        self: Any, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        original(self, verbosity, _search_paths(include_path), *args, **kwargs)
        self.include_path = include_path

    manager.TaskManager.__init__ = with_plugins


def _register_models(models: ModuleType) -> None:
    import importlib.metadata

    from lm_eval.api import registry

    if hasattr(registry, "load_plugins"):
        return  # this lm-eval reads the entry points itself
    for point in importlib.metadata.entry_points(group=MODEL_GROUP):
        if point.name not in registry.model_registry:
            registry.model_registry.register(point.name, target=point.value)


def _patch_evaluator(evaluator: ModuleType) -> None:
    evaluator.simple_evaluate = _run_check_before(evaluator.simple_evaluate, "before_model")  # type: ignore[attr-defined]
    evaluator.evaluate = _run_check_before(evaluator.evaluate, "before_inference")  # type: ignore[attr-defined]


def _patch_command_line(harness: ModuleType) -> None:
    import functools

    original = harness.HarnessCLI.execute

    @functools.wraps(original)
    def execute(self: Any, args: Any) -> Any:
        try:
            return original(self, args)
        except Exception as error:
            if not _is_user_error(error):
                raise
            message = error
        _exit_with_error(message)

    harness.HarnessCLI.execute = execute


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "lm_eval.tasks.manager": _patch_task_manager,
    "lm_eval.models": _register_models,
    "lm_eval.evaluator": _patch_evaluator,
    COMMAND_LINE: _patch_command_line,
}


# Parts ------------------------------------------------------------------------------------------------------


def task_directories() -> list[Path]:
    """The directories that entry points in group "lm_eval.tasks" name, resolved as pull request 4015 does."""
    import importlib.metadata
    import importlib.util
    from pathlib import Path

    found: dict[Path, None] = {}
    for point in importlib.metadata.entry_points(group=TASK_GROUP):
        try:
            spec = importlib.util.find_spec(point.value.partition(":")[0].strip())
            if spec is None:
                _log(f"task plugin {point.name!r} ({point.value}) is not importable; skipped")
            elif spec.submodule_search_locations:
                found[Path(next(iter(spec.submodule_search_locations))).resolve()] = None
            elif spec.origin:
                found[Path(spec.origin).resolve().parent] = None
        except Exception as error:  # somebody else's broken plugin must not stop ours
            _log(f"task plugin {point.name!r} ({point.value}) skipped: {error!r}")
    return list(found)


def _search_paths(include_path: Any) -> list[Any]:
    """Plugins first, so that what the user names with --include_path still overrides them."""
    from pathlib import Path

    listed = include_path if isinstance(include_path, list | tuple) else [include_path]
    given = [path for path in listed if path]
    try:
        named = {Path(path).resolve() for path in given}
        return [path for path in task_directories() if path not in named] + given
    except Exception as error:
        _log(f"task plugins could not be listed: {error!r}")
        return given


def _run_check_before(function: Any, check: str) -> Any:
    import functools

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            import inspect

            from . import model_identity as model_arguments
            from . import preflight

            bound = inspect.signature(function).bind_partial(*args, **kwargs)
            if bound.arguments.get("model") == model_arguments.MODEL_TYPE:
                model_arguments.split_adapter_in_call(bound.arguments)
                args, kwargs = (), dict(bound.arguments)
            getattr(preflight, check)(bound.arguments)
        except Exception as error:
            # Sealed, what could not be checked is not run.
            if _is_user_error(error) or _is_sealed():
                raise
            _log(f"the check before the run could not be made: {error!r}")
        return function(*args, **kwargs)

    return call


def _seal_if_enabled(name: str) -> None:
    """With `MEDALPACA_SEALED=1` nothing leaves the machine, not even lm-eval's look-ups of the model's name; without
    it, libraries are at least told to report nothing.

    The one thing here that may raise: a seal that cannot be put on must not be taken for one. `name` is the module of
    lm-eval that is imported. Its command line ends with one line for an invalid switch; a program gets the UserError.
    """
    try:
        from medalpaca_data.core.offline import seal_if_asked
    except ImportError:
        if _is_sealed():
            raise
        return
    try:
        seal_if_asked()
    except Exception as error:
        if name != COMMAND_LINE or not _is_user_error(error):
            raise
        message = error
    else:
        return
    _exit_with_error(message)


def _is_sealed() -> bool:
    """Return whether the process is to be sealed. Raises UserError for an invalid value of the switch."""
    try:
        from medalpaca_data.core.offline import is_sealed
    except ImportError:
        # The value cannot be read without the package, and any value may mean yes.
        return bool(os.environ.get("MEDALPACA_SEALED"))
    return is_sealed()


def _exit_with_error(error: Exception) -> None:
    """End the command line with a user error, in one line and with its exit code."""
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    raise SystemExit(error.exit_code)  # type: ignore[attr-defined]


def _is_user_error(error: Exception) -> bool:
    try:
        from medalpaca_data.core.errors import UserError
    except ImportError:
        return False
    return isinstance(error, UserError)


def _log(message: str) -> None:
    import logging

    logging.getLogger("lm_eval.medalpaca").warning(message)
