"""Chat templates that write calls in the ways of known model families, as short as can be.

`TEMPLATES`: name -> (template, the name of the form that must be found, whether it writes several
calls in a turn). All end a turn with `<|im_end|>`, which the embedded tokenizer has.
"""

FRAME = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}CALLS{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EACH = "{% for c in m.tool_calls %}CALL{% endfor %}"
NAME, ARGUMENTS = "{{ c.function.name }}", "{{ c.function.arguments | tojson }}"
SINGLE = "{% if m.tool_calls|length != 1 %}{{ raise_exception('one call a turn') }}{% endif %}"
LINE = "{% if not loop.last %}\n{% endif %}"
COMMA = "{% if not loop.last %}, {% endif %}"
TEXT = "{{ m.content }}{% if m.content %}\n{% endif %}"
XML_VALUE = "{{ v if v is string else v | tojson }}"
PAIRS = "{% for k, v in c.function.arguments.items() %}PAIR{% endfor %}"


def each(call: str) -> str:
    return EACH.replace("CALL", call)


def pairs(pair: str) -> str:
    return PAIRS.replace("PAIR", pair)


JSON = '{"name": "' + NAME + '", "arguments": ' + ARGUMENTS + "}"
_BODIES = {
    "hermes": (TEXT + each("<tool_call>\n" + JSON + "\n</tool_call>"), "hermes_tags", True),
    "llama_3": (
        SINGLE + each('{"name": "' + NAME + '", "parameters": ' + ARGUMENTS + "}"),
        *("json_parameters", False),
    ),
    "bare_arguments": (SINGLE + each(JSON), "json_arguments", False),
    "bare_lines": (TEXT + each(JSON + LINE), "json_arguments", True),
    "list_after_text": (TEXT + "[" + each(JSON + COMMA) + "]", "json_list", True),
    "whole_calls_as_list": ("{{ m.tool_calls | tojson }}", "json_list", True),
    "mistral": (
        "[TOOL_CALLS] [" + each(JSON[:-1] + ', "id": "{{ c.id }}"}' + COMMA) + "]",
        *("mistral", True),
    ),
    "mistral_11": (each("[TOOL_CALLS]" + NAME + "[ARGS]" + ARGUMENTS), "mistral_args", True),
    "phi_4": (
        TEXT + each("<|tool_call|>{{ c.function | tojson }}<|/tool_call|>"),
        *("tagged_json", True),
    ),
    "granite": ("<|tool_call|>[" + each(JSON + COMMA) + "]", "tagged_json", True),
    "nemotron": (TEXT + "<TOOLCALL>[" + each(JSON + COMMA) + "]</TOOLCALL>", "tagged_json", True),
    "cohere": (
        "<|START_ACTION|>[\n"
        + each('    {"tool_call_id": "{{ loop.index0 }}", "tool_name": "' + NAME + '", '
               '"parameters": ' + ARGUMENTS + "}" + COMMA + "\n")
        + "]<|END_ACTION|>",
        *("tagged_json", True),
    ),
    "deepseek": (
        TEXT + "<calls_begin>" + each("<call_begin>" + NAME + "<sep>" + ARGUMENTS + "<call_end>")
        + "<calls_end>",
        *("named_json", True),
    ),
    "deepseek_fenced": (
        "<calls_begin>"
        + each("<call_begin>function<sep>" + NAME + "\n```json\n" + ARGUMENTS + "\n```<call_end>"
               + LINE)
        + "<calls_end>",
        *("named_json", True),
    ),
    "functionary": (
        each("<function=" + NAME + ">" + ARGUMENTS + "</function>"),
        *("named_json", True),
    ),
    "harmony": (
        SINGLE + each(" to=functions." + NAME + "<|channel|>json<|message|>" + ARGUMENTS),
        *("named_json", False),
    ),
    "json_as_text": (
        TEXT + each('<fn>{"name": "' + NAME + '", "arguments": {{ ARGS | tojson }}}</fn>'.replace(
            "ARGS", "(c.function.arguments | tojson | string)")),
        *("tagged_json", True),
    ),
    "qwen_3_coder": (
        TEXT + each(
            "<tool_call>\n<function=" + NAME + ">\n"
            + pairs("<parameter={{ k }}>\n" + XML_VALUE + "\n</parameter>\n")
            + "</function>\n</tool_call>" + LINE),
        *("xml_parameters", True),
    ),
    "glm": (
        TEXT + each(
            "\n<tool_call>" + NAME + "\n"
            + pairs("<arg_key>{{ k }}</arg_key>\n<arg_value>" + XML_VALUE + "</arg_value>\n")
            + "</tool_call>"),
        *("xml_parameters", True),
    ),
    "minimax": (
        TEXT + "<calls>\n" + each(
            '<invoke name="' + NAME + '">\n'
            + pairs('<parameter name="{{ k }}">' + XML_VALUE + "</parameter>\n")
            + "</invoke>\n")
        + "</calls>",
        *("xml_parameters", True),
    ),
}  # fmt: skip
TEMPLATES = {
    name: (FRAME.replace("CALLS", calls), form, several)
    for name, (calls, form, several) in _BODIES.items()
}
# Of TRL's shipped templates, those whose turns end with a token and whose calls can be read.
SHIPPED = {
    "qwen2_5": "hermes_tags",
    "qwen3": "hermes_tags",
    "qwen3_instruct_2507": "hermes_tags",
    "qwen3_5_nothink": "xml_parameters",
    "nemotron_3_nano": "xml_parameters",
    "llama3_1": "json_parameters",
    "llama3_2": "json_parameters",
    "gptoss": "named_json",
    "lfm2_v2": "python_list",
    "lfm2_2_5_vl": "python_list",
    "gemma4_v5": "tokenizer_schema",
}
