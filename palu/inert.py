"""Text from models and data sets made harmless where a person meets it: a browser, figure, spreadsheet, terminal."""

import re

# What a browser would act on or an eye would miss is shown as a symbol, one for one, so that offsets hold:
# control characters, direction overrides, noncharacters.
_SYMBOLS = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_OVERRIDES = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_REPLACED = _SYMBOLS | dict.fromkeys((*range(0x80, 0xA0), *_OVERRIDES, 0xFFFE, 0xFFFF), 0xFFFD)
_SURROGATE = re.compile("[\ud800-\udfff]")
# With their wide forms, which some spreadsheets take for the same
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def visible(text: str) -> str:
    """`text`, as long as before, with control characters, direction overrides and lone surrogates as symbols.

    An escape sequence then stays a row of letters, and the text can be encoded everywhere. Escaping for HTML is the
    template's work.
    """
    return _SURROGATE.sub("\ufffd", text.translate(_REPLACED))


def spreadsheet_safe(text: str) -> str:
    """`text` as a CSV cell that no spreadsheet takes for a formula: a quote goes before a leading = + - @, tab or line
    end."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) else shown


def hidden_character(text: str) -> str | None:
    """The first character of `text` that `visible` would replace; None where there is none."""
    return next((before for before, after in zip(text, visible(text), strict=True) if before != after), None)
