"""Errors as the OpenAPI document shows them are errors as they are sent."""

from api.http.errors import ErrorBody
from api.http.routes import examples
from api.http.routes.examples import BUSY, NOT_FOUND, QUEUE_FULL, TIMED_OUT, UPLOAD_ERRORS, documented

BODIES = {name: body for name, body in vars(examples).items() if isinstance(body, dict) and "error" in body}


def test_every_example_is_an_error_body() -> None:
    assert len(BODIES) > 25
    for name, body in BODIES.items():
        assert set(body) <= set(ErrorBody.model_fields), name
        assert ErrorBody.model_validate(body).error, name
        assert all(body.values()), name


def test_every_example_is_used_by_a_route() -> None:
    from api.http import routes
    from api.http.routes import inspection, service, synthesis, tasks

    modules = (routes, inspection, service, synthesis, tasks)
    used = {name for module in modules for name in BODIES if getattr(module, name, None) is BODIES[name]}
    shared = [body for each in UPLOAD_ERRORS.values() for body in each.values()]
    assert used | {name for name, body in BODIES.items() if body in shared} == set(BODIES)


def test_shared_examples_and_those_of_a_call_stand_together() -> None:
    shown = documented({503: {"queue full": QUEUE_FULL}, 404: {"unknown": NOT_FOUND}}, UPLOAD_ERRORS)
    assert list(shown) == [404, 408, 422, 503]
    assert shown[503]["description"] == "queue full / too many uploads / shutting down"
    assert shown[408]["content"]["application/json"]["examples"] == {"too slow": {"value": TIMED_OUT}}


def test_a_status_shows_all_its_examples() -> None:
    shown = documented({404: {"unknown": NOT_FOUND}, 503: {"full": QUEUE_FULL, "busy": BUSY}})
    assert shown.keys() == {404, 503}
    assert (shown[404]["description"], shown[503]["description"]) == ("unknown", "full / busy")
    assert shown[503]["content"]["application/json"]["examples"]["busy"] == {"value": BUSY}
    assert "headers" not in shown[404]
    assert "Retry-After" in shown[503]["headers"]
    assert shown[404]["model"] is ErrorBody
