"""No family that the installed transformers can build gives a wrong number in silence (docs/families.md)."""

from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests import families

QUICK = ("llama", "gemma2", "opt", "mixtral")
EVERY = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
]


@pytest.fixture(scope="module")
def table(request):
    """Family -> what was seen; written as a page once all were tried."""
    seen: dict[str, dict[str, str]] = {}
    yield seen
    page: Path | None = request.config.getoption("--families-table", None)
    if page is not None and len(seen) == len(EVERY):
        page.write_text(families.page(seen), encoding="utf-8")


@pytest.mark.parametrize("name", EVERY)
def test_a_family_equals_plain_torch_or_is_refused_in_one_line(name, table):
    seen = table[name] = families.tried(name)
    if "not built" in seen:
        pytest.skip(seen["not built"])
    for check, what in seen.items():
        assert what in (families.EQUAL, families.PACKED) or what.startswith("refused: "), f"{check}: {what}"
        assert "\n" not in what


def test_at_least_eighty_families_are_equal(table):
    if len(table) < len(EVERY):
        pytest.skip("not every family was tried in this process")
    assert sum(families.outcome(seen) == families.EQUAL for seen in table.values()) >= 80
