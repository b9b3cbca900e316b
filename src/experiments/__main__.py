"""The verbs beside training: `python -m experiments VERB`, where --help lists them.

Each verb imports what it needs when it is called.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments import config, dashboard, disk, explain, scoring_verb
from experiments.claims import verb as claims_verb
from experiments.config import inputs
from experiments.errors import ConfigError, ExperimentError
from experiments.handover import verb


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 if it worked, 1 with one sentence if the user can mend it."""
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    # argparse takes no overrides after an option; `data` allows them anywhere.
    unknown = [text for text in rest if text.startswith("-") or not hasattr(given, "overrides")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        given.overrides += rest
    try:
        with disk.one_sentence(getattr(given, "out", None) or Path()):
            given.verb(given)
            sys.stdout.flush()
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    data = verbs.add_parser("data", help="show what a data description holds and what is trained")
    data.add_argument("overrides", nargs="*", help="as for train.py: data=glaive_v2 model=tiny")
    data.add_argument("--show", type=int, default=3, help="conversations to print (default 3)")
    data.add_argument("--out", type=Path, help="write the canonical rows to FILE.jsonl")
    data.add_argument("--rejects", type=Path, help="write the rejected rows to FILE.jsonl")
    data.set_defaults(verb=_data)
    plan = verbs.add_parser("plan", help="say what runs will take: memory, tokens, hours")
    plan.add_argument("overrides", nargs="*", help="as for train.py: sweeps=NAME hardware=t4")
    plan.add_argument("-m", "--multirun", action="store_true", help="may stand there, as always")
    plan.add_argument("--json", action="store_true", help="print it for a program")
    plan.set_defaults(verb=_plan)
    report = verbs.add_parser("report", help="render the tables of a run or a sweep")
    report.add_argument(
        "path", type=Path, nargs="?", help="a run folder, a sweep folder or a report folder"
    )
    report.add_argument(
        "--items", nargs=2, type=Path, metavar=("A", "B"), help="two runs, compared item by item"
    )
    report.add_argument(
        "--verify", metavar="ROW", help="make a run of a row again and compare: its name or an id"
    )
    report.add_argument(
        "--out",
        type=Path,
        help="default: outputs/reports/<name of the folder>; with --items a FILE.jsonl for the "
        "items that one run alone solves (default: none); with --verify where the run is made "
        "again (default: outputs/verify)",
    )
    report.set_defaults(verb=_report)
    status = verbs.add_parser("status", help="say how far a sweep is")
    status.add_argument("sweep", type=Path, help="a sweep's folder: outputs/NAME")
    status.set_defaults(verb=_status)
    clean = verbs.add_parser(
        "clean", help="show, and with --yes remove, what finished runs no longer need"
    )
    clean.add_argument("sweep", type=Path, nargs="?", help="default: every folder of outputs/")
    clean.add_argument("--yes", action="store_true", help="remove what is shown")
    clean.set_defaults(verb=_clean)
    merge = verbs.add_parser("merge", help="write a run's base with its adapter merged in")
    merge.add_argument("run", type=Path, help="a finished run's folder")
    merge.add_argument("--out", type=Path, required=True, help="a new folder for the model")
    merge.set_defaults(verb=_merge)
    generate = verbs.add_parser("generate", help="ask a tuned model something")
    generate.add_argument("run", type=Path, help="a finished run's folder")
    generate.add_argument("--prompt", required=True, help="the user's message")
    generate.add_argument("--system", help="a system message before it")
    generate.add_argument("--tools", type=Path, help="a JSON file: a list of tools, OpenAI's form")
    generate.add_argument("--max-new-tokens", type=int, default=128)
    generate.set_defaults(verb=_generate)
    scoring_verb.add(
        verbs.add_parser("score", help="score saved outputs of any model; loads no model")
    )
    verb.add(verbs.add_parser("push", help="upload a finished run to the hub"))
    export = verbs.add_parser("export", help="write a run's answers to BFCL in BFCL's layout")
    export.add_argument("run", type=Path, help="a finished run's folder")
    export.add_argument("--out", type=Path, required=True, help="a new folder")
    export.set_defaults(verb=_export)
    explain.add_parser(verbs)
    dashboard.add_parser(verbs)
    claims_verb.add(verbs.add_parser("claims", help="say which claims the runs at hand support"))
    return parser


def _data(given: argparse.Namespace) -> None:
    with config.one_sentence_errors():
        run = config.load(_compose(given.overrides))
        inputs.check_data(run)
    from experiments import data, models
    from experiments.data import asking, inspection, sources

    asked = [asking.read(run, name) for name in run.eval.benchmarks]
    found = sources.read_all(run.data)
    for path, rows in (
        (given.out, inspection.all_rows(found)),
        (given.rejects, [reject for source in found.values() for reject in source.rejects]),
    ):
        if path is not None:
            print(f"wrote {inspection.write_rows(rows, path):,} rows to {path}")
    lines = inspection.describe(found)
    lines += [line for one in asked for line in inspection.describe_benchmark(one)]
    try:
        vocabulary = models.load_vocabulary(run.model)
    except ConfigError as error:
        inspection.show_messages(inspection.all_rows(found), given.show)
        for one in asked:
            inspection.show_messages(one.rows, min(given.show, 1))
        lines += inspection.describe_unused(found)
        print(*lines, f"tokens are not counted: {error}", sep="\n")
        return
    found.clear()  # large sets would be in memory twice
    positions = vocabulary.positions or sys.maxsize
    built = data.build(
        run,
        vocabulary.tokenizer,
        end_ids=vocabulary.end_ids,
        positions=positions,
        may_be_empty=True,
    )
    inspection.show_rows(built.train, vocabulary.tokenizer, given.show)
    for name in run.eval.benchmarks:
        first, *_ = built.counts["benchmarks"][name]["rows"]
        inspection.show_rows(built.splits[first], vocabulary.tokenizer, min(given.show, 1))
    print(*lines, *inspection.describe_tokens(built), sep="\n")


def _plan(given: argparse.Namespace) -> None:
    from experiments.planning import command

    command.show(given.overrides, _config_folder(), as_json=given.json)


def _compose(overrides: list[str]) -> DictConfig:
    """Compose the config that the same words give to train.py."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(_config_folder()), version_base="1.3"):
        return compose("config", overrides)


def _config_folder() -> Path:
    root = Path(os.environ.get("EXPERIMENTS_ROOT", ".")).resolve()
    folder = root / "conf"
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"there is no conf/config.yaml in {root}: run it in the project's folder."
        )
    return folder


def _report(given: argparse.Namespace) -> None:
    if (given.path is None) == (given.items is None):
        raise ConfigError(
            "report needs either the folder of a run, a sweep or a report, or --items A B."
        )
    if given.verify is not None:
        _verify(given)
        return
    from experiments import report
    from experiments.sweeps import plan

    if given.items:
        joined = report.items.join(*given.items)
        print(report.items.describe(joined, report.line_width()))
        if given.out:
            print(f"wrote {report.items.write(joined, given.out):,} items to {given.out}")
        return
    path: Path = given.path
    out = given.out or _report_folder(path)
    left = plan.not_begun(path)
    print(report.summarise(path, left))
    for file in report.write(path, out, left):
        print(f"wrote {file}")
    if sent := report.send(path):
        print(sent)


def _report_folder(path: Path) -> Path:
    """Return where the report of a folder goes: a nested sweep's below the same folders."""
    whole, outputs = path.resolve(), Path("outputs").resolve()
    if any(parent.name == "reports" for parent in whole.parents):
        return path
    name = whole.relative_to(outputs) if whole.is_relative_to(outputs) else Path(whole.name)
    return Path("outputs/reports") / (name if name.parts else whole.name)


def _verify(given: argparse.Namespace) -> None:
    if given.items:
        raise ConfigError("report --verify needs a report's folder, not --items A B.")
    from experiments import verifying

    verifying.show(verifying.verify(given.path, given.verify, given.out or verifying.FOLDER))


def _status(given: argparse.Namespace) -> None:
    from experiments.sweeps import status

    found = status.read(given.sweep)
    print(f"{given.sweep}: {found}", *found.notes, sep="\n")


def _clean(given: argparse.Namespace) -> None:
    from experiments.sweeps import cleaning

    folders = [given.sweep] if given.sweep else cleaning.sweep_folders(Path("outputs"))
    total, may_go = 0, []
    for folder in folders:
        found, stays = cleaning.leftovers(folder)
        print(*stays, sep="\n", end="\n" if stays else "")
        for leftover in found:
            total += leftover.size_bytes
            print(f"{leftover.size_bytes / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
        may_go += found
    if not may_go:
        print("nothing to remove")
        return
    gone = list(cleaning.remove(may_go)) if given.yes else []
    what = f"removed {len(gone)}" if given.yes else f"--yes removes these {len(may_go)}"
    print(f"{total / 1e6:9.1f} MB  {what}; adapters and records stay")


def _merge(given: argparse.Namespace) -> None:
    if given.out.exists() and any(given.out.iterdir()):
        raise ConfigError(f"--out {given.out} is not empty: name a new folder.")
    from experiments import runs

    base, record = runs.load_run(given.run, plain=True)
    quantization = (record.config.get("model") or {}).get("quantization")
    if quantization is not None:
        print(
            f"{given.run} trained on {quantization} weights: its adapter is merged into the "
            "base's full-precision weights, so answers differ a little from those that were scored"
        )
    model = base.model.merge_and_unload() if record.adapter["modules"] else base.model
    with disk.whole_folder(given.out) as partial:
        model.save_pretrained(partial, safe_serialization=True)
        base.tokenizer.save_pretrained(partial)
    print(f"wrote {given.out}: load it with AutoModelForCausalLM.from_pretrained")


def _generate(given: argparse.Namespace) -> None:
    tools = _read_tools(given.tools)
    from experiments import answers, evaluation, runs
    from experiments.config import EvalConfig
    from experiments.data import Renderer, thinking

    base, record = runs.load_run(given.run)
    asked = record.evaluation.get("tuned", {}).get("asked", {}).get("thinking", "as_data")
    mode = thinking.mode(base.tokenizer, asked)
    messages = [{"role": "system", "content": given.system}] if given.system else []
    messages.append({"role": "user", "content": given.prompt})
    row = {"id": "prompt", "messages": messages, "tools": tools}
    renderer = Renderer(base.tokenizer, base.end_ids, mode=mode)
    [encoded] = renderer.with_own_prompts(renderer.encode_prompts([row]), [row])
    ids = encoded.asked_ids(own=mode.asked == "on")
    if len(ids) >= base.positions:
        raise ConfigError(
            f"--prompt and --tools take {len(ids)} tokens, the model has {base.positions} "
            "positions: shorten them."
        )
    tuned = evaluation.Subject(base.model, base, "tuned", EvalConfig())
    [answered] = evaluation.answer(tuned, [ids], "prompt", given.max_new_tokens)
    print(answered.text)
    read = answers.parse(answered.text, answers.from_facts(record.data.get("call_form")), tools)
    for call in read.calls:
        print(f"call {call['name']}: {json.dumps(call['arguments'], ensure_ascii=False)}")
    if read.malformed:
        print(f"not a whole answer: {', '.join(read.defects)}")


def _export(given: argparse.Namespace) -> None:
    from experiments import scoring

    print(*scoring.export_run(given.run, given.out), sep="\n")


def _read_tools(path: Path | None) -> list[Any]:
    if path is None:
        return []
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tools {path}: {error}; give a JSON list of tools.") from error
    if not isinstance(tools, list):
        raise ConfigError(f"--tools {path}: a JSON list of tools is needed.")
    return tools


if __name__ == "__main__":
    sys.exit(main())
