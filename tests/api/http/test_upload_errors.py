"""Errors of uploads: the right code, and figures that match the limits."""

from api.http import upload_errors
from api.settings import MEGABYTE
from dice_talk.error_codes import ErrorCode

LIMITS = {"image": 10 * MEGABYTE, "audio": 5 * MEGABYTE // 2}


def test_an_upload_that_is_late_names_its_time() -> None:
    error = upload_errors.late(2.5)
    assert (error.code, error.status, error.params) == (ErrorCode.UPLOAD_TIMEOUT, 408, {"seconds": 2.5})
    assert error.detail == "It has to arrive within 2.5 seconds."


def test_a_file_that_is_too_large_names_every_limit() -> None:
    error = upload_errors.file_too_large("audio", LIMITS)
    assert (str(error), error.code, error.status) == ("audio is too large", ErrorCode.FILE_TOO_LARGE, 413)
    assert error.detail == "Allowed: image at most 10 MB, audio at most 2.5 MB."
    assert error.params["field"] == "audio"


def test_a_body_without_files_has_a_limit_of_its_own() -> None:
    with_files, without = (upload_errors.body_too_large("The upload", limits) for limits in (LIMITS, {}))
    assert with_files.detail == "Allowed: image at most 10 MB, audio at most 2.5 MB."
    assert without.detail == "Allowed: 512 KB, and no files."
    assert {with_files.status, without.status} == {413}


def test_a_client_that_is_gone() -> None:
    assert upload_errors.aborted().code is ErrorCode.UPLOAD_ABORTED
