"""Seconds and memory of one PALU step, three ways in one run: the authors', ours, and the least that it could be.

    python tests/benchmarks/step.py --shape smollm-135m
    python tests/benchmarks/step.py --shape llama-3.2-1b-4-layers --micro-rows 8
    python tests/benchmarks/step.py --shape llama-3.2-1b --device cuda --dtype bfloat16

authors: the formula as it is written: padded batches, logits of every position from the model and from a live frozen
reference, the divergence at every position and a mask.
ours: what training runs (`Loop.accumulate`): packed rows, the reference's states and top-K read from Parquet, the
chunked head.
bound: the model's body forward and backward on ours's packed tokens, and the products with the head's weight that no
method can leave out: for a common position z, the reference's z from the frozen weight, the gradients of state and
weight; for a retain or an initiating position all but the reference's. No softmax, no loss.
finetune, only where `--ways` names it: the training of the same rows on their likelihood, as a plain fine-tuning.

Weights are random; lengths and spans are drawn like TOFU's forget05 in a 32k-word vocabulary (questions 18 tokens
and 8 of template, replies 39 with standard deviation 14, runs of 3 tokens for every 10 of a reply). Each way runs in
a process of its own, in turns. A step is forward and backward; the optimiser's update is the same for all.
memory: the highest resident set (on a GPU: allocated memory) during the steps, less what the process held before it
made a model, less weights and gradients of the model that learns.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from palu import models, tokens
from palu.heads.projection import Projection
from palu.methods import palu
from palu.reference.cache import ReferencePaths, References
from palu.reference.states import Kept, write_states_of
from palu.reference.topk import write_topk_of
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.spans import run_offsets
from palu.training.checkpoints import Checkpoints
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import LikelihoodObjective, Objective, UnlearnObjective
from palu.training.plan import Plan, StepRows
from palu.training.settings import TrainingSettings


class Shape(NamedTuple):
    """A Llama's."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool = True


SHAPES = {
    "tiny": Shape(64, 2, 4, 2, 176, 2048),
    "smollm-135m": Shape(576, 30, 9, 3, 1536, 49152),
    "llama-3.2-1b-4-layers": Shape(2048, 4, 32, 8, 8192, 128256),
    "llama-3.2-1b": Shape(2048, 16, 32, 8, 8192, 128256),
    "llama-3.1-8b": Shape(4096, 32, 32, 8, 14336, 128256, tie_word_embeddings=False),
}
WAYS = ("authors", "ours", "bound", "finetune")
SETTINGS = palu.Settings()


def build_model(shape: str, dtype: str, device: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SHAPES[shape]._asdict())
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(usual)


def draw_rows(count: int, vocabulary: int, seed: int, name: str) -> list[tokens.TokenRow]:
    """Rows with TOFU's lengths; in each reply three tokens of every ten are a sensitive run."""
    draw = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        prompt = int(np.clip(draw.normal(26, 5), 12, 50))
        reply = int(np.clip(draw.normal(39, 14), 8, 75))
        role = np.full(prompt + reply + 1, COMMON, dtype=np.int8)
        role[:prompt] = PROMPT
        role[prompt:-1][np.arange(reply) % 10 >= 7] = SENSITIVE
        role[-1] = END
        nowhere = np.zeros(len(role), dtype=np.int32)
        rows.append(
            tokens.TokenRow(
                example_id=f"{name}/{index}",
                input_ids=draw.integers(vocabulary, size=len(role)).astype(np.int32),
                reply_start=prompt,
                role=role,
                span_offset=run_offsets(role == SENSITIVE),
                char_start=nowhere,
                char_end=nowhere,
                truncated=False,
            )
        )
    return rows


