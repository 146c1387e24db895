"""Reads multipart forms and streams their files to disk.

The framework's own parser spools whole files before any limit applies. This one counts bytes as they arrive, keeps only
the expected files, and ends the upload at the first byte too many.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio
from fastapi import UploadFile
from pydantic import TypeAdapter
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request

from api.errors import InvalidValue, MalformedForm
from api.http import upload_errors
from api.storage.files import RenderFiles, Staging
from api.threads import entered
from dice_talk.error_codes import ErrorCode

MAX_PARTS = 64
MAX_TEXT_BYTES = 4096
"""Limit of one text field: none needs more than a few dozen characters."""


_MEMBERS = TypeAdapter(dict[str, Any])


class StoredFile(UploadFile):
    """An uploaded file on disk at `path`. The client's name for it is not kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("w+b", buffering=0), size=0)  # unbuffered: readers of the path see every byte
        self.path = path
        self._digest = hashlib.sha256()

    def append(self, data: bytes) -> None:
        """Add to the end. Blocking."""
        rest = memoryview(data)
        while rest:  # a disk that fills up accepts a part, and refuses the next
            rest = rest[self.file.write(rest) :]
        self._digest.update(data)
        self.size = (self.size or 0) + len(data)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of all bytes so far in hex."""
        return self._digest.hexdigest()


class FormSink:
    """Receives a multipart parser's callbacks and turns them into text fields and staged files.

    `limits`: largest size in bytes by file field. Files under other names are not kept, but their names are, so that
    the form model refuses them. Callbacks only check and take notes; `flush` writes, in a thread. The first part is the
    preamble, which is discarded (see `_opening`).
    """

    def __init__(self, staging: Staging, limits: Mapping[str, int]) -> None:
        self._staging, self._limits = staging, limits
        self._header_name, self._header_value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._size, self._parts = "", 0, -1
        self._pending: list[tuple[StoredFile, bytes]] = []
        self._texts: dict[str, bytearray] = {}
        self._files: dict[str, StoredFile] = {}
        self._named: set[str] = set()  # parts with a file name: the user chose a file
        self._whole = False

    def callbacks(self) -> Any:
        """Return the callbacks by the parser's names for them."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def flush(self) -> None:
        """Write what has arrived since the last call. Blocking."""
        for file, data in self._pending:
            file.append(data)
        self._pending.clear()

    def form(self) -> FormData:
        """Return everything that was read, with the files safe on the disk. Blocking.

        An empty file field, which browsers send if no file was chosen, is left out. Raises `InvalidValue` if the form
        is incomplete.
        """
        if not self._whole:
            raise InvalidValue(ErrorCode.FORM_DAMAGED, "The form can't be read", "It ends before its last boundary.")
        self.flush()
        for file in self._files.values():
            os.fsync(file.file.fileno())
        empty = [name for name, file in self._files.items() if not file.size and name in self._named]
        if empty:
            raise InvalidValue(
                ErrorCode.FILE_EMPTY, "The {field} file is empty", "Send a file that holds something.", field=empty[0]
            )
        files = {name: file for name, file in self._files.items() if file.size}
        return FormData({**{name: text.decode(errors="replace") for name, text in self._texts.items()}, **files})

    def close(self) -> None:
        """Close the files. Blocking."""
        for file in self._files.values():
            file.file.close()

    def _on_part_begin(self) -> None:
        self._disposition, self._size = b"", 0
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedForm(
                ErrorCode.FORM_PARTS, "The form has too many parts", "At most {most} are allowed.", most=MAX_PARTS
            )

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._in_preamble:
            return
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if self._name in self._texts or self._name in self._files:
            raise MalformedForm(
                ErrorCode.FIELD_REPEATED, "{field} was sent twice", "Send each field once.", field=self._name[:100]
            )
        if options.get(b"filename"):
            self._named.add(self._name)
        if self._name in self._limits:
            self._files[self._name] = StoredFile(self._staging.path(self._name))
        else:
            self._texts[self._name] = bytearray()

    def _on_end(self) -> None:
        self._whole = True

    @property
    def _in_preamble(self) -> bool:
        return self._parts == 0

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_preamble:
            return
        self._size += end - start
        if file := self._files.get(self._name):
            if self._size > self._limits[self._name]:
                raise upload_errors.file_too_large(self._name, self._limits)
            self._pending.append((file, data[start:end]))
        elif self._size <= MAX_TEXT_BYTES:
            self._texts[self._name].extend(data[start:end])
        else:
            raise MalformedForm(
                ErrorCode.FIELD_TOO_LONG,
                "{field} is too long",
                "At most {most} bytes; files are taken as {files} only.",
                field=self._name[:100],
                most=MAX_TEXT_BYTES,
                files=" and ".join(self._limits),
            )


