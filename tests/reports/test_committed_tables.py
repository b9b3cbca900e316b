"""What every committed table promises: no tie hides its size, no old word, no share of the gain."""

import json
import re
from pathlib import Path

import pytest

from conftest import ROOT

REPORTS = ROOT / "outputs" / "reports"
PAGES = sorted(REPORTS.rglob("README.md"))
_INTERVAL = re.compile(r"([+-]?\d[\d.e+-]*) \[([^,\]?]+), ([^\]?]+)\]")


def rows(page: Path) -> list[dict[str, str]]:
    """Return the rows of all Markdown tables of a page, by heading."""
    found: list[dict[str, str]] = []
    header: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif not cells[0].startswith(":--"):
            found.append(dict(zip(header, cells, strict=False)))
    return found


def excludes_zero(cell: str) -> bool:
    match = _INTERVAL.search(cell)
    return match is not None and not float(match[2]) <= 0 <= float(match[3])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(REPORTS)))
def test_a_difference_whose_interval_excludes_0_is_no_tie_without_its_size(page: Path) -> None:
    for row in rows(page):
        differences = [v for k, v in row.items() if "difference" in k or "estimate" in k]
        claimed = "tied" in row.get("compared with", "")
        verdict = row.get("verdict", "")
        tie = verdict.startswith("holds here") if claimed else "tied" in verdict
        if tie and any(map(excludes_zero, differences)):
            assert re.search(r"[+-]\d", verdict), (page, verdict)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(REPORTS)))
def test_no_verdict_has_a_former_word_or_a_share_of_the_gain_as_margin(page: Path) -> None:
    for row in rows(page):
        verdict = row.get("verdict", "")
        assert not re.search(r"supported|contradicted|undecided", verdict), (page, verdict)
        assert not re.fullmatch(r"tied", verdict)


def test_every_claim_with_an_effect_has_scope_unit_n_and_the_design_in_the_table() -> None:
    page = REPORTS / "claims" / "README.md"
    tested = [row for row in rows(page) if row.get("effect", "-") != "-"]
    assert len(tested) >= 7, "C1, C5, C6, C11, C12 and what was measured"
    for row in tested:
        assert row["scope"] != "-" and row["unit"] != "-", row
        if row["effect"] == "loss/nll, arm - reference":
            assert "test rows" in row["n"] and "%" in row["relative to the reference"], row
            assert float(row["reference"]) > 0
    data = json.loads((REPORTS / "claims" / "claims.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[0-9a-f]{12}", data["design"])
    assert data["design"] in page.read_text(encoding="utf-8")


def test_the_primary_family_and_the_expected_false_verdicts_stand_under_the_table() -> None:
    text = (REPORTS / "claims" / "README.md").read_text(encoding="utf-8")
    assert "Primary family: C1, C5, C6, C11, C12, adjusted by Holm" in text
    assert re.search(r"up to [\d.]+ false verdicts are expected", text)
