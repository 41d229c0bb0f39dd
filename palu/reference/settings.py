"""What a study says of its reference. Loads no torch."""

from palu.files import canonical_json, text_digest
from palu.settings import PositiveCount, Settings


class ReferenceSettings(Settings):
    """What is kept of the frozen reference, and the other replies that are shown to it.

    top_k: how much of its ranking: every `top_k` of a method up to this re-runs nothing. first_n: at how many tokens
    of each run of sensitive tokens, likewise; a method that reads more of them widens it. alternates: refusals drawn
    for each row to forget, for the methods that read any, out of the lines of the file `refusals`.
    """

    top_k: PositiveCount = 5000
    first_n: PositiveCount = 5
    alternates: PositiveCount = 4
    refusals: str = "data/refusals.txt"

    @property
    def alternates_key(self) -> str:
        """Names the drawn refusals in a path: eight hexadecimal digits."""
        return text_digest(canonical_json([self.alternates, self.refusals]))
