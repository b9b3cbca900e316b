"""Find columns of a row that its format does not read, and completions that look like calls."""

import re
from functools import lru_cache

from experiments.data.formats import message_keys
from experiments.data.formats.rejection import Row

# Columns that each format reads. Columns about the origin of a row contain no training text.
_METADATA_COLUMNS = {
    *("id", "source", "category", "schema", "expects", "uuid", "idx", "index", "split", "dataset"),
    *("weight", "train", "trainable", "do_train", "parallel_tool_calls", "tool_choice"),
    *("function_call", "bfcl", "dialogue_id"),
}
_MESSAGES = {"messages", "tools", "functions", "system"}
_COLUMNS_READ = {
    "glaive_v2": {"system", "chat"},
    "glaive_v2_formatted": {*_MESSAGES, "conversations", "chat", "function_description"},
    "glaive_v2_sharegpt": {"conversations", "tools", "function_description"},
    "xlam": {"query", "answers", "tools"},
    "hermes": {"conversations", "tools"},
    "mcp_agent": {"messages"},
    "toolace": {"system", "conversations"},
    "when2call": {"messages", "tools", "chosen_response", "rejected_response"},
    "apigen_mt": {"conversations", "tools", "functions", "system"},
    "seal_tools": {"conversations"},
    "api_bank": {"instruction", "input", "output", "expected_output", "file"},
    "sgd": {"turns", "services", "service_schemas"},
    "gsm8k": {"question", "answer"},
    "sharegpt": {"conversations", "tools", "functions", "system"},
    "messages": _MESSAGES,
    "prompt_completion": {
        *("prompt", "completion", "instruction", "input", "output", "history"),
        *("tools", "functions", "system"),
    },
}
_CALL = re.compile(
    r"""\s*+(?:<tool_?call>|<functioncall>|\[TOOL_CALLS\]|\[\s*+[\w.]++\([^\n]*+\Z)""",
    re.IGNORECASE,
)
_NAME = re.compile(r'"(?:name|function)"\s*+:')
_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*+:')


def layout(name: str | None, raw: Row) -> str:
    """Return the format of a row: the configured one, or one detected by the columns.

    A row of a public data set that was saved as `messages` is read as such.
    """
    if name is not None:
        own = _COLUMNS_READ.get(name, _MESSAGES)
        saved = "messages" in raw and "messages" not in own and (own - _MESSAGES).isdisjoint(raw)
        return "messages" if saved else name
    if "messages" in raw:
        return "messages"
    if "conversations" in raw:
        return "sharegpt"
    return "prompt_completion" if {"prompt", "completion", "instruction"} & set(raw) else "messages"


def unused(layout: str, raw: Row) -> list[str]:
    """Return the columns and message keys that have a value and are not read."""
    if layout == "glaive_v1":  # its single text column may have any name
        return []
    if layout == "prompt_completion" and raw.get("prompt") is not None:
        overridden = (
            "instruction",
            "input",
            *(("output",) if raw.get("completion") is not None else ()),
        )
    else:
        overridden = ()
    names = [*(name for name in overridden if name in raw), *_others(layout, tuple(raw))]
    with_value = [name for name in names if raw[name] not in (None, "", [], {})]
    return with_value + [
        name for name in message_keys.unused(layout, raw) if _column(name) not in with_value
    ]


def _column(name: str) -> str:
    return name.partition("[")[0].partition(".")[0]


@lru_cache(maxsize=1024)
def _others(layout: str, names: tuple[str, ...]) -> tuple[str, ...]:
    columns_read = _COLUMNS_READ[layout] | _METADATA_COLUMNS
    return tuple(name for name in names if name not in columns_read)


def like_call(row: Row) -> bool:
    """Return whether the answer of a row is the text of a call."""
    text = row["messages"][-1]["content"]
    if text.lstrip()[:1] in ("{", "[") and _NAME.search(text) and _ARGUMENTS.search(text):
        return True
    return _CALL.match(text) is not None
