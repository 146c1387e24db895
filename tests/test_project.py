"""What belongs together in several files agrees: the version, the checks before a commit and in CI, links."""

import re
from pathlib import Path

import pytest
import yaml

from api.settings import OTHER_VARIABLES, Settings
from dice_talk import __version__
from tests.conftest import ROOT

DOCUMENTS = sorted(
    path for path in {*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/**/*.md")} if ".venv" not in path.parts
)


def test_documents_show_this_version() -> None:
    shown = re.findall(r'"(?:version|dice-talk-server)": "(\d.*?)"', (ROOT / "docs" / "api.md").read_text())
    assert len(shown) >= 2
    assert set(shown) == {__version__}


def test_the_changelog_knows_this_version() -> None:
    """Newest first: what comes next, then releases with their days."""
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads if head != "[Unreleased]")
    assert any(head.startswith(f"[{__version__}]") for head in heads) or f"\nWill be {__version__}." in text


def test_before_a_commit_runs_what_ci_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    ours = {hook["entry"] for hook in hooks}
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    theirs = {line for line in lines if line.startswith(".venv/bin/") and " pip install " not in line}
    assert len(theirs) >= 4
    assert theirs <= ours


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda file: file.stem
)
def test_issue_forms_are_forms(file: Path) -> None:
    form = yaml.safe_load(file.read_text())
    if file.stem != "config":
        assert form.keys() >= {"name", "description", "body"}
        assert {part["type"] for part in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        identities = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(identities) == len(set(identities))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Files exist, and so do the headings that are named in them."""
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", document.read_text()):
        path, _, heading = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), target


def anchors(document: Path) -> set[str]:
    """Headings as GitHub makes addresses of them."""
    heads = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("suffix", ["", ".zh-CN"])
def test_the_readme_is_short_and_the_index_names_every_page(suffix: str) -> None:
    assert len((ROOT / f"README{suffix}.md").read_text().splitlines()) < 120
    index = ROOT / "docs" / f"README{suffix}.md"
    named = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    pages = {path for path in index.parent.glob("*.md") if ".zh-CN" not in path.name}
    ours = {path.with_suffix(f"{suffix}.md") if path.with_suffix(f"{suffix}.md").exists() else path for path in pages}
    assert {path.name for path in ours - {index} - named} == set()


@pytest.mark.parametrize("page", ["settings.md", "settings.zh-CN.md"])
def test_the_table_of_settings_names_settings(page: str) -> None:
    """With their defaults, where these are values."""
    rows = re.findall(r"^\| (`DICE_TALK_\w+`.*?) \| (.*?) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert len(rows) > 20
    for names, default in rows:
        for name in re.findall(r"`DICE_TALK_(\w+)`", names):
            if f"DICE_TALK_{name}" in OTHER_VARIABLES:
                continue
            value = Settings.model_fields[name.lower()].default
            wanted = str(value).lower() if isinstance(value, bool) else str(value)
            assert not value or default in (wanted, wanted.removesuffix(".0")), f"{name}: {default}, not {wanted}"
