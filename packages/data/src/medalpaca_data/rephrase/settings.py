"""How rows are rephrased: by whom, with which prompts, how hard it is tried."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from ..config import Config
from ..ground.endpoint import fault

OURS = frozenset(("model", "messages", "stream", "n"))  # of a request; what `parameters` may not say


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
            if wrong := fault(endpoint, "api_key_env"):
                raise ValueError(wrong)
        if len(set(endpoints)) < len(endpoints):
            raise ValueError("the same endpoint twice; raise concurrency instead")
        return endpoints

    @field_validator("parameters")
    @classmethod
    def _leave_ours(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := OURS & parameters.keys():
            raise ValueError(f"{min(taken)!r} is not for parameters to say")
        return parameters

    @model_validator(mode="after")
    def _model_has_an_endpoint(self) -> Rephrase:
        if self.endpoints and not self.model:
            raise ValueError("endpoints, but no model: name the one to be asked")
        if self.model and not self.endpoints:
            raise ValueError("a model, but no endpoints: say where it answers")
        return self
