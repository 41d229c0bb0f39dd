"""A hub, a network or a file that fails: what may pass is tried again, the rest is one line and leaves nothing."""

import json
import time
from email.utils import formatdate

import pytest

from tests.hub.conftest import MODEL, refusal, told
from tests.hub.server import Fault, Repository

FETCH = ("fetch", "--checkpoint", MODEL, "--out", "model")
WEIGHTS = "/cdn/"  # the large files' own address
SMALL = "/tokenizer.json"
GONE = Fault("status", 404, headers={"X-Error-Code": "EntryNotFound"})


@pytest.mark.parametrize("path", ["/revision/", "/tree/", SMALL, WEIGHTS])
def test_errors_that_pass_are_told_and_tried_again(palu, hub, path):
    hub.fail(path, Fault("status", 500), Fault("status", 503))
    done = palu(*FETCH)
    assert done.returncode == 0, done.stderr
    lines = told(done)
    assert [line.partition(": the hub answers ")[2].partition(":")[0] for line in lines] == ["500", "503"]
    assert lines[0].endswith("(try 2 of 5)")
    assert lines[1].endswith("(try 3 of 5)")


def test_an_error_that_stays_ends_after_a_few_tries(palu, hub, tmp_path):
    hub.fail(SMALL, *[Fault("status", 500)] * 9)
    message = refusal(palu(*FETCH))
    assert message.startswith(f"{MODEL}: the hub answers 500, also after several tries: give a local folder")
    assert len(hub.asked(part=SMALL)) == 5
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"RateLimit": '"resolvers";r=0;t=1'}],
    ids=["seconds", "window"],
)
def test_too_many_requests_wait_as_long_as_the_hub_asks(palu, hub, headers):
    hub.fail(SMALL, Fault("status", 429, headers=headers))
    done = palu(*FETCH)
    assert done.returncode == 0, done.stderr
    assert told(done) == [f"{MODEL}: tokenizer.json: the hub answers 429: again in 1.0 s (try 2 of 5)"]
    first, second = (request.seconds for request in hub.asked(part=SMALL))
    assert second - first >= 1.0


def test_a_wait_until_tomorrow_is_not_waited_for(palu, hub):
    tomorrow = formatdate(time.time() + 86_400, usegmt=True)
    hub.fail("/revision/", Fault("status", 429, headers={"Retry-After": tomorrow}))
    message = refusal(palu(*FETCH))
    assert "the hub answers 429, and it asks to wait 86" in message
    assert len(hub.requests) == 1


def test_a_cut_download_goes_on_at_the_byte_where_it_was_cut(palu, hub):
    hub.fail(WEIGHTS, Fault("cut", after=10_000), Fault("cut", after=5_000))
    done = palu(*FETCH)
    assert done.returncode == 0, done.stderr
    assert [request.headers.get("range") for request in hub.asked(part=WEIGHTS)] == [
        None,
        "bytes=10000-",
        "bytes=15000-",
    ]
    assert ["the connection was cut" in line for line in told(done)] == [True, True]


def test_a_later_process_goes_on_where_an_earlier_one_was_cut(palu, hub, tmp_path):
    hub.fail(WEIGHTS, *[Fault("cut", after=1_000)] * 5)
    message = refusal(palu(*FETCH))
    assert "the hub cannot be reached (the connection was cut)" in message
    hub.reset()
    assert palu(*FETCH).returncode == 0
    assert [request.headers.get("range") for request in hub.asked(part=WEIGHTS)] == ["bytes=5000-"]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_length_without_bound_is_refused_before_it_is_read(palu, hub):
    hub.fail(SMALL, Fault("longer"))
    size = len(hub.repositories["model", MODEL].files["tokenizer.json"])
    assert refusal(palu(*FETCH)) == (f"{MODEL}: tokenizer.json: the hub lists {size} bytes and sends {size + 10**12}")


@pytest.mark.parametrize("path", [SMALL, WEIGHTS], ids=["git-sha1", "sha256"])
def test_a_wrong_checksum_is_one_line_and_leaves_nothing_so_that_a_rerun_succeeds(palu, hub, tmp_path, path):
    hub.fail(path, Fault("corrupt"))
    message = refusal(palu(*FETCH))
    name, kind = ("tokenizer.json", "git-sha1") if path == SMALL else ("model.safetensors", "sha256")
    assert message.startswith(f"{MODEL}: {name}: damaged on its way: its {kind} is ")
    assert message.endswith("removed: run again to fetch it anew")
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "home").rglob("snapshots/*"))
    assert palu(*FETCH).returncode == 0