class Step:
    """One way to compute the gradients of one step on `rows` forget and as many retain rows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = build_model(options.shape, options.dtype, options.device)
        vocabulary = SHAPES[options.shape].vocab_size
        self.forget = draw_rows(options.rows, vocabulary, 1, "forget")
        self.retain = draw_rows(options.rows, vocabulary, 2, "retain")

    @property
    def micro_tokens(self) -> int:
        """Tokens of a micro-batch that holds `micro_rows` forget and as many retain rows."""
        if self.options.micro_rows == self.options.rows:
            return sys.maxsize
        total = sum(len(row) for row in [*self.forget, *self.retain])
        return round(total * self.options.micro_rows / self.options.rows * 1.15)

    def run(self) -> dict[str, float]:
        """Add the gradients; return the mean of each term, of a step that is cut those of its last part."""
        raise NotImplementedError


class Authors(Step):
    """Dense logits, a live reference, padding."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.reference = build_model(options.shape, options.dtype, options.device).requires_grad_(False)

    def run(self) -> dict[str, float]:
        micro = self.options.micro_rows
        for start in range(0, self.options.rows, micro):
            forget = tokens.collate(self.forget[start : start + micro], 0).to(self.options.device)
            retain = tokens.collate(self.retain[start : start + micro], 0).to(self.options.device)
            terms = (*self._forget_terms(forget), self._retain_loss(retain))
            torch.stack(terms).sum().backward()
        return dict(zip(("local", "common", "retain"), (term.item() for term in terms), strict=True))

    def _logits(self, model: Any, batch: tokens.Batch) -> Tensor:
        logits: Tensor = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
        return logits.float().flatten(0, 1)

    def _forget_terms(self, batch: tokens.Batch) -> tuple[Tensor, Tensor]:
        """The means of L_local and of L_common."""
        z = self._logits(self.model, batch)
        with torch.no_grad():
            reference_z = self._logits(self.reference, batch)
        log_p, log_q = z.log_softmax(-1), reference_z.log_softmax(-1)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)[batch.predict_index]
        initiating = batch.predict_index[palu.initiating(batch, SETTINGS.first_n)]
        best = reference_z[initiating].topk(min(SETTINGS.top_k, z.shape[1])).indices
        chosen = z[initiating].gather(-1, best)
        local = (chosen - z[initiating].mean(-1, keepdim=True)).square().mean(-1)
        common = palu.common(batch)
        return local.mean(), (kl * common).sum() / common.sum()

    def _retain_loss(self, batch: tokens.Batch) -> Tensor:
        z = self._logits(self.model, batch)
        labels = torch.full((len(z),), -100, device=z.device)
        labels[batch.predict_index] = batch.target_ids
        return torch.nn.functional.cross_entropy(z, labels)


class Ours(Step):
    """The path that training runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.folder = tempfile.TemporaryDirectory()
        states, topk = (Path(self.folder.name) / name for name in ("states.parquet", "topk.parquet"))
        facts = {"dtype": options.dtype, "mixed_precision": options.mixed_precision}
        batches = [tokens.collate(self.forget[start : start + 8], 0) for start in range(0, options.rows, 8)]
        write_states_of(self.model, batches, states, facts, Kept())
        weight, _, transform = models.output_head(self.model)
        head = Projection(weight.float(), transform=transform)
        write_topk_of([self.forget], states, head, SETTINGS.top_k, topk, facts)
        del head
        paths = ReferencePaths(states, topk)
        references = References(SETTINGS.needs, paths, {}, SETTINGS.top_k, first_n=SETTINGS.first_n)
        if options.lora:
            models.add_adapter(self.model, models.LoraSettings(), models.AdapterBase("", None, ""), seed=0)
        self.loop = self._loop(UnlearnObjective(self.model, palu, SETTINGS, references), self.retain)

    def _loop(self, objective: Objective, partners: list[tokens.TokenRow]) -> Loop:
        items = self.forget if partners else [*self.forget, *self.retain]
        return Loop(
            objective,
            Rows(items, partners, 0),
            Plan(0, len(items), len(partners), len(items), 1),
            TrainingSettings(mixed_precision=self.options.mixed_precision),
            Checkpoints(Path(self.folder.name), {}),
            Machine(micro_batch_tokens=self.micro_tokens, packed=not self.options.padded),
        )

    def run(self) -> dict[str, float]:
        rows = self.loop.rows
        totals, units = self.loop.accumulate(StepRows([*range(len(rows.items))], [*range(len(rows.partners))], []))
        return {term: totals[term] / units[term] for term in totals}


class Finetune(Ours):
    """The same loop on the likelihood of the same rows."""

    def __init__(self, options: argparse.Namespace) -> None:
        Step.__init__(self, options)
        self.folder = tempfile.TemporaryDirectory()
        self.loop = self._loop(LikelihoodObjective(self.model), [])


class Bound(Step):
    """The body on ours's packed tokens, and bare products with the head's weight and with the frozen one."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.frozen = models.output_head(self.model)[0].detach().clone()

    def run(self) -> dict[str, float]:
        from palu.training.plan import RowGroup, cut

        for group in cut(RowGroup(self.forget, self.retain, []), self.micro_tokens, packed=True):
            batch = tokens.collate(group.rows, 0, packed=True).to(self.options.device)
            hidden = models.hidden_states(self.model, batch).index_select(0, batch.predict_index)
            gradient = torch.zeros_like(hidden)
            is_forget = batch.row < len(group.items)
            common = is_forget & palu.common(batch)
            initiating = is_forget & palu.initiating(batch, SETTINGS.first_n)
            weight = models.output_head(self.model)[0]
            total = torch.zeros_like(weight, dtype=torch.float32)
            with torch.no_grad():
                for chosen, weights in ((common, (self.frozen, weight)), (initiating | ~is_forget, (weight,))):
                    places = chosen.nonzero()[:, 0]
                    for block in places.split(Projection(weight).chunk_rows):
                        h = hidden[block]
                        for factor in weights:
                            z = h @ factor.T
                        gradient[block] = z @ weight
                        total.addmm_(z.T.float(), h.float())
                weight.grad = total.to(weight.dtype) if weight.grad is None else weight.grad.add_(total)
            del total, z
            hidden.backward(gradient)
        return {}


