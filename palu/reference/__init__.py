"""What the frozen reference model said, cached once, so that no second model is in memory while unlearning."""

from pathlib import Path

from palu.files import canonical_json
from palu.models import ModelSettings, TemplateSettings, fingerprint, tokenizer_fingerprint


def reference_provenance(model_folder: Path, settings: ModelSettings) -> dict[str, str]:
    """What the cached facts depend on: a run that differs in one of these must not read them."""
    template = {key: getattr(settings, key) for key in TemplateSettings.model_fields}
    if settings.template != "chat":
        template = {"template": settings.template}
    return {
        "model": fingerprint(model_folder),
        "tokenizer": tokenizer_fingerprint(model_folder),
        "template": canonical_json(template),
        "max_length": str(settings.max_length),
        "dtype": settings.dtype,
    }
