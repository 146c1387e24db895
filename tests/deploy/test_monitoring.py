"""The dashboard asks for what the service gives."""

import json
import re
from collections.abc import Iterator
from typing import Any

import requests

from tests.conftest import Service
from tests.deploy.conftest import DEPLOY

NAME = re.compile(r"\b(?:dice_talk|process)_[a-z_]+\b")
LABELS = re.compile(r"\{\{(\w+)\}\}|by \(([\w, ]+)\)")


def questions(part: Any) -> Iterator[tuple[str, str]]:
    """Every query of the dashboard, with the words for its lines."""
    if isinstance(part, dict):
        for key in ("expr", "query"):
            if isinstance(part.get(key), str):
                yield part[key], part.get("legendFormat", "")
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from questions(item)


def test_every_metric_and_label_of_the_dashboard_exists(real_service: Service) -> None:
    text = requests.get(f"{real_service.url}/metrics", timeout=30).text
    text += requests.get(f"{real_service.url}/metrics", timeout=30).text  # the first one was a request, too
    series: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        series.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    asked = list(questions(json.loads((DEPLOY / "grafana.json").read_text())))
    names = {name for expression, _ in asked for name in NAME.findall(expression)}
    assert len(names) >= 14
    assert names <= set(series)
    for expression, legend in asked:
        known = set().union(*(series[name] for name in NAME.findall(expression)), {"job"})
        labels = {
            label for found in LABELS.findall(expression + legend) for label in re.findall(r"\w+", " ".join(found))
        }
        assert labels <= known, expression
