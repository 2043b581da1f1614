"""Rephrase settings, prompts, requests and endpoint checks.

A prompt is a Markdown file with a head (what is requested), a system part and a user part. A request is serialised in
a canonical form; its key in the store of completions is the SHA-256 of these bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from ..core import offline
from ..core.config import Config, load_config
from ..core.errors import UserError, nearest
from ..core.files import read_text, sha256_bytes
from ..core.offline import address_fault, address_host, is_loopback, is_sealed, sealed_setting
from ..core.row import TEXTS
from ..core.typed import parse_yaml

# Keys of a request that `parameters` in the recipe must not set.
RESERVED_KEYS = frozenset(("model", "messages", "stream", "n"))


class Price(Config):
    """Price per million tokens, in any currency."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Rephrase(Config):
    """The keys under `rephrase` in a recipe. Without endpoints, rows are rephrased by rules and no model is needed.

    prompts: for each source to rephrase, flash_card, wiki_section, general, or the path of a prompt file.
    endpoints: base addresses with their /v1, for instance http://127.0.0.1:8000/v1.
    model: name of the model to request; required with endpoints.
    concurrency: largest number of requests in flight at each endpoint.
    tries: largest number of completions requested for a row before `on_failure` applies.
    temperature: of the first attempt; each later one has 0.3 more, up to 1.0.
    max_tokens: largest number of tokens of a completion.
    timeout: seconds for one request.
    parameters: additional keys of the request, which replace temperature, max_tokens and seed; null removes a key.
    api_key_env: name of the environment variable with the API key; null: no key is sent.
    trusted_hosts: hosts besides this machine that may receive patient text.
    on_failure: for a row without an accepted completion: reject it, rephrase it by rules, or keep it.
    price: price per million tokens, for the estimate.
    tokenizer: path of a tokenizer.json, to count tokens for the estimate.
    store: path of an SQLite file for the completions; null: answers.sqlite in the cache directory of MEDALPACA_HOME.
    """

    prompts: dict[str, str] = Field(min_length=1)
    endpoints: tuple[str, ...] = ()
    model: str | None = None
    concurrency: int = Field(default=16, ge=1, le=1024)
    tries: int = Field(default=3, ge=1, le=10)
    temperature: float = Field(default=0.2, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=1)
    timeout: float = Field(default=120, gt=0)
    parameters: dict[str, JsonValue] = Field(default={})
    api_key_env: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")] | None = None
    trusted_hosts: tuple[str, ...] = ()
    on_failure: Literal["reject", "rule", "keep"] = "rule"
    price: Price | None = None
    tokenizer: str | None = None
    store: str | None = None

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for endpoint in endpoints:
            if wrong := address_fault(endpoint, "api_key_env"):
                raise ValueError(wrong)
        if len(set(endpoints)) < len(endpoints):
            raise ValueError("an endpoint is listed twice; increase concurrency instead")
        return endpoints

    @field_validator("parameters")
    @classmethod
    def _are_not_reserved(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if reserved := RESERVED_KEYS & parameters.keys():
            raise ValueError(
                f"{min(reserved)!r} cannot be set in parameters; not allowed: {', '.join(sorted(RESERVED_KEYS))}"
            )
        return parameters

    @model_validator(mode="after")
    def _model_has_an_endpoint(self) -> Rephrase:
        if self.endpoints and not self.model:
            raise ValueError("endpoints without a model; set rephrase.model to the model to request")
        if self.model and not self.endpoints:
            raise ValueError("a model, but no endpoints; set rephrase.endpoints to the address of its server")
        return self


PLACEHOLDER = re.compile(r"\{(" + "|".join(TEXTS) + r")\}")
SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)

# The texts of a row by name: instruction, input, output.
Texts = Mapping[str, str]


class PromptHead(Config):
    """The head of a prompt file, between its first two lines of `---`.

    asks: keys of the JSON object that the model returns.
    keeps_input: whether the new row keeps the input of the original one; if not, its input is empty.
    """

    asks: tuple[Literal["question", "answer"], ...] = Field(min_length=1)
    keeps_input: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt. `sha256` is that of its text; `generator` of every row rephrased with it has this hash.

    For `asks` and `keeps_input` see `PromptHead`. `system` and `user` are the texts of the two messages; in `user`,
    {instruction}, {input} and {output} stand for the texts of a row.
    """

    name: str
    asks: tuple[str, ...]
    keeps_input: bool
    system: str
    user: str
    sha256: str

    def messages(self, texts: Texts) -> list[dict[str, str]]:
        """Return the chat messages for one row."""
        user = PLACEHOLDER.sub(lambda match: texts[match[1]], self.user)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]

    def response_format(self) -> dict[str, Any]:
        """Return the JSON schema of the answer in the form of OpenAI's structured output."""
        schema = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in self.asks},
            "required": list(self.asks),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "row", "strict": True, "schema": schema}}

    def apply(self, texts: Texts, answer: Mapping[str, str]) -> dict[str, str]:
        """Return the three texts of the new row: those of the answer, and the original ones that it does not have."""
        return {
            "instruction": answer.get("question", texts["instruction"]),
            "input": texts["input"] if self.keeps_input else "",
            "output": answer.get("answer", texts["output"]),
        }


