"""Convert rows of BFCL's single-turn sets to canonical rows that its own checker can still score.

A question has `id`, `question` (a list of one list of messages) and `function` (documents with
Python type names). Its answer `ground_truth` has one object per call: function name to parameter to
the list of allowed values, where "" means that the parameter may be omitted. Layout and conversion:
gorilla at 6ea5797, `bfcl_eval/data` (BFCL_v4_*.json) and
`model_handler/local_inference/qwen_fc.py`.

The canonical row has the tools in OpenAI's format and a gold turn built from the first allowed
values. In addition, `bfcl` keeps what the checker needs: `category`, `function` and `ground_truth`
as published, and `underscore_to_dot`, which tells whether names are compared with `_` in place of
dots.
"""

from typing import Any

from experiments.data.formats import literals, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt

# Instruction for models that answer with Python calls; upstream appends it to every description.
SUFFIX = " Note that the provided function is in Python 3 syntax."
_TYPES = {
    **{word: word for word in ("string", "integer", "number", "boolean", "array", "object")},
    **{"float": "number", "dict": "object", "list": "array", "tuple": "array", "any": "string"},
}
_ROLES = ("system", "user", "assistant")
_NO_CALL_DUE, _ANY_CALL_DUE = "irrelevance", "relevance"


def has_answers(category: str) -> bool:
    """Return whether a category has gold calls; relevance and irrelevance do not."""
    return not category.endswith(_ANY_CALL_DUE)


def convert(question: Row, truth: Any, category: str, *, dots: bool) -> Row:
    """Convert one question and its answer.

    Args:
        question: the published row; not modified.
        truth: its `ground_truth`; None if the category has no answers.
        category: category name, such as `live_simple`.
        dots: keep the dots in function names; otherwise they become `_`, as most APIs require.

    Raises:
        Rejected: the question or its answer does not follow the layout.
    """
    documents = _documents(question)
    names = {document["name"]: _name(document["name"], dots) for document in documents}
    if len(names) < len(documents) or len(set(names.values())) < len(names):
        raise Rejected("duplicate_tool_name", f"among {excerpt(', '.join(names))}")
    messages = _messages(question)
    if has_answers(category):
        calls = [_call(call, documents, names) for call in _calls(truth)]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    row: Row = {
        "id": turns.text(turns.column(question, "id"), "id"),
        "messages": messages,
        "tools": [_tool(document, names) for document in documents],
        "bfcl": {
            "category": category,
            "function": documents,
            "ground_truth": truth if has_answers(category) else None,
            "underscore_to_dot": not dots,
        },
    }
    # Relevance requires some call, so an answer in prose is wrong.
    return row | ({"expects": "call"} if category.endswith("live_relevance") else {})


def raw_documents(row: Row) -> list[Row]:
    """Return the documents of a converted row as upstream prints them, one JSON object per line."""
    return [
        {**document, "description": document.get("description", "") + SUFFIX}
        for document in row["bfcl"]["function"]
    ]


def _documents(question: Row) -> list[Row]:
    documents = turns.column(question, "function")
    if not isinstance(documents, list):
        raise Rejected("malformed_tools", f"not a list: {excerpt(documents)}")
    for document in documents:
        parameters = isinstance(document, dict) and document.get("parameters")
        if not isinstance(parameters, dict) or not isinstance(document.get("name"), str):
            raise Rejected("malformed_tools", f"not a named function: {excerpt(document)}")
        if not isinstance(parameters.get("properties", {}), dict):
            raise Rejected("malformed_tools", f"properties is not an object: {excerpt(document)}")
        if not isinstance(document.get("description", ""), str):
            raise Rejected("malformed_tools", f"description is not a string: {excerpt(document)}")
    if reason := literals.fault(documents):
        reason = "malformed_tools" if reason == "malformed_call" else reason
        raise Rejected(reason, "in a function document")
    return documents


