"""The model card of an unlearned model: README.md in its folder, in the form that model hubs read.

    ---                     base_model, library_name, tags: what a hub sorts models by
    # ...                   how it was made, what was to be forgotten, how to load it, what nobody promises

Nothing of the data's text stands in it, no date and no path, so that the same run writes the same card everywhere.
Values that come from settings stand in a fenced block of YAML, where no letter of theirs is markup. The wording is in
card.md.j2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from palu import tables
from palu.models import ModelSettings

LOCAL = "local"
# What run.json's record tells that says nothing of the machine
COUNTS = (
    "forget_rows", "validation_rows", "retain_rows", "truncated_forget_rows", "forget_reply_tokens",
    "sensitive_tokens", "initiating_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """The card of one run's models.

    identity: all that the run's result depends on, as run.json tells it. counts: rows and tokens, by the names of
    run.json. model: the settings of the model that was unlearned. benchmark: the name of the data, empty where its
    table does not say. epochs: those that the settings ask for.
    """

    identity: Mapping[str, Any]
    counts: Mapping[str, Any]
    model: ModelSettings
    benchmark: str = ""

    def text(self, epochs: int, fingerprint: str) -> str:
        """The whole file. epochs: the finished ones. fingerprint: of this model, see `palu.models.fingerprint`."""
        inputs = dict(self.identity["inputs"])
        about = {key: inputs.pop(key) for key in ("tokenizer", "max_length", "dtype")}
        # the settings of the training have it
        inputs.pop("mixed_precision", None)
        base = base_name(self.model)
        facts = {
            "base": {
                "checkpoint": base,
                "revision": self.model.revision if base != LOCAL else None,
                "fingerprint": inputs.pop("model"),
                **json.loads(inputs.pop("template")),
                **about,
            },
            "method": {"name": self.identity["method"], "settings": self.identity["settings"]},
            "training": self.identity["training"],
            "seed": self.identity["seed"],
            "parts": self.identity["parts"],
            "data": {"benchmark": self.benchmark or None, "digests": inputs},
            "versions": self.identity["versions"],
        }
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # every value below is a number, our own word, or stands in the fence
        )
        block = _yaml(facts)
        return environment.get_template("card.md.j2").render(
            front=_yaml({"base_model": base, "library_name": "transformers", "tags": ["unlearning", "palu"]}),
            counts={name: self.counts[name] for name in COUNTS if name in self.counts},
            epochs=epochs,
            planned_epochs=self.identity["training"]["epochs"],
            fingerprint=fingerprint,
            has_adapter=self.identity["training"]["lora"] is not None,
            fence=_fence(block),
            facts=block,
        )


def card_of(identity: Mapping[str, Any], counts: Mapping[str, Any], model: ModelSettings, examples_path: Path) -> Card:
    """The card of a run on `examples_path`."""
    return Card(identity, counts, model, tables.provenance(examples_path).get("benchmark", ""))


def base_name(settings: ModelSettings) -> str:
    """The hub's name of the model that was unlearned; `local` for a folder, or a model that was trained for the study.

    A folder's name stays out of the card: it tells where somebody keeps files.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = settings.checkpoint
    if name is None or Path(name).expanduser().exists():
        return LOCAL
    try:
        validate_repo_id(name)
    except HFValidationError:
        return LOCAL
    return name


def _yaml(facts: Mapping[str, Any]) -> str:
    """ASCII alone: a letter that an eye would miss is shown as its number."""
    # a library's version may be a class of its own
    plain = json.loads(json.dumps(facts))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=False, default_flow_style=False, width=100)


def _fence(block: str) -> str:
    """Longer than any row of backticks inside."""
    return "`" * max(3, 1 + max((len(found) for found in re.findall("`+", block)), default=0))