def test_a_drip_is_given_up_and_asked_for_again(palu, hub):
    hub.fail(WEIGHTS, Fault("drip"))
    done = palu(*FETCH, HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert done.returncode == 0, done.stderr
    assert ["the answer is too slow" in line for line in told(done)] == [True]


def test_an_answer_of_the_interface_that_drips_for_ever_ends(palu, hub):
    hub.fail("/tree/", *[Fault("drip")] * 5)
    start = time.monotonic()
    assert "the hub cannot be reached (the answer is too slow)" in refusal(palu(*FETCH, HF_HUB_DOWNLOAD_TIMEOUT="1"))
    assert time.monotonic() - start < 30, "five tries of about a second each"


@pytest.mark.parametrize(
    ("path", "fault", "complaint"),
    [
        ("/revision/", Fault("malformed"), "the hub's answer cannot be read: it is not JSON: check HF_ENDPOINT"),
        ("/tree/", Fault("malformed"), "the hub's answer cannot be read: it is not JSON: check HF_ENDPOINT"),
        ("/revision/", Fault("status", 200), "the hub's answer cannot be read: it names no commit: check HF_ENDPOINT"),
        (
            "/tree/",
            Fault("status", 200),
            "the hub's answer cannot be read: its list of files is none: check HF_ENDPOINT",
        ),
        ("/revision/", Fault("status", 403), "the hub forbids it (403): HF_TOKEN needs the right to read this model"),
        (SMALL, GONE, "the hub lists a file that it does not give (404): try another revision"),
        (SMALL, Fault("status", 418), "the hub answers 418: give a local folder"),
    ],
)
def test_an_answer_that_does_not_help_is_one_line_and_not_asked_for_again(palu, hub, path, fault, complaint):
    hub.fail(path, fault)
    message = refusal(palu(*FETCH))
    assert message.startswith(MODEL)
    assert complaint in message
    assert len(hub.asked(part=path)) == 1


def test_a_circle_of_redirects_ends(palu, hub):
    hub.fail(SMALL, *[Fault("loop")] * 100)
    assert refusal(palu(*FETCH)) == f"{MODEL}: the hub redirects in a circle: check HF_ENDPOINT"
    assert len(hub.asked(part=SMALL)) <= 25


def test_an_unknown_model_and_an_unknown_revision_are_named(palu):
    assert refusal(palu("fetch", "--checkpoint", "someone/nothing", "--out", "model")) == (
        "someone/nothing is no folder here, and the hub knows no such public model (404): check the name, set "
        "HF_TOKEN if it is private, or give a local folder"
    )
    message = refusal(palu(*FETCH, "--revision", "v9"))
    assert message == f"{MODEL}: the hub has no revision 'v9' of it (404)"
    message = refusal(palu(*FETCH, "--revision", "../../v9"))
    assert message == f"{MODEL}: revision '../../v9' is no name of one; allowed: a commit, tag or branch"


def test_a_gated_model_names_the_page_and_what_to_do(palu, hub, tmp_path):
    files = hub.repositories["model", MODEL].files
    hub.add(Repository("model", "someone/gated", files, token="hf_right", gated=True))
    fetch = ("fetch", "--checkpoint", "someone/gated", "--out", "model")
    page = "accept its terms on https://huggingface.co/someone/gated"
    assert refusal(palu(*fetch)) == (
        f"someone/gated is gated (401): {page} and set HF_TOKEN to a token of that account"
    )
    assert refusal(palu(*fetch, HF_TOKEN="hf_wrong")) == (
        f"someone/gated is gated (403): {page} with the account of HF_TOKEN"
    )
    done = palu(*fetch, HF_TOKEN="hf_right")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "checkpoint_source.json").read_text())["repository"] == "someone/gated"


def test_a_private_model_says_that_the_token_is_not_known(palu, hub):
    files = hub.repositories["model", MODEL].files
    hub.add(Repository("model", "someone/private", files, token="hf_right"))
    hub.fail("/revision/", Fault("status", 401))
    message = refusal(palu("fetch", "--checkpoint", "someone/private", "--out", "model", HF_TOKEN="hf_wrong"))
    assert message == "someone/private: the hub does not know you (401): check HF_TOKEN"


@pytest.mark.parametrize("address", ["hub.example.org", "ftp://hub.example.org"])
def test_an_address_that_is_none_is_named_before_anything_is_asked(palu, address):
    assert refusal(palu(*FETCH, HF_ENDPOINT=address)) == (
        "HF_ENDPOINT is no address of a hub; allowed: one such as https://hub.example.org"
    )
