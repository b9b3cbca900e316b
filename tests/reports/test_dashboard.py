"""The dashboard shows a sweep: its runs as one group, their differences, and its report."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, SMOKE, Cli, environment, load
from experiments.cli.main import main
from experiments.errors import ConfigError
from experiments.records import tracking
from support import commands
from support.report_records import record

TRACKED = [text for text in SMOKE if text != "tracker=none"]
STARTED = """
tracker: {kind: KIND, project: mine, group: null}
hydra:
  overrides: {task: ["lora.r=2,8", "trainer=smoke", "eval.base=false", "seed=0,1"]}
  sweeper: {params: {lora: qv, data.train_rows: "10,20"}}
"""


def started(sweep: Path, kind: str = "trackio") -> Path:
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / "multirun.yaml").write_text(STARTED.replace("KIND", kind), encoding="utf-8")
    return sweep


# --- what is sent ---


def test_an_arm_is_what_the_runs_of_a_sweep_do_not_share(tmp_path: Path) -> None:
    sweep = started(tmp_path / "sweep")
    given = ["lora=qv", "data.train_rows=10", "lora.r=2", "trainer=smoke", "seed=1", "name=me"]
    given.append("eval.base=False")  # as Hydra writes it
    assert tracking.arm(given, sweep) == "data.train_rows=10 lora.r=2"
    assert tracking.arm(["lora=qv", "trainer=smoke", "seed=0"], sweep) == "defaults"
    assert tracking.arm(given, tmp_path) is None


def test_a_folder_says_where_its_runs_are_shown(tmp_path: Path) -> None:
    sweep = started(tmp_path / "sweep")
    assert tracking.place_of(sweep) == tracking.TrackioGroup("mine", "sweep")
    run = sweep / "0"
    (run / ".hydra").mkdir(parents=True)
    written = "tracker: {kind: trackio, project: mine, group: own}\n"
    (run / ".hydra" / "config.yaml").write_text(written, encoding="utf-8")
    assert tracking.place_of(run) == tracking.TrackioGroup("mine", "own")
    assert tracking.place_of(started(tmp_path / "silent", "none")) is None
    assert tracking.place_of(tmp_path / "nowhere") is None


def test_a_project_name_that_trackio_would_change_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load("tracker.project='my study'")
    assert str(caught.value) == (
        "tracker.project=my study: a project name may contain only letters, digits, `_` and `-`."
    )


# What training sends, without training: two sweeps that share a run, which is made again, and the
# report twice. A process of its own, because trackio reads TRACKIO_DIR once.
_SEND = """
import sys
from pathlib import Path
from conftest import load
from experiments import config, reports
from experiments.cli.main import main
from experiments.records.tracking import Tracker

main(["dashboard"])
for sweep, r, fresh in (("one", 2, True), ("one", 8, True), ("two", 8, True), ("one", 8, False)):
    run = load(f"lora.r={r}", "tracker.project=mine")
    run_id = config.run_id(run)
    asked = [f"lora.r={r}"]
    tracker = Tracker(run, run_id=run_id, sweep_dir=Path(sweep), overrides=asked, fresh=fresh)
    tracker.log({"loss": 1.0 / r}, step=1)
    tracker.finish({"calls/exact": 0.5}, 1)
for _ in range(2):
    print(reports.send(Path("one")), reports.send(Path("silent")), reports.send(Path("one/0")))
