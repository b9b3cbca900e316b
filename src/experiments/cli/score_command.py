"""`score`: score saved outputs of any model on a benchmark, without loading a model."""

import argparse
from pathlib import Path

from experiments.analysis import bfcl_scores, plan_graph_scores
from experiments.errors import ConfigError, did_you_mean

# For each benchmark: its required options, and its optional ones besides --out.
_SCORE_OPTIONS = {
    "bfcl": (("category", "questions", "predictions", "format"), ("answers", "underscore_to_dot")),
    "plan_graph": (("pairs",), ("quirks",)),
}


def add(score: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    score.add_argument("--benchmark", required=True, help=", ".join(_SCORE_OPTIONS))
    score.add_argument("--category", help="bfcl: the category, such as simple_python")
    score.add_argument("--questions", type=Path, help="bfcl: the category's questions")
    score.add_argument("--answers", type=Path, help="bfcl: its possible_answer file, if it has one")
    score.add_argument("--predictions", type=Path, help="bfcl: JSON lines with id and result")
    score.add_argument("--format", help="bfcl: format of the results (fc, tool_call or python)")
    score.add_argument(
        "--underscore-to-dot",
        action="store_true",
        default=None,
        help="bfcl: the model saw dots in function names as underscores",
    )
    score.add_argument("--pairs", type=Path, help="plan_graph: JSON lines with label and pred")
    score.add_argument(
        "--quirks",
        action="store_true",
        default=None,
        help="plan_graph: reproduce TinyAgent's scoring exactly",
    )
    score.add_argument("--out", type=Path, required=True, help="file for one JSON line per item")
    score.set_defaults(command=_score)


def _score(arguments: argparse.Namespace) -> None:
    _check_score_options(arguments)
    if arguments.benchmark == "plan_graph":
        print(
            plan_graph_scores.score_pairs(
                arguments.pairs, arguments.out, quirks=bool(arguments.quirks)
            )
        )
        print(f"wrote {arguments.out}")
    else:
        print(*bfcl_scores.score_bfcl(_bfcl_files(arguments), arguments.out), sep="\n")


def _check_score_options(arguments: argparse.Namespace) -> None:
    """Check the benchmark's name and options.

    Raises:
        ConfigError: the benchmark is unknown, a required option is missing, or an option is not
            one of this benchmark's.
    """
    name = arguments.benchmark
    if name not in _SCORE_OPTIONS:
        raise ConfigError(f"--benchmark {name}: {did_you_mean(name, _SCORE_OPTIONS)}.")
    needed, optional = _SCORE_OPTIONS[name]
    allowed = {*needed, *optional}
    all_options = {key for groups in _SCORE_OPTIONS.values() for group in groups for key in group}
    missing = [key for key in needed if getattr(arguments, key) is None]
    unsupported = [
        key for key in sorted(all_options - allowed) if getattr(arguments, key) is not None
    ]
    for keys, verb in ((missing, "needs"), (unsupported, "does not use")):
        if keys:
            options = ", ".join("--" + key.replace("_", "-") for key in keys)
            raise ConfigError(f"--benchmark {name} {verb} {options}: see score --help.")


def _bfcl_files(arguments: argparse.Namespace) -> bfcl_scores.BfclFiles:
    return bfcl_scores.BfclFiles(
        category=arguments.category,
        questions=arguments.questions,
        answers=arguments.answers,
        predictions=arguments.predictions,
        format=arguments.format,
        underscore_to_dot=bool(arguments.underscore_to_dot),
    )
