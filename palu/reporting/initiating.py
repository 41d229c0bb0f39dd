"""The initiating tokens of the forget set: their share, and what a perfectly local method would leave.

Such a method moves the first N tokens of every sensitive run to the retain model's values and leaves all others at
the original's. What it leaves of the whole reply's probability and extraction strength is a number to compare with: no
term of a loss keeps a real method there, and one may end below.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from palu import tables
from palu.reporting.collect import Arm, Study
from palu.reporting.items import ForgetItem
from palu.spans import run_offsets, sensitive_tokens

# What a local method would leave is shown only where this arithmetic gives the original's own summary to within this.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class ReplyTokens:
    """The predicted tokens of one reply, in order: characters (0, 0 for the end's), log-probability, argmax hit.

    offset: 0, 1, 2... inside a run of sensitive tokens, -1 outside; the end is outside.
    """

    char_starts: list[int]
    char_ends: list[int]
    log_probs: list[float]
    argmax_hits: list[bool]
    offset: list[int]

    def initiating(self, first_n: int | None) -> list[bool]:
        """Whether each token is among the first N of its run; None: any sensitive token."""
        return [offset >= 0 and (first_n is None or offset < first_n) for offset in self.offset]


Replies = Mapping[str, ReplyTokens]


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
    for row in chosen.select(["example_id", "char_starts", "char_ends", "log_probs", "argmax_hits"]).to_pylist():
        item = wanted[row["example_id"]]
        starts, ends = row["char_starts"], row["char_ends"]
        sensitive, _ = sensitive_tokens(item.reply, starts, ends, item.spans)
        offset = run_offsets(sensitive).tolist()
        found[item.example_id] = ReplyTokens(starts, ends, row["log_probs"], row["argmax_hits"], offset)
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


def mean_probability(replies: Replies) -> float:
    """The mean over replies of exp(mean log-probability per token)."""
    values = [math.exp(math.fsum(reply.log_probs) / len(reply.log_probs)) for reply in replies.values()]
    return math.fsum(values) / len(values)


def mean_extraction(replies: Replies) -> float:
    """The mean over replies of the share of tokens, counted from the back, that greedy decoding gets right.

    As in `extraction_strength`, the last token is left out and no reply gets less than one token.
    """
    values = []
    for reply in replies.values():
        hits = reply.argmax_hits[:-1] or reply.argmax_hits
        right = next((place for place, hit in enumerate(reversed(hits)) if not hit), len(hits))
        values.append(max(right, 1) / len(hits))
    return math.fsum(values) / len(values)


def localized(original: Replies, retain: Replies, first_n: int | None) -> dict[str, ReplyTokens] | None:
    """The replies of a model that moves the initiating tokens to where the retain model has them, and nothing else.

    None unless both models were asked the same tokens of the same replies.
    """
    if not original or original.keys() != retain.keys():
        return None
    mixed = {}
    for example_id, before in original.items():
        after = retain[example_id]
        if before.char_ends != after.char_ends:
            return None
        source = [after if moved else before for moved in before.initiating(first_n)]
        mixed[example_id] = replace(
            before,
            log_probs=[model.log_probs[place] for place, model in enumerate(source)],
            argmax_hits=[model.argmax_hits[place] for place, model in enumerate(source)],
        )
    return mixed


@dataclass(frozen=True)
class Floor:
    """The share of initiating tokens under one N, and what a perfectly local method would leave of two measures.

    probability and extraction are None where they cannot be had.
    """

    first_n: int | None
    shares: TokenShares
    probability: float | None
    extraction: float | None

    @property
    def share(self) -> float:
        return self.shares.initiating / self.shares.total

    def of(self, metric: str) -> float | None:
        """What a perfectly local method would leave of a metric of the summary; None where that cannot be had."""
        return {"forget_probability": self.probability, "extraction_strength": self.extraction}.get(metric)


@dataclass(frozen=True)
class Initiating:
    """The tokens of the original's replies under the display tagger, and what each N of the study would leave."""

    tokens: dict[str, ReplyTokens]
    floors: dict[int | None, Floor]

    def of(self, study: Study, arm: Arm) -> Floor | None:
        """What an arm's N would leave; None where it aims at whole replies or at another tagger's spans."""
        if "first_n" not in arm.first.entry.settings or arm.tagger not in (None, study.index.display_tagger):
            return None
        return self.floors.get(arm.first.entry.settings["first_n"])


def initiating(study: Study) -> Initiating:
    """Read the tokens and work out what each N that an arm or the evaluation uses would leave."""
    if study.index.display_tagger is None:
        return Initiating({}, {})
    original = read_tokens(study.original.log_probs_path, study.items)
    retain = read_tokens(study.retain.log_probs_path, study.items) if study.retain else {}
    wanted = [arm.first.entry.settings["first_n"] for arm in study.arms if "first_n" in arm.first.entry.settings]
    if study.first_n is not None:
        wanted.append(study.first_n[0])
    floors: dict[int | None, Floor] = {}
    for first_n in dict.fromkeys(wanted):
        shares = token_shares(original.values(), first_n)
        if shares.initiating:
            floors[first_n] = _floor(study, original, localized(original, retain, first_n), first_n, shares)
    return Initiating(original, floors)


def _floor(study: Study, original: Replies, mixed: Replies | None, first_n: int | None, shares: TokenShares) -> Floor:
    if mixed is None:
        return Floor(first_n, shares, None, None)
    known = {
        "forget_probability": (mean_probability(original), mean_probability(mixed)),
        "extraction_strength": (mean_extraction(original), mean_extraction(mixed)),
    }
    shown = {}
    for metric, (before, floor) in known.items():
        told = study.original.measured(metric).value
        shown[metric] = floor if told is not None and abs(told - before) <= AGREEMENT else None
    return Floor(first_n, shares, shown["forget_probability"], shown["extraction_strength"])
