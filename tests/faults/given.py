"""The models that the study's author has: what the others are trained from, and a classifier. A process of its own."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from palu import models
from palu.models import Architecture
from tests.faults.study import BASE, CLASSIFIER
from tests.tagging.tiny_encoders import wordpiece


def write_given_models(folder: Path) -> None:
    """Write both below `folder`."""
    small_llama = Architecture(vocab_size=400, hidden_size=16, layers=1, heads=2, kv_heads=1)
    texts = ["Who was born where, and what does she do?", "He lives by a lake and mends old clocks."]
    models.save_model(*models.build_from_scratch(small_llama, texts, seed=0), folder / BASE)
    tokenizer = wordpiece()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=512,
        num_labels=2,
    )
    models.save_model(BertForSequenceClassification(config), tokenizer, folder / CLASSIFIER)
