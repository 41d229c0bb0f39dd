"""Problems to try a loss on: a small random one, a small model whose batches are cut, and the peers' batches."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from palu import models, tokens
from palu.heads import Head
from palu.methods.base import Replies, ReplyPositions, ReplyStates
from palu.roles import COMMON, END, SENSITIVE
from palu.spans import run_offsets
from palu.training.objective import micro_batch
from palu.training.plan import RowGroup
from tests.dense_head import DenseHead

HEADS = [Head, DenseHead]
D, V, K = 5, 11, 4

C, S, E = COMMON, SENSITIVE, END
FORGET_ROLES = [[C, S, S, S, S, C, E], [S, E], [C, S, S, C, S, E]]
RETAIN_ROLES = [[C, C, E], [C, E]]
ALTERNATE_ROLES = [[C, E], [C, C, C, E], [C, C, E]]
ROLES = [FORGET_ROLES, RETAIN_ROLES, ALTERNATE_ROLES]
PARTS = ("forget", "retain", "alternate")


def positions(roles: list[list[int]], target_ids: Tensor) -> ReplyPositions:
    """Replies whose tokens have these roles."""
    offsets = [run_offsets((torch.tensor(row) == SENSITIVE).numpy()) for row in roles]
    return ReplyPositions(
        target_ids=target_ids,
        role=torch.tensor([role for row in roles for role in row], dtype=torch.int8),
        span_offset=torch.cat([torch.from_numpy(offset) for offset in offsets]),
        row=torch.tensor([i for i, row in enumerate(roles) for _ in row]),
        row_count=len(roles),
    )


@dataclass(frozen=True)
class Problem:
    """Forget and retain replies, and alternates of the former, with random float64 states, and the two heads."""

    forget: ReplyStates
    retain: ReplyStates
    alternate: ReplyStates
    weight: Tensor
    bias: Tensor
    reference_weight: Tensor
    reference_bias: Tensor

    def head(self, head_class: type = Head, **options: Any) -> Any:
        return head_class(self.weight, self.bias, self.reference_weight, self.reference_bias, **options)

    def loss(self, method: ModuleType, settings: Any, head_class: type = Head, **options: Any) -> Tensor:
        head = self.head(head_class, **options)
        return step_loss(method, settings, Replies(self.forget, self.retain, self.alternate), head)

    def gradients_hold(self, method: ModuleType, settings: Any) -> bool:
        """Whether the loss has the gradients of finite differences, in states, weight and bias."""

        def function(weight: Tensor, bias: Tensor, *states: Tensor) -> Tensor:
            parts = {
                name: replace(getattr(self, name), hidden=hidden, layer_hidden=layer_hidden)
                for name, hidden, layer_hidden in zip(PARTS, states[:3], states[3:], strict=True)
            }
            problem = replace(self, **parts, weight=weight, bias=bias)
            return problem.loss(method, settings, chunk_rows=2)

        parts = [getattr(self, name) for name in PARTS]
        inputs = [self.weight, self.bias, *(part.hidden for part in parts), *(part.layer_hidden for part in parts)]
        inputs = [tensor.clone().requires_grad_() for tensor in inputs]
        # a sum whose weights were given computes its gradient with its value, and anew in a second backward pass: the
        # same numbers but for the order of rounding
        return torch.autograd.gradcheck(function, inputs, nondet_tol=1e-12, check_undefined_grad=False)


def as_asked(settings: Any, replies: Replies[ReplyStates]) -> Replies[ReplyStates]:
    """With the reference's best tokens at the first tokens of each run only, as training looks them up."""
    forget, first_n = replies.forget, getattr(settings, "first_n", None)
    if forget.reference_top_k is None or first_n is None:
        return replies
    kept = forget.span_offset[forget.role == SENSITIVE] < first_n
    return replace(replies, forget=replace(forget, reference_top_k=forget.reference_top_k[kept]))


def step_loss(method: ModuleType, settings: Any, replies: Replies[Any], head: Any) -> Tensor:
    """The loss of one whole step that is one micro-batch."""
    units = method.units(replies, settings)
    scale = {term: settings.weights[term] / units[term] for term in units}
    terms = method.loss(as_asked(settings, replies), head, settings, scale)
    assert terms.keys() == units.keys() == settings.weights.keys()
    return torch.stack([scale[term] * terms[term] for term in terms if scale[term]]).sum()


