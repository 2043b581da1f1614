"""Import hook that registers this package's tasks and model type in an unmodified lm-evaluation-harness.

lm-eval reads no entry points yet; its pull requests 4013 and 4015 add them. Until a release contains them, the
file `medalpaca_evalharness_autoload.pth` in site-packages calls `install()` at every start of Python. `install` adds
one import hook to `sys.meta_path`, which acts only when lm-eval is imported. The hook then

- adds the directories of the entry points in group "lm_eval.tasks" to the search path of `TaskManager`;
- registers the entry points in group "lm_eval.models" as names for `--model`, without importing them;
- checks exam, model and adapter of MedAlpaca tasks before the model is loaded, and lengths and special tokens of the
  prompts before inference;
- with `--model medalpaca`, replaces an adapter as `pretrained` by its base model and the adapter;
- switches off telemetry of libraries;
- makes lm-eval's command line report errors of the user's arguments in one line (see `user_errors`);
- with `MEDALPACA_SEALED=1`, blocks connections to other machines, and checks model and adapter of every run,
  whatever its tasks.

The first two steps are skipped when lm-eval reads the entry points itself. `MEDALPACA_SEALED` is read only when
lm-eval is imported, so an invalid value has no effect on programs without lm-eval.

At the start of Python, the module imports the standard library only and takes under a millisecond. Errors of the hook
are logged, and lm-eval then runs without the extensions. In sealed mode, an error of a check ends the run instead.
`MEDALPACA_NO_AUTOLOAD=1` disables the hook.
"""

from __future__ import annotations

import os
import sys