def _messages(question: Row) -> list[Row]:
    conversations = turns.column(question, "question")
    if not isinstance(conversations, list) or len(conversations) != 1:
        raise Rejected("unknown_layout", "question is not a list of one conversation")
    if not isinstance(conversations[0], list) or not conversations[0]:
        raise Rejected("malformed_turns", f"not a list of messages: {excerpt(conversations[0])}")
    messages = []
    for message in conversations[0]:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            raise Rejected("unknown_role", f"{role!r} is not one of {', '.join(_ROLES)}")
        content = turns.text(message.get("content"), f"content of the {role}")
        if reason := literals.text_fault(content):
            raise Rejected(reason, f"in a turn with the role {role}")
        messages.append({"role": role, "content": content})
    if messages[-1]["role"] != "user":
        raise Rejected("malformed_turns", f"the last message has the role {messages[-1]['role']}")
    return messages


def _name(name: str, dots: bool) -> str:
    return name if dots else name.replace(".", "_")


def _tool(document: Row, names: dict[str, str]) -> Row:
    parameters = json_schema(document["parameters"])
    parameters["type"] = "object"
    parameters.setdefault("properties", {})
    function = {
        "name": names[document["name"]],
        "description": document.get("description", "") + SUFFIX,
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def json_schema(node: Any) -> Any:
    """Return a document's parameters with JSON schema types; an unknown type becomes a string.

    >>> json_schema({"type": "dict", "properties": {"x": {"type": "float"}}})
    {'type': 'object', 'properties': {'x': {'type': 'number'}}}
    """
    if not isinstance(node, dict):
        return node
    converted: Row = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, str):
            converted[key] = _TYPES.get(value, "string")
        elif key == "properties" and isinstance(value, dict):
            converted[key] = {name: json_schema(subschema) for name, subschema in value.items()}
        else:
            converted[key] = json_schema(value) if key == "items" else value
    return converted


def _calls(truth: Any) -> list[Row]:
    if not isinstance(truth, list) or not truth:
        raise Rejected("no_gold_answer", f"ground_truth is {excerpt(truth)}")
    for call in truth:
        if not isinstance(call, dict) or len(call) != 1:
            raise Rejected("no_gold_answer", f"not a call of one function: {excerpt(call)}")
        [allowed] = call.values()
        if not isinstance(allowed, dict) or not all(isinstance(v, list) for v in allowed.values()):
            raise Rejected("no_gold_answer", f"arguments without lists of values: {excerpt(call)}")
    return truth


def _call(call: Row, documents: list[Row], names: dict[str, str]) -> Row:
    """Build a call from the first allowed value of each parameter that may not be omitted."""
    [(name, allowed)] = call.items()
    if name not in names:
        raise Rejected("unknown_function", f"the gold call's function {name!r} is not offered")
    [parameters] = [document["parameters"] for document in documents if document["name"] == name]
    required = parameters.get("required") or []
    properties = parameters.get("properties", {})
    arguments = {}
    for parameter, values in allowed.items():
        allowed_values = [value for value in values if value != ""]
        # A required parameter whose only allowed value is "" has the empty text as its value.
        allowed_values = allowed_values or (values[:1] if parameter in required else [])
        if allowed_values:
            arguments[parameter] = _value(allowed_values[0], properties.get(parameter, {}))
    return {"type": "function", "function": {"name": names[name], "arguments": arguments}}


def _value(value: Any, schema: Any) -> Any:
    """Return an allowed value; keys inside objects have lists of allowed values themselves."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "dict" and isinstance(value, dict):
        return _object(value)
    if kind in ("array", "tuple") and isinstance(value, list):
        return [_object(item) if isinstance(item, dict) else item for item in value]
    return value


def _object(allowed: Row) -> Row:
    arguments = {}
    for key, values in allowed.items():
        if not isinstance(values, list):
            arguments[key] = values
        elif nonempty := [value for value in values if value != ""]:
            arguments[key] = nonempty[0]
    return arguments
