"""Token ids and assistant masks of dialogues by transformers' apply_chat_template.

    python scripts/reference/chat_templates.py TOKENIZER_FOLDER CHATS.json OUT.json
    python scripts/reference/chat_templates.py TOKENIZER_FOLDER tools OUT.json

CHATS.json is a list of {"messages": [...]}. Two templates are used: the tokenizer's own (ids alone, its template has no
marks) and one with {% generation %} marks (ids and return_assistant_tokens_mask). Stores numbers alone. With "tools" the
dialogues are made here, with tools and their calls, content in pieces and thoughts, and stand in the file too.
"""

import hashlib
import json
import sys

from transformers import AutoTokenizer, __version__

MARKED = """{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
        {%- generation %}
{{- message['content'] + '<|im_end|>' }}
        {%- endgeneration %}
{{- '\\n' }}
    {%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
"""

# Without minus signs: what trim_blocks and lstrip_blocks take away counts.
BLOCKS = """{% for message in messages %}
{{ message['role'] }}:
    {% if message['role'] == 'assistant' %}
    {% generation %}
{{ message['content'] }}{{ eos_token }}
    {% endgeneration %}
    {% else %}
{{ message['content'] }}
    {% endif %}
{% endfor %}
"""


def spans(mask):
    out, start = [], None
    for i, bit in enumerate([*mask, 0]):
        if bit and start is None:
            start = i
        if not bit and start is not None:
            out.append([start, i])
            start = None
    return out


# Tools as JSON, calls as JSON, content as text or in pieces.
TOOLS = """{%- if tools %}
{{- '<|im_start|>system\\n' + (messages[0]['content'] + '\\n' if messages[0]['role'] == 'system' else '') + 'Tools:' }}
{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.role == 'assistant' %}
            {%- generation %}
                {%- if message.content is string %}{{ message.content }}{%- endif %}
                {%- for call in message.tool_calls or [] %}
{{- '<call>' + (call.function | tojson) + '</call>' }}
                {%- endfor %}
{{- '<|im_end|>' }}
            {%- endgeneration %}
        {%- elif message.content is string %}
{{- message.content + '<|im_end|>' }}
        {%- else %}
            {%- for part in message.content %}{{ part.text }}{%- endfor %}
{{- '<|im_end|>' }}
        {%- endif %}
{{- '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}
"""

# Drops the thoughts of all turns but those behind the last question, and puts empty ones before an answer without.
THINK = """{%- set ns = namespace(last=0) %}
{%- for message in messages %}{%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
{{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        BEGINS
        {%- set said = content.split('</think>')[-1].lstrip('\\n') %}
        {%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') if '</think>' in content else '' %}
        {%- if loop.index0 > ns.last %}{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}
{{- said + '<|im_end|>' }}
        ENDS
    {%- else %}
{{- content + '<|im_end|>' }}
    {%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}
"""


def tool_chats():
    tools = [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "Says where a thing is: \"here\" or <there>",
                "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
            },
        }
    ]
    places = ["the shed", "the caf\u00e9", "\u5c4b\u6839"]
    chats = []
    for i, thing in enumerate(["kettle", "ladder", "lamp", "harp", "drum", "anvil"]):
        place = places[i % 3]
        call = {"type": "function", "function": {"name": "find", "arguments": {"thing": thing, "times": i, "all": i % 2 == 0}}}
        question = f"Where is the {thing}?"
        messages = [
            *([{"role": "system", "content": "You find things."}] if i % 2 == 0 else []),
            {"role": "user", "content": [{"type": "text", "text": "Please. "}, {"type": "text", "text": question}] if i < 3 else question},
            {"role": "assistant", "content": None if i % 2 else "I look.", "tool_calls": [call]},
            {"role": "tool", "name": "find", "content": json.dumps({"place": place}, ensure_ascii=False)},
            {"role": "assistant", "content": f"It is in {place}."},
        ]
        chats.append({"messages": messages, "tools": tools})
        chats.append({"messages": messages})
    thoughts = []
    for thing in ["kettle", "ladder", "lamp"]:
        thoughts.append({"messages": [
            {"role": "user", "content": f"Where is the {thing}?"},
            {"role": "assistant", "content": f"<think>\nA {thing}, hm.\n</think>\n\nIn the shed."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": f"<think>\nThe {thing}.\n</think>\n\nYes."},
            {"role": "user", "content": "Thanks."},
            {"role": "assistant", "content": "You are welcome."},
        ]})
    return chats, thoughts


def write_tools(folder, out):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats, thoughts = tool_chats()
    marked = THINK.replace("BEGINS", "{%- generation %}").replace("ENDS", "{%- endgeneration %}")
    plain = THINK.replace("        BEGINS\n", "").replace("        ENDS\n", "")
    result = {"transformers": __version__, "templates": {"tools": TOOLS, "thoughts": marked, "plain": plain}, "chats": []}
    for name, rows in (("tools", chats), ("thoughts", thoughts)):
        for row in rows:
            encoded = tokenizer.apply_chat_template(
                row["messages"], tools=row.get("tools"), chat_template=result["templates"][name],
                tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            )
            prompt = tokenizer.apply_chat_template(
                row["messages"][:-1], tools=row.get("tools"), chat_template=result["templates"][name],
                tokenize=True, return_dict=True, add_generation_prompt=True,
            )
            result["chats"].append({
                "template": name, **row, "ids": list(encoded["input_ids"]),
                "spans": spans(encoded["assistant_masks"]), "promptTokens": len(prompt["input_ids"]),
            })
    with open(out, "w", encoding="utf8") as file:
        json.dump(result, file, ensure_ascii=False)
        file.write("\n")


def main(folder, chats, out):
    if chats == "tools":
        return write_tools(folder, out)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = json.load(open(chats, encoding="utf8"))
    result = {"transformers": __version__, "templates": {"marked": MARKED, "blocks": BLOCKS}, "rows": []}
    for row in rows:
        entry = {}
        for name, template in (("own", None), ("marked", MARKED), ("blocks", BLOCKS)):
            encoded = tokenizer.apply_chat_template(
                row["messages"],
                chat_template=template,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=template is not None,
            )
            ids = encoded["input_ids"]
            entry[name] = {
                "tokens": len(ids),
                "sha256": hashlib.sha256(json.dumps(list(ids)).replace(" ", "").encode()).hexdigest(),
            }
            if template is not None:
                entry[name]["spans"] = spans(encoded["assistant_masks"])
        result["rows"].append(entry)
    with open(out, "w", encoding="utf8") as file:
        json.dump(result, file)
        file.write("\n")


main(*sys.argv[1:])