def random_problem() -> Problem:
    made = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made, dtype=torch.float64)

    weight, bias, reference_weight, reference_bias = normal(V, D), normal(V), normal(V, D), normal(V)
    reference = DenseHead(reference_weight, reference_bias)

    def replies(roles: list[list[int]]) -> ReplyStates:
        count = sum(len(row) for row in roles)
        found = positions(roles, torch.randint(V, (count,), generator=made))
        reference_hidden = normal(count, D)
        best = reference.logits(reference_hidden[found.role == SENSITIVE]).argsort(descending=True)
        return ReplyStates(
            **vars(found),
            hidden=normal(count, D),
            layer_hidden=normal(count, D),
            reference_hidden=reference_hidden,
            reference_layer_hidden=normal(count, D),
            reference_log_prob=reference.log_prob(reference_hidden, found.target_ids),
            reference_top_k=best[:, : K + 2],
        )

    parts = {name: replies(roles) for name, roles in zip(PARTS, ROLES, strict=True)}
    return Problem(**parts, weight=weight, bias=bias, reference_weight=reference_weight, reference_bias=reference_bias)


def by_hand(logits: list[list[float]], roles: list[int], target_ids: list[int], **reference: Tensor) -> ReplyStates:
    """One reply whose states are its logits: the head is the identity."""
    found = positions([roles], torch.tensor(target_ids))
    return ReplyStates(**vars(found), hidden=torch.tensor(logits, requires_grad=True), **reference)


def empty(states: ReplyStates) -> ReplyStates:
    """No reply at all, as in a micro-batch that holds rows of the other set only."""
    none = {key: value[:0] for key, value in vars(states).items() if isinstance(value, Tensor)}
    return ReplyStates(**{**vars(states), **none, "row_count": 0})