STEPS: dict[str, type[Step]] = {"authors": Authors, "ours": Ours, "bound": Bound, "finetune": Finetune}


def held_bytes(device: str, peak: bool) -> int:
    """What the process holds now, or the most that it held since `forget_peak`."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    key = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


# glibc's mallopt: memory that is freed goes back at once, so that the peak is what was held together. That costs time.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


def watch_memory(device: str, on: bool) -> None:
    """Start to measure the peak, or leave the allocator as a program finds it."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, 2**20 if on else 2**25)
    libc.mallopt(TRIM_THRESHOLD, 0 if on else 2**26)
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """The memory of a first step, and the median seconds of those after it."""
    before = held_bytes(options.device, peak=False)
    step = STEPS[options.way](options)
    own = sum(p.numel() * p.element_size() * (2 if p.requires_grad else 1) for p in step.model.parameters())
    seconds = []
    watch_memory(options.device, on=True)
    for index in range(options.repeats + 1):
        step.model.zero_grad()
        started_at = time.perf_counter()
        step.run()
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started_at)
        if index == 0:
            beyond = held_bytes(options.device, peak=True) - before - own
            watch_memory(options.device, on=False)
    return {
        "seconds": statistics.median(seconds[1:]),
        "bytes": beyond,
        "own_bytes": own,
        "tokens": sum(len(row) for row in [*step.forget, *step.retain]),
    }


def in_own_process(way: str, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments, "--way", way]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way}: exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return facts


def parser() -> argparse.ArgumentParser:
    """What describes a step; `parse_args([])` gives the defaults."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--shape", choices=SHAPES, default="smollm-135m")
    found.add_argument("--rows", type=int, default=32, help="forget rows of a step; as many retain rows beside them")
    found.add_argument("--micro-rows", type=int, default=32, help="forget rows that go through the model at once")
    found.add_argument("--device", default="cpu")
    found.add_argument("--dtype", default="float32")
    found.add_argument("--mixed-precision", choices=("no", "bf16"), default="no", help="of ours and finetune")
    found.add_argument("--lora", action="store_true", help="ours with an adapter")
    found.add_argument("--repeats", type=int, default=1, help="steps whose median counts, in each turn")
    found.add_argument("--turns", type=int, default=3, help="processes of each way, one after another in turns")
    found.add_argument("--padded", action="store_true", help="ours with a row a line")
    found.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:3])
    found.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return found


def main() -> None:
    options = parser().parse_args()
    if options.way:
        print(json.dumps(measure(options)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    for _ in range(options.turns):
        for way in options.ways:
            found[way].append(in_own_process(way, sys.argv[1:]))
            print(f"  {way}: {found[way][-1]['seconds']:.2f} s, {found[way][-1]['bytes'] / 2**30:.2f} GiB", flush=True)
    show(options, found)


def show(options: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> None:
    """The medians, and the ratios of each turn's pairs."""

    def median(way: str, value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(value, found[way]))

    print(f"{options.shape}, {options.rows} + {options.rows} rows, {options.micro_rows} at once, {options.dtype}")
    print(f"{'':10}{'seconds':>10}{'tokens/s':>10}{'GiB beyond weights and gradients':>34}{'GiB in all':>12}")
    for way in found:
        beyond = median(way, lambda facts: facts["bytes"] / 2**30)
        print(
            f"{way:10}{median(way, lambda facts: facts['seconds']):10.2f}"
            f"{median(way, lambda facts: facts['tokens'] / facts['seconds']):10.0f}{beyond:34.2f}"
            f"{median(way, lambda facts: (facts['bytes'] + facts['own_bytes']) / 2**30):12.2f}"
        )
    for upper, lower in (("authors", "ours"), ("ours", "bound"), ("authors", "bound")):
        if upper in found and lower in found:
            pairs = list(zip(found[upper], found[lower], strict=True))
            time_ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
            memory_ratio = statistics.median(a["bytes"] / b["bytes"] for a, b in pairs)
            print(f"{upper} / {lower}: {time_ratio:.2f} in time, {memory_ratio:.2f} in memory")


if __name__ == "__main__":
    main()
