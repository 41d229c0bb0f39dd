"""Texts, a tokenizer and rows that the tests of both files read."""

import numpy as np

from palu import models, tokens
from palu.models import TemplateSettings
from palu.roles import COMMON, END, PROMPT
from palu.spans import run_offsets

TEXTS = ["Question: Who wrote it?\nAnswer: Ada Lovelace wrote the first program in 1843.", "the the Ada Ada"] * 3
TOKENIZER = models.train_tokenizer(TEXTS, 320)
TEMPLATES = {name: TemplateSettings.parse({"template": name}, "") for name in ("plain", "llama2-chat", "chat")}
PLAIN, LLAMA = TEMPLATES["plain"], TEMPLATES["llama2-chat"]


def example(reply, prompt="Who wrote it?", example_id="e0"):
    return {"example_id": example_id, "prompt": prompt, "reply": reply}


def two_rows():
    examples = [example("Ada", example_id="short"), example("Ada Lovelace wrote it.", example_id="long")]
    return tokens.encode(examples, TOKENIZER, PLAIN, 512, {"long": [(0, 12)]})


def row_of_length(length, name="row", reply_start=1):
    """A row whose tokens are 10, 11, 12...: one can see whether it lies whole somewhere."""
    role = np.full(length, COMMON, dtype=np.int8)
    role[:reply_start], role[-1] = PROMPT, END
    zeros = np.zeros(length, dtype=np.int32)
    ids = np.arange(10, 10 + length, dtype=np.int32)
    return tokens.TokenRow(name, ids, reply_start, role, run_offsets(role < 0), zeros, zeros, truncated=False)
