"""Every causal family that the installed transformers can build, tiny and random, against plain torch.

    python -m tests.families [NAME...]                          print what was seen
    python -m pytest tests/test_families.py --families-table docs/families.md      the same, of all, as a page

Plain torch: the whole model on one row at a time, without padding, cache or any code of this package.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as token_models
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from palu import models
from palu.errors import UserError
from palu.evaluation.generate import greedy
from palu.evaluation.gradnorm import gradient_norms
from palu.heads import Head
from palu.roles import COMMON, END, PROMPT
from palu.tokens import TokenRow, collate

VOCABULARY, MOST_NUMBERS = 300, 4e7
EQUAL, PACKED = "equal", "equal, a row a line"
# What a configuration may count, made small; a family takes those that its class names.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SMALL: dict[str, Any] = {
    "head_dim": 8,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "moe_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "ffn_hidden_size": 48,
    "shared_expert_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "qk_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "ssm_state_size": 8,
    "state_size": 8,
    "sliding_window": 64,
    "is_decoder": True,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 64,
    "zero_expert_num": 1,
    "n_groups": 1,
    "num_heads": 4,
}
LINEAR = ["linear_attention", "full_attention"]
# What a family needs besides, or in the place of those.
ALL_HEADS: dict[str, Any] = {"num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    "axk1": ALL_HEADS,
    "axk2": ALL_HEADS,
    "deepseek_v2": ALL_HEADS,
    "deepseek_v3": ALL_HEADS,
    "deepseek_v32": ALL_HEADS,
    "glm4_moe_lite": ALL_HEADS,
    "glm_moe_dsa": ALL_HEADS,
    "longcat_flash": ALL_HEADS,
    "minicpm3": ALL_HEADS,
    "youtu": ALL_HEADS,
    "codegen": {"rotary_dim": 4},
    "gptj": {"rotary_dim": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
    "cohere_compass_text": {"layer_types": ["full_attention", "full_attention"]},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]},
    "dots3_note": {"num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1},
    "prophetnet": {
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
    },
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 16], "is_decoder": True},
    "whisper": {"decoder_attention_heads": 4, "num_mel_bins": 8},
    "zamba2": {"layer_types": ["mamba", "hybrid"], "mamba_ngroups": 1, "n_mamba_heads": 8},
    "zamba": {"layer_types": ["mamba", "hybrid"], "n_mamba_heads": 2},
    "recurrent_gemma": {"lru_width": 32},
    "rwkv": {"attention_hidden_size": 32},
    "qwen3_5_text": {"layer_types": LINEAR},
    "qwen3_next": {"layer_types": LINEAR},
    "xlnet": {"max_position_embeddings": None},
    "falcon": {"head_dim": None},
}


def configuration(name: str) -> Any:
    """The family's configuration with small sizes. Raises what its class raises."""
    kind = CONFIG_MAPPING[name]
    known = {*getattr(kind, "__dataclass_fields__", {}), *getattr(kind, "attribute_map", {})}
    sizes = {**SIZES, **{key: value for key, value in SMALL.items() if key in known}, **OWN.get(name, {})}
    sizes = {key: value for key, value in sizes.items() if value is not None}
    if "text_config" in known and "hidden_size" not in kind.__dataclass_fields__:
        return kind(text_config=sizes)
    return kind(**sizes)


