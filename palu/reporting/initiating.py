"""Where the initiating tokens of the forget set are: the first N of every sensitive run, and their share."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from palu import tables
from palu.reporting.collect import Arm, Study
from palu.reporting.items import ForgetItem
from palu.spans import run_offsets, sensitive_tokens


@dataclass(frozen=True)
class ReplyTokens:
    """The predicted tokens of one reply, in order: characters (0, 0 for the end token).

    offset: 0, 1, 2... inside a run of sensitive tokens, -1 outside; the end token is outside.
    """

    char_starts: list[int]
    char_ends: list[int]
    offset: list[int]

    def initiating(self, first_n: int | None) -> list[bool]:
        """Whether each token is among the first N of its run; None: any sensitive token."""
        return [offset >= 0 and (first_n is None or offset < first_n) for offset in self.offset]


def read_tokens(path: Path, items: Iterable[ForgetItem]) -> dict[str, ReplyTokens]:
    """example_id -> the tokens of its reply, for those of `items` that an evaluation's logprobs table has.

    Empty where the evaluation kept no such table.
    """
    if not path.exists():
        return {}
    wanted = {item.example_id: item for item in items}
    table = tables.read(path, "logprobs")
    chosen = table.filter(pc.is_in(table["example_id"], value_set=pa.array(sorted(wanted), pa.string())))
    found = {}
    for row in chosen.select(["example_id", "char_starts", "char_ends"]).to_pylist():
        item = wanted[row["example_id"]]
        starts, ends = row["char_starts"], row["char_ends"]
        sensitive, _ = sensitive_tokens(item.reply, starts, ends, item.spans)
        offset = run_offsets(sensitive).tolist()
        found[item.example_id] = ReplyTokens(starts, ends, offset)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class TokenShares:
    """The reply tokens of the forget set (end tokens left out): aimed at, sensitive but past the first N, common."""

    initiating: int
    past_first_n: int
    common: int

    @property
    def total(self) -> int:
        return self.initiating + self.past_first_n + self.common

    @property
    def share(self) -> float:
        return self.initiating / self.total


def token_shares(replies: Iterable[ReplyTokens], first_n: int | None) -> TokenShares:
    """Count the reply tokens by role."""
    initiating = past = common = 0
    for reply in replies:
        aimed = reply.initiating(first_n)
        for place, offset in enumerate(reply.offset):
            is_end = reply.char_ends[place] == 0
            initiating += aimed[place]
            past += offset >= 0 and not aimed[place]
            common += offset < 0 and not is_end
    return TokenShares(initiating, past, common)


@dataclass(frozen=True)
class Initiating:
    """The tokens of the original's replies under the display tagger, and the shares of every N in the study."""

    tokens: dict[str, ReplyTokens]
    shares: dict[int | None, TokenShares]

    def of(self, study: Study, arm: Arm) -> TokenShares | None:
        """The shares of an arm; None where it aims at whole replies or at another tagger's spans."""
        if "first_n" not in arm.first.entry.settings or arm.tagger not in (None, study.index.display_tagger):
            return None
        return self.shares.get(arm.first.entry.settings["first_n"])


def initiating(study: Study) -> Initiating:
    """Read the tokens and count the shares of each N that an arm or the evaluation uses."""
    if study.index.display_tagger is None:
        return Initiating({}, {})
    tokens = read_tokens(study.original.log_probs_path, study.items)
    wanted = [arm.first.entry.settings["first_n"] for arm in study.arms if "first_n" in arm.first.entry.settings]
    if study.first_n is not None:
        wanted.append(study.first_n[0])
    found = {first_n: token_shares(tokens.values(), first_n) for first_n in dict.fromkeys(wanted)}
    return Initiating(tokens, {first_n: shares for first_n, shares in found.items() if shares.initiating})
