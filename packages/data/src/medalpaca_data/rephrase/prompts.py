"""How rows are rephrased: by whom, with which prompts, how hard it is tried.

The prompts: Markdown files with a head that says what is asked for, a system part and a user part.

A request in its canonical form: the same bytes are hashed and sent, so that its key says exactly what was asked.

Who may be asked: nobody outside when sealed, nobody outside with patient text, and with what key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, JsonValue, field_validator, model_validator

from ..core import offline as ground
from ..core.config import Config, load_config
from ..core.errors import UserError, nearest
from ..core.files import read_text, sha256_bytes
from ..core.offline import address_fault, address_host, is_loopback, is_sealed, sealed_setting
from ..core.row import TEXTS

RESERVED_KEYS = frozenset(("model", "messages", "stream", "n"))  # of a request; what `parameters` may not say


class Price(Config):
    """Per million tokens, in any currency."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Rephrase(Config):
    """`rephrase:` of a recipe. Without endpoints it is done by rule, and no model is needed."""

    prompts: dict[str, str] = Field(
        min_length=1
    )  # source -> flash_card, wiki_section, general, or a prompt file
    endpoints: tuple[str, ...] = ()  # with their /v1, for instance http://127.0.0.1:8000/v1
    model: str | None = None
    concurrency: int = Field(default=16, ge=1, le=1024)  # requests in flight at each endpoint
    tries: int = Field(default=3, ge=1, le=10)  # answers asked for before a row is given up
    temperature: float = Field(default=0.2, ge=0, le=2)  # of the first try; later ones are warmer
    max_tokens: int = Field(default=512, ge=1)
    timeout: float = Field(default=120, gt=0)  # seconds for one answer
    parameters: dict[str, JsonValue] = Field(default={})  # more of the request's body; null takes a key out
    api_key_env: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")] | None = None  # a variable's name
    trusted_hosts: tuple[str, ...] = ()  # may see patient text, besides this machine
    on_failure: Literal["reject", "rule", "keep"] = "rule"  # of a row that no try could rephrase
    price: Price | None = None
    tokenizer: str | None = None  # a tokenizer.json, for the estimate
    store: str | None = None  # an SQLite file for the answers; null: in MEDALPACA_HOME/cache

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for endpoint in endpoints:
            if wrong := address_fault(endpoint, "api_key_env"):
                raise ValueError(wrong)
        if len(set(endpoints)) < len(endpoints):
            raise ValueError("the same endpoint twice; raise concurrency instead")
        return endpoints

    @field_validator("parameters")
    @classmethod
    def _leave_ours(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := RESERVED_KEYS & parameters.keys():
            raise ValueError(f"{min(taken)!r} is not for parameters to say")
        return parameters

    @model_validator(mode="after")
    def _model_has_an_endpoint(self) -> Rephrase:
        if self.endpoints and not self.model:
            raise ValueError("endpoints, but no model: name the one to be asked")
        if self.model and not self.endpoints:
            raise ValueError("a model, but no endpoints: say where it answers")
        return self


PLACEHOLDER = re.compile(r"\{(" + "|".join(TEXTS) + r")\}")
SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)

Texts = Mapping[str, str]  # instruction, input, output


class PromptHead(Config):
    """What stands between a prompt's first two rules."""

    asks: tuple[Literal["question", "answer"], ...] = Field(min_length=1)  # keys of the answer
    keeps_input: bool  # whether a row's input stays below the new question


@dataclass(frozen=True, slots=True)
class Prompt:
    """A published prompt; its SHA-256 is in the generator of every row that came of it."""

    name: str
    asks: tuple[str, ...]
    keeps_input: bool
    system: str
    user: str
    sha256: str

    def messages(self, texts: Texts) -> list[dict[str, str]]:
        """The chat that asks for one row."""
        asked = PLACEHOLDER.sub(lambda place: texts[place[1]], self.user)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": asked}]

    def response_format(self) -> dict[str, Any]:
        """The schema of the answer, as servers with structured output take it."""
        schema = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in self.asks},
            "required": list(self.asks),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "row", "strict": True, "schema": schema}}

    def applied(self, texts: Texts, answer: Mapping[str, str]) -> dict[str, str]:
        """The row's three texts with what a model answered."""
        return {
            "instruction": answer.get("question", texts["instruction"]),
            "input": texts["input"] if self.keeps_input else "",
            "output": answer.get("answer", texts["output"]),
        }


