"""Claims that measurements refuted, or that nothing here supports, do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(path for path in (ROOT / "palu").rglob("*") if path.suffix in {".py", ".j2"}),
]
# Pattern -> why it is not said
REFUTED = {
    r"past N are held|tokens are held|words are held": "no term of the loss keeps tokens past N",
    r"\ba floor\b|\bthe floor\b|cannot fall": "a method may end below what a perfectly local one would leave",
    r"no synonym": "no test of synonyms supports it",
    r"raises entropy where decoding": "the entropy is outside the top K",
    r"to the digit": "not every number was compared, and fluency was another one",
    r"ranking by noise": "one step of D is not its noise",
    r"public checkpoints of PALU's paper, with its settings": "the settings are not all the paper's",
    r"peers have the field's defaults": "SimNPO's and UNDIAL's are not",
    r"meets three targets of four": "by one-sided targets alone",
    r"tagger may err a lot": "for the variant without the KL alone",
}
# Sentences on equal bytes after a training, which hold on CPUs
REPEATS = re.compile(
    r"(?:resum|interrupt|repeats|goes on|go on|disturbed|killed)[^.]*(?:bit for bit|the same\s+bytes)", re.I
)


def sentences(text):
    return re.split(r"(?<=[.:;])\s", re.sub(r"\s+", " ", text))


@pytest.mark.parametrize("pattern", REFUTED)
def test_a_claim_that_was_refuted_is_not_made(pattern):
    found = [str(path.relative_to(ROOT)) for path in PLACES if re.search(pattern, flat(path), re.IGNORECASE)]
    assert not found, f"{pattern}: {REFUTED[pattern]}"


def test_the_readme_speaks_of_no_token_as_held():
    assert not re.search(r"\bheld\b(?!-out)", flat(ROOT / "README.md"))


def test_equal_bytes_after_an_interruption_are_promised_on_cpus_only():
    """docs/faults.md says so once, above its tables."""
    claims = [
        (path.name, sentence)
        for path in PLACES
        for sentence in sentences(path.read_text(encoding="utf-8"))
        if REPEATS.search(sentence) and path.name != "faults.md"
    ]
    assert claims
    for name, sentence in claims:
        assert "CPU" in sentence, f"{name}: {sentence}"
    assert "By `make faults`, on CPUs:" in flat(ROOT / "docs" / "faults.md")


def flat(path):
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
