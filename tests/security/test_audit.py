"""An audit that looked nothing up is no audit that found nothing."""

import json

from tests.security.audit import main, verdict

SOUND = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
WEAK = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


def test_only_packages_that_were_all_looked_up_and_are_sound_pass():
    assert verdict([SOUND]) == (["audit: none of 1 packages has a known vulnerability"], True)
    assert verdict([SOUND, WEAK]) == (["c 2: PYSEC-1, mended in 3"], False)
    lines, is_clean = verdict([SOUND, SKIPPED])
    assert lines[0].startswith("audit: 1 of 2 packages were looked up")
    assert not is_clean


def test_a_report_that_is_missing_or_empty_is_told_and_fails(tmp_path, capsys):
    assert main(tmp_path / "none.json") == 1
    assert "audit: 0 of 0 packages were looked up" in capsys.readouterr().out
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"dependencies": [SOUND]}))
    assert main(path) == 0
