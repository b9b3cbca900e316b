"""Choose which tools a model is shown, and score the choice against the gold calls."""

from typing import Any

from experiments.agents.agent_specs import AgentSpec
from experiments.agents.task_files import AgentTask

SCORES = {
    "recall": "share of the tools of the gold calls that are shown",
    "all_gold_shown": "all tools of the gold calls are shown",
    "tools_shown": "tools in the prompt",
}
"""Maps each score of a choice to its meaning; the first two do not apply without gold calls."""
Tools = dict[str, dict[str, Any]]


def shown(tools: Tools, task: AgentTask, spec: AgentSpec) -> Tools:
    """Return the tools that a model is shown, in their order.

    Args:
        tools: all tools of the task's servers, by `SERVER__NAME`.
        task: the task, of which `bm25` reads the question and `oracle` the gold calls.
        spec: has the retriever and the number of tools it chooses.
    """
    if spec.retriever == "oracle":
        return {name: tool for name, tool in tools.items() if name in _gold(task)}
    if spec.retriever == "bm25" and len(tools) > spec.top_k:
        chosen = _best(tools, task.question, spec.top_k)
        return {name: tool for name, tool in tools.items() if name in chosen}
    return tools


def score(tools: Tools, task: AgentTask) -> dict[str, float | None]:
    """Return the scores of the tools that were shown."""
    gold = _gold(task)
    found = len(gold & set(tools))
    return {
        "recall": found / len(gold) if gold else None,
        "all_gold_shown": float(found == len(gold)) if gold else None,
        "tools_shown": float(len(tools)),
    }


def _gold(task: AgentTask) -> set[str]:
    return {f"{call['server']}__{call['name']}" for call in task.gold}


def _best(tools: Tools, question: str, count: int) -> set[str]:
    """Return the tools whose name and description fit a question best by BM25."""
    import bm25s

    names = list(tools)
    texts = [f"{name.replace('_', ' ')} {tools[name]['description']}" for name in names]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    asked = bm25s.tokenize([question], show_progress=False)
    [found], _ = index.retrieve(asked, corpus=names, k=count, show_progress=False)
    return {str(name) for name in found}
