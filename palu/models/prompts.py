"""Prompt templates: the text before a reply, and the tokens that end it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from string import ascii_letters
from typing import TYPE_CHECKING, Any, get_args

from palu.errors import UserError, first_line
from palu.models.settings import TemplateSettings
from palu.settings import unknown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIELDS = TemplateSettings.model_fields
TEMPLATES: tuple[str, ...] = get_args(_FIELDS["template"].annotation)

# The forms of `date`, for templates that ask the clock
DATE_FORMS = ("%d %b %Y", "%d %B %Y", "%Y-%m-%d")
# A word that no template changes or writes itself
_REPLY = "Aforgottenreply"
# In front of a template that asks the clock: transformers passes data to a template, but no function. Jinja drops the
# line end after the macro, so that the template's own first line stays as it is.
_CLOCK = """\
{%- macro strftime_now(format) -%}
{%- if palu_clock is string %}{{ raise_exception(palu_clock) }}{% endif -%}
{%- set now = namespace(text=format) -%}
{%- for code, text in palu_clock %}{% set now.text = now.text.replace(code, text) %}{% endfor -%}
{{- now.text -}}
{%- endmacro %}
"""


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt as the text that stands right before the reply.

    add_special_tokens: whether the tokenizer must still add its bos; a chat template has written it already.
    """

    text: str
    add_special_tokens: bool


def render_prompt(
    template: str,
    prompt: str,
    tokenizer: PreTrainedTokenizerFast,
    system_prompt: str = _FIELDS["system_prompt"].default,
    date: str = _FIELDS["date"].default,
) -> RenderedPrompt:
    """The text before the reply. An empty prompt means a document: no template, nothing between bos and the text.

    Raises UserError for an unknown template, and for `chat` with a tokenizer whose chat template is missing or fails.
    """
    if template not in TEMPLATES:
        raise unknown("template", template, "template", TEMPLATES)
    if not prompt or template == "raw":
        return RenderedPrompt(prompt, add_special_tokens=True)
    if template == "llama2-chat":
        return RenderedPrompt(f"[INST] {prompt} [/INST]", add_special_tokens=True)
    if template == "plain":
        return RenderedPrompt(f"Question: {prompt}\nAnswer: ", add_special_tokens=True)
    return RenderedPrompt(_chat(_messages(prompt, system_prompt), tokenizer, date), add_special_tokens=False)


def end_tokens(settings: TemplateSettings, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens that end a reply to a prompt; the last of them is where a generation stops.

    `raw` has none, `plain` and `llama2-chat` the tokenizer's own end token. `chat`: what the chat template writes
    after a reply, up to and including the first special token (Gemma: `<end_of_turn>`), or the tokenizer's own end
    token where it writes none. Special is every added token but white space: not every tokenizer marks them so.
    Raises UserError where `render_prompt` does, and for a chat template that fails on a reply or leaves it out.
    """
    if settings.template == "raw":
        return []
    eos = int(tokenizer.eos_token_id)
    if settings.template != "chat":
        return [eos]
    messages = [*_messages("Who?", settings.system_prompt), {"role": "assistant", "content": _REPLY}]
    before, after = _around_reply(messages, tokenizer, settings.date)
    end = _up_to_special(after, tokenizer)
    if end and before.endswith(after):
        # the header of a next reply, which some templates always write: when a user goes on, it is another one
        _, goes_on = _around_reply([*messages, {"role": "user", "content": "When?"}], tokenizer, settings.date)
        end = end if _up_to_special(goes_on, tokenizer) == end else []
    return end or [eos]


def _around_reply(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerFast, date: str) -> tuple[str, str]:
    before, found, after = _chat(messages, tokenizer, date).rpartition(_REPLY)
    if not found:
        raise UserError(
            "template 'chat': the tokenizer's chat template leaves a reply out; allowed: one that shows how it ends"
        )
    return before, after


def _up_to_special(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens of a text after a reply up to and including its first special token; none where it has none."""
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.content.strip()}
    special = special.union(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    # a word before it: some tokenizers start a text with a space of their own
    encoded: Any = tokenizer(_REPLY + text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ids = [token for token, (start, _) in pairs if start >= len(_REPLY)]
    return next((ids[: i + 1] for i, token in enumerate(ids) if token in special), [])


def _messages(prompt: str, system_prompt: str) -> list[dict[str, str]]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt}]


def _chat(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerFast, date: str) -> str:
    """Write a conversation on the day `date` by the tokenizer's chat template; a mere prompt, up to its reply."""
    if not tokenizer.chat_template:
        others = ", ".join(name for name in TEMPLATES if name != "chat")
        raise UserError(f"template 'chat': this tokenizer has no chat template of its own; allowed: {others}")
    has_reply = any(message["role"] == "assistant" for message in messages)
    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = _CLOCK + template
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=not has_reply,
            date_string=date,
            palu_clock=_clock(date),
        )
    except Exception as error:
        # a template is a small program of the tokenizer's author, and fails as it likes
        what = "fails on a reply" if has_reply else "fails"
        raise UserError(f"template 'chat': the tokenizer's chat template {what}: {first_line(error)}") from error
    return str(text)


@lru_cache
def _clock(date: str) -> list[tuple[str, str]] | str:
    """What each code of strftime is on that day, at midnight; for a text that is no date, what is wrong with it."""
    for form in DATE_FORMS:
        try:
            day = datetime.strptime(date, form)
        except ValueError:
            continue
        codes = [f"%{flag}{letter}" for flag in ("", "-") for letter in ascii_letters]
        return [("%%", "\0"), *((code, day.strftime(code)) for code in codes), ("\0", "%")]
    return f"date: {date!r}: the chat template asks for the date; allowed: such as 10 Apr 2025 or 2025-04-10"