class SmallWorld:
    """A float64 model, another one as its reference, and rows of unlike length; made once, cut in many ways."""

    layer = 0

    def __init__(self) -> None:
        replies = ["Ada Quell was born in Ostria in 1931.", "She paints.", "In the far north, by a lake, as Bram."]
        retain_replies = ["Few do.", "A clock tells the time, mostly to those who are late.", "It lies by a lake."]
        alternates = ["I do not know.", "That is nothing that I could tell you anything about.", "No idea."]
        texts = [f"Question: Who?\nAnswer: {reply}" for reply in replies + retain_replies + alternates]
        architecture = models.Architecture(
            vocab_size=300, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=24
        )
        self.model, tokenizer = models.build_from_scratch(architecture, texts, seed=0)
        self.reference, _ = models.build_from_scratch(architecture, texts, seed=1)
        self.model.double()
        self.reference.double()
        examples = [
            {"example_id": str(i), "prompt": "Who?", "reply": reply}
            for i, reply in enumerate([*replies, *retain_replies, *alternates])
        ]
        spans = {"0": [(0, 9), (22, 28)], "2": [(32, 36)]}
        settings = models.TemplateSettings()
        self.forget_rows = tokens.encode(examples[:3], tokenizer, settings, 64, spans)
        self.retain_rows = tokens.encode(examples[3:6], tokenizer, settings, 64)
        self.alternate_rows = tokens.encode(examples[6:], tokenizer, settings, 64)

    def replies(self, group: RowGroup, packed: bool) -> Replies[ReplyStates]:
        """What the training would show a method of these rows."""
        batch = micro_batch(group, pad_id=2, packed=packed)
        states = self._states_of(self.model, batch.tokens)
        with torch.no_grad():
            reference_states = self._states_of(self.reference, batch.tokens)
        head = DenseHead(self.reference.lm_head.weight.detach())
        positions = batch.positions()
        parts, start = [], 0
        for part in (positions.forget, positions.retain, positions.alternate):
            here = slice(start, start := start + len(part.target_ids))
            reference_hidden = reference_states[0][here]
            parts.append(
                ReplyStates(
                    **vars(part),
                    hidden=states[0][here],
                    layer_hidden=states[1][here],
                    reference_hidden=reference_hidden,
                    reference_layer_hidden=reference_states[1][here],
                    reference_log_prob=head.log_prob(reference_hidden, part.target_ids),
                    reference_top_k=head.logits(reference_hidden[part.role == SENSITIVE]).argsort(descending=True),
                )
            )
        return Replies(*parts)

    def _states_of(self, model: Any, batch: tokens.Batch) -> list[Tensor]:
        both = models.hidden_and_layer_states(model, batch, self.layer)
        return [state[batch.predict_index] for state in both]

    def step(
        self, method: ModuleType, settings: Any, cut: list[tuple[slice, slice]], packed: bool = False
    ) -> tuple[Tensor, ...]:
        """Loss and parameter gradients of one step, given as micro-batches of (forget rows, retain rows)."""
        micro_batches = [
            self.replies(RowGroup(self.forget_rows[f], self.retain_rows[r], self.alternate_rows[f]), packed)
            for f, r in cut
        ]
        counts = [method.units(replies, settings) for replies in micro_batches]
        units = {term: sum(count[term] for count in counts) for term in settings.weights}
        scale = {term: settings.weights[term] / units[term] for term in units}
        self.model.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for replies in micro_batches:
            head = Head(self.model.lm_head.weight, None, self.reference.lm_head.weight, chunk_rows=5)
            terms = method.loss(as_asked(settings, replies), head, settings, scale)
            loss = torch.stack([scale[term] * terms[term] for term in terms if scale[term]]).sum()
            if loss.requires_grad:
                loss.backward()
            total += loss.detach()
        gradients = (parameter.grad for parameter in self.model.parameters())
        return total, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients)

    def cuts_agree(self, method: ModuleType, settings: Any) -> None:
        """Assert that padding, packing, micro-batches and micro-batches of one kind of row only change nothing."""
        every, none = slice(None), slice(0, 0)
        whole = self.step(method, settings, [(every, every)])
        assert whole[0] != 0
        assert any(gradient.any() for gradient in whole[1:])
        one_by_one = [(slice(i, i + 1), slice(i, i + 1)) for i in range(3)]
        apart = [(every, none), (none, slice(0, 2)), (none, slice(2, 3))]
        for cut in ([(every, every)], one_by_one, apart):
            for found, expected in zip(self.step(method, settings, cut, packed=True), whole, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class EveryPosition:
    """All positions of a padded part of the peers' batch, prompts and padding too, over which their trainers average
    where they forget the mask: (B * T, D) states, (B * T,) next tokens' labels, whether there is one."""

    hidden: Tensor
    reference_hidden: Tensor
    labels: Tensor
    has_next: Tensor


@dataclass(frozen=True)
class PeerBatch:
    """One batch of the peers' code, its two models, and the numbers that it printed."""

    policy: Any
    replies: Replies[ReplyStates]
    reference: Any
    tensors: dict[str, Tensor]

    @property
    def reference_weight(self) -> Tensor:
        weight: Tensor = self.reference.lm_head.weight.detach()
        return weight

    def every_position(self, part: str) -> EveryPosition:
        """A part of the batch file with nothing masked."""
        given = {key: self.tensors[f"{part}.{key}"] for key in ("input_ids", "attention_mask")}
        hidden, reference = (
            model.model(**given).last_hidden_state.flatten(0, 1) for model in (self.policy, self.reference)
        )
        labels = torch.nn.functional.pad(self.tensors[f"{part}.labels"][:, 1:], (0, 1), value=-100)
        has_next = torch.ones_like(labels, dtype=torch.bool)
        has_next[:, -1] = False
        return EveryPosition(hidden, reference.detach(), labels.flatten(), has_next.flatten())

    def matches(
        self, method: ModuleType, settings: Any, head_class: type, printed: Any, parameter_tolerance: float = 1e-4
    ) -> None:
        """Assert the printed loss to 1e-5, gradient norm to 1e-4 and each parameter's gradient norm."""
        options = {"chunk_rows": 50} if head_class is Head else {}
        head = head_class(self.policy.lm_head.weight, None, self.reference_weight, **options)
        self.has_printed(step_loss(method, settings, self.replies, head), printed, parameter_tolerance)

    def has_printed(self, loss: Tensor, printed: Any, parameter_tolerance: float = 1e-4) -> None:
        """Assert the same of a loss on the policy."""
        names, parameters = zip(*self.policy.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        norms = {name: gradient.norm().item() for name, gradient in zip(names, gradients, strict=True)}
        total = torch.tensor(list(norms.values())).norm().item()
        torch.testing.assert_close(loss.item(), printed["loss"], rtol=1e-5, atol=0)
        torch.testing.assert_close(total, printed["grad_norm"], rtol=1e-4, atol=0)
        assert norms.keys() == printed["grad_norm_by_parameter"].keys()
        for name, norm in printed["grad_norm_by_parameter"].items():
            torch.testing.assert_close(norms[name], norm, rtol=parameter_tolerance, atol=0, msg=name)


def peer_batch(shared: Path, policy_name: str, forget_name: str) -> PeerBatch:
    """policy_name: full or retain, the other one is the reference. forget_name: the tensors of the forget rows."""
    from safetensors.torch import load_file

    oracles = shared / "oracles"
    tensors = load_file(oracles / "loss-parity" / f"policy-{policy_name}" / "batch.safetensors")
    reference_name = {"full": "retain", "retain": "full"}[policy_name]
    policy = models.load_model(oracles / "tofu-eval-tiny" / f"model-{policy_name}")
    reference = models.load_model(oracles / "tofu-eval-tiny" / f"model-{reference_name}")
    reference_weight = reference.lm_head.weight.detach()
    head = DenseHead(reference_weight)

    def replies(name: str) -> ReplyStates:
        states = _peer_replies(policy, tensors, name)
        with torch.no_grad():
            reference_hidden = _peer_replies(reference, tensors, name).hidden
        sensitive = reference_hidden[states.role == SENSITIVE]
        return replace(
            states,
            reference_hidden=reference_hidden,
            reference_log_prob=head.log_prob(reference_hidden, states.target_ids),
            reference_top_k=head.logits(sensitive).sort(descending=True, stable=True).indices,
        )

    parts = Replies(replies(forget_name), replies("retain"), replies("alternate_idk"))
    return PeerBatch(policy, parts, reference, tensors)


def _peer_replies(model: Any, tensors: dict[str, Tensor], name: str) -> ReplyStates:
    input_ids, labels = tensors[f"{name}.input_ids"], tensors[f"{name}.labels"][:, 1:]
    state = model.model(input_ids=input_ids, attention_mask=tensors[f"{name}.attention_mask"]).last_hidden_state
    predicting = labels != -100
    # of the peers' labels, -200 marks a common token, but only where the replies were tagged
    tagged = name == "forget_tagged"
    last = predicting & ~torch.nn.functional.pad(predicting, (0, 1))[:, 1:]
    roles = [
        [
            SENSITIVE if tagged and label != -200 else END if end else COMMON
            for label, end in zip(label_row[mask].tolist(), end_row[mask].tolist(), strict=True)
        ]
        for label_row, mask, end_row in zip(labels, predicting, last, strict=True)
    ]
    found = positions(roles, input_ids[:, 1:][predicting])
    return ReplyStates(**vars(found), hidden=state[:, :-1][predicting])


def printed(shared: Path, policy_name: str, file: str) -> dict[str, Any]:
    """What the peers' code printed, by case; facts about the case itself start with an underscore."""
    text = (shared / "oracles" / "loss-parity" / f"policy-{policy_name}" / file).read_text(encoding="utf-8")
    return {case: facts for case, facts in json.loads(text).items() if not case.startswith("_")}


def units_of(method: ModuleType, settings: Any, forget: Any, retain: Any, alternate: Any = None) -> dict[str, int]:
    """`units` of replies worked by hand; without alternates there are none."""
    return method.units(Replies(forget, retain, alternate or empty(retain)), settings)


def terms_of(
    method: ModuleType, settings: Any, head: Any, forget: Any, retain: Any, alternate: Any = None
) -> dict[str, Tensor]:
    """The terms' sums of replies worked by hand, each of which enters the loss as it is."""
    scale = dict.fromkeys(settings.weights, 1.0)
    replies = Replies(forget, retain, alternate or empty(retain))
    return method.loss(as_asked(settings, replies), head, settings, scale)
