"""Mutations of a file for `fuzz_readers.py`: of bytes, of structure (JSON, YAML, tables), of archive members."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

import polars as pl
import yaml

# Values in place of a value of JSON or YAML, as text.
DEEP = "[" * 600 + "]" * 600
DEEP_OBJECT = '{"a":' * 600 + "1" + "}" * 600
VALUES = (
    *("null", "1e400", "-1e400", "NaN", '"x"', '""', "[]", "{}", "true", "false", "0", "-1", "1.5"),
    *("1" + "0" * 30, "9" * 5000, '"\\ud800"', '"\\u0000"', "[[]]", "[null]", '[1, "x"]', '{"x": 1}', '{"": null}'),
    *('[{"x": []}]', '"' + "9" * 40 + '"', '"1e400"', '"NaN"', '"²"', DEEP, DEEP_OBJECT),
)  # fmt: skip
TOKENS = (
    *(b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"<", b"&#55296;", b"]]>", b"{{", b"\r", b"\n", b","),
    *(b"-1", b"1e400", b"9" * 5000, b"nan", "²".encode(), "٣".encode(), b"null", b"[]", b"{}", b"x" * 300),
)  # fmt: skip
DTYPES = (pl.Null, pl.Binary, pl.Int64, pl.Float64, pl.Date, pl.Boolean)


def mutate(name: str, data: bytes, draw: random.Random) -> bytes:
    """Return `data`, the content of a file `name`, after one random mutation of a kind that suits its suffix."""
    name = name.lower()
    structured: Callable[[bytes, random.Random], bytes] | None = None
    if name.endswith((".json", ".yaml", ".yml")):
        structured = mutate_json
    elif name.endswith((".jsonl", ".ndjson")):
        structured = mutate_lines
    elif name.endswith(".gz") and draw.random() < 0.7:
        return gzip.compress(mutate(name.removesuffix(".gz"), gzip.decompress(data), draw), mtime=0)
    elif name.endswith((".zip", ".apkg", ".colpkg", ".xlsx")):
        structured = mutate_zip
    elif name.endswith((".parquet", ".arrow")):
        structured = mutate_table
    elif name.endswith(".safetensors"):
        structured = mutate_safetensors
    elif not name.endswith((".7z", ".gz", ".bz2", ".db", ".sqlite", ".anki2")):
        structured = mutate_text
    if structured is not None and draw.random() < 0.65:
        try:
            return structured(data, draw)
        except (ValueError, yaml.YAMLError, RecursionError):
            pass
    return mutate_bytes(data, draw)


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return `data` with flipped, removed, inserted, repeated or cut bytes, or other bytes in place of it."""
    changed = bytearray(data)
    kind = draw.choice(("flip", "flip", "flip", "cut", "delete", "insert", "repeat", "random", "empty"))
    at = draw.randrange(len(data) + 1)
    length = draw.choice((1, 4, 16, 200))
    match kind:
        case "flip":
            for _ in range(draw.choice((1, 1, 3, 20))):
                if changed:
                    changed[draw.randrange(len(changed))] = draw.randrange(256)
        case "cut":
            del changed[at:]
        case "delete":
            del changed[at : at + length]
        case "insert":
            changed[at:at] = draw.randbytes(length)
        case "repeat":
            changed[at:at] = data[at : at + length]
        case "random":
            return draw.randbytes(draw.choice((1, 10, 1000)))
        case "empty":
            return b""
    return bytes(changed)


def mutate_text(data: bytes, draw: random.Random) -> bytes:
    """Return a text with a word or number replaced, or with a line removed, repeated or swapped."""
    if draw.random() < 0.6:
        words = list(re.finditer(rb"[\w.-]+|[^\w\s]", data))
        if not words:
            return draw.choice(TOKENS)
        word = draw.choice(words)
        return data[: word.start()] + draw.choice(TOKENS) + data[word.end() :]
    lines = data.splitlines(keepends=True) or [b""]
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.choice(("remove", "repeat", "swap")):
        case "remove":
            del lines[one]
        case "repeat":
            lines.insert(other, lines[one])
        case _:
            lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    """Return a JSON or YAML document, as JSON, with one value replaced, removed or repeated, or a key renamed."""
    return _dump(_mutated(yaml.safe_load(data) if not _is_json(data) else json.loads(data), draw), draw)


