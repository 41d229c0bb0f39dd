"""What makes Snakemake run a stage again: its code, and not a touched file, a comment or a registration line."""

import textwrap

import pytest

from palu import digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same name, whose sources a test edits."""
    root = tmp_path / "palu"
    (root / "methods").mkdir(parents=True)
    (root / "stage.py").write_text(
        textwrap.dedent('''
            """A stage."""
            from palu import methods

            def run():
                """Run."""
                import palu.tool
                return palu.tool.x  # the tool
            ''')
    )
    (root / "tool.py").write_text("x = 1\n")
    (root / "methods" / "__init__.py").write_text('METHODS = {"a": "palu.methods.a"}\ndef load(name): return name\n')
    (root / "methods" / "a.py").write_text("loss = 1\n")
    (root / "methods" / "b.py").write_text("loss = 2\n")
    (root / "other.py").write_text("y = 1\n")
    monkeypatch.setattr(digest, "PACKAGE", root)
    digest._facts.cache_clear()
    yield root
    digest._facts.cache_clear()


def changed_by(path, text, *modules):
    before = digest.code_digest(*modules)
    path.write_text(text)
    digest._facts.cache_clear()
    return digest.code_digest(*modules) != before


def test_a_comment_or_docstring_changes_nothing(package):
    text = (package / "stage.py").read_text()
    assert not changed_by(package / "stage.py", text.replace("# the tool", "# our tool"), "palu.stage")
    assert not changed_by(package / "stage.py", text.replace("Run.", "Walk."), "palu.stage")


def test_code_changes_the_digest(package):
    text = (package / "stage.py").read_text()
    assert changed_by(package / "stage.py", text.replace("tool.x", "tool.x + 1"), "palu.stage")


def test_a_module_imported_inside_a_function_counts(package):
    assert changed_by(package / "tool.py", "x = 2\n", "palu.stage")


def test_a_module_that_is_not_imported_does_not_count(package):
    assert not changed_by(package / "other.py", "y = 2\n", "palu.stage")


def test_a_new_line_in_a_registration_dict_changes_nothing(package):
    text = (package / "methods" / "__init__.py").read_text().replace("}", ', "b": "palu.methods.b"}')
    assert not changed_by(package / "methods" / "__init__.py", text, "palu.stage", "palu.methods.a")


def test_a_method_changes_its_own_runs_only(package):
    assert not changed_by(package / "methods" / "b.py", "loss = 3\n", "palu.stage", "palu.methods.a")
    assert changed_by(package / "methods" / "a.py", "loss = 3\n", "palu.stage", "palu.methods.a")


@pytest.mark.usefixtures("package")
def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no such module"):
        digest.code_digest("palu.absent")


def test_what_only_shows_progress_counts_for_nothing(package):
    shown = package / "progress.py"
    shown.write_text("x = 1\n")
    (package / "stage.py").write_text("from palu.progress import x\n")
    assert not changed_by(shown, "x = 2\n", "palu.stage")
