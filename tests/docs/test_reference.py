"""The generated reference pages are those that the code gives today."""

import re
from pathlib import Path

import pytest

from docs.generate import REFERENCE_FOLDER, pages

ROOT = Path(__file__).parents[2]
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_up_to_date(name):
    path = REFERENCE_FOLDER / name
    assert path.exists(), f"docs/reference/{name} is missing: run `make docs`"
    assert path.read_text(encoding="utf-8") == PAGES[name], f"docs/reference/{name} is stale: run `make docs`"


def markdown_files():
    found = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
    return sorted(path.relative_to(ROOT) for path in found)


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_links_within_the_repository_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [*re.findall(r"\]\(([^)#\s]+)", text), *re.findall(r'(?:src|srcset|href)="([^"#]+)"', text)]
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    missing = [target for target in local if not (ROOT / page.parent / target).exists()]
    assert missing == []
