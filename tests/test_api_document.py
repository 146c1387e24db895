"""docs/api.md and the OpenAPI document say the same: calls, fields, bounds, defaults, answers and codes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import keys
from api.app import create_app
from api.settings import Settings
from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "api.md").read_text()
PROTOCOL = {405, 414, 431, 505}
"""Answered before any call is found, so that the OpenAPI document, which goes by calls, has no place for them."""
TYPES = {"number": "number", "integer": "integer", "boolean": "boolean", "string": "text"}


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("openapi")
    keys.add(folder / "keys", "alice")
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", api_keys_file=folder / "keys")
    return create_app(settings).openapi()


def operations(openapi: Any) -> Iterator[tuple[str, Any]]:
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            yield f"{verb.upper()} {path}", operation


def resolved(openapi: Any, schema: Any) -> Any:
    if reference := schema.get("$ref"):
        return openapi["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    return schema


def rows(head: str) -> list[list[str]]:
    """Cells of the table whose first line begins with `head`."""
    lines = DOCUMENT[DOCUMENT.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def written(value: object) -> str:
    """A value as the document writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def field_row(openapi: Any, name: str, field: Any, required: bool) -> tuple[str, str, str, str, str]:
    """How a field has to stand in the table; "?" where the words are free."""
    schema = resolved(openapi, field)
    if name in ("image", "audio"):
        return f"`{name}`", "file", "yes", "?", ""
    limits = "?"
    if "enum" in schema:
        limits = ", ".join(f"`{value}`" for value in schema["enum"])
    elif "minimum" in schema and "maximum" in schema:
        kind = int if schema["type"] == "integer" else float
        limits = f"{kind(schema['minimum'])} to {kind(schema['maximum'])}"
    default = written(field["default"]) if field.get("default") is not None else "" if required else "?"
    return f"`{name}`", TYPES[schema["type"]], "yes" if required else "", limits, default


def test_every_call(openapi: Any) -> None:
    assert set(re.findall("`(.*?)`", "".join(row[0] for row in rows("| call |")))) == {
        call for call, _ in operations(openapi)
    }


def test_every_field_with_type_bounds_and_default(openapi: Any) -> None:
    form = openapi["components"]["schemas"]["RenderForm"]
    wanted = [field_row(openapi, name, field, name in form["required"]) for name, field in form["properties"].items()]
    found = {row[0]: row for row in rows("| field |")}
    assert set(found) == {row[0] for row in wanted}
    for row in wanted:
        there = found[row[0]]
        assert there[5], f"{row[0]} has no meaning"
        assert [cell if asked != "?" else "?" for cell, asked in zip(there, row, strict=False)] == list(row)


CALLS = {
    "start": "POST /api/v1/synthesis/start",
    "get_status": "GET /api/v1/synthesis/{task_id}/status",
    "download": "GET /api/v1/synthesis/{task_id}/download",
    "preflight": "POST /api/v1/preflight",
    "get_receipt": "GET /api/v1/synthesis/{task_id}/receipt",
    "get_poster": "GET /api/v1/synthesis/{task_id}/poster",
    "list_tasks": "GET /api/v1/synthesis",
    "follow": "GET /api/v1/synthesis/{task_id}/events",
    "cancel": "POST /api/v1/synthesis/{task_id}/cancel",
    "remove": "DELETE /api/v1/synthesis/{task_id}",
    "retry": "POST /api/v1/synthesis/{task_id}/retry",
    "verify": "POST /api/v1/verify",
    "get_health": "GET /api/health",
    "live": "GET /api/live",
    "ready": "GET /api/ready",
    "get_engines": "GET /api/v1/engines",
    "get_metrics": "GET /metrics",
}
"""In the order of the documents. Clients are generated from the names, so they never change; new ones may be added."""


def test_names_and_order_of_calls(openapi: Any) -> None:
    found = {operation["operationId"]: call for call, operation in operations(openapi)}
    assert list(found.items()) == list(CALLS.items())
    (webhook,) = openapi["webhooks"].values()
    assert webhook["post"]["operationId"] == "tell_end"


def test_every_tag_is_described(openapi: Any) -> None:
    used = {tag for _, operation in operations(openapi) for tag in operation["tags"]}
    assert [tag["name"] for tag in openapi["tags"]] == ["Synthesis", "Service"]
    assert used == {tag["name"] for tag in openapi["tags"] if tag["description"]}


def test_calls_with_files_have_the_errors_of_uploads(openapi: Any) -> None:
    for name in ("start", "preflight", "verify"):
        (responses,) = [each["responses"] for _, each in operations(openapi) if each["operationId"] == name]
        content = {status: responses[status]["content"]["application/json"] for status in ("408", "422", "503")}
        shown = {status: set(each["examples"]) for status, each in content.items()}
        assert shown["408"] == {"too slow"} and shown["422"] == {"malformed form"}
        assert shown["503"] >= {"too many uploads", "shutting down"}


def test_every_parameter_is_named(openapi: Any) -> None:
    names = {parameter["name"] for _, operation in operations(openapi) for parameter in operation.get("parameters", [])}
    assert not {name for name in names if f"`{name}`".lower() not in DOCUMENT.lower() and f"{{{name}}}" not in DOCUMENT}


def test_every_answer_has_an_example_with_all_its_fields(openapi: Any) -> None:
    examples = [set(json.loads(block)) for block in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)]
    for call, operation in operations(openapi):
        body = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        fields = set(resolved(openapi, body).get("properties", ()))
        assert not fields or fields in examples, f"{call}: no example has exactly {sorted(fields)}"


def test_every_state(openapi: Any) -> None:
    assert [row[0].strip("`") for row in rows("| `status` |")] == openapi["components"]["schemas"]["TaskStatus"]["enum"]


def test_every_code(openapi: Any) -> None:
    table = {int(code) for row in rows("| code |") for code in re.findall(r"\d{3}", row[0])}
    answers = {int(code) for _, operation in operations(openapi) for code in operation["responses"]}
    assert table == {code for code in answers if code >= 400} | PROTOCOL


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", DOCUMENT):
        assert Path(ROOT / "docs" / link).exists(), link
