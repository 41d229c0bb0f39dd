"""Prompt templates: what stands between the start of a sequence and its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from palu.errors import UserError, first_line
from palu.models.settings import TemplateSettings
from palu.settings import unknown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIELDS = TemplateSettings.model_fields
TEMPLATES: tuple[str, ...] = get_args(_FIELDS["template"].annotation)


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
    if not tokenizer.chat_template:
        others = ", ".join(name for name in TEMPLATES if name != "chat")
        raise UserError(f"template 'chat': this tokenizer has no chat template of its own; allowed: {others}")
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": prompt}]
    if not system_prompt:
        messages = messages[1:]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, date_string=date)
    except Exception as error:
        # a template is a small program of the tokenizer's author, and fails as it likes
        raise UserError(f"template 'chat': the tokenizer's chat template fails: {first_line(error)}") from error
    return RenderedPrompt(str(text), add_special_tokens=False)
