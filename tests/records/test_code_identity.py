"""An identity of code follows what the code computes, not where it stands or how it is written."""

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.records.provenance import parts
from experiments.records.provenance.closure import Closure

Tree = dict[str, str]
TREE: Tree = {
    "__init__": "",
    "errors": "class Bad(Exception):\n    pass\n",
    "progress": "def say(text):\n    print(text)\n",
    "numbers/__init__": "from package.numbers.steps import half\n__all__ = ['half']\n",
    "numbers/steps": (
        "import math\n"
        "from package.errors import Bad\n"
        "from package.progress import say\n"
        "FACTOR = 2\n"
        "UNUSED = 3\n"
        "def half(value: float, by=FACTOR):\n"
        '    """Halve."""\n'
        "    if value < 0:\n"
        "        raise Bad(f'{value} is below 0')\n"
        "    say(f'halving {value}')\n"
        "    return math.floor(value / by)\n"
        "def unused():\n"
        "    return UNUSED\n"
    ),
    "shapes": (
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Box:\n"
        "    side: int = 1\n"
        '    """In metres."""\n'
        "    def area(self):\n"
        "        return self.side * self.side\n"
        "    def edge(self):\n"
        "        return 4 * self.side\n"
    ),
    "entry": (
        "from package import numbers\n"
        "from package.shapes import Box\n"
        "def run(boxes: list[Box]):\n"
        "    total = [numbers.half(box.area()) for box in boxes]\n"
        "    return total if even(len(boxes)) else odd(len(boxes))\n"
        "def even(n):\n"
        "    return True if n == 0 else odd(n - 1)\n"
        "def odd(n):\n"
        "    return False if n == 0 else even(n - 1)\n"
    ),
}


@pytest.fixture
def identity(tmp_path: Path) -> Callable[..., str]:
    """Write a tree of modules and return the identity of what its entry reaches."""
    numbers = iter(range(100))

    def write(tree: Tree, entry: str = "package.entry.run") -> str:
        source = tmp_path / str(next(numbers)) / "package"
        for name, text in tree.items():
            file = source / (name if "." in name else f"{name}.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Closure(source, outside=("errors", "progress"), settings=("config",)).hash([entry])

    return write


def edited(name: str, old: str, new: str) -> Tree:
    assert old in TREE[name]
    return TREE | {name: TREE[name].replace(old, new)}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers/steps", "FACTOR = 2\n", "FACTOR = 2  # by how much\n"),
        ("numbers/steps", '"""Halve."""', '"""Divide by two."""'),
        ("numbers/steps", '    """Halve."""\n', ""),
        ("numbers/steps", "UNUSED = 3", "UNUSED = 4"),
        ("numbers/steps", "{value} is below 0", "{value}: give a number from 0 on"),
        ("numbers/steps", "halving {value}", "half of {value}"),
        ("numbers/steps", "value: float", "value: int"),
        ("numbers/steps", "value / by)", "(value\n        / by)\n    )".replace(")\n    )", "))")),
        ("numbers/steps", "import math\nfrom package.errors import Bad\n",
         "from package.errors import Bad\nimport math\n"),
        ("numbers/steps", "import math\n", "from math import floor\n"),
        ("shapes", "In metres.", "In feet."),
        ("shapes", "side: int", "side: 'int'"),
        ("entry", "total = ", "halves = "),
        ("entry", "even", "is_even"),
        ("errors", "pass", "code = 3"),
        ("progress", "print(text)", "print(text, flush=True)"),
    ],
)  # fmt: skip
def test_what_changes_no_number_changes_no_identity(
    identity: Callable[..., str], name: str, old: str, new: str
) -> None:
    changed = edited(name, old, new)
    if new == "from math import floor\n":
        changed["numbers/steps"] = changed["numbers/steps"].replace("math.floor(", "floor(")
    if new == "halves = ":
        changed["entry"] = changed["entry"].replace("return total", "return halves")
    assert identity(changed) == identity(TREE)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("numbers/steps", "FACTOR = 2", "FACTOR = 4"),
        ("numbers/steps", "by=FACTOR", "by=3"),
        ("numbers/steps", "value / by", "value // by"),
        ("numbers/steps", "math.floor", "math.ceil"),
        ("numbers/steps", "value < 0", "value <= 0"),
        ("numbers/steps", "import math\n", "import math\nmath.e = 3\n"),
        ("numbers/steps", "raise Bad(f'{value} is below 0')", "raise ValueError"),
        ("shapes", "self.side * self.side", "self.side * self.side * 2"),
        ("shapes", "4 * self.side", "5 * self.side"),
        ("shapes", "side: int = 1", "side: int = 2"),
        ("shapes", "@dataclass\n", "@dataclass(frozen=True)\n"),
        ("entry", "False if", "True if"),
        ("entry", "n == 0 else even", "n == 1 else even"),
        ("entry", "return total", "total.sort()\n    return total"),
    ],
)
def test_what_changes_a_number_changes_the_identity(
    identity: Callable[..., str], name: str, old: str, new: str
) -> None:
    assert identity(edited(name, old, new)) != identity(TREE)