main(["dashboard", "three"])
tracker = Tracker(run, run_id=run_id, sweep_dir=Path("two"))
tracker.log({"loss": 1.0}, step=1)
tracker.finish({}, 1)
Path("outputs/trackio/broken.db").write_text("not a database")
main(["dashboard", "broken"])
"""


def sent(folder: Path) -> "subprocess.CompletedProcess[str]":
    for job, r in enumerate((2, 8)):
        run = started(folder / "one") / str(job)
        run.mkdir()
        tree = record(f"r{r}", job=job, overrides=[f"lora.r={r}"])
        tree["config"]["lora"]["r"] = r
        (run / "run.json").write_text(json.dumps(tree), encoding="utf-8")
        shutil.copytree(run, started(folder / "silent", "none") / str(job))
    tests = str(ROOT / "tests")
    return commands.run(
        [sys.executable, "-c", _SEND],
        cwd=folder,
        env=environment(PYTHONPATH=tests, TRACKIO_DIR=""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def configs(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    with contextlib.closing(sqlite3.connect(folder / "outputs" / "trackio" / "mine.db")) as db:
        rows = db.execute("select run_name, config from configs").fetchall()
    return sorted((name, json.loads(text)) for name, text in rows)


@pytest.mark.slow
def test_a_sweep_is_one_group_with_one_report_however_often_it_is_sent(tmp_path: Path) -> None:
    done = sent(tmp_path)
    assert done.returncode == 0, done.stderr
    shown = "`python -m experiments dashboard one` shows it as 'REPORT one' None None"
    assert [line for line in done.stdout.splitlines() if "REPORT" in line] == [shown, shown]
    found = configs(tmp_path)
    reported, two, eight, eight_again, third = found
    groups = [c["_Group"] for _, c in found]
    assert groups == ["report", "one", "one", "two", "two"], "sorted by name"
    assert eight_again[0] == f"{eight[0]},two", "the shared run stays in both sweeps"
    assert third[0] == f"{eight[0]},two,2", "made again beside it: a curve of its own"
    assert (eight[1]["lora/r"], two[1]["lora/r"]) == (8, 2)
    assert (two[1]["arm"], eight_again[1]["arm"]) == ("lora.r=2", None)
    varies = ("lora/r", "arm", "run_id")
    shared = {k: v for k, v in two[1].items() if k not in varies and not k.startswith("_")}
    assert {k: v for k, v in reported[1].items() if not k.startswith("_")} == shared
    media = tmp_path / "outputs" / "trackio" / "media" / "mine" / "REPORT one" / "0"
    # One page and two figures (the arms, quality against cost), those of the first time gone.
    assert sorted(file.suffix for file in media.iterdir()) == [".html", ".png", ".png"]
    where = tmp_path / "outputs" / "trackio"
    *said, broken = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert broken.startswith(f"error: {where} cannot be shown (Could not migrate project 'broken'")
    assert said == [
        f"error: there is no trackio project in {where}: runs create one unless tracker=none; set "
        "TRACKIO_DIR if it is elsewhere.",
        f"error: dashboard three: {where} has no project or tracked sweep of this name: name "
        "one of the projects mine or the sweeps one, two.",
    ]


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--port", "0"]) == 1
    assert capsys.readouterr().err == "error: --port 0: give a number from 1 to 65535.\n"


# --- in a browser ---


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Return a headless Chromium, or skip."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromium-driver (Debian packages) are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1500,1100", f"user-data-dir={tmp_path / 'chrome'}"),
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(driver)
    opened = webdriver.Chrome(options=options, service=service)
    try:
        yield opened
    finally:
        opened.quit()


@contextlib.contextmanager
def served(folder: Path, what: str) -> Iterator[str]:
    """Yield the address that `dashboard` prints, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "experiments", "dashboard", what, "--no-browser"]
    process = commands.Popen(
        command, cwd=folder, env=environment(TRACKIO_DIR=""), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        first = process.stdout.readline()
        try:
            assert first.startswith("dashboard of lora-experiments: http://127.0.0.1:"), first
            yield first.rpartition(" ")[2].strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0


def until(look: Callable[[], Any]) -> Any:
    """Return what a look at the page finds; it is drawn bit by bit."""
    from selenium.common.exceptions import StaleElementReferenceException

    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(StaleElementReferenceException):
            if found := look():
                return found
        time.sleep(0.1)
    pytest.fail("the page does not show it")


class Page:
    """What a user does on the dashboard."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def texts(self, selector: str) -> list[str]:
        found = self.browser.find_elements("css selector", selector)
        return [element.text.strip() for element in found if element.text.strip()]

    def click(self, selector: str, text: str) -> None:
        def there() -> Any:
            found = self.browser.find_elements("css selector", selector)
            return next((e for e in found if text in e.text), None)

        until(there).click()

    def rows(self) -> dict[str, list[str]]:
        """Return the run comparer: key -> its value in each run."""
        table = self.browser.find_elements("css selector", ".comparer-table tr.differs")
        cells = [[c.text for c in row.find_elements("css selector", "td")] for row in table]
        return {key: values for key, *values in cells}


@pytest.mark.slow
def test_the_dashboard_groups_a_sweep_compares_its_runs_and_shows_its_report(
    tmp_path: Path, cli: Cli, browser: Any
) -> None:
    line = ("-m", "lora.r=2,8", "seed=0,1", *TRACKED, "eval.base=false", "trainer.max_steps=2")
    done = cli(*line, "hydra.sweep.dir=outputs/ranks", TRACKIO_DIR="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("REPORT ranks") == 1
    page = Page(browser)
    with served(tmp_path, "ranks") as address:
        browser.get(address)
        runs = until(lambda: page.texts(".checkbox-list label"))
        assert len(runs) == 5 and sum(name.startswith("all_linear,r=") for name in runs) == 4

        browser.find_element("css selector", ".group-by-row input").click()
        until(lambda: "lora/r" in page.texts("[role=option]"))
        offered = set(page.texts("[role=option]"))
        assert {"arm", "lora/label", "lora/r", "seed", "trainer/learning_rate"} <= offered
        for option in browser.find_elements("css selector", "[role=option]"):
            if option.text.strip() == "lora/r":
                option.click()
                break
        until(lambda: {"2", "8"} <= set(page.texts(".run-group-label")))
        assert page.texts(".run-group-count").count("(2)") == 2

        page.click("label", "Show run comparer")
        page.click(".comparer-controls label", "Diff only")
        rows = until(page.rows)
        assert set(rows) == {"arm", "lora/r", "run_id", "seed", "Created", "Group"}
        assert sorted(rows["lora/r"]) == ["2", "2", "8", "8", "\u2013"], "a report has none"
        assert sorted(rows["arm"])[:4] == ["lora.r=2", "lora.r=2", "lora.r=8", "lora.r=8"]

        page.click(".nav-link", "Media & Tables")
        until(lambda: "report/table" in page.texts(".media-label"))
        assert {"report/arms", "report/table", "report/page"} <= set(page.texts(".media-label"))
        cells = page.texts(".runs-table td")
        assert "lora.r=2" in cells and "lora.r=8" in cells
        browser.switch_to.frame(browser.find_element("css selector", "iframe.html-frame"))
        assert until(lambda: page.texts("h1")) == ["4 runs over lora.r, seed"]
        browser.switch_to.default_content()
        page.click(".nav-link", "Alerts & Reports")
        until(lambda: any("4 finished." in text for text in page.texts("li")))