def built(name: str, seed: int = 0) -> Any:
    """A random model of the family on the CPU. Raises whatever keeps it from being built."""
    config = configuration(name)
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(config)
    count = sum(parameter.numel() for parameter in bare.parameters())
    if count > MOST_NUMBERS:
        raise MemoryError(f"{count / 1e6:.0f} million numbers with the sizes given here")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for label, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "A_log" not in label and "conv" not in label:
                parameter.normal_(0, 1.4 / parameter.shape[-1] ** 0.5)
    model.generation_config.eos_token_id = 2
    with torch.no_grad():
        plain_logits(model, [5, 6, 7])
    return model


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and nothing else."""
    vocabulary = {token: i + 3 for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(token_models.BPE({"<pad>": 0, "<s>": 1, "</s>": 2, **vocabulary}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def rows() -> list[TokenRow]:
    """Rows of uneven length, of which several fit into a line of the longest."""
    draw = np.random.default_rng(0)
    found = []
    for i, (prompt, reply) in enumerate([(10, 6), (3, 3), (6, 2), (2, 6)]):
        length = prompt + reply
        role = np.array([PROMPT] * prompt + [COMMON] * (reply - 1) + [END], dtype=np.int8)
        nowhere = np.zeros(length, dtype=np.int32)
        ids = draw.integers(3, VOCABULARY, length).astype(np.int32)
        outside = np.full(length, -1, dtype=np.int16)
        found.append(TokenRow(f"row{i}", ids, prompt, role, outside, nowhere, nowhere, truncated=False))
    return found


def plain_logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """(T, V) float32: the whole model on one row."""
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def plain_log_probs(model: Any, row: TokenRow) -> torch.Tensor:
    logits = plain_logits(model, row.input_ids.tolist())[row.first_target - 1 : -1]
    targets = torch.from_numpy(row.input_ids[row.first_target :].astype("int64"))
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def near(found: torch.Tensor, expected: torch.Tensor) -> str:
    """`equal`, or how far apart."""
    gap = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-9)
    return EQUAL if gap < 2e-4 else f"WRONG by {float(gap):.2g}"


def check_load(model: Any, folder: Path) -> str:
    again = models.load_model(folder)
    ids = rows()[0].input_ids.tolist()
    with torch.no_grad():
        return near(plain_logits(again, ids), plain_logits(model, ids))


def log_probs_in(model: Any, packed: bool) -> torch.Tensor:
    batch = collate(rows(), 0, packed)
    assert not packed or len(batch.input_ids) < len(rows())
    weight, bias, transform = models.output_head(model)
    states = models.hidden_states(model, batch)[batch.predict_index]
    return Head(weight, bias, transform=transform).log_prob(states, batch.target_ids)


@torch.no_grad()
def check_padded(model: Any, _: Path) -> str:
    return near(log_probs_in(model, packed=False), torch.cat([plain_log_probs(model, row) for row in rows()]))


@torch.no_grad()
def check_packed(model: Any, _: Path) -> str:
    """Packing that the self-check turns off is not wrong: training then lays one row in each line."""
    seen = near(log_probs_in(model, packed=True), torch.cat([plain_log_probs(model, row) for row in rows()]))
    fault = models.packing_fault(model)
    return seen if fault is None else PACKED


@torch.no_grad()
def check_head(model: Any, _: Path) -> str:
    """Entropy, mean and largest logit, by the head and from dense logits."""
    batch = collate(rows(), 0)
    weight, bias, transform = models.output_head(model)
    head = Head(weight, bias, transform=transform)
    states = models.hidden_states(model, batch)[batch.predict_index]
    logits = torch.cat([plain_logits(model, row.input_ids.tolist())[row.first_target - 1 : -1] for row in rows()])
    log_p = logits.log_softmax(-1)
    pairs = [
        (head.entropy(states), -(log_p.exp() * log_p).sum(-1)),
        (head.mean_logit(states), logits.mean(-1)),
        (head.max_logit(states), logits.amax(-1)),
    ]
    return next((seen for seen in (near(*pair) for pair in pairs) if seen != EQUAL), EQUAL)


@torch.no_grad()
def check_generate(model: Any, _: Path) -> str:
    prompts = [row.input_ids[: row.reply_start].tolist() for row in rows()]
    step = len(prompts) if models.left_padding_fault(model) is None else 1
    groups = [prompts[i : i + step] for i in range(0, len(prompts), step)]
    found = [reply for group in groups for reply in greedy(model, group, torch.tensor([2]), 5, lambda _rows: None)]
    for prompt, reply in zip(prompts, found, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 5:
            ids.append(int(plain_logits(model, ids)[-1].argmax()))
            if ids[-1] == 2:
                break
        expected = [token for token in ids[len(prompt) :] if token != 2]
        if reply != expected:
            return f"WRONG: {reply} for {expected}"
    return EQUAL


def check_gradients(model: Any, _: Path) -> str:
    found, expected = gradient_norms(model, rows()), []
    for row in rows():
        model.zero_grad()
        (-plain_log_probs(model, row)[:-1].mean()).backward()
        norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        expected.append(torch.stack(norms).sum() / len(list(model.parameters())))
    model.zero_grad()
    return near(torch.tensor(found), torch.stack(expected))


def check_lora(model: Any, folder: Path) -> str:
    """An adapter with numbers in it, written, read by this package and by peft."""
    from peft import PeftModel

    adapted, out = models.load_model(folder), folder.with_name("adapter")
    base = models.AdapterBase(str(folder), None, models.fingerprint(folder))
    models.add_adapter(adapted, models.LoraSettings(rank=2, alpha=4), base, seed=0)
    ids = rows()[0].input_ids.tolist()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
        expected = plain_logits(adapted, ids)
        models.save_model(adapted, tokenizer(), out)
        if near(expected, plain_logits(model, ids)) == EQUAL:
            return "WRONG: the adapter changes nothing"
        ours = near(plain_logits(models.load_model(out), ids), expected)
        theirs = near(plain_logits(PeftModel.from_pretrained(models.load_model(folder), str(out)), ids), expected)
    return ours if ours != EQUAL else theirs


CHECKS: dict[str, Callable[[Any, Path], str]] = {
    "load": check_load,
    "padded": check_padded,
    "packed": check_packed,
    "head": check_head,
    "generate": check_generate,
    "gradient norms": check_gradients,
    "LoRA": check_lora,
}


def tried(name: str) -> dict[str, str]:
    """Check -> what was seen: equal, `refused: ` and the line, WRONG, or CRASH and the error; {} where none can be
    built, with the reason under `not built`."""
    try:
        with quietly():
            model = built(name)
    except Exception as error:
        return {"not built": f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"}
    seen: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, quietly():
        folder = Path(scratch) / "model"
        try:
            models.save_model(model, tokenizer(), folder)
        except Exception as error:
            return {"not built": f"cannot be saved: {type(error).__name__}: {' '.join(str(error).split())[:100]}"}
        # as the library itself reads it: it may tie weights that it built apart
        with suppress(Exception):
            # what it cannot read, `check_load` reports
            model = AutoModelForCausalLM.from_pretrained(folder).eval()
        for check, look in CHECKS.items():
            try:
                seen[check] = look(model, folder)
            except UserError as error:
                line = str(error).replace(str(folder), "m").replace(scratch, "")
                seen[check] = f"refused: {line.removeprefix('m: ')}"
                if check == "padded":
                    # every stage asks for the head first
                    return seen
            except Exception as error:
                seen[check] = f"CRASH {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return seen


def outcome(seen: dict[str, str]) -> str:
    """One word for a family: equal, a row a line included; refused; not built; or wrong."""
    values = [what for check, what in seen.items() if check != "LoRA"]
    values += [] if len(seen) == len(CHECKS) else ["refused before the other checks"]
    if "not built" in seen:
        return "not built"
    if any(what.startswith(("WRONG", "CRASH")) for what in seen.values()):
        return "wrong"
    return EQUAL if all(what in (EQUAL, PACKED) for what in values) else "refused"


INTRODUCTION = """# Model families

