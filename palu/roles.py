"""The role of a token inside a sequence: what `tokens` assigns and every loss reads."""

PROMPT, COMMON, SENSITIVE, END = range(4)
