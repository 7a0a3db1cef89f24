"""Every answer of the server says whose code may run in it, and nobody reads the server's own figures."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

import app
from pages import headers

WANTED = {"content-security-policy", "x-frame-options", "x-content-type-options", "referrer-policy"}


async def inner(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"inner"})


def answer(path: str, kind: str = "http") -> list[Any]:
    """What the server sends."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": kind, "path": path, "method": "GET", "headers": []}
    asyncio.run(headers.Headers(inner)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/", "/accuracy", "/_stcore/health", "/media/a.png"])
def test_every_answer_has_the_headers_and_keeps_its_own(path: str) -> None:
    begin, body = answer(path)
    named = dict(begin["headers"])
    assert {name.decode() for name in named} == WANTED | {"content-type"}
    assert named[b"x-content-type-options"] == b"nosniff"
    assert named[b"referrer-policy"] == b"same-origin"
    assert (begin["status"], body["body"]) == (200, b"inner")


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "/base/_stcore/metrics"])
def test_metrics_are_not_there(path: str) -> None:
    begin, body = answer(path)
    assert begin["status"] == 404
    assert {name.decode() for name, _ in begin["headers"]} >= WANTED
    assert b"inner" not in body["body"]


def test_the_connection_of_a_page_is_left_alone() -> None:
    assert "headers" in answer("/_stcore/stream", "websocket")[0]
    assert [name for name, _ in answer("/_stcore/stream", "websocket")[0]["headers"]] == [b"content-type"]


def test_only_this_server_may_send_code_or_show_a_page_in_a_frame() -> None:
    policy = headers.policy()
    assert policy["default-src"] == policy["frame-ancestors"] == "'self'"
    assert policy["object-src"] == policy["frame-src"] == "'none'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & set(policy["script-src"].split())
    assert "connect-src" not in policy, "default-src holds for connections too"
    assert policy["script-src"].count("'sha256-") == 1, "one inline script of Streamlit's page"


def test_the_server_uses_them() -> None:
    assert [middleware.cls for middleware in app.app._user_middleware] == [headers.Headers]