def builtin_prompts() -> list[str]:
    """Return the names of the prompts in this package, sorted."""
    entries = files(__package__).joinpath("prompts").iterdir()
    return sorted(entry.name.removesuffix(".md") for entry in entries if entry.name.endswith(".md"))


def load_prompt(name_or_path: str, root: Path) -> Prompt:
    """Load a built-in prompt by its name, or else a prompt file by its path, which is relative to `root`.

    Raises UserError if there is no such prompt, or if the file is not a valid one.
    """
    known = builtin_prompts()
    if name_or_path in known:
        path = Path(str(files(__package__).joinpath("prompts", f"{name_or_path}.md")))
        return _parse_prompt(name_or_path, read_text(path), f"prompt {name_or_path}")
    path = root / Path(name_or_path).expanduser()
    if not path.is_file():
        guess = nearest(name_or_path, known)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
        raise UserError(f"rephrase.prompts: {name_or_path!r} is neither a built-in prompt nor a file; {hint}")
    return _parse_prompt(path.name, read_text(path), str(path))


def _parse_prompt(name: str, text: str, where: str) -> Prompt:
    parts = [part.strip() for part in SEPARATOR.split(text.replace("\r\n", "\n"), maxsplit=3)]
    if len(parts) != 4 or parts[0]:
        raise UserError(f"{where}: expected three parts, each after a line of `---`: head, system, user")
    _, head, system, user = parts
    value = parse_yaml(head, where)
    if not isinstance(value, dict):
        raise UserError(f"{where}: the head is not a YAML mapping with the keys asks and keeps_input")
    prompt_head = load_config(PromptHead, value, where=where)
    if set(PLACEHOLDER.findall(user)).isdisjoint(("instruction", "input")) or "{output}" not in user:
        raise UserError(f"{where}: the user part must contain {{output}}, and {{instruction}} or {{input}}")
    return Prompt(
        name, prompt_head.asks, prompt_head.keeps_input, system, user, sha256_bytes("\n".join(parts).encode())
    )


# Added to the temperature for each further attempt, up to MAX_TEMPERATURE, because at temperature 0 another seed
# changes nothing.
TEMPERATURE_STEP = 0.3
MAX_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request: `body` is UTF-8 JSON, and `key`, its SHA-256, is the key in the store of completions."""

    key: str
    body: bytes

    def plain(self) -> bytes:
        """Return the body without a JSON schema, for a server that accepts none; the key stays the same."""
        value = json.loads(self.body)
        value.pop("response_format", None)
        return _canonical_json(value)


def sampling_parameters(settings: Rephrase, n: int, seed: int) -> dict[str, Any]:
    """Return the parameters of attempt `n` (from 0) by name, without those that are null.

    The seed is `seed + n`, and the temperature grows with `n`. `parameters` of the recipe replace these values.
    """
    temperature = max(settings.temperature, min(MAX_TEMPERATURE, settings.temperature + TEMPERATURE_STEP * n))
    values = {
        "temperature": round(temperature, 3),
        "max_tokens": settings.max_tokens,
        "seed": seed + n,
        **settings.parameters,
    }
    return {key: value for key, value in values.items() if value is not None}


def make_request(settings: Rephrase, prompt: Prompt, texts: Texts, n: int, seed: int) -> Request:
    """Return the request of attempt `n` (from 0) for a row.

    It has the JSON schema of the prompt, unless `parameters` of the recipe have the key `response_format`.
    """
    values = {
        "model": settings.model,
        "messages": prompt.messages(texts),
        **sampling_parameters(settings, n, seed),
    }
    if "response_format" not in settings.parameters:
        values["response_format"] = prompt.response_format()
    body = _canonical_json(values)
    return Request(sha256_bytes(body), body)


def _canonical_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def check_endpoints(settings: Rephrase, patients: Collection[str]) -> None:
    """Raise UserError if the rows must not be sent to an endpoint.

    In sealed mode (MEDALPACA_SEALED), only this machine is allowed. Without it, patient text may be sent to this
    machine and to `trusted_hosts`. `patients` are the names of the sources to rephrase that contain patient text.
    """
    trusted = {name.lower() for name in settings.trusted_hosts}
    for endpoint in settings.endpoints:
        name = address_host(endpoint)
        if is_loopback(name):
            continue
        if is_sealed():
            raise UserError(
                f"rephrase.endpoints: {endpoint} is not on this machine, and {sealed_setting()} allows no other; "
                "use an endpoint on 127.0.0.1, or unset the variable"
            )
        if patients and name not in trusted:
            raise UserError(
                f"rephrase.endpoints: source {min(patients)} holds patient text, which must not be sent to {name}; "
                f"use an endpoint on 127.0.0.1, or set rephrase.trusted_hosts: [{name}] if the host may receive it"
            )


def api_key(settings: Rephrase) -> str | None:
    """Return the API key from the environment variable `api_key_env`, or None if the recipe names none.

    The key is never stored or shown. Raises UserError if the variable is not set.
    """
    if settings.api_key_env is None:
        return None
    return offline.api_key(settings.api_key_env, "api_key_env", "rephrase")
