"""A hub, a network or a file that fails: what may pass is tried again, the rest is one line and no half file."""

import json

import pytest
from huggingface_hub import constants

from tests.hub.conftest import MODEL, Instant, refusal
from tests.hub.server import Fault, Repository

FETCH = ("fetch", "--checkpoint", MODEL, "--out", "model")
WEIGHTS = "/cdn/"  # the large files' own address
SMALL = "/tokenizer.json"


@pytest.mark.parametrize(("path", "status", "answers"), [("/tree/", 503, 2), (SMALL, 429, 1), (WEIGHTS, 429, 1)])
def test_errors_that_pass_are_tried_again(palu, hub, path, status, answers):
    hub.fail(path, Fault("status", status), Fault("status", status))
    done = palu(*FETCH)
    assert done.returncode == 0, done.stderr
    assert len(hub.asked(part=path)) == 2 + answers


def test_an_error_that_stays_ends_after_a_few_tries(palu, hub, tmp_path):
    hub.fail("/tree/", *[Fault("status", 500)] * 9)
    assert refusal(palu(*FETCH)) == f"{MODEL}: the hub answers 500: give a local folder"
    assert len(hub.asked(part="/tree/")) == 6
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=7'}], ids=["seconds", "window"]
)
def test_too_many_requests_wait_as_long_as_the_hub_asks(palu, hub, headers):
    Instant.slept.clear()
    hub.fail(SMALL, Fault("status", 429, headers=headers))
    assert palu(*FETCH).returncode == 0
    assert [seconds for seconds in Instant.slept if seconds >= 7] == [8.0]


def test_a_cut_download_goes_on_at_the_byte_where_it_was_cut(palu, hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.fail(WEIGHTS, Fault("cut", after=10_000), Fault("cut", after=5_000))
    done = palu(*FETCH)
    assert done.returncode == 0, done.stderr
    asked = [request.headers.get("range") for request in hub.asked(part=WEIGHTS)]
    assert asked == [None, "bytes=10000-", "bytes=15000-"]


def test_a_download_that_ends_early_leaves_no_half_file_and_whole_ones_are_kept(palu, hub, tmp_path):
    hub.fail(WEIGHTS, *[Fault("cut")] * 9)
    assert "the hub cannot be reached (RemoteProtocolError)" in refusal(palu(*FETCH))
    assert not list(tmp_path.rglob("*.incomplete"))
    assert not (tmp_path / "model").exists()
    hub.reset()
    assert palu(*FETCH).returncode == 0
    assert [request.at_cdn for request in hub.asked(part="/resolve/") + hub.asked(part=WEIGHTS)] == [True]


def test_offline_a_cache_that_lacks_a_file_is_not_whole(palu, hub):
    hub.fail(WEIGHTS, *[Fault("cut")] * 9)
    palu(*FETCH)
    message = refusal(palu(*FETCH, HF_HUB_OFFLINE="1"))
    assert message.startswith(f"{MODEL} at revision 'main' is no folder here nor whole in the hub's cache")


@pytest.mark.parametrize("path", [SMALL, WEIGHTS], ids=["git-sha1", "sha256"])
def test_a_wrong_checksum_is_one_line_and_leaves_nothing_so_that_a_rerun_succeeds(palu, hub, tmp_path, path):
    hub.fail(path, Fault("corrupt"))
    message = refusal(palu(*FETCH))
    name, kind = ("tokenizer.json", "git-sha1") if path == SMALL else ("model.safetensors", "sha256")
    assert message.startswith(f"{MODEL}: {name} is damaged: its {kind} is ")
    assert message.endswith("it was removed from the hub's cache: run again to fetch it")
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "home").rglob(f"snapshots/*/{name}"))
    assert palu(*FETCH).returncode == 0


@pytest.mark.parametrize(
    ("path", "fault", "complaint"),
    [
        ("/revision/", Fault("malformed"), "cannot be fetched from the hub (Expecting value"),
        ("/tree/", Fault("malformed"), "cannot be fetched from the hub (Expecting value"),
        ("/revision/", Fault("status", 200), "cannot be fetched from the hub ("),
        ("/tree/", Fault("status", 200), "the hub's model has no file of *.safetensors, "),
        ("/revision/", Fault("status", 403), "the hub answers 403: give a local folder"),
        (SMALL, Fault("status", 404), "the hub answers 404: give a local folder"),
        (SMALL, Fault("status", 418), "the hub answers 418: give a local folder"),
    ],
)
def test_an_answer_that_does_not_help_is_one_line_and_not_asked_for_again(palu, hub, path, fault, complaint):
    hub.fail(path, fault)
    assert refusal(palu(*FETCH)).startswith(f"{MODEL}: {complaint}")
    assert len(hub.asked(part=path)) == 1


def test_a_circle_of_redirects_ends(palu, hub):
    hub.fail(SMALL, *[Fault("loop")] * 100)
    assert refusal(palu(*FETCH)).startswith(f"{MODEL}: cannot be fetched from the hub (Exceeded maximum allowed redir")
    assert len(hub.asked(part=SMALL)) <= 25


def test_an_unknown_model_and_an_unknown_revision_are_named(palu):
    assert refusal(palu("fetch", "--checkpoint", "someone/nothing", "--out", "model")) == (
        "someone/nothing is no folder here, and the hub knows no such public model (404): check the name, set "
        "HF_TOKEN if it is private, or give a local folder"
    )
    message = refusal(palu(*FETCH, "--revision", "v9"))
    assert message == f"{MODEL}: the hub has no revision 'v9' of it (404)"
    for name in ("../../v9", "a/../b", "/v9", "-v9"):
        message = refusal(palu(*FETCH, f"--revision={name}"))
        assert message == f"{MODEL}: revision {name!r} is no name of one; allowed: a commit, tag or branch"


def test_a_gated_model_names_the_page_and_what_to_do(palu, hub, tmp_path):
    files = hub.repositories["model", MODEL].files
    hub.add(Repository("model", "someone/gated", files, token="hf_right", gated=True))
    fetch = ("fetch", "--checkpoint", "someone/gated", "--out", "model")
    for status, environment in ((401, {}), (403, {"HF_TOKEN": "hf_wrong"})):
        assert refusal(palu(*fetch, **environment)) == (
            f"someone/gated is gated ({status}): accept its terms on https://huggingface.co/someone/gated and set "
            "HF_TOKEN to a token of that account"
        )
    done = palu(*fetch, HF_TOKEN="hf_right")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "checkpoint_source.json").read_text())["repository"] == "someone/gated"


@pytest.mark.parametrize("address", ["hub.example.org", "ftp://hub.example.org"])
def test_an_address_that_is_none_is_named_before_anything_is_asked(palu, address):
    assert refusal(palu(*FETCH, HF_ENDPOINT=address)) == (
        "HF_ENDPOINT is no address of a hub; allowed: one such as https://hub.example.org"
    )
