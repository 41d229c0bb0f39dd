"""What the evaluation of a model depends on besides the model and the benchmark. Loads no torch."""

from typing import Any, Literal

from pydantic import Field, field_validator

from palu.evaluation import METRICS
from palu.settings import PositiveCount, Settings

PartName = Literal["forget", "retain", "real_authors", "world_facts", "holdout"]


class EvaluationSettings(Settings):
    """Which rows go through the model, and what is computed from them.

    parts: the examples' parts to evaluate; one that the benchmark lacks is passed over.
    max_new_tokens: where a greedy generation is cut (the peer's 200).
    paraphrased_questions: also ask the paraphrased questions, for `forget_paraphrased_question_*`.
    metrics: names of `palu.evaluation.METRICS`; none = all that the given files allow.
    tagger: whose spans tell the initiating tokens; none = the study's only tagger, if it has one.
    first_n: how many tokens of every run of sensitive tokens are initiating; null = all.
    """

    parts: list[PartName] = Field(default=["forget", "retain", "real_authors", "world_facts"], min_length=1)
    max_new_tokens: PositiveCount = 200
    paraphrased_questions: bool = False
    metrics: list[str] | None = None
    tagger: str | None = None
    first_n: PositiveCount | None = 3

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        for name in names or []:
            if name not in METRICS:
                raise ValueError(f"names the unknown metric {name!r}; allowed: {', '.join(sorted(METRICS))}")
        return names

    @property
    def model_part(self) -> dict[str, Any]:
        """What `infer` depends on: a changed metric, tagger or first_n leaves the model's outputs as they are."""
        return self.model_dump(mode="json", include={"parts", "max_new_tokens", "paraphrased_questions"})
