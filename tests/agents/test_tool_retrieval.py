"""Which tools are shown: all, those that BM25 finds, or those of the gold calls."""

import dataclasses

from experiments.agents import agent_specs, benchmark, builtin_tasks, episodes, tool_retrieval
from experiments.agents.scripted_agents import ReplayAgent
from experiments.agents.server_group import ServerGroup

ALL = agent_specs.read("replay")
BM25 = dataclasses.replace(ALL, retriever="bm25", top_k=4)
ORACLE = dataclasses.replace(ALL, retriever="oracle")


def test_bm25_finds_the_tool_that_the_question_describes() -> None:
    tools = {
        "git__git_commit": {"description": "Records changes to the repository"},
        "math__sum": {"description": "Sum a list of numbers"},
        "math__median": {"description": "Find the median of a list of numbers"},
    }
    task = dataclasses.replace(builtin_tasks.tasks(count=1)[0], question="the median of 3 and 5")
    spec = dataclasses.replace(BM25, top_k=1)
    assert list(tool_retrieval.shown(tools, task, spec)) == ["math__median"]
    assert tool_retrieval.shown(tools, task, BM25) == tools


def test_what_is_shown_is_scored_and_a_tool_that_is_not_shown_cannot_be_called(
    servers: ServerGroup,
) -> None:
    tasks = [task for task in builtin_tasks.tasks(count=24) if task.gold]
    found = {
        spec.retriever: list(benchmark.run(tasks, ReplayAgent(), spec, servers))
        for spec in (ALL, BM25, ORACLE)
    }
    means = {name: benchmark.summary(outcomes) for name, outcomes in found.items()}
    for name in ("all", "oracle"):
        assert means[name]["retrieval/recall"] == means[name]["episode/success"] == 1
    assert 0 < means["bm25"]["retrieval/recall"] < 1
    assert means["bm25"]["retrieval/tools_shown"] <= 4 < means["all"]["retrieval/tools_shown"]
    for outcome in found["bm25"]:
        assert outcome.scores is not None
        refused = any(call.outcome == "refused" for call in outcome.episode.calls)
        assert refused == (outcome.scores["retrieval/all_gold_shown"] == 0)


def test_equal_questions_are_shown_equal_tools(servers: ServerGroup) -> None:
    task = builtin_tasks.tasks(count=1)[0]
    tools = episodes.listed_tools(task, servers)
    first, again = (list(tool_retrieval.shown(tools, task, BM25)) for _ in range(2))
    assert first == again and len(first) == 4
