"""What any input may lead to: success, or one line that a person can act on. Nothing else, and never half a file."""

import os
import random
import signal
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from palu.errors import LONGEST_MESSAGE, UserError

# `PALU_FUZZ=thorough` draws anew each time, and this many times as many examples.
IS_THOROUGH = os.environ.get("PALU_FUZZ") == "thorough"
FACTOR = int(os.environ.get("PALU_FUZZ_FACTOR", "50"))
# Beyond any example: what takes longer hangs.
SECONDS = 60


def examples(count: int) -> settings:
    """Settings for a test that draws `count` examples, always the same ones unless the run is thorough."""
    return settings(
        max_examples=count * FACTOR if IS_THOROUGH else count,
        derandomize=not IS_THOROUGH,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=IS_THOROUGH,
    )


def refusal(action: Callable[[], Any]) -> str | None:
    """What the action's UserError says, once that is a line to show; None where it succeeds. All else is raised."""
    with watched():
        try:
            action()
        except UserError as error:
            return checked_line(str(error))
    return None


def checked_line(told: str) -> str:
    """A line for a person: not empty, not endless, without anything that would end it, hide it or turn it round."""
    assert told.strip()
    assert len(told) < 6 * LONGEST_MESSAGE
    odd = [each for each in told if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert not odd, f"{odd[:5]!r} in {told!r}"
    return told


@contextmanager
def watched() -> Iterator[None]:
    """Raise TimeoutError in a block that hangs."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"still at it after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal_that_leaves(folder: Path, action: Callable[[], Any]) -> str | None:
    """`refusal`, once it has left the folder as it was; on success no temporary file may lie there."""
    before = listing(folder)
    told = refusal(action)
    after = listing(folder)
    if told is not None:
        assert after == before, f"half-written: {sorted(set(after) ^ set(before))}"
    assert not [name for name in after if name.endswith(".partial")]
    return told


# Text of every kind that has made trouble somewhere: control characters, overrides, marks, emoji, halves of pairs.
ODD_PIECES = [
    *("\0", "\n", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "\xa0", "\xad", "\u0301", "\u200b", "\u200d", "\u202e"),
    *(
        "\u2028",
        "\u2029",
        "\u2066",
        "\ufeff",
        "\ufffd",
        "\ufffe",
        "\ud800",
        "\udfff",
        "\U0001f468\u200d\U0001f469",
    ),
    *("\U0001f1e8\U0001f1ed", "שלום", "漢字", "ﷺ", "ß", "İ", "'", '"', "\\", "<b>", "&amp;", "{{", "}}", "=1+1"),
    *("../", "/", "~", "$(x)", "`", "%s", "{0}", "#", ": ", "- ", "*a", "&a", "!!x", "|", "<s>", "</s>", "[INST]"),
]
ODD = st.sampled_from(ODD_PIECES)
PIECES = st.one_of(ODD, st.text(max_size=6), st.sampled_from(["Ada", "Lyon", " ", "a", "1843", ".", ", "]))
ANY_TEXT = st.lists(PIECES, max_size=8).map("".join)
# What a file in UTF-8 can hold.
WHOLE_TEXT = ANY_TEXT.map(lambda text: text.encode("utf-8", "replace").decode("utf-8"))
TEXT = WHOLE_TEXT.filter(lambda text: text.strip() and "\0" not in text)

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([2**31 - 1, 2**31, 2**63, -(2**63), 10**30, 10**400, -(10**4000)]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, ANY_TEXT)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A file's bytes flipped, cut, spliced or overwritten; every second time near its end, where the footer is."""
    place = chance.randrange(len(content))
    if chance.random() < 0.5:
        place = max(0, len(content) - 1 - chance.randrange(2500))
    length = chance.randint(1, 40)
    kind = chance.choice(["flip", "flip", "flip", "cut", "drop", "insert", "splice", "zero"])
    if kind == "flip":
        copy = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            copy[(place + chance.randint(0, 60)) % len(copy)] ^= 1 << chance.randrange(8)
        return bytes(copy)
    if kind == "cut":
        return content[:place]
    if kind == "splice":
        return content[:place] + content[chance.randrange(len(content)) :]
    between = {"drop": b"", "insert": chance.randbytes(length), "zero": bytes(length)}[kind]
    return content[:place] + between + content[place + (0 if kind == "insert" else length) :]
