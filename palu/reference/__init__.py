"""What the frozen reference model said, cached once, so that no second model is in memory while unlearning."""

from pathlib import Path

from palu.files import canonical_json
from palu.models import ModelSettings, TemplateSettings, fingerprint, tokenizer_fingerprint, weights_dtype


def reference_provenance(model_folder: Path, settings: ModelSettings, mixed_precision: str = "no") -> dict[str, str]:
    """What the cached facts depend on: a run that differs in one of these must not read them.

    mixed_precision: of the trainings that read them: the reference computes as they do, so that their first step
    differs from it by rounding only.
    """
    template = {key: getattr(settings, key) for key in TemplateSettings.model_fields}
    if settings.template != "chat":
        template = {"template": settings.template}
    return {
        "model": fingerprint(model_folder),
        "tokenizer": tokenizer_fingerprint(model_folder),
        "template": canonical_json(template),
        "max_length": str(settings.max_length),
        "dtype": weights_dtype(settings.dtype, mixed_precision),
        "mixed_precision": mixed_precision,
    }