# Not imported from typing: that import would take most of the time of this module at every start of Python.
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
    """Add the import hook to `sys.meta_path`, once, and patch modules of lm-eval that are imported already.

    The start-up file calls it when Python starts. Call it before importing lm-eval where Python does not read .pth
    files. It does nothing with `MEDALPACA_NO_AUTOLOAD=1`.
    """
    if os.environ.get("MEDALPACA_NO_AUTOLOAD") == "1":
        return
    if any(isinstance(finder, LmEvalFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, LmEvalFinder())
    for name, patch in PATCHES.items():
        if name in sys.modules:
            _apply_patch(patch, sys.modules[name])


class LmEvalFinder:
    """Import hook that patches the modules of lm-eval in `PATCHES` after they have been executed."""

    def __init__(self) -> None:
        # Another package may install a hook of the same kind; the two would call each other without end.
        self._in_progress: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        patch = PATCHES.get(name)
        if patch is None or name in self._in_progress:
            return None
        _seal_if_enabled(name)
        self._in_progress.add(name)
        try:
            spec = self._find_spec_of_others(name, path, target)
            if spec is not None and spec.loader is not None:
                _patch_after_import(spec.loader, patch)
        finally:
            self._in_progress.discard(name)
        return spec

    def _find_spec_of_others(self, name: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            if (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None


def _patch_after_import(loader: Any, patch: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _apply_patch(patch, module)

    loader.exec_module = exec_module


def _apply_patch(patch: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        patch(module)
    except Exception as error:
        _log(
            f"{module.__name__} could not be patched ({error!r}); pass --include_path to use the MedAlpaca tasks"
        )


def _patch_task_manager(manager: ModuleType) -> None:
    if hasattr(manager, "discover_plugin_task_paths"):
        # This version of lm-eval reads the entry points.
        return
    import functools

    original = manager.TaskManager.__init__

    @functools.wraps(original)
    def init_with_plugins(
        self: Any, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        original(self, verbosity, _search_paths(include_path), *args, **kwargs)
        self.include_path = include_path

    manager.TaskManager.__init__ = init_with_plugins


def _register_models(models: ModuleType) -> None:
    import importlib.metadata

    from lm_eval.api import registry

    if hasattr(registry, "load_plugins"):
        # This version of lm-eval reads the entry points.
        return
    for point in importlib.metadata.entry_points(group=MODEL_GROUP):
        if point.name not in registry.model_registry:
            registry.model_registry.register(point.name, target=point.value)


def _patch_evaluator(evaluator: ModuleType) -> None:
    evaluator.simple_evaluate = _run_check_before(evaluator.simple_evaluate, "before_model")  # type: ignore[attr-defined]
    evaluator.evaluate = _run_check_before(evaluator.evaluate, "before_inference")  # type: ignore[attr-defined]


def _patch_command_line(harness: ModuleType) -> None:
    import functools

    for name in ("parse_args", "execute"):
        original = getattr(harness.HarnessCLI, name, None)
        if original is not None:
            call = functools.partial(_run_in_one_line, original)
            setattr(harness.HarnessCLI, name, functools.wraps(original)(_as_method(call)))


def _as_method(call: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        return call(self, *arguments)

    return method


def _run_in_one_line(original: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method of the command line; exit with one line for an error that the user's arguments cause."""
    args = arguments[-1] if len(arguments) > 1 else None
    try:
        if args is not None:
            _check_packages(args)
        return original(*arguments)
    except Exception as error:
        message = _as_user_error(error, args)
        if message is None:
            raise
    _exit_with_error(message)


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "lm_eval.tasks.manager": _patch_task_manager,
    "lm_eval.models": _register_models,
    "lm_eval.evaluator": _patch_evaluator,
    COMMAND_LINE: _patch_command_line,
}


def task_directories() -> list[Path]:
    """Return the directories that entry points in group "lm_eval.tasks" name; broken entry points are logged."""
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
        # A broken plugin of another package must not disable this one.
        except Exception as error:
            _log(f"task plugin {point.name!r} ({point.value}) skipped: {error!r}")
    return list(found)


def _search_paths(include_path: Any) -> list[Any]:
    """Return the plugin directories, then those of `include_path`, which override them; only the latter on an error."""
    from pathlib import Path

    paths = include_path if isinstance(include_path, list | tuple) else [include_path]
    given = [path for path in paths if path]
    try:
        resolved = {Path(path).resolve() for path in given}
        return [path for path in task_directories() if path not in resolved] + given
    except Exception as error:
        _log(f"task plugins could not be listed: {error!r}")
        return given


def _run_check_before(function: Any, check: str) -> Any:
    """Return `function` wrapped so that the function `check` of `preflight` runs first.

    It gets the call's arguments by name. For the model type `medalpaca`, an adapter as `pretrained` is replaced before.
    A UserError ends the call. Other errors are logged and the check is skipped, but in sealed mode they end the call.
    """
    import functools

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            import inspect

            from .model_identity import MODEL_TYPE, split_adapter_in_call
            from .preflight import before_inference, before_model

            checks = {"before_model": before_model, "before_inference": before_inference}
            bound = inspect.signature(function).bind_partial(*args, **kwargs)
            if bound.arguments.get("model") == MODEL_TYPE:
                split_adapter_in_call(bound.arguments)
                args, kwargs = (), dict(bound.arguments)
            checks[check](bound.arguments)
        except Exception as error:
            # In sealed mode, a run that cannot be checked does not start.
            if _is_user_error(error) or _is_sealed():
                raise
            _log(f"the check before the run failed and was skipped: {error!r}")
        return function(*args, **kwargs)

    return call


def _seal_if_enabled(name: str) -> None:
    """Block connections to other machines if `MEDALPACA_SEALED` is on, and disable telemetry in any case.

    `name` is the module of lm-eval that is being imported. Unlike the other functions of the hook, this one may
    raise: a run that should be sealed must not continue unsealed. For an invalid value of the switch, lm-eval's
    command line exits with one line, and in other programs the import raises UserError.
    """
    try:
        from medalpaca_data.core.offline import seal_if_requested
    except ImportError:
        if _is_sealed():
            raise
        return
    try:
        seal_if_requested()
    except Exception as error:
        if name != COMMAND_LINE or not _is_user_error(error):
            raise
        message = error
    else:
        return
    _exit_with_error(message)


def _is_sealed() -> bool:
    """Return whether `MEDALPACA_SEALED` is on. Raises UserError for an invalid value."""
    try:
        from medalpaca_data.core.offline import is_sealed
    except ImportError:
        # Without the data package the value cannot be interpreted, so any value counts as on.
        return bool(os.environ.get("MEDALPACA_SEALED"))
    return is_sealed()


def _exit_with_error(error: Exception) -> None:
    """Print the UserError `error` to stderr in one line and exit with its exit code."""
    from medalpaca_data.core.errors import one_line

    sys.stderr.write(f"error: {one_line(error)}\n")
    raise SystemExit(error.exit_code)  # type: ignore[attr-defined]


def _check_packages(args: Any) -> None:
    try:
        from .user_errors import check_packages
    except ImportError:
        return
    check_packages(args)


def _as_user_error(error: Exception, args: Any) -> Exception | None:
    """Return the error to print in one line, or None if the traceback is needed."""
    try:
        from .user_errors import as_user_error
    except ImportError:
        return None
    return as_user_error(error, args)


def _is_user_error(error: Exception) -> bool:
    try:
        from medalpaca_data.core.errors import UserError
    except ImportError:
        return False
    return isinstance(error, UserError)


def _log(message: str) -> None:
    import logging

    logging.getLogger("lm_eval.medalpaca").warning(message)
