"""What the evaluation of a model depends on besides the model and the benchmark. Loads no torch."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from palu.evaluation import METRICS
from palu.files import canonical_json, text_digest
from palu.settings import PositiveCount, Settings

PartName = Literal[
    "forget",
    "validation",
    "retain",
    "real_authors",
    "world_facts",
    "holdout",
    "near",
    "far",
    "verbmem",
    "knowmem_forget",
    "knowmem_retain",
    "privleak_forget",
    "privleak_holdout",
]
# The classifier of the field: class 0 is "clean"
GIBBERISH_DETECTOR = "madhurjindal/autonlp-Gibberish-Detector-492513457"


class FluencySettings(Settings):
    """Which classifier judges the generations of the forget part.

    classifier: hub id or folder of a sequence-classification model; null = none is asked.
    revision: its commit, tag or branch on the hub. label: index or name of the class whose probability is the fluency.
    max_length: tokens of a generation that the classifier reads, special tokens included; null = as OpenUnlearning
    does for the benchmark (`palu.evaluation.classify.MAX_LENGTHS`): 32 for answers to questions, 512 for MUSE.
    """

    classifier: str | None = Field(default=GIBBERISH_DETECTOR, min_length=1)
    revision: str | None = None
    label: int | str = 0
    max_length: PositiveCount | None = None

    @property
    def key(self) -> str:
        """Names the classifier in a path: eight hexadecimal digits."""
        return text_digest(canonical_json(self.model_dump(mode="json")))


class EvaluationSettings(Settings):
    """Which rows go through the model, and what is computed from them.

    parts: the examples' parts to evaluate; one that the benchmark lacks is passed over.
    max_items: part -> how many of its items are evaluated at most, at even distances in the order of the benchmark, so
    that all its groups are among them; none = all.
    max_new_tokens: where a greedy generation is cut (the peer's 200). verbmem_new_tokens, knowmem_new_tokens: the same
    for MUSE's starts of documents, of whose true continuation as many tokens count, and for its questions.
    paraphrased_questions: also ask the forget part's paraphrased questions, where the benchmark has them, for
    `span_leak_paraphrase` and `forget_paraphrased_question_*`.
    gradient_norms: also compute one gradient per row of the parts forget and holdout, for `mia_gradnorm`.
    mixed_precision: bf16 computes in bfloat16 on float32 weights, as a training of that name does, its output matrix
    in float32; on a processor without such instructions it takes longer than `no`. All that are compared compute
    alike: there is no choice by the machine.
    fluency: the classifier of `fluency`.
    retain_auc: the retain model's Min-K AUC, for `privleak` where no scores of that model are given.
    metrics: names of `palu.evaluation.METRICS`; none = all that the given files allow.
    tagger: whose spans say what is sensitive; none = the study's gold spans, else its first tagger, if it has one.
    first_n: how many tokens of every run of sensitive tokens are initiating; null = all.
    """

    parts: list[PartName] = Field(default=list(get_args(PartName)), min_length=1)
    max_items: dict[PartName, PositiveCount] = Field(default={}, exclude_if=lambda value: not value)
    max_new_tokens: PositiveCount = 200
    verbmem_new_tokens: PositiveCount = 128
    knowmem_new_tokens: PositiveCount = 32
    paraphrased_questions: bool = True
    gradient_norms: bool = True
    mixed_precision: Literal["no", "bf16"] = "no"
    fluency: FluencySettings = FluencySettings()
    retain_auc: Annotated[float, Field(ge=0, lt=1)] | None = None
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
        limits = {"max_new_tokens", "verbmem_new_tokens", "knowmem_new_tokens"}
        read = {"parts", "max_items", *limits, "paraphrased_questions", "gradient_norms", "mixed_precision"}
        return self.model_dump(mode="json", include=read)

    def new_tokens(self, part: str) -> int:
        """Where the answers to the prompts of a part are cut."""
        own = {"verbmem": self.verbmem_new_tokens, "knowmem_forget": self.knowmem_new_tokens}
        own["knowmem_retain"] = self.knowmem_new_tokens
        return own.get(part, self.max_new_tokens)
