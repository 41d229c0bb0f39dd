"""What every unlearning method is given and what it must offer. No tensor library is loaded by importing this."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from palu.settings import NonNegativeNumber, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


@dataclass(frozen=True)
class ReplyPositions:
    """The predicting positions of some replies, flattened over sequences: P positions of R sequences.

    target_ids: (P,) int64, the token that each position predicts.
    role: (P,) int8, that token's role: COMMON, SENSITIVE or END of `palu.roles`.
    span_offset: (P,) int16, 0, 1, 2... inside a run of sensitive tokens, -1 outside.
    row: (P,) int64, which sequence, 0..R-1, in order.
    row_count: R.
    """

    target_ids: Tensor
    role: Tensor
    span_offset: Tensor
    row: Tensor
    row_count: int


@dataclass(frozen=True)
class ReplyStates(ReplyPositions):
    """ReplyPositions with the states at them; what is None was not asked for by the method's `needs` or `layer`.

    hidden: (P, D), the current model's last hidden state, with gradient.
    layer_hidden: (P, D), the current model's hidden state after the block that the settings name, with gradient.
    reference_hidden: (P, D), the frozen reference's last hidden state.
    reference_layer_hidden: (P, D), the frozen reference's after the same block.
    reference_log_prob: (P,) float32, the reference's log-probability of target_ids.
    reference_top_k: (I, K) int32, the reference's K best tokens, best first, at the I positions that predict one of
    the first tokens of a run of sensitive tokens: as many as the setting `first_n` of the method says.
    """

    hidden: Tensor
    layer_hidden: Tensor | None = None
    reference_hidden: Tensor | None = None
    reference_layer_hidden: Tensor | None = None
    reference_log_prob: Tensor | None = None
    reference_top_k: Tensor | None = None


Kind = TypeVar("Kind", bound=ReplyPositions, covariant=True)


@dataclass(frozen=True)
class Replies(Generic[Kind]):
    """The replies of one micro-batch. Any of the three may have no row; all have their fields.

    forget: of the rows to forget. retain: of the rows drawn beside them. alternate: other replies, such as refusals,
    to the forget rows' prompts, for a method that `needs` them: row i answers the prompt of forget row i.
    """

    forget: Kind
    retain: Kind
    alternate: Kind


# What each of the `needs` is, of which rows. `log_probs` come with `states`, in one file.
NEEDS = {
    "states": "the reference's last hidden states at the forget rows",
    "log_probs": "the reference's log-probabilities of the forget rows' tokens",
    "top_k": "the reference's best tokens where the forget rows' sensitive tokens begin",
    "retain_states": "the reference's last hidden states at the retain rows",
    "retain_layer_states": "the reference's hidden states after one block at the retain rows",
    "alternates": "other replies to the forget rows' prompts, and the reference's log-probabilities of their tokens",
}


class MethodSettings(Settings):
    """Settings of one method. A subclass adds its own fields and states what the method reads and weighs.

    localized: whether the loss tells sensitive tokens from others, so that a tagger must name them.
    """

    localized: ClassVar[bool] = False

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each loss term: loss = sum over terms of weight * (total of the term / its unit count)."""

    @property
    def needs(self) -> frozenset[str]:
        """The cached facts of the reference that the method reads: any of `NEEDS`."""
        return frozenset()

    @property
    def retain_use(self) -> str | None:
        """What the method needs retain rows for, in words; None where it trains without any."""
        cached = sorted(self.needs & {"retain_states", "retain_layer_states"})
        if cached:
            return NEEDS[cached[0]]
        weight = self.weights.get("retain", 0.0)
        return f"the retain term, of weight {weight:g}," if weight else None

    @property
    def reads_layer(self) -> int | None:
        """The block (0 = the first) after which `layer_hidden` is read; None = no block."""
        return None

    def next_weights(
        self,
        weights: Mapping[str, float],
        means: Mapping[str, float],  # noqa: ARG002
        epoch: float,  # noqa: ARG002
    ) -> dict[str, float]:
        """The weights of the next optimiser step, from this one's weights and mean of each term.

        epoch: epochs done after this step, such as 1.25. Only a method whose weights are variables of its own changes
        them.
        """
        return dict(weights)


class ForgetAndRetain(MethodSettings):
    """Settings of a method with two terms, `forget` and `retain`."""

    forget_weight: NonNegativeNumber = 1.0
    retain_weight: NonNegativeNumber = 1.0

    @property
    def weights(self) -> dict[str, float]:
        return {"forget": self.forget_weight, "retain": self.retain_weight}


class Method(Protocol):
    """The surface of a module in `palu.methods`."""

    Settings: type[MethodSettings]

    def units(self, replies: Replies[ReplyPositions], settings: MethodSettings) -> dict[str, int]:
        """How many tokens or rows each term sums over. The training loop adds them up over a whole optimiser step,
        so that a mean does not depend on how the step is cut into micro-batches."""

    def loss(
        self, replies: Replies[ReplyStates], head: Head, settings: MethodSettings, scale: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Each term's sum over its units, float32 scalars with gradient.

        scale: what each sum will be multiplied by in the loss: the term's weight over its units in the whole step; 0
        where it has no weight or no unit. The sums are returned without it; it is for the `weight` of the head's
        operations.
        """


def nll_sum(states: ReplyStates, head: Head, scale: float) -> Tensor:
    """The negative log-likelihood summed over the tokens of all replies; the loss takes it `scale` times."""
    return -head.log_prob(states.hidden, states.target_ids, -scale).sum()
