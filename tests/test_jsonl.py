"""Files of one JSON object a line: what is read, and each mistake in one line."""

import pytest

from palu import jsonl
from palu.errors import UserError


def objects(path):
    return [(number, jsonl.json_object(line, f"line {number}")) for number, line in jsonl.numbered_lines(path)]


def refusal(path) -> str:
    with pytest.raises(UserError) as refused:
        objects(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_no_mistakes(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": "\xc3\xa9"}')
    assert objects(path) == [(1, {"a": 1}), (4, {"a": "é"})]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": 1}\n{"a": }\n', "line 2: not valid JSON: Expecting value at column 7: '{\"a\": }'"),
        (b'{"a": NaN}', "line 1: not valid JSON: NaN is no number of JSON"),
        (b'{"a": -Infinity}', "line 1: not valid JSON: -Infinity is no number of JSON"),
        (b'{"a": 1, "a": 2}', "line 1: not valid JSON: the key 'a' stands twice"),
        (b'["a"]', "line 1: ['a'] is not an object; allowed: keys and values in braces"),
        (b'{"a": "\xe9"}', "line 1: is not UTF-8 text (byte 0xe9 at 7); allowed: UTF-8"),
        (b'{"a": 1}\n\xef\xbb\xbf{"a": 1}', "line 2: not valid JSON: "),
        (b'{"a": ' + b"[" * 100_000, "line 1: not valid JSON: "),
        (b'{"a": ' + b"1" * 5000 + b"}", "line 1: not valid JSON: "),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path, content, complaint):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert refusal(path).startswith(complaint)


def test_a_line_over_the_limit_is_one_mistake_and_the_next_line_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 20)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "' + "x" * 90 + '"}\n{"a": "0123456789"}\n')
    (first, long), (second, short) = jsonl.numbered_lines(path)
    assert (first, second, short) == (1, 2, b'{"a": "0123456789"}\n')
    with pytest.raises(UserError, match="line 1: is longer than 20 bytes; allowed: up to that"):
        jsonl.json_object(long, "line 1")


def test_a_file_that_is_missing_empty_or_a_folder_is_named(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert refusal(tmp_path / "none.jsonl").startswith(f"{tmp_path / 'none.jsonl'}: no such file")
    assert refusal(empty) == f"{empty}: is empty; allowed: a file of one JSON object a line"
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; allowed: a file of one JSON object a line"
