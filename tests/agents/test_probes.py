"""Probes read state without a server, and never run what a server could have written."""

from pathlib import Path

from experiments.agents import probes
from experiments.agents.episode_folder import EpisodeFolder


def test_a_repository_cannot_make_the_probe_write_outside_the_folder(
    tmp_path: Path, bwrap: str
) -> None:
    folder = EpisodeFolder(tmp_path / "root", bwrap)
    folder.prepare([{"git": [{"files": {"a.txt": "a\n"}, "message": "First"}]}])
    trap = tmp_path / "trap"
    config = folder.place.folder / "repo/.git/config"
    config.write_text(f"{config.read_text()}\n[core]\nfsmonitor = touch {trap}\n")
    assert probes.read(folder.place, "git_log", "HEAD") == ["First"]
    assert probes.read(folder.place, "git_staged", "") == []
    assert probes.read(folder.place, "git_file", "a.txt") == ["a"]
    assert not trap.exists()


def test_what_is_not_there_is_none_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path / "root", "none")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (folder.place.folder / "files/link.txt").symlink_to(outside)
    (folder.place.folder / "memory/graph.jsonl").write_text("{broken")
    for probe, path in (
        ("text", "link.txt"),
        ("names", "nowhere"),
        ("sql", "SELECT 1 FROM nowhere"),
        ("observations", "Ada"),
        ("git_log", "HEAD"),
    ):
        assert probes.read(folder.place, probe, path) is None, probe


def test_operators_do_not_raise_on_values_of_other_kinds() -> None:
    values = [None, 1, "7", [1], {"a": [2]}, True]
    for operator in probes.OPERATORS.values():
        for found in values:
            for value in (1, 2.5):
                assert operator(found, value) in (True, False)
    assert probes.OPERATORS["unordered_equal"](["b", "a"], ["a", "b"])
    assert not probes.OPERATORS["<"]("1", 2)
