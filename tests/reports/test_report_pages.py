"""A report's page, its LaTeX table and its Reproduce block: self-contained, whole and legal."""

import html.parser
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import FEW_ROWS, ROOT, Cli, environment, load
from experiments import reports
from support.report_records import put, record, single_run, two_arms

# Reports of sweeps; those without runs have a command and tests of their own.
COMMITTED = [f.parent / "README.md" for f in sorted((ROOT / "outputs/reports").glob("*/runs"))]


def reproduce(readme: Path) -> list[str]:
    """Return the commands of a report's Reproduce block."""
    text = readme.read_text(encoding="utf-8")
    [block] = re.findall(
        r"<summary>Reproduce</summary>\n\n```bash\n(.*?)```\n\n</details>", text, re.S
    )
    return [line for line in block.splitlines() if not line.startswith("#")]


class Read(html.parser.HTMLParser):
    """The rows of a page's tables, its addresses and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


# --- the page ---


@pytest.mark.slow
def test_the_page_holds_the_table_the_sentences_and_the_figures_without_any_request(
    tmp_path: Path,
) -> None:
    two_arms(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out", html=True)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Read(text)
    assert not page.open
    assert page.rows[0][:3] == ["arm", "seeds", "calls exact"]
    assert [row[0] for row in page.rows[1:]] == ["base (untuned)", "lora=all_linear", "lora=qv"]
    assert "Means over seeds, with 95 % Student t intervals over seeds." in text
    assert len(page.addresses) == 3, "the arms, their differences and their cost"
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.addresses)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", text), "nothing is fetched"
    assert 'name="viewport"' in text and "overflow-x: auto" in text


def test_text_of_a_record_is_no_markup_on_the_page(tmp_path: Path) -> None:
    put(tmp_path / "0", record("a", overrides=["name=x"]))
    tree = record("b", job=1, overrides=["data.label=<script>alert(1)</script>"])
    tree["config"]["data"]["label"] = "<script>"
    put(tmp_path / "1", tree)
    reports.write(tmp_path, tmp_path / "out", html=True)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text


def test_a_single_run_has_all_its_tables_on_the_page(tmp_path: Path) -> None:
    single_run(tmp_path / "run")
    reports.write(tmp_path / "run", tmp_path / "out", html=True)
    page = Read((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    heads = [row[0] for row in page.rows]
    assert "model" in heads and "category" in heads and "tuned - base" in heads
    assert len(page.addresses) == 2, "the curve and the categories"


@pytest.mark.slow
def test_the_page_is_written_when_asked_for_and_kept_up_to_date(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    page = tmp_path / "out" / "report.html"
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert not page.exists()
    reports.write(tmp_path / "sweep", tmp_path / "out", html=True)
    whole = page.read_text(encoding="utf-8")
    page.write_text("stale", encoding="utf-8")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert page.read_text(encoding="utf-8") == whole


@pytest.mark.slow
def test_records_of_a_report_that_is_its_own_source_stay_as_they_are(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    for file in (tmp_path / "out" / "runs").glob("*.json"):
        former = file.read_text(encoding="utf-8").replace('"status"', '"former_key": 1,\n "status"')
        file.write_text(former, encoding="utf-8")
    before = {f.name: f.read_bytes() for f in (tmp_path / "out" / "runs").iterdir()}
    written = reports.write(tmp_path / "out", tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out" / "runs").iterdir()} == before
    assert {file.name for file in written} >= {"README.md", "runs.csv"}
    assert not any(file.parent.name == "runs" for file in written)


def test_figures_of_the_former_format_are_removed(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    (tmp_path / "out" / "figures").mkdir(parents=True)
    (tmp_path / "out" / "figures" / "arms.png").write_bytes(b"")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert {file.suffix for file in (tmp_path / "out" / "figures").iterdir()} == {".svg"}


# --- the figures of a sweep ---


def drawn(sweep: Path, out: Path) -> set[str]:
    reports.write(sweep, out)
    return {file.stem for file in (out / "figures").glob("*.svg")}


def a_run(seed: int, lora: str, job: int, **given: Any) -> dict[str, Any]:
    tree = record(f"{lora}{seed}", seed=seed, lora=lora, job=job, exact=0.7 + seed / 10)
    tree["scores"]["tuned"] |= {"loss/nll_prose": 0.2 + seed / 100, "loss/nll_json_syntax": 0.0}
    steps = (0, 10, 20, 40)
    tree["curve"] = [{"step": s, "validation_nll": 1 / (1 + s + seed)} for s in steps]
    return tree | given


@pytest.mark.slow
def test_a_sweep_has_its_differences_curves_token_classes_and_cost_drawn(tmp_path: Path) -> None:
    for job, (lora, seed) in enumerate((n, s) for n in ("qv", "mlp") for s in range(3)):
        tree = a_run(seed, lora, job)
        tree["scores"]["tuned"]["calls/exact"] += (lora == "mlp") * (0.02 + seed / 100)
        put(tmp_path / "sweep" / str(job), tree)
    names = {"arms", "differences", "learning_curves", "token_classes", "cost"}
    assert drawn(tmp_path / "sweep", tmp_path / "out") == names
    texts = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert all(f"![{name}](figures/{name}.svg)" in texts for name in names)
    again = {f.name: f.read_bytes() for f in (tmp_path / "out" / "figures").iterdir()}
    drawn(tmp_path / "out", tmp_path / "again")
    assert again == {f.name: f.read_bytes() for f in (tmp_path / "again" / "figures").iterdir()}


@pytest.mark.slow
def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    one_seed = tmp_path / "one"
    bare: dict[str, Any] = {
        "curve": [{"step": 1, "validation_nll": float("nan")}],
        "timing": {},
        "adapter": {},
    }
    for job, lora in enumerate(("qv", "mlp")):
        put(one_seed / str(job), record(lora, lora=lora, job=job, **bare))
    assert drawn(one_seed, tmp_path / "out") == {"arms"}
    many = tmp_path / "many"
    for job in range(11):
        put(many / str(job), a_run(0, f"x{job}", job))
    assert drawn(many, tmp_path / "all") == {"arms"}, "eleven colours are not told apart"


# --- LaTeX ---


def test_the_latex_table_has_a_line_an_arm_with_as_many_cells_as_its_head(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    tree = record("odd", job=9, lora="a_b", overrides=["lora=a_b", "x=50%&{$#^~<\\"])
    put(tmp_path / "sweep" / "9", tree)
    reports.write(tmp_path / "sweep", tmp_path / "out")
    text = (tmp_path / "out" / "table.tex").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.endswith(" \\\\")]
    columns = re.search(r"\\begin\{tabular\}\{(l r*)\}".replace(" ", ""), text)
    assert columns is not None
    assert {len(re.split(r"(?<!\\) & ", line)) for line in lines} == {len(columns[1])}
    assert [line.split(" & ")[0] for line in lines[:4]] == [
        *("arm", "base (untuned)", "lora=all\\_linear", "lora=qv"),
    ]
    odd = "x=50\\%\\&\\{\\$\\#\\textasciicircum{}\\textasciitilde{}\\textless{}\\textbackslash{}"
    assert lines[4].startswith(f"lora=a\\_b {odd} & 1 & 0.800")
    assert "$-$0.053 [$-$0.07, $-$0.04] worse" in lines[3]
    assert "NLL per token $\\downarrow$" in lines[0] and "lower is better" not in text


def test_a_sweep_without_a_finished_run_has_no_latex_table(tmp_path: Path) -> None:
    put(tmp_path / "sweep" / "0", record("bad", status="failed"))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert (tmp_path / "out" / "table.tex").read_text() == "% There are no finished runs.\n"


# --- Reproduce ---


@pytest.mark.parametrize("readme", COMMITTED, ids=lambda path: path.parent.name)
def test_every_line_of_a_committed_reproduce_block_is_legal(readme: Path) -> None:
    commands = reproduce(readme)
    assert commands
    for command in commands:
        program, script, *words = shlex.split(command)
        assert (program, script) == ("python", "train.py")
        sweeps = [word.removeprefix("sweeps=") for word in words if word.startswith("sweeps=")]
        assert all((ROOT / "sweeps" / f"{name}.yaml").is_file() for name in sweeps)
        assert not sweeps or "-m" in words
        given = [word for word in words if not word.startswith(("-", "sweeps=", "hydra"))]
        first = (word.partition("=") for word in given)
        assert load(*(f"{key}={value.split(',')[0]}" for key, _, value in first))


@pytest.mark.slow
@pytest.mark.parametrize("readme", COMMITTED, ids=lambda path: path.parent.name)
def test_every_committed_report_is_what_its_records_say(readme: Path, tmp_path: Path) -> None:
    reports.write(readme.parent, tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_bytes() == readme.read_bytes()


@pytest.mark.slow
def test_the_reproduce_line_of_a_sweep_finds_its_own_runs(cli: Cli, tmp_path: Path) -> None:
    """The line as it stands, in a shell: the same runs, so they are found and not made again."""
    line = (*FEW_ROWS, "data.weights.mcp=2")
    done = cli("-m", "lora.target_modules=[q_proj],[v_proj]", *line, "hydra.sweep.dir=outputs/s")
    assert done.returncode == 0, done.stderr
    reports.write(tmp_path / "outputs" / "s", tmp_path / "report")
    [command] = reproduce(tmp_path / "report" / "README.md")
    words = command.replace("python train.py", f"'{ROOT}/.venv/bin/python' '{ROOT}/train.py'", 1)
    again = subprocess.run(
        ["bash", "-c", words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before in") == 2
