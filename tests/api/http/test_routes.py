"""All routes together: which need a key, and what the OpenAPI document says."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from api import keys
from api.http.routes import GUARDED
from api.http.routes.base import KeyRoute
from api.keys import KeyFile
from tests.api.parts import Parts, make_parts

OPEN = {"/api/health", "/api/live", "/api/ready"}


@pytest.fixture
def document(parts: Parts) -> Any:
    return parts.app.openapi()


def test_every_route_but_those_of_health_asks_for_a_key() -> None:
    for router in GUARDED:
        assert router.routes
        assert all(isinstance(route, KeyRoute) for route in router.routes)


def test_what_is_open_is_only_what_is_meant_to_be(parts: Parts) -> None:
    unguarded = {
        route.path for route in parts.app.routes if isinstance(route, APIRoute) and not isinstance(route, KeyRoute)
    }
    assert {path for path in unguarded if path.startswith("/api")} <= OPEN


def test_the_document_tells_of_keys_where_they_are_needed(parts: Parts, tmp_path: Any) -> None:
    keys.add(tmp_path / "keys", "alice")
    guarded = make_parts(parts.settings, parts.store, parts.files, keys=KeyFile(tmp_path / "keys")).app.openapi()
    assert guarded["components"]["securitySchemes"] == {"API key": {"type": "http", "scheme": "bearer"}}
    for path, operations in guarded["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN)
            assert ({"401", "403", "429"} <= set(operation["responses"])) == (path not in OPEN)
    document = parts.app.openapi()
    assert "securitySchemes" not in document["components"]


def test_the_frameworks_own_errors_are_not_documented(document: Any) -> None:
    assert "ValidationError" not in str(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "500" in operation["responses"], path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert "application/json" in response["content"], (path, status)
                    assert "text/event-stream" not in response["content"], (path, status)


@pytest.mark.parametrize("form", ["RenderForm", "PreflightForm"])
def test_forms_begin_with_their_files_and_have_no_null(document: Any, form: str) -> None:
    fields = document["components"]["schemas"][form]["properties"]
    assert list(fields)[:2] == ["image", "audio"]
    assert not any("anyOf" in field for field in fields.values())
