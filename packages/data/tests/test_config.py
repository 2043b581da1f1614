from typing import Annotated, Literal

import pytest
from pydantic import Field

from medalpaca_data.core.config import Config, load_config
from medalpaca_data.core.errors import UserError


class Lora(Config):
    r: int = 16
    alpha: float = 32


class Recipe(Config):
    learning_rate: float = Field(default=1e-4, gt=0)
    name: str = "x"
    lora: Lora = Lora()


def test_overrides_reach_inside_and_keep_their_types():
    recipe = load_config(Recipe, {"lora": {"r": 4}}, ["learning_rate=2e-4", "lora.alpha=8", "name=1a"])
    assert (recipe.learning_rate, recipe.lora.r, recipe.lora.alpha, recipe.name) == (2e-4, 4, 8.0, "1a")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learning_rat=1"], "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        (["lora.rr=1"], "unknown key 'lora.rr'; did you mean 'r'?"),
        (["zzzz=1"], "unknown key 'zzzz'; allowed: learning_rate, lora, name"),
        (["learning_rate=fast"], "key 'learning_rate': Input should be a valid number"),
        (["learning_rate=-1"], "key 'learning_rate': Input should be greater than 0 \\(got -1\\)"),
        (["learning_rate"], "write an override as key=value"),
    ],
)
def test_a_wrong_key_or_value_is_explained_in_one_line(overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config(Recipe, {}, overrides)
    assert "\n" not in str(caught.value)


def test_broken_yaml_is_named_with_its_line(write):
    with pytest.raises(UserError, match=r"r\.yaml line 3: not valid YAML"):
        load_config(Recipe, write("r.yaml", "name: x\nlora: [1, 2\n"))


def test_a_recipe_never_changes(write):
    recipe = load_config(Recipe, write("r.yaml", "name: y\n"))
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "z"  # type: ignore[misc]


class Listed(Config):
    parts: list[Lora]


def test_an_override_reaches_into_a_list():
    recipe = load_config(Listed, {"parts": [{"r": 1}, {"r": 2}]}, ["parts.1.r=5"])
    assert [part.r for part in recipe.parts] == [1, 5]
    with pytest.raises(UserError, match="'2' is not an index of a list of 2 items; allowed: 0 to 1"):
        load_config(Listed, {"parts": [{}, {}]}, ["parts.2.r=5"])


class Places(Config):
    out: str = ""
    share: float | str = 0.1


@pytest.mark.parametrize("path", ["my #1/rows.jsonl", "2024", "1e10", "a: b", "[x]"])
def test_a_path_is_taken_as_it_was_typed(path):
    assert load_config(Places, {}, [f"out={path}"]).out == path


def test_infinity_is_no_number():
    with pytest.raises(UserError, match="finite"):
        load_config(Recipe, {}, ["learning_rate=inf"])


class Plain(Config):
    kind: Literal["plain"] = "plain"
    published: int = 0
    sort: Literal["a", "b"] = "a"


class Published(Config):
    kind: Literal["published"] = "published"
    published: int = 0
    part: Literal["x", "y"]


class Union(Config):
    sources: list[Annotated[Plain | Published, Field(discriminator="kind")]]


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"kind": "published", "part": "z"}, "key 'sources.0.part'"),
        ({"kind": "published", "part": "x", "published": "many"}, "key 'sources.0.published'"),
        ({"kind": "published"}, "key 'sources.0.part' is missing"),
        ({"kind": "published", "part": "x", "prt": "x"}, "unknown key 'sources.0.prt'; did you mean 'part'"),
        ({"kind": "plain", "published": "many"}, "key 'sources.0.published'"),
    ],
)
def test_the_tag_of_a_union_is_no_key_even_where_a_field_has_its_name(source, key):
    with pytest.raises(UserError, match=key):
        load_config(Union, {"sources": [source]})


class Inner(Config):
    r: int = 1


class Outer(Config):
    lora: Inner = Inner()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora_r=8", "unknown key 'lora_r'; did you mean 'lora.r'?"),
        ("lora=8", "key 'lora' is a group of keys; set them one by one: lora.r"),
    ],
)
def test_a_key_inside_a_group_is_named(override, message):
    with pytest.raises(UserError) as refusal:
        load_config(Outer, {}, [override])
    assert message in str(refusal.value)
