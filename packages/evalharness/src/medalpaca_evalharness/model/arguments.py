"""Arguments of `--model medalpaca` that lm-eval does not understand by itself: an adapter as the model, and
quantised loading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import UserError, one_line
from medalpaca_data.ground.files import read_json

MODEL = "medalpaca"  # as `--model` names it

QUANTISED = ("load_in_8bit", "load_in_4bit")
QUANTISATION = ("bnb_4bit_", "llm_int8_")  # how arguments about it begin


def complete(call: dict[str, Any]) -> None:
    """Name base and adapter apart in a `simple_evaluate` call, for the model and for what its tasks are told.

    `call` holds the arguments by name and is changed in place. Raises UserError.
    """
    from lm_eval.utils import simple_parse_args_string

    given = call.get("model_args") or {}
    named = simple_parse_args_string(given) if isinstance(given, str) else dict(given)
    if (whole := with_base(named)) == named:
        return
    call["model_args"] = whole
    told = getattr(call.get("task_manager"), "metadata", None)
    for metadata in (told, call.get("metadata")):
        if isinstance(metadata, dict) and metadata.get("pretrained") == named["pretrained"]:
            metadata.update({key: whole[key] for key in ("pretrained", "peft")})


def with_base(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`, with `pretrained=ADAPTER` taken apart into the base that the adapter names, and `peft=ADAPTER`.

    Raises UserError when it names none, or one that is not there, or when `peft` is given as well.
    """
    arguments = dict(arguments)
    given = arguments.get("pretrained")
    directory = Path(given).expanduser() if isinstance(given, str | Path) else None
    if directory is None or (directory / "config.json").is_file():
        return arguments
    file = directory / "adapter_config.json"
    if not file.is_file():
        return arguments
    if arguments.get("peft"):
        raise UserError(f"{directory}: is an adapter, and peft= names another; give the base as pretrained=")
    config = read_json(file)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    advice = f"give both: pretrained=BASE,peft={directory}"
    if not isinstance(base, str) or not base:
        raise UserError(f"{file}: names no base_model_name_or_path; {advice}")
    # As PEFT wrote it down: a hub id, or a path seen from where the training ran.
    found = next((path for path in (Path(base).expanduser(), directory / base) if path.is_dir()), None)
    if found is None and (Path(base).is_absolute() or base.startswith((".", "~"))):
        raise UserError(f"{file}: its base {base} is not there; {advice}")
    return arguments | {"pretrained": str(found) if found else base, "peft": str(directory)}


def quantisation(arguments: dict[str, Any]) -> Any:
    """Take what concerns 8-bit or 4-bit loading out of `arguments`; its BitsAndBytesConfig, or None.

    transformers 5 knows no `load_in_8bit=` any more, and lm-eval 0.4.13 still hands it on. Raises UserError when
    both are asked for, or bitsandbytes is not installed.
    """
    asked = {key: _flag(arguments.pop(key)) for key in QUANTISED if key in arguments}
    details = {key: arguments.pop(key) for key in list(arguments) if key.startswith(QUANTISATION)}
    wanted = [key for key, value in asked.items() if value]
    if not wanted:
        if details:
            raise UserError(f"{next(iter(details))}= has no meaning without load_in_8bit= or load_in_4bit=")
        return None
    if len(wanted) > 1:
        raise UserError("load_in_8bit= and load_in_4bit= exclude each other")
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{wanted[0]}= needs bitsandbytes, which is not installed: uv pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    try:
        return BitsAndBytesConfig(**{wanted[0]: True}, **details)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{wanted[0]}=: {one_line(error)}") from None


def _flag(value: Any) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)
