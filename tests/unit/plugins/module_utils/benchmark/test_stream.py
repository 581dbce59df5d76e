# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamed answers as Ollama and llama-server send them, and as they break."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, ClassVar

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.stream import Opened, records, timed
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.engines import EngineError, fetch_json
from hypothesis import given
from hypothesis import strategies as st

ANSWERS = [
    # Ollama
    (b'{"response":"A","done":false}\n{"done":true}\n', [{"response": "A", "done": False}, {"done": True}]),
    (b'\n  {"done":true}  \n', [{"done": True}]),
    # llama-server
    (b'data: {"stop":false}\n\ndata: {"stop":true}\n\n', [{"stop": False}, {"stop": True}]),
    (b'data:{"stop":true}\n', [{"stop": True}]),
    (b': keep alive\n\ndata: {"stop":true}\n\ndata: [DONE]\n\n', [{"stop": True}]),
    (b"event: message\nid: 7\nretry: 10\n\n", []),
    (b"", []),
]

ERRORS = [
    (b'{"error":"llama-server process has terminated: signal: killed"}\n', "terminated: signal: killed"),
    (b'data: {"error":{"code":500,"message":"context is full"}}\n', "context is full"),
    (b'error: {"code":500,"message":"no slot"}\n', "no slot"),
    (b'data: {"stop":\n', "cannot be read"),
    (b'{"response":"A"\n', "cannot be read"),
    (b"data: [1]\n", "unexpected form"),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
def test_both_engines_records_are_read(answer: bytes, expected: list[dict[str, Any]]) -> None:
    assert list(records(answer.splitlines(keepends=True))) == expected


@pytest.mark.parametrize(("answer", "words"), ERRORS)
def test_an_error_inside_a_good_answer_is_one(answer: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        list(records(answer.splitlines(keepends=True)))


@given(st.binary(max_size=200))
def test_nothing_else_is_raised_for_whatever_comes(answer: bytes) -> None:
    try:
        found = list(records(answer.splitlines(keepends=True)))
    except EngineError:
        return
    assert all(isinstance(record, dict) for record in found)


def clocked(answer: list[dict[str, Any]], times: list[float]) -> Any:
    clock, seen = iter(times), []
    last, first = timed(answer, lambda record: bool(record.get("done")), lambda: seen.append(1), lambda: next(clock))
    return last, first, len(seen)


def test_the_first_token_is_timed_from_the_request_on() -> None:
    answer = [{"n": 1}, {"n": 2}, {"done": True, "n": 3}, {"n": 4}]
    assert clocked(answer, [10.0, 10.25]) == ({"done": True, "n": 3}, 0.25, 2)


def test_an_answer_of_only_a_last_record_has_no_first_token() -> None:
    assert clocked([{"done": True}], [10.0]) == ({"done": True}, None, 0)


def test_an_answer_without_its_last_record_broke_off() -> None:
    with pytest.raises(EngineError, match="broke off after 2 tokens"):
        clocked([{"n": 1}, {"n": 2}], [1.0, 2.0])


@pytest.fixture
def served() -> Iterator[Any]:
    """A server that answers one request with the bytes given, slowly if there are pauses among them."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(*parts: Any) -> str:
        def answer() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.recv(65536)
                for part in parts:
                    if isinstance(part, float):
                        time.sleep(part)
                    else:
                        try:
                            connection.sendall(part)
                        except OSError:
                            return
                # A rest of the request that nobody has read would reset the connection under the answer.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield serve
    listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def lines_of(url: str, timeout: float = 5) -> list[bytes]:
    return list(Opened(url, {"prompt": "x"}, {"Authorization": "Bearer k"}, timeout).lines())


def test_chunks_are_put_together(served: Any) -> None:
    url = served(HEAD, b"5\r\ndata:\r\n", b"5\r\n {}\n\n\r\n", b"0\r\n\r\n")
    assert lines_of(url) == [b"data: {}\n", b"\n"]


def test_a_connection_that_dies_in_a_chunk_ends_the_lines(served: Any) -> None:
    url = served(HEAD, b'7\r\n{"n":1}\r\n', b"20\r\n{")
    with pytest.raises(EngineError):
        timed(records(Opened(url, {}, {}, 5).lines()), lambda record: False, lambda: None)


def test_silence_ends_with_the_timeout(served: Any) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match="timed out"):
        lines_of(served(HEAD, b"3\r\n{}\n\r\n", 5.0), timeout=0.3)
    assert time.monotonic() - began < 3


def test_an_endless_answer_ends_with_the_timeout(served: Any) -> None:
    drip: list[Any] = [HEAD]
    for _number in range(20):
        drip += [b"3\r\n{}\n\r\n", 0.1]
    with pytest.raises(EngineError, match=r"not complete after 0\.3 seconds"):
        lines_of(served(*drip), timeout=0.3)


def test_a_refusal_is_told_in_the_engines_words(served: Any) -> None:
    body = b'{"error":{"message":"Invalid API Key"}}'
    with pytest.raises(EngineError, match="Invalid API Key"):
        lines_of(served(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)))


def test_nobody_there_is_told_with_the_address() -> None:
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9"):
        lines_of("http://127.0.0.1:9/api/generate")


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Sends every question on to /elsewhere, and keeps what is told there."""

    told: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.told.append((self.path, self.headers.get("Authorization")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.told.append((self.path, self.headers.get("Authorization")))
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    "ask",
    [
        lambda url, headers: fetch_json("POST", url, {}, 5, headers),
        lambda url, headers: list(Opened(url, {}, headers, 5).lines()),
    ],
    ids=["whole", "streamed"],
)
def test_the_key_is_not_sent_on(ask: Callable[[str, dict[str, str]], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elsewhere, "told", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ask(f"http://127.0.0.1:{server.server_port}/here", {"Authorization": "Bearer key"})
        server.shutdown()
    assert Elsewhere.told == [("/here", "Bearer key"), ("/elsewhere", None)]
