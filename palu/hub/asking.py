"""Requests to the hub: with credentials that go nowhere else, and repeated where that can help.

Proxies, offline mode and the token are `huggingface_hub`'s. What it leaves out stands here: every request may be
repeated, with waits that grow and differ between machines; an answer that trickles in counts as none.
"""

from __future__ import annotations

import base64
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status, parse_ratelimit_headers

from palu import __version__
from palu.errors import UserError

TRIES = 5
LONGEST_WAIT_SECONDS = 300.0
# An answer that is slower than this over HF_HUB_DOWNLOAD_TIMEOUT seconds is given up and asked for again
SLOWEST_BYTES_PER_SECOND = 1024
# So much must have arrived since the last failure for a download to begin counting its tries anew
PROGRESS_BYTES = 2**20
# Answers after which another try may help
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Endpoint:
    """Where the hub is. address: without a slash at its end and without credentials; these are in `headers`."""

    address: str
    headers: dict[str, str] = field(repr=False)


def endpoint() -> Endpoint:
    """The hub of HF_ENDPOINT, with the credentials of that address or else the token.

    Raises UserError for an address that is none.
    """
    try:
        parts = urlsplit(constants.ENDPOINT)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise UserError("HF_ENDPOINT is no address of a hub; allowed: one such as https://hub.example.org")
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("HF_TOKEN holds a character that no token has; allowed: printable ASCII without spaces")
    # The hub library's own headers would first ask for a list of programs to tell the hub which one this is
    headers = {"user-agent": f"palu/{__version__}"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    elif token is not None:
        headers["authorization"] = f"Bearer {token}"
    return Endpoint(address, headers)


def timeout_seconds() -> float:
    """HF_HUB_DOWNLOAD_TIMEOUT: how long a connection may be silent."""
    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def session() -> httpx2.Client:
    """The client of `huggingface_hub`, which knows proxies and never asks when offline; answers must keep a pace."""
    client = get_session()
    if _watch not in client.event_hooks["response"]:
        client.event_hooks["response"].append(_watch)
    return client


def ask(url: str, hub: Endpoint) -> httpx2.Response:
    """One answer of the hub's interface, whole. Raises what `patiently` judges."""
    answer = session().get(url, headers=hub.headers, timeout=timeout_seconds())
    hf_raise_for_status(answer)
    return answer


def patiently(action: Callable[[], Result], what: str, received_bytes: Callable[[], int] = lambda: 0) -> Result:
    """What `action` returns, called anew after a failure that may pass: at most `TRIES` times, each told in one line.

    A wait doubles from one failure to the next, give or take a quarter, or is what the hub asks for.
    PALU_HUB_WAIT_SECONDS is the first one. received_bytes: how much a download has by now: where it grew by
    `PROGRESS_BYTES` since the last failure, counting begins anew. Raises what `action` raised last, and UserError for
    a hub that asks for too long a wait.
    """
    tries, before = 0, received_bytes()
    while True:
        try:
            return action()
        except (httpx2.TransportError, HfHubHTTPError) as error:
            if received_bytes() - before >= PROGRESS_BYTES:
                tries, before = 0, received_bytes()
            tries += 1
            if tries >= TRIES or not _may_pass(error):
                raise
            wait, reason = _wait_seconds(error, tries), why(error)
        if wait > LONGEST_WAIT_SECONDS:
            raise UserError(f"hub: {what}: {reason}, and it asks to wait {wait:.0f} s: try again then")
        tell(f"{what}: {reason}: again in {wait:.1f} s (try {tries + 1} of {TRIES})")
        time.sleep(wait)


def tell(line: str) -> None:
    """Tell a user one line about what is going on, on stderr: some stages print their result on stdout."""
    print(f"hub: {line}", file=sys.stderr, flush=True)


def why(error: Exception) -> str:
    """A failed request in a few words of our own, since a library's may hold addresses with credentials."""
    if isinstance(error, HfHubHTTPError):
        return f"the hub answers {error.response.status_code}"
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "the answer is too slow"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    return "the connection was cut"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING_STATUS
    return not isinstance(error, httpx2.UnsupportedProtocol | httpx2.ProxyError)


def _wait_seconds(error: Exception, tries: int) -> float:
    if isinstance(error, HfHubHTTPError) and (asked := _asked_wait_seconds(error.response)) is not None:
        return asked
    first = float(os.environ.get("PALU_HUB_WAIT_SECONDS", "1"))
    return first * float(2 ** (tries - 1)) * random.uniform(0.75, 1.25)


def _asked_wait_seconds(answer: httpx2.Response) -> float | None:
    """How long the hub asks to wait: Retry-After in seconds or as a date, or the end of its window of requests."""
    asked = answer.headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    if asked:
        try:
            return float(max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()))
        except ValueError:
            return None
    limit = parse_ratelimit_headers(answer.headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def _watch(answer: httpx2.Response) -> None:
    answer.stream = _Watched(answer.stream, timeout_seconds())


class _Watched(httpx2.SyncByteStream):
    """A body that must keep a pace: a connection's own time limit is met by one byte now and then."""

    def __init__(self, stream: Any, window_seconds: float) -> None:
        self._stream = stream
        self._window_seconds = window_seconds

    def __iter__(self) -> Iterator[bytes]:
        start, received = time.monotonic(), 0
        for chunk in self._stream:
            received += len(chunk)
            now = time.monotonic()
            if now - start > self._window_seconds:
                if received < SLOWEST_BYTES_PER_SECOND * self._window_seconds:
                    raise httpx2.ReadTimeout("too few bytes in the time allowed")
                start, received = now, 0
            yield chunk

    def close(self) -> None:
        self._stream.close()
