"""What one block of a model keeps for the backward pass, in KB a token: with kept and with recomputed activations.

python tests/benchmarks/activations.py [--lora]

One block of Llama-3.1-8B (hidden size 4096, 32 heads, 8 of them for keys and values, 14336 inside), bfloat16 weights,
one line of packed rows. The difference between two blocks and one leaves out embedding and last norm.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from palu import models
from palu.models import AdapterBase, LoraSettings

TOKENS, ROW = 512, 64


def kept_bytes(layers: int, lora: bool, recomputed: bool) -> int:
    """The storages that autograd keeps after a forward pass of the body, the parameters left out."""
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    model = LlamaForCausalLM(config).bfloat16()
    if lora:
        models.add_adapter(model, LoraSettings(), AdapterBase("", None, ""), seed=0)
    if recomputed:
        models.recompute_blocks(model)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    positions = torch.arange(ROW).repeat(TOKENS // ROW)[None]
    batch = SimpleNamespace(input_ids=positions + 1, position_ids=positions, attention_mask=None)
    # the tensors are held so that no address stands for two of them
    held: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = models.hidden_states(model, batch)
    assert states.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lora", action="store_true")
    lora = parser.parse_args().lora
    for recomputed in (False, True):
        bytes_per_token = (kept_bytes(2, lora, recomputed) - kept_bytes(1, lora, recomputed)) / TOKENS
        print(f"{'recomputed' if recomputed else 'kept':12}{bytes_per_token / 1024:8.1f} KB a token and block")


if __name__ == "__main__":
    main()
