"""Extends uvicorn's HTTP/1.1: stalled clients are disconnected, and protocol errors have the documented body."""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors import ApiError
from api.http.errors import respond_to
from api.http.middleware import LINGER_S, MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, SECURE
from api.http.request_log import REQUEST_ID, new_request_id
from dice_talk.error_codes import ErrorCode

HEAD_S = 30.0
"""How long a connection may go without a complete request head, from its start or the end of the last response."""
STALL_S = 60.0
"""How long a client may take to read the last 64 KB that were sent."""


PIECE = 32 * 1024
"""The most that h11 is given at once, in bytes: it checks the size of an incomplete head only between calls."""
EMPTY_LINES = re.compile(rb"(\r?\n)*")


class Connection(h11.Connection):
    """Skips empty lines before a request, as RFC 9112 (section 2.2) asks: some clients send one after a form."""

    head_too_large = False
    """Whether a request was refused because the part of its head that has arrived is too large."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Wait for the second half of an empty line."""
        if self.their_state is h11.IDLE:
            received, closed = self.trailing_data
            match = EMPTY_LINES.match(received)
            skipped = match.end() if match else 0
            self._receive_buffer.maybe_extract_at_most(skipped)
            if received[skipped:] == b"\r" and not closed:
                return h11.NEED_DATA
        reading_head = self.their_state is h11.IDLE
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            self.head_too_large = reading_head and error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise


class Timer:
    """Calls a function once after some time, unless stopped before."""

    _timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float, action: Callable[[], None]) -> None:
        """Start the timer, if it is not running."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def stop(self) -> None:
        """Stop the timer. Does nothing if it is not running."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Http(H11Protocol):
    """One connection."""

    conn: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        self._no_head, self._unread, self._refused = Timer(), Timer(), False
        self.conn = Connection(h11.SERVER)
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that unread data starts the alarm, down to the last byte
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Discard what follows a refused request."""
        for start in range(0, len(data), PIECE):
            if not self._refused:
                super().data_received(data[start : start + PIECE])
                self._watch_head()

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        super().on_response_complete()
        self._watch_head()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to."""
        super().pause_writing()
        self._unread.start(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        super().connection_lost(exc)
        self._no_head.stop()
        self._unread.stop()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP. Called instead of the app."""
        if not self.conn.head_too_large:
            self._refuse(ErrorCode.REQUEST_MALFORMED, "The request is not valid HTTP", msg)
        elif b"\n" in self.conn.trailing_data[0]:
            detail = "At most {most} headers and {bytes} bytes are allowed."
            most = {"most": MAX_HEADERS, "bytes": MAX_HEADER_BYTES}
            self._refuse(ErrorCode.HEADERS_TOO_LARGE, "The request has too many headers", detail, **most)
        else:
            detail = "At most {most} bytes are allowed."
            self._refuse(ErrorCode.ADDRESS_TOO_LONG, "The address is too long", detail, most=MAX_TARGET_BYTES)

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # http.uploads limits the time of its body
            self._no_head.stop()
        elif not self.transport.is_closing():
            self._no_head.start(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            detail = "Its head has to arrive within {seconds:g} seconds."
            self._refuse(ErrorCode.REQUEST_TIMEOUT, "The request took too long", detail, seconds=HEAD_S)
        else:
            self.transport.close()

    def _refuse(self, code: ErrorCode, message: str, detail: str, /, **params: object) -> None:
        """Answer, and close a little later: a client that still sends would see a reset instead of the response."""
        self._refused = True
        if self.cycle is not None:  # the request's body was malformed: the app's response is not wanted
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = {"Connection": "close", REQUEST_ID: new_request_id(), **SECURE}
            told = respond_to(ApiError(code, message, detail, headers, **params))
            head = h11.Response(status_code=told.status_code, headers=told.raw_headers)
            for event in (head, h11.Data(data=bytes(told.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)