def mutate_lines(data: bytes, draw: random.Random) -> bytes:
    """Return JSON Lines with one line mutated, removed or repeated."""
    lines = data.splitlines(keepends=True)
    if not lines:
        raise ValueError("no lines")
    at = draw.randrange(len(lines))
    match draw.choice(("mutate", "mutate", "mutate", "remove", "repeat")):
        case "remove":
            del lines[at]
        case "repeat":
            lines.insert(draw.randrange(len(lines)), lines[at])
        case _:
            lines[at] = mutate_json(lines[at], draw) + b"\n"
    return b"".join(lines)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


MARK = "@@mutation@@"
REPEATED = "@@repeated@@"


def _mutated(value: Any, draw: random.Random) -> Any:
    """Return `value` with the text MARK in place of one nested value, a key less, or another key."""
    places: list[tuple[Any, Any]] = [(None, None)]
    pending = [value]
    while pending:
        one = pending.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        places += [(one, key) for key in keys]
        pending += [one[key] for key in keys]
    holder, key = draw.choice(places)
    if holder is None:
        return MARK
    kind = draw.choice(("value", "value", "value", "value", "remove", "rename", "repeat"))
    if kind == "value":
        holder[key] = MARK
    elif kind == "remove":
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(draw.randrange(len(holder)), holder[key])
    elif kind == "rename":
        holder[draw.choice(("x", "", "\u017f", str(key).upper(), "\ud800"))] = holder.pop(key)
    else:
        # Written twice by `_dump`.
        holder[REPEATED] = holder[key]
    return value


def _dump(value: Any, draw: random.Random) -> bytes:
    text = json.dumps(value, default=str).replace(f'"{MARK}"', draw.choice(VALUES))
    match = re.search(r'"((?:[^"\\]|\\.)*)":', text)
    return text.replace(REPEATED, match[1] if match else "x").encode()


def mutate_zip(data: bytes, draw: random.Random) -> bytes:
    """Return a ZIP archive with one member mutated, removed or renamed, or with the data of two members swapped."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at, other = draw.randrange(len(members)), draw.randrange(len(members))
    name, content = members[at]
    match draw.choice(("mutate", "mutate", "mutate", "mutate", "remove", "rename", "swap")):
        case "remove":
            del members[at]
        case "rename":
            members[at] = draw.choice(("", "x", "../x", "a\\b", name + "\x00")), content
        case "swap":
            members[at], members[other] = (name, members[other][1]), (members[other][0], content)
        case _:
            members[at] = name, mutate(name, content, draw)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def mutate_table(data: bytes, draw: random.Random) -> bytes:
    """Return a Parquet or Arrow file with a column removed, renamed, without values, or of another type."""
    is_parquet = data[:4] == b"PAR1"
    table = (pl.read_parquet if is_parquet else pl.read_ipc)(io.BytesIO(data))
    column = draw.choice(table.columns)
    match draw.choice(("remove", "rename", "type", "type", "list", "struct", "no rows", "repeat")):
        case "remove":
            table = table.drop(column)
        case "rename":
            table = table.rename({column: "x"})
        case "type":
            table = table.with_columns(pl.lit(None).cast(draw.choice(DTYPES)).alias(column))
        case "list":
            table = table.with_columns(pl.concat_list(pl.col(column)).alias(column))
        case "struct":
            table = table.with_columns(pl.struct(a=pl.col(column)).alias(column))
        case "no rows":
            table = table.clear()
        case _:
            table = pl.concat([table, table])
    out = io.BytesIO()
    if is_parquet:
        table.write_parquet(out)
    else:
        table.write_ipc(out)
    return out.getvalue()


def mutate_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Return a safetensors file with a mutated header of the right length."""
    length = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