def test_a_moved_and_renamed_module_is_the_same_code(identity: Callable[..., str]) -> None:
    moved = {name: text for name, text in TREE.items() if name != "numbers/steps"}
    moved["deep/__init__"] = ""
    moved["deep/halving"] = TREE["numbers/steps"]
    moved["numbers/__init__"] = "from package.deep import halving\nhalf = halving.half\n"
    assert identity(moved) != identity(TREE), "an assignment is code"
    moved["numbers/__init__"] = "from package.deep.halving import half\n"
    assert identity(moved) == identity(TREE)
    moved["entry"] = TREE["entry"].replace(
        "from package import numbers", "import package.deep.halving as numbers"
    )
    assert identity(moved) == identity(TREE)


def test_definitions_in_another_order_are_the_same_code(identity: Callable[..., str]) -> None:
    turned = {name: "\n".join(ast.unparse(one) for one in reversed(ast.parse(text).body))
              for name, text in TREE.items() if name == "entry"}  # fmt: skip
    box = "class Box:\n    side: int = 1\n    def edge(self):\n        return 4 * self.side\n"
    box += "    def area(self):\n        return self.side * self.side\n"
    turned["shapes"] = "from dataclasses import dataclass\n@dataclass\n" + box
    assert identity(TREE | turned) == identity(TREE)


def test_functions_that_trade_places_in_an_expression_are_other_code(
    identity: Callable[..., str],
) -> None:
    text = "def one():\n    return 1\ndef two():\n    return 2\ndef run():\n    return {} - {}\n"
    forth = TREE | {"entry": text.format("one()", "two()")}
    back = TREE | {"entry": text.format("two()", "one()")}
    assert identity(forth) != identity(back)


def test_a_file_that_the_code_names_is_part_of_it(identity: Callable[..., str]) -> None:
    entry = "from pathlib import Path\ndef run():\n    return Path('plain.jinja').read_text()\n"
    with_file = TREE | {"entry": entry, "data/plain.jinja": "{{ messages }}"}
    other_file = with_file | {"data/plain.jinja": "{{ messages[0] }}"}
    unnamed = with_file | {"data/other.jinja": "{{ tools }}"}
    assert identity(with_file) != identity(other_file)
    assert identity(with_file) == identity(unnamed)


def test_the_values_of_a_config_are_no_part_of_the_code_but_what_it_computes_is(
    identity: Callable[..., str],
) -> None:
    config = (
        "class Lora:\n    r: int = 8\n    def problems(self):\n        yield 'r'\n"
        "    @property\n    def scale(self):\n        return 16 / self.r\n"
    )
    entry = "from package.config import Lora\ndef run(lora: Lora):\n    return lora.scale\n"
    tree = TREE | {"config": config, "entry": entry}
    before = identity(tree)
    for old, new in (("r: int = 8", "r: int = 4\n    alpha: int = 2"), ("'r'", "'rank'")):
        assert identity(tree | {"config": config.replace(old, new)}) == before
    assert identity(tree | {"config": config.replace("16 /", "32 /")}) != before