@asynccontextmanager
async def receive_form(
    request: Request, files: RenderFiles, limits: Mapping[str, int], seconds: float
) -> AsyncIterator[FormData]:
    """Read the request's multipart form. Its files lie in a staging folder, which is removed at the end.

    `limits`: largest size in bytes by file field. Raises `UploadTooLarge`, `UploadTimeout`, `MalformedForm`.
    """
    async with entered(files.staging()) as staging:
        sink = FormSink(staging, limits)
        try:
            try:
                with anyio.fail_after(seconds):
                    form = await _read(request, sink, limits)
            except ClientDisconnect as error:
                raise upload_errors.aborted() from error
            except TimeoutError as error:
                raise upload_errors.late(seconds) from error
            yield form
        finally:
            await asyncio.to_thread(sink.close)


async def _read(request: Request, sink: FormSink, limits: Mapping[str, int]) -> FormData:
    allowed = sum(limits.values()) + upload_errors.FRAMING_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > allowed:
        raise upload_errors.body_too_large("The upload", limits)
    received = 0
    try:
        boundary = _boundary(request)
        parser = MultipartParser(boundary, sink.callbacks())
        parser.write(_opening(boundary))
        async for chunk in request.stream():
            received += len(chunk)
            if received > allowed:
                raise upload_errors.body_too_large("The upload", limits)
            parser.write(chunk)
            await asyncio.to_thread(sink.flush)
        parser.finalize()
    except FormParserError as error:
        raise InvalidValue(
            ErrorCode.FORM_DAMAGED,
            "The form can't be read",
            "Send well-formed multipart/form-data, with part headers of at most 4 KB.",
        ) from error
    return await asyncio.to_thread(sink.form)


def _opening(boundary: bytes) -> bytes:
    """Return bytes that begin a part whose body is the preamble.

    Every boundary then follows a part, and the parser itself handles what RFC 2046 allows around boundaries: a
    preamble, and blanks after a boundary.
    """
    return b"--" + boundary + b"\r\n\r\n\r\n"


async def receive_fields(
    request: Request, files: RenderFiles, seconds: float, *, may_be_empty: Collection[str]
) -> dict[str, Any]:
    """Return the text fields of a small form of any kind, or the members of a JSON object; {} without a body.

    Empty fields of a form are left out if they are in `may_be_empty`. Raises what `receive_form` raises.
    """
    fields, is_form = await _receive_fields(request, files, seconds)
    if not is_form:
        return fields
    return {name: value for name, value in fields.items() if value or name not in may_be_empty}


async def _receive_fields(request: Request, files: RenderFiles, seconds: float) -> tuple[dict[str, Any], bool]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with receive_form(request, files, {}, seconds) as form:
            return dict(form), True
    body = await _read_small(request, seconds)
    if not body:
        return {}, False
    try:
        if kind == "application/json":
            members = _MEMBERS.validate_json(body)
            json.loads(body, object_pairs_hook=_without_repetition)  # pydantic would keep the last of repeated members
            return members, False
        if kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_PARTS)
            return _without_repetition(pairs), True
    except ValueError as error:
        raise MalformedForm(
            ErrorCode.FORM_MALFORMED, "The request can't be read", "Send a well-formed form or JSON object."
        ) from error
    raise MalformedForm(
        ErrorCode.FORM_TYPE, "The request is neither a form nor JSON", "Send a form, a JSON object, or nothing."
    )


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises `MalformedForm`."""
    fields = dict[str, Any]()
    for name, value in pairs:
        if name in fields:
            raise MalformedForm(
                ErrorCode.FIELD_REPEATED, "{field} was sent twice", "Send each field once.", field=name[:100]
            )
        fields[name] = value
    return fields


async def _read_small(request: Request, seconds: float) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > upload_errors.FRAMING_BYTES:
                    raise upload_errors.body_too_large("The request", {})
    except ClientDisconnect as error:
        raise upload_errors.aborted() from error
    except TimeoutError as error:
        raise upload_errors.late(seconds) from error
    return bytes(body)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise MalformedForm(
            ErrorCode.FORM_TYPE,
            "The request is not a form with files",
            "Send multipart/form-data; /docs lists its fields.",
        )
    return options[b"boundary"]
