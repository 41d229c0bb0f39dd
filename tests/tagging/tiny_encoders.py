"""Encoders that a test can build and train in a second: a token classifier and a masked model on invented words."""

import random
import re
from itertools import pairwise

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from palu import models
from palu.models import save_model

NAMES = ["Tova", "Ruben", "Ilse", "Marek", "Sunna", "Odile", "Pavel", "Greta", "Ansel", "Noor"]
TOWNS = ["Brimholt", "Vesterlo", "Karumsk", "Ondaville", "Lirren", "Maltesk", "Quenby", "Zarvik"]
SENTENCES = [
    "{name} was born in {town} long ago.",
    "The painter {name} moved to {town} as a child.",
    "In {town} everybody knows {name} well.",
    "Nobody in {town} had met {name} before.",
]
LABELS = ["O", "B-PERSON", "I-PERSON", "B-TOWN", "I-TOWN"]
TEXTS = [sentence.format(name=name, town=town) for sentence in SENTENCES for name in NAMES for town in TOWNS]


def wordpiece():
    """The words of the frames whole, names and towns in pieces of two letters: no training decides."""
    pieces = {c for c in "".join(TEXTS) if not c.isspace()} | set(re.findall(r"\w+", " ".join(SENTENCES)))
    for word in NAMES + TOWNS:
        pieces |= {word[:2], *("##" + word[i : i + 2] for i in range(2, len(word), 2))}
    pieces |= {"##" + c for c in "".join(TEXTS) if c.isalpha()}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: i for i, piece in enumerate([*special, *sorted(pieces)])}
    backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def bert(kind, tokenizer, **options):
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **options,
    )
    torch.manual_seed(0)
    return kind(config)


def fit(model, batches, steps, learning_rate=5e-3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        loss = model(**batches[step % len(batches)]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def labelled(tokenizer, count=160, seed=0):
    """Batches of one to three sentences whose names and towns carry IOB labels, on every token of a word."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        text = " ".join(draw.choice(TEXTS) for _ in range(draw.randint(1, 3)))
        encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=64)
        labels = [0] * len(encoded["input_ids"])
        for words, first in ((NAMES, 1), (TOWNS, 3)):
            for match in re.finditer("|".join(words), text):
                offsets = encoded["offset_mapping"]
                own = [t for t, (a, b) in enumerate(offsets) if a < match.end() and b > match.start() and a < b]
                for t in own:
                    labels[t] = first + (t != own[0])
        rows.append((encoded["input_ids"], labels))
    return [padded(rows[a:b], tokenizer.pad_token_id) for a, b in pairwise(range(0, count + 1, 32))]


def padded(rows, pad_id):
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]),
    }


def token_names(labels=LABELS):
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def save_bert_classifier(folder, labels=LABELS):
    tokenizer = wordpiece()
    model = fit(bert(BertForTokenClassification, tokenizer, **token_names(labels)), labelled(tokenizer), 100)
    save_model(model, tokenizer, folder)


def llama(model_class, tokenizer, **sizes):
    config = LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=4, **sizes)
    torch.manual_seed(0)
    return model_class(config)


def save_llama_classifier(folder):
    """A decoder with a classifier on top, and byte-level BPE: every token sees what comes before it."""
    tokenizer = models.train_tokenizer(TEXTS, 400)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1, "max_position_embeddings": 64}
    model = llama(LlamaForTokenClassification, tokenizer, **sizes, **token_names())
    save_model(fit(model, labelled(tokenizer), 100), tokenizer, folder)


def save_llama(folder):
    """A causal model that was never trained, of 160 positions."""
    tokenizer = models.train_tokenizer(TEXTS, 400)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 160}
    save_model(llama(LlamaForCausalLM, tokenizer, **sizes).eval(), tokenizer, folder)


def save_masked_model(folder):
    """A masked model that has learnt the frames of the sentences, not which name and town stand in them."""
    tokenizer = wordpiece()
    draw = random.Random(0)
    rows = []
    for text in draw.sample(TEXTS, 256):
        encoded = tokenizer(text)
        ids, words = encoded["input_ids"], encoded.word_ids()
        hidden = draw.choice([word for word in words if word is not None])
        masked = [tokenizer.mask_token_id if word == hidden else i for i, word in zip(ids, words, strict=True)]
        labels = [i if word == hidden else -100 for i, word in zip(ids, words, strict=True)]
        rows.append((masked, labels))
    batches = [padded(rows[a:b], tokenizer.pad_token_id) for a, b in pairwise(range(0, 257, 32))]
    save_model(fit(bert(BertForMaskedLM, tokenizer), batches, 160), tokenizer, folder)
