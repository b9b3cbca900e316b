"""`episodes`: let an agent carry out tasks on MCP servers, and score what happened."""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from experiments.agents.agent_specs import AgentSpec
from experiments.agents.episodes import Agent
from experiments.cli import hydra_arguments, tasks_command
from experiments.cli.servers_command import check_extra
from experiments.errors import ConfigError, did_you_mean


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    hydra_arguments.add(parser, "model=tiny (the model without an adapter)")
    parser.add_argument("--run", type=Path, help="folder of a finished run: its tuned model")
    parser.add_argument("--agent", default="react", help="a file of conf/agent (default react)")
    parser.add_argument("--tasks", dest="file", type=Path, help="JSON lines (default: built-in)")
    parser.add_argument("--seed", type=int, default=0, help="of the built-in tasks (default 0)")
    parser.add_argument("--count", type=int, help="number of built-in tasks (default 360)")
    parser.add_argument("--split", default="test", help="train, validation or test (default test)")
    parser.add_argument("--limit", type=int, help="first tasks of the split (default: all)")
    parser.add_argument("--sandbox", default="auto", help="auto, bwrap or none (default auto)")
    parser.add_argument("--out", type=Path, help="write transcripts and scores to this folder")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.agents import (
        agent_specs,
        benchmark,
        sandbox,
        server_group,
        server_specs,
        task_files,
    )

    check_extra()
    spec = agent_specs.read(arguments.agent)
    if arguments.split not in task_files.SPLITS:
        raise ConfigError(
            f"--split {arguments.split}: {did_you_mean(arguments.split, task_files.SPLITS)}."
        )
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError(f"--limit {arguments.limit}: give a positive number.")
    tasks = [task for task in tasks_command.read(arguments) if task.split == arguments.split]
    tasks = tasks[: arguments.limit]
    if not tasks:
        raise ConfigError(f"there is no task in split {arguments.split}: name another.")
    agent = _agent(spec, arguments)
    mode = sandbox.resolved(arguments.sandbox)
    with server_group.started(server_specs.read_all(), mode, spec.call_timeout_s) as servers:
        outcomes = list(benchmark.run(tasks, agent, spec, servers))
    means = benchmark.summary(outcomes)
    print(f"agent {spec.name}, sandbox {mode}, split {arguments.split}")
    print(*(f"{name:25} {_shown(value)}" for name, value in means.items()), sep="\n")
    if arguments.out is not None:
        facts = {"agent": vars(spec), "sandbox": mode, "split": arguments.split, "scores": means}
        _write(arguments.out, facts, [outcome.row() for outcome in outcomes])


def _agent(spec: AgentSpec, arguments: argparse.Namespace) -> Agent:
    """Return the agent that the arguments describe.

    Raises:
        ConfigError: a model is missing, or given to an agent that uses none.
    """
    from experiments.agents.scripted_agents import RandomAgent, ReplayAgent

    models = bool(arguments.run) + bool(arguments.overrides)
    if spec.kind in ("replay", "random"):
        if models:
            raise ConfigError(f"agent {spec.name} uses no model: leave out --run and model=NAME.")
        return ReplayAgent() if spec.kind == "replay" else RandomAgent(arguments.seed)
    if models != 1:
        raise ConfigError(
            f"agent {spec.name} needs one model: --run RUN (tuned), or model=NAME (not tuned)."
        )
    return _model_agent(spec, arguments)


def _model_agent(spec: AgentSpec, arguments: argparse.Namespace) -> Agent:
    from experiments import config

    if arguments.run:
        from experiments import runs

        base, record = runs.load_run(arguments.run)
        asked = record.evaluation.get("tuned", {}).get("asked", {}).get("thinking", "as_data")
    else:
        with config.one_sentence_errors():
            run = config.load(config.compose(hydra_arguments.overrides_of(arguments)))
        from experiments import models

        base, asked = models.load(run, models.choose_precision(run)), "as_data"
    from experiments.agents.model_agents import ModelAgent
    from experiments.data import Renderer, thinking

    renderer = Renderer(base.tokenizer, base.end_ids, mode=thinking.mode(base.tokenizer, asked))
    if renderer.call_form is None:
        raise ConfigError("the model's chat template writes no calls that can be parsed.")
    return ModelAgent(spec, base.model, base, renderer, renderer.call_form)


def _shown(value: float | None) -> str:
    if value is None:
        return "does not apply"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _write(folder: Path, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from experiments.runtime import disk

    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    disk.write_atomically(folder / "items.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
    disk.write_atomically(folder / "episodes.json", (json.dumps(facts, indent=1) + "\n").encode())
    print(f"wrote {folder}")
