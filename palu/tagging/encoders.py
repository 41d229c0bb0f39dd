"""Checkpoints that read a whole text at once, and the windows in which they read a reply that is too long for them.

Weights are read as safetensors only, and no code of a checkpoint's own is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from palu.errors import UserError, first_line
from palu.progress import followed
from palu.settings import Count, PositiveCount
from palu.tagging.base import TaggerSettings

if TYPE_CHECKING:
    from torch import Tensor

Integers = npt.NDArray[np.int64]

# Positions that every encoder of the hub has; without a stated length a window is no longer
USUAL_LENGTH = 512


class EncoderSettings(TaggerSettings):
    """checkpoint: hub id or local folder. revision: on the hub. context: whether the prompt stands before the reply,
    as the first text of a pair. batch_size: windows in one forward pass. device: such as cuda:1; none = a GPU where
    there is one. max_length: tokens of a window; none = what the checkpoint reads, 512 at most. stride: reply tokens
    that two windows of a long reply share."""

    checkpoint: str = Field(min_length=1)
    revision: str | None = Field(default=None, min_length=1)
    context: Literal["none", "prompt"] = "none"
    batch_size: PositiveCount = 16
    device: str | None = Field(default=None, min_length=1)
    max_length: PositiveCount | None = None
    stride: Count = 64

    @property
    def takes_gpu(self) -> bool:
        return self.device is None


@dataclass(frozen=True, eq=False)
class Window:
    """One input of an encoder: special tokens, the prompt's if any, and n of a reply's T tokens.

    input_ids, token_types: (L,). place: (n,) where the reply's tokens stand in it. first: the number, among the
    reply's tokens, of the first one here. char_start, char_end: (n,) half-open, in code points of the reply.
    """

    input_ids: Integers
    token_types: Integers
    place: Integers
    first: int
    char_start: Integers
    char_end: Integers

    def __len__(self) -> int:
        return len(self.place)


class Encoder:
    """A model with its tokenizer, and how much it reads at once."""

    def __init__(self, kind: str, settings: EncoderSettings, name: str) -> None:
        """kind: of `palu.models.encoders.KINDS`. name: the tagger's, for errors.

        Raises UserError for a checkpoint that is missing, damaged, of another kind or without safetensors, a
        tokenizer without offsets, a device that is not there, and a length that leaves a reply no room.
        """
        from palu import models
        from palu.models.encoders import load_encoder

        place = f"{name}: {settings.checkpoint}"
        self.model: Any
        self.model, self.tokenizer = load_encoder(kind, settings.checkpoint, settings.revision, place)
        models.check_offsets(self.tokenizer, place)
        try:
            self.model.to(models.chosen_device(settings.device))
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"{name}: device {settings.device!r} cannot be used: {first_line(error)}") from error
        self._settings = settings
        self.max_length = self._length_limit(place)

    def _length_limit(self, place: str) -> int:
        wish = self._settings.max_length
        known = [self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", None)]
        limits = [int(limit) for limit in known if limit]
        if wish is not None and wish > min(limits):
            raise UserError(f"{place}: max_length {wish} is more than it reads; allowed: at most {min(limits)}")
        length = wish or min(USUAL_LENGTH, *limits)
        least = self.tokenizer.num_special_tokens_to_add(pair=self._settings.context == "prompt") + 2
        if length < least:
            raise UserError(f"{place}: max_length {length} leaves a reply no room; allowed: at least {least}")
        return length

    def windows(self, prompt: str, reply: str) -> list[Window]:
        """The reply in windows that overlap by the stride, or by half a window where that is less.

        Of a prompt that would take more than half a window its end is shown. A reply of white space has no window.
        """
        if not reply.strip():
            return []
        is_pair = self._settings.context == "prompt" and bool(prompt.strip())
        special = self.tokenizer.num_special_tokens_to_add(pair=is_pair)
        before: list[str] = []
        if is_pair:
            shown = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            room = (self.max_length - special) // 2
            offsets = shown["offset_mapping"]
            before = [prompt if len(offsets) <= room else prompt[offsets[-room][0] :]]
            special += len(self.tokenizer(before[0], add_special_tokens=False, verbose=False)["input_ids"])
        room = self.max_length - special
        stride = min(self._settings.stride, room // 2)
        encoded = self.tokenizer(
            *before,
            reply,
            truncation="only_second" if is_pair else "only_first",
            max_length=self.max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            return_attention_mask=False,
            verbose=False,
        )
        return list(_cut(encoded, int(is_pair), stride))

    def logits(
        self, windows: Sequence[Window], places: Sequence[Integers] | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """(n, C) of each window, in order, at these places in it, of the reply's tokens where none are given.

        Windows of like length share a batch.
        """
        import torch

        places = [window.place for window in windows] if places is None else places
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
        found: dict[int, npt.NDArray[np.float32]] = {}
        firsts = range(0, len(order), self._settings.batch_size)
        for first in followed(firsts, "tagging", len(firsts), "batch"):
            members = order[first : first + self._settings.batch_size]
            with torch.inference_mode():
                batch = self._run([windows[i] for i in members])
            for i, numbers in zip(members, batch, strict=True):
                found[i] = numbers[torch.from_numpy(places[i]).to(numbers.device)].float().cpu().numpy()
        return (found[i] for i in range(len(windows)))

    def _run(self, windows: Sequence[Window]) -> Tensor:
        import torch

        width = max(len(window.input_ids) for window in windows)
        ids = np.full((len(windows), width), self.tokenizer.pad_token_id or 0)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for i, window in enumerate(windows):
            length = len(window.input_ids)
            ids[i, :length], mask[i, :length], types[i, :length] = window.input_ids, 1, window.token_types
        inputs = {"input_ids": ids, "attention_mask": mask}
        if (
            "token_type_ids" in self.tokenizer.model_input_names
            and getattr(self.model.config, "type_vocab_size", 0) > 1
        ):
            inputs["token_type_ids"] = types
        output = self.model(**{key: torch.from_numpy(value).to(self.model.device) for key, value in inputs.items()})
        logits: Tensor = output.logits
        return logits


def tokens_within(char_start: Integers, char_end: Integers, start: int, end: int) -> slice:
    """Which of a reply's tokens, in their order, have a character of start..end. char_start, char_end: (T,)."""
    return slice(int(np.searchsorted(char_end, start, "right")), int(np.searchsorted(char_start, end, "left")))


