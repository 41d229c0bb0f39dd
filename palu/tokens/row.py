"""One example as tokens, each with its role."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from palu.roles import END


@dataclass(frozen=True, eq=False)
class TokenRow:
    """One example, or one piece of a document, as T tokens: bos + prompt + reply + end.

    The end is one token, or what a chat template writes after a reply, or none (a document, the template `raw`).

    input_ids: (T,) int32. role: (T,) int8, of `palu.roles`. reply_start: index of the first reply token.
    span_offset: (T,) int16, 0, 1, 2... inside a run of sensitive tokens, -1 outside; see `palu.spans.run_offsets`.
    char_start, char_end: (T,) int32, each reply token's characters, counted in code points of the reply; 0, 0 for
    the tokens of prompt and end. A token that straddles the prompt's end starts at 0.
    truncated: whether reply text was cut at the length limit. The end is there where all of it fits.
    uncovered_spans, truncated_spans: spans that were left out, because no token covers more than white space of
    them, or because they lie in text that was cut.
    first_position: what `position` adds to an index in this piece to have that in the uncut document; 0 for anything
    else. With it (example_id, position) names a predicted token once.
    """

    example_id: str
    input_ids: npt.NDArray[np.int32]
    reply_start: int
    role: npt.NDArray[np.int8]
    span_offset: npt.NDArray[np.int16]
    char_start: npt.NDArray[np.int32]
    char_end: npt.NDArray[np.int32]
    truncated: bool
    uncovered_spans: int = 0
    truncated_spans: int = 0
    first_position: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def first_target(self) -> int:
        """Index of the first predicted token: the first of the reply, unless nothing at all stands before it."""
        return max(self.reply_start, 1)

    @property
    def end_count(self) -> int:
        """How many tokens the end has, 0 where there is none."""
        return int((self.role == END).sum())