def copied(tmp_path: Path) -> Path:
    copy = tmp_path / "experiments"
    ignored = shutil.ignore_patterns("bases", "__pycache__")
    return Path(shutil.copytree(parts.SOURCE, copy, ignore=ignored))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, object]]:
    """Return the identity of a copy of the project, read anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return parts.code_identity.__wrapped__


Own = Callable[[Path], dict[str, object]]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return the identity of an unchanged copy of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return parts.code_identity.__wrapped__(copied(tmp_path_factory.mktemp("unchanged")))


@pytest.fixture
def changed_parts(own: Own, unchanged: dict[str, object]) -> Callable[[Path], list[str]]:
    """Name the parts in which a copy of the project differs; of scoring the metrics."""

    def changed(source: Path) -> list[str]:
        after = own(source)
        codes = ("training_code", "evaluation_code")
        names = [name for name in codes if unchanged[name] != after[name]]
        one, other = unchanged["scoring_code"], after["scoring_code"]
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        return names + sorted(name for name in other if one.get(name) != other[name])

    return changed


@pytest.mark.slow
def test_the_project_written_anew_without_comments_and_docstrings_is_the_same_code(
    tmp_path: Path, own: Own, unchanged: dict[str, object]
) -> None:
    source = copied(tmp_path)
    for file in source.rglob("*.py"):
        file.write_text(ast.unparse(ast.parse(file.read_text())) + "\n# the end\n")
    assert own(source) == unchanged


@pytest.mark.slow
def test_a_moved_module_of_the_project_is_the_same_code(
    tmp_path: Path, own: Own, unchanged: dict[str, object]
) -> None:
    source = copied(tmp_path)
    (source / "losses").mkdir()
    (source / "losses" / "__init__.py").write_text("")
    (source / "models" / "linear_cross_entropy.py").rename(source / "losses" / "head_loss.py")
    moved = 0
    for file in source.rglob("*.py"):
        text = file.read_text()
        new = text.replace(
            "from experiments.models.linear_cross_entropy", "from experiments.losses.head_loss"
        )
        moved += new != text
        file.write_text(new)
    assert moved
    assert own(source) == unchanged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("training/loraplus.py", "return ", "return 0 or ", ["training_code"]),
        ("data/plain.jinja", "Tools:", "Offered:", ["training_code", "evaluation_code"]),
        (
            "evaluation/batched_generation.py",
            "CHUNK_ROWS = 32",
            "CHUNK_ROWS = 16",
            ["evaluation_code"],
        ),
        ("evaluation/held_out.py", "WINDOW_TOKENS = 256", "WINDOW_TOKENS = 8", ["evaluation_code"]),
        ("evaluation/metrics/restraint.py", '"?" in', '"!" in', ["restraint"]),
        ("evaluation/metrics/json_output.py", "return ", "return {} or ", ["json_output"]),
    ],
)
def test_one_changed_value_changes_the_parts_that_use_it(
    tmp_path: Path,
    changed_parts: Callable[[Path], list[str]],
    file: str,
    old: str,
    new: str,
    changed: list[str],
) -> None:
    source = copied(tmp_path)
    path = source / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert changed_parts(source) == changed


@pytest.mark.slow
def test_code_that_computes_no_score_is_in_no_part(
    tmp_path: Path, changed_parts: Callable[[Path], list[str]]
) -> None:
    source = copied(tmp_path)
    for file in ("reports/tables.py", "records/run_record.py", "analysis/claims/gates.py"):
        text = (source / file).read_text()
        assert "return " in text
        (source / file).write_text(text.replace("return ", "return 0 or "))
    assert changed_parts(source) == []


@pytest.mark.slow
def test_an_added_metric_changes_no_other_part(
    tmp_path: Path, changed_parts: Callable[[Path], list[str]]
) -> None:
    source = copied(tmp_path)
    text = 'DIRECTION = {"words": "minimize"}\ndef score(item):\n    return {"words": 1.0}\n'
    (source / "evaluation" / "metrics" / "words.py").write_text(text)
    assert changed_parts(source) == ["words"]


@pytest.mark.slow
def test_an_identity_is_kept_for_the_same_files(tmp_path: Path, own: Own) -> None:
    source = copied(tmp_path)
    first = own(source)
    [kept] = (tmp_path / "cache").rglob("*.json")
    kept.write_text('{"training_code": "kept"}')
    assert own(source) == {"training_code": "kept"}
    kept.write_text("{")
    assert own(source) == first
