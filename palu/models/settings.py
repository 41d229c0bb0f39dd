"""What a study says about its model: where it comes from, how a prompt becomes text, and how long a sequence is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from palu.errors import UserError
from palu.files import canonical_json, read_json, text_digest
from palu.models.gguf import is_gguf
from palu.settings import PositiveCount, PositiveNumber, Settings

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
# Hidden size times layers up to which a model's jobs take one thread. Seen were 128 (0.35 M parameters: as fast on one
# thread) and 17,280 (SmolLM2-135M: two threads of one core are 1.6 times as fast)
SMALL = 1024


class Architecture(Settings):
    """A Llama built from nothing: sizes in units of the hidden state, layers, heads and token positions."""

    vocab_size: PositiveCount = 2048
    hidden_size: PositiveCount = 64
    layers: Annotated[int, Field(ge=1, le=1000)] = 2
    heads: PositiveCount = 4
    kv_heads: PositiveCount = 2
    intermediate_size: PositiveCount = 176
    max_positions: PositiveCount = 1024
    rope_theta: PositiveNumber = 10000.0
    tie_embeddings: bool = False

    @model_validator(mode="after")
    def _sizes_fit(self) -> Architecture:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 x heads, {2 * self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
        smallest = 256 + len(SPECIAL_TOKENS)
        if self.vocab_size < smallest:
            raise ValueError(f"vocab_size {self.vocab_size} must be at least {smallest}: every byte has a token")
        return self


class LoraSettings(Settings):
    """A low-rank adapter: a linear layer with weight W (out, in) computes W x + (alpha / rank) B (A x).

    A (rank, in) and B (out, rank) are trained in float32, W is not trained; B starts at zero. Its dropout is 0, as
    every dropout is while unlearning. targets: the layers by the last part of their name, such as q_proj, or
    `all-linear`: every linear layer that an adapter can change, without the head, which losses read as a plain weight,
    and without the experts of a mixture, which are adapted where they are named, such as gate_up_proj (see
    `palu.models.targets`).
    Source: Hu et al. 2021 (2106.09685), section 4.1.
    """

    rank: PositiveCount = 16
    alpha: PositiveNumber = 32.0
    targets: Literal["all-linear"] | list[Annotated[str, Field(min_length=1)]] = "all-linear"

    @field_validator("targets")
    @classmethod
    def _has_a_target(cls, targets: str | list[str]) -> str | list[str]:
        if not targets:
            raise ValueError("names no layer; allowed: all-linear, or names of layers such as q_proj")
        return targets


class TemplateSettings(Settings):
    """How a prompt becomes text. `system_prompt` and `date` are read by the template `chat` only; `raw` adds nothing:
    each prompt is already the text before its reply, and no end token follows. No end token follows a document
    either, whatever the template.

    The date is a setting because chat templates that are left to themselves print today's date: the prompts of one
    study would differ from day to day. A template that asks for the date in a form of its own gets this one in that
    form, which takes a date such as 10 Apr 2025 or 2025-04-10.
    """

    template: Literal["plain", "llama2-chat", "chat", "raw"] = "plain"
    system_prompt: str = "You are a helpful assistant."
    date: str = "10 Apr 2025"


class ModelSettings(TemplateSettings):
    """One model of a study.

    name: short, used in paths. checkpoint: the original model: hub id, local folder, GGUF file, or `package:NAME`, the
    GGUF file in an installed package. retain_checkpoint: a model that never saw the forget set, where the user has
    one. base_checkpoint: what the models without a checkpoint of their own are trained from; none = from scratch, with
    `architecture`. revision, retain_revision, base_revision: a commit,
    tag or branch of each on the hub. max_length: tokens of a whole sequence.
    """

    name: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    checkpoint: str | None = Field(default=None, min_length=1)
    revision: str | None = Field(default=None, min_length=1)
    retain_checkpoint: str | None = Field(default=None, min_length=1)
    retain_revision: str | None = Field(default=None, min_length=1)
    base_checkpoint: str | None = Field(default=None, min_length=1)
    base_revision: str | None = Field(default=None, min_length=1)
    architecture: Architecture | None = None
    max_length: PositiveCount = 512
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _from_scratch_by_default(cls, values: Any) -> Any:
        origins = ("checkpoint", "base_checkpoint", "architecture")
        if isinstance(values, dict) and all(values.get(origin) is None for origin in origins):
            return {**values, "architecture": Architecture()}
        return values

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if self.architecture is not None and (self.checkpoint or self.base_checkpoint):
            key = "checkpoint" if self.checkpoint else "base_checkpoint"
            raise ValueError(f"has both a {key} and an architecture; allowed: one of them")
        if self.checkpoint is None and (self.revision or self.retain_checkpoint):
            key = "revision" if self.revision else "retain_checkpoint"
            raise ValueError(f"has a {key} but no checkpoint; allowed: both or neither")
        for kind in ("", "retain_", "base_"):
            source, revision = getattr(self, f"{kind}checkpoint"), getattr(self, f"{kind}revision")
            if source and revision and is_gguf(source):
                raise ValueError(f"has a {kind}revision, and {source} is a GGUF file; allowed: one of the hub")
        if self.retain_checkpoint is None and self.retain_revision:
            raise ValueError("has a retain_revision but no retain_checkpoint; allowed: both or neither")
        if self.architecture is not None and self.max_length > self.architecture.max_positions:
            limit = self.architecture.max_positions
            raise ValueError(f"max_length {self.max_length} exceeds architecture.max_positions {limit}")
        return self


def weights_dtype(dtype: str, mixed_precision: str) -> str:
    """The dtype that the weights are loaded in, from the model's: mixed precision (bf16) keeps them in float32."""
    return dtype if mixed_precision == "no" else "float32"


def is_small(settings: ModelSettings) -> bool:
    """Whether a second thread is of no use to the model: its jobs take one core each, and several run at once.

    A checkpoint whose config.json is not here, or is not a Llama's, counts as large.
    """
    if settings.architecture:
        return settings.architecture.hidden_size * settings.architecture.layers <= SMALL
    folder = Path(settings.checkpoint or settings.base_checkpoint or "").expanduser()
    try:
        config = read_json(folder / "config.json")
        return int(config["hidden_size"]) * int(config["num_hidden_layers"]) <= SMALL
    except (UserError, KeyError, TypeError, ValueError):
        return False


def model_key(settings: ModelSettings, finetune_settings_json: str) -> str:
    """The model's folder name in results/: short name + 8 hexadecimal digits of everything that its files depend on.

    finetune_settings_json: the canonical JSON of how the study trains the model, empty where it trains nothing.
    """
    facts = settings.model_dump(mode="json", exclude={"name"})
    # unset it leaves the names that folders had before there was such a setting
    if settings.retain_revision is None:
        del facts["retain_revision"]
    if settings.template != "chat":
        facts = {key: value for key, value in facts.items() if key not in {"system_prompt", "date"}}
    return f"{settings.name}-{text_digest(canonical_json([facts, finetune_settings_json]))}"
