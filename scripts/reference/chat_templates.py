"""Token ids and assistant masks of dialogues by transformers' apply_chat_template.

    python scripts/reference/chat_templates.py TOKENIZER_FOLDER CHATS.json OUT.json

CHATS.json is a list of {"messages": [...]}. Two templates are used: the tokenizer's own (ids alone, its template has no
marks) and one with {% generation %} marks (ids and return_assistant_tokens_mask). Stores numbers alone.
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


def main(folder, chats, out):
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
