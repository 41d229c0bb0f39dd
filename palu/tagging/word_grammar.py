"""The grammar that an installed spaCy pipeline finds, as features of words."""

from __future__ import annotations

from collections.abc import Sequence

from palu.tagging.spacy import installed
from palu.tagging.words import Word


class WordGrammar:
    """A loaded pipeline. Raises UserError for one that is not installed."""

    def __init__(self, pipeline: str) -> None:
        self._nlp = installed(pipeline)

    def __call__(self, prompt: str, words: Sequence[Word], reply: str) -> list[list[str]]:
        """The features of each word of a reply: its part of speech, what it depends on, its entity, its phrase."""
        asked = {form for token in self._nlp(prompt) for form in (token.lemma_.lower(), token.lower_)}
        doc = self._nlp(reply)
        chunks = doc.noun_chunks if doc.has_annotation("DEP") else ()
        place_in_chunk = {
            token.i: f"{chunk.root.dep_}{token.i == chunk.start}{token.i == chunk.end - 1}"
            for chunk in chunks
            for token in chunk
        }
        found = []
        for word in words:
            tokens = [token for token in doc if token.idx < word.end and token.idx + len(token) > word.start]
            last = tokens[-1]
            facts = {
                "pos": last.pos_,
                "tag": last.tag_,
                "dep": last.dep_,
                "head": last.head.pos_,
                "entity": last.ent_type_,
                "chunk": place_in_chunk.get(last.i, ""),
                "asked": any(token.lemma_.lower() in asked for token in tokens),
            }
            found.append([f"grammar_{name}={value}" for name, value in facts.items()])
        return found