Written by `make test-slow` (tests/families.py, transformers {version}); do not edit.

Every causal family that the installed transformers can build, tiny and random, against plain torch: the whole model
on one row at a time, without padding or cache. Compared are loading, log-probabilities of padded and of packed rows,
the head's arithmetic, greedy answers, gradient norms, and an adapter (LoRA)
that is written, and read here and by peft.

`equal` means within rounding in all of them. `a row a line`: rows that share a line would see each other, which the
self-check found; it turns `machine.packed` off for such a model. `refused`: one line says why, before any result.

No list of families decides any of this. Whenever a model is loaded, a few random short rows show whether its logits
are its output matrix times its last hidden state (or a multiple, or a soft cap of that), and whether a batch keeps its
rows apart; `palu check STUDY` asks the same of the architecture, with random numbers, before anything runs.

| outcome | families |
|---|---|
"""


def page(seen: dict[str, dict[str, str]]) -> str:
    """docs/families.md."""
    outcomes = {name: outcome(found) for name, found in seen.items()}
    lines = [INTRODUCTION.format(version=transformers.__version__)]
    lines += [f"| {kind} | {list(outcomes.values()).count(kind)} |\n" for kind in sorted(set(outcomes.values()))]
    lines += ["\n| family | outcome | packed rows | LoRA | what the line says |\n|---|---|---|---|---|\n"]
    for name, found in sorted(seen.items()):
        refusals = [what.removeprefix("refused: ") for what in found.values() if what not in (EQUAL, PACKED)]
        packed = {EQUAL: "share lines", PACKED: "a row a line"}.get(found.get("packed", ""), "")
        lora = "" if "LoRA" not in found else found["LoRA"].split(":")[0]
        reason = refusals[0].replace("|", "/")[:160] if refusals else ""
        lines.append(f"| {name} | {outcomes[name]} | {packed} | {lora} | {reason} |\n")
    return "".join(lines)


@contextmanager
def quietly() -> Iterator[None]:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main(names: Sequence[str]) -> None:
    for name in names or list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        started = time.monotonic()
        seen = tried(name)
        print(f"{name} ({time.monotonic() - started:.1f} s):", *(f"{k}: {v};" for k, v in seen.items()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
