"""What the server tells every browser: whose code may run in its pages, and who may put them into a frame.

A second wall behind `pages.common.texts.plain`: if some text became markup after all, the browser would neither run it
nor call another server for it. Sources: the W3C's Content Security Policy Level 3, and Fetch (nosniff).
"""

import base64
import functools
import hashlib
import re
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSED = "/_stcore/metrics"
"""It tells anybody how many visitors there are, and costs a walk through all sessions."""


class Headers:
    """Middleware of the server: adds the headers to each answer, and closes what nobody here needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the connection of a page, which is no request, is left alone."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers())
            await send(message)

        closed = scope["path"].rstrip("/").endswith(CLOSED)
        await (PlainTextResponse("Not found", 404) if closed else self._app)(scope, receive, answer)


@functools.cache
def headers() -> dict[str, str]:
    """Name and value of each header."""
    return {
        "Content-Security-Policy": "; ".join(f"{kind} {sources}" for kind, sources in policy().items()),
        "X-Frame-Options": "SAMEORIGIN",  # for browsers that know no frame-ancestors
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # a link holds the whole view, and the right to a run
    }


def policy() -> dict[str, str]:
    """For each kind of content, where it may come from: this server, and what the page itself makes.

    Streamlit runs the code of a component from a blob, styles its elements inline, and compiles WebAssembly, but no
    text: Vega's expressions are interpreted.
    """
    return {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", "blob:", "'wasm-unsafe-eval'", *_inline_scripts()]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "frame-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
    }


def _inline_scripts() -> list[str]:
    """The hashes of the scripts within Streamlit's own page; another version brings others."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