def builtin_prompts() -> list[str]:
    """Names of the prompts that come with the package."""
    entries = files(__package__).joinpath("prompts").iterdir()
    return sorted(entry.name.removesuffix(".md") for entry in entries if entry.name.endswith(".md"))


def load_prompt(name_or_path: str, root: Path) -> Prompt:
    """A prompt by its built-in name, or from a file (a relative path is taken from `root`)."""
    known = builtin_prompts()
    if name_or_path in known:
        path = Path(str(files(__package__).joinpath("prompts", f"{name_or_path}.md")))
        return _parse_prompt(name_or_path, read_text(path), f"prompt {name_or_path}")
    path = root / Path(name_or_path).expanduser()
    if not path.is_file():
        guess = nearest(name_or_path, known)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
        raise UserError(f"{name_or_path}: neither a prompt's name nor a file; {hint}")
    return _parse_prompt(path.name, read_text(path), str(path))


def _parse_prompt(name: str, text: str, where: str) -> Prompt:
    parts = [part.strip() for part in SEPARATOR.split(text.replace("\r\n", "\n"), maxsplit=3)]
    if len(parts) != 4 or parts[0]:
        raise UserError(f"{where}: a prompt is three parts under `---` each: head, system, user")
    _, head, system, user = parts
    try:
        value = yaml.safe_load(head)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{where}: its head is not a mapping of keys to values")
    found = load_config(PromptHead, value, where=where)
    if set(PLACEHOLDER.findall(user)).isdisjoint(("instruction", "input")) or "{output}" not in user:
        raise UserError(f"{where}: its user part needs {{output}}, and {{instruction}} or {{input}}")
    return Prompt(name, found.asks, found.keeps_input, system, user, sha256_bytes("\n".join(parts).encode()))


TEMPERATURE_STEP = (
    0.3  # added to the temperature at each further try: at 0, another seed alone changes nothing
)
MAX_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent (UTF-8 JSON), and its name in the store."""

    key: str  # SHA-256 of the body
    body: bytes

    def plain(self) -> bytes:
        """The same without a schema, for a server that knows none. Its answer counts as the request's own."""
        value = json.loads(self.body)
        value.pop("response_format", None)
        return _canonical_json(value)


def sampling_parameters(settings: Rephrase, n: int, seed: int) -> dict[str, Any]:
    """Of try `n` (from 0), besides model and messages: its own seed, and warmer than the one before."""
    warm = max(settings.temperature, min(MAX_TEMPERATURE, settings.temperature + TEMPERATURE_STEP * n))
    given = {
        "temperature": round(warm, 3),
        "max_tokens": settings.max_tokens,
        "seed": seed + n,
        **settings.parameters,
    }
    return {key: value for key, value in given.items() if value is not None}


def make_request(settings: Rephrase, prompt: Prompt, texts: Texts, n: int, seed: int) -> Request:
    """Try `n` of a row."""
    asked = {
        "model": settings.model,
        "messages": prompt.messages(texts),
        **sampling_parameters(settings, n, seed),
    }
    if "response_format" not in settings.parameters:
        asked["response_format"] = prompt.response_format()
    body = _canonical_json(asked)
    return Request(sha256_bytes(body), body)


def _canonical_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def check_endpoints(settings: Rephrase, patients: Collection[str]) -> None:
    """Raise UserError where an endpoint may not have what it would be sent.

    `patients` are the sources among those to be rephrased whose rows are written by or about patients.
    """
    trusted = {name.lower() for name in settings.trusted_hosts}
    for endpoint in settings.endpoints:
        name = address_host(endpoint)
        if is_loopback(name):
            continue
        if is_sealed():
            raise UserError(
                f"rephrase: {endpoint} is outside this machine, and {sealed_setting()}; "
                "name an endpoint on 127.0.0.1 or unset it"
            )
        if patients and name not in trusted:
            raise UserError(
                f"rephrase: {min(patients)} holds patient text, which does not leave this machine for {name}; "
                f"name an endpoint on 127.0.0.1, or trusted_hosts: [{name}] if it may see it"
            )


def api_key(settings: Rephrase) -> str | None:
    """The key from the variable that the recipe names; it is kept nowhere and shown by nothing."""
    if settings.api_key_env is None:
        return None
    return ground.api_key(settings.api_key_env, "api_key_env", "rephrase")
