"""Personal data by Presidio: the library itself where it is installed, and a stand-in of what we call of it."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest

from palu.errors import UserError
from palu.tagging.base import Resources
from palu.tagging.presidio import PACKAGE, Settings, spans

RESOURCES = Resources()


def found(reply, **settings):
    rows = spans([{"example_id": "e", "prompt": "", "reply": reply}], Settings(**settings), RESOURCES)
    return [(row["label"], reply[row["char_start"] : row["char_end"]], row["score"]) for row in rows]


class StandInAnalyzer:
    """Finds "555-0187" and "Ann", and remembers what it was asked."""

    calls: tuple[dict[str, object], ...] = ()

    def __init__(self, registry, nlp_engine, supported_languages):
        self.pipeline = nlp_engine.nlp[supported_languages[0]]
        assert registry.languages == supported_languages

    def get_supported_entities(self, language):
        assert language == self.pipeline.lang
        return ["PERSON", "PHONE_NUMBER"]

    def analyze(self, text, language, entities, score_threshold):
        StandInAnalyzer.calls += ({"language": language, "pipeline": self.pipeline.lang},)
        facts = [("PERSON", "Ann", 0.85), ("PHONE_NUMBER", "555-0187", 0.4)]
        return [
            SimpleNamespace(entity_type=kind, start=text.index(word), end=text.index(word) + len(word), score=score)
            for kind, word, score in facts
            if word in text and score >= score_threshold and kind in (entities or [kind])
        ]


class StandInRegistry:
    def __init__(self, supported_languages):
        self.languages = supported_languages

    def load_predefined_recognizers(self, languages, nlp_engine):
        assert languages == self.languages == list(nlp_engine.nlp)


@pytest.fixture
def stand_in(monkeypatch):
    """Modules with the names and signatures of Presidio's that the tagger calls."""
    if importlib.util.find_spec(PACKAGE) is not None:
        pytest.skip("spaCy loads components of the installed library, which a stand-in does not have")
    package, engines, domains = ModuleType(PACKAGE), ModuleType(f"{PACKAGE}.nlp_engine"), ModuleType("tldextract")
    package.__spec__ = importlib.util.spec_from_loader(PACKAGE, loader=None)
    package.AnalyzerEngine, package.RecognizerRegistry = StandInAnalyzer, StandInRegistry
    engines.SpacyNlpEngine = lambda models: SimpleNamespace(models=models, nlp=None)
    domains.TLDExtract = lambda suffix_list_urls: ("offline", suffix_list_urls)
    for module in (package, engines, domains):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(StandInAnalyzer, "calls", ())
    return domains


@pytest.mark.usefixtures("stand_in")
def test_what_the_library_finds_becomes_spans():
    reply = "👩\u200d🔬 Ann: 555-0187"
    assert found(reply) == [("PERSON", "Ann", 0.85), ("PHONE_NUMBER", "555-0187", 0.4)]
    assert found(reply, min_score=0.5) == [("PERSON", "Ann", 0.85)]
    assert found(reply, labels=["PHONE_NUMBER"]) == [("PHONE_NUMBER", "555-0187", 0.4)]


@pytest.mark.usefixtures("stand_in")
def test_the_language_reaches_the_library_and_the_pipeline():
    found("Ann", language="de")
    assert StandInAnalyzer.calls == ({"language": "de", "pipeline": "de"},)


def test_no_list_of_domains_is_downloaded(stand_in):
    found("Ann")
    assert stand_in.extract == ("offline", ())


@pytest.mark.usefixtures("stand_in")
def test_an_unknown_label_names_the_known_ones():
    with pytest.raises(UserError, match=r"unknown label 'PHONE'.*; allowed: PERSON, PHONE_NUMBER"):
        found("Ann", labels=["PHONE"])


@pytest.mark.usefixtures("stand_in")
def test_a_pipeline_that_is_not_installed_tells_the_command_and_is_not_downloaded(tmp_path):
    with pytest.raises(UserError, match="to install it: python -m spacy download en_core_web_none"):
        found("Ann", pipeline="en_core_web_none")
    with pytest.raises(UserError, match=f"pipeline '{tmp_path}' cannot be loaded"):
        found("Ann", pipeline=str(tmp_path))
    with pytest.raises(UserError, match="spaCy knows no language 'qq'"):
        found("Ann", language="qq")


def test_without_the_library_the_error_is_the_command_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    with pytest.raises(UserError) as error:
        found("Ann")
    assert str(error.value).endswith("to install it: python -m pip install 'palu[presidio]'")
    assert "\n" not in str(error.value)


def test_the_library_itself_finds_patterns():
    pytest.importorskip(PACKAGE, reason="the optional extra 'presidio' is not installed")
    marked = found("👩\u200d🔬 Write to ann@example.com, call (212) 555-0187.")
    assert {("EMAIL_ADDRESS", "ann@example.com"), ("PHONE_NUMBER", "(212) 555-0187")} <= {row[:2] for row in marked}
    assert found("Call (212) 555-0187.", labels=["EMAIL_ADDRESS"]) == []
    assert found("Call (212) 555-0187.", min_score=0.9) == []
    assert "EMAIL_ADDRESS" in {row[0] for row in found("Mail: ann@example.com", language="de")}
    with pytest.raises(UserError, match="unknown label 'PHONE'"):
        found("x", labels=["PHONE"])
