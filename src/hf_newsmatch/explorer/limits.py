"""The bounds of what the page takes: requests of a size that a headline has, and no uploads."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# A headline and what Gradio sends with it take far less.
MOST_BYTES = 4 * 2**20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _TooLargeError(Exception):
    pass


class BoundedRequests:
    """An ASGI application in front of another: it answers uploads with 404 and requests that are too long with 413.

    Args:
        app:
            The application behind it.
        most (`int`, *optional*):
            The bytes that a request may have.
    """

    def __init__(self, app: App, most: int = MOST_BYTES):
        self.app, self.most = app, most

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if "upload" in scope["path"].strip("/").split("/"):
            return await _refuse(send, 404, b"This page takes no files.")
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(not value.isdigit() or len(value) > 18 or int(value) > self.most for value in lengths):
            return await _refuse(send, 413, b"The request is too long.")
        begun, received = False, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooLargeError:
            if not begun:
                await _refuse(send, 413, b"The request is too long.")


async def _refuse(send: Send, status: int, reason: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason})