def innermost(windows: Sequence[Window]) -> list[tuple[int, int]]:
    """For each of the reply's T tokens the window that shows most around it, and its number in that window.

    The reply's own first and last token are no edge: nothing of it stands beyond them.
    """
    total = windows[-1].first + len(windows[-1])
    best: list[tuple[int, int, int]] = [(-1, 0, 0)] * total
    for w, window in enumerate(windows):
        for i in range(len(window)):
            token = window.first + i
            before = total if window.first == 0 else i
            after = total if window.first + len(window) == total else len(window) - 1 - i
            best[token] = max(best[token], (min(before, after), w, i))
    return [(w, i) for _, w, i in best]


def _cut(encoded: Any, text: int, stride: int) -> Iterator[Window]:
    """The windows of one tokenised reply; text: whether it is the first or the second of its pair."""
    first = 0
    for w, ids in enumerate(encoded["input_ids"]):
        place = np.array([i for i, part in enumerate(encoded.sequence_ids(w)) if part == text], dtype=np.int64)
        offsets = np.array(encoded["offset_mapping"][w], dtype=np.int64).reshape(-1, 2)[place]
        types = np.array(encoded["token_type_ids"][w], dtype=np.int64)
        yield Window(np.array(ids, dtype=np.int64), types, place, first, offsets[:, 0], offsets[:, 1])
        first += len(place) - stride
