"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recsys.features import catalog
from recsys.settings import Settings
from recsys.sources.files import schema_as_markdown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_schema_of_files_is_the_documented_one() -> None:
    assert schema_as_markdown().strip() in (ROOT / "docs" / "files.md").read_text()


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    told = set(re.findall(r"`RECSYS_([A-Z_]+)`", README)) - {"KUAIRAND"}
    assert told == {name.upper() for name in Settings.model_fields}


def test_every_command_of_the_readme_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert told <= targets, told - targets


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_glossary_names_a_real_column() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert "`user_watch_ms_sum_7d`" in glossary
    assert "user_watch_ms_sum_7d" in catalog.AGGREGATES
