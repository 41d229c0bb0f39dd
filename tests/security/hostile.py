"""What hostile files are made of."""

import json
import struct
from pathlib import Path

import pytest

from palu.errors import UserError
from palu.models import Architecture

TEXTS = ["Ada Lovelace wrote the first program.", "Question: Who?\nAnswer: Ada", "Jürgen came from Zürich."]
SMALL = Architecture(vocab_size=300, hidden_size=16, heads=2, kv_heads=1, intermediate_size=24, max_positions=64)

# What a shell, a path, a page and a terminal would each act on
SHELL_WORDS = 'it\'s "a" $(touch code-was-run) `touch code-was-run`; touch code-was-run #&|<>*?{split}{x}'
ESCAPES = "\x1b[2J\x1b]0;title\x07"


class Pickled:
    """Its pickle makes a file when it is read."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def refusal(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, once it is one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def edit_json(path: Path, **values: object) -> None:
    """Change keys of a JSON file, or make one."""
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(before | values))


def code_that_touches(canary: Path) -> str:
    """A module of a repository's own code."""
    return f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"


def write_safetensors(path: Path, header: dict | bytes, data: bytes, length: int | None = None) -> None:
    """A file of that header, its stated length among it, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
