"""Chat templates of checkpoints: rendered as by transformers, within bounds."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from reasoner_rm.errors import InputError
from reasoner_rm.models import chat_template
from reasoner_rm.models.chat_template import chat_text
from reasoner_rm.models.tiny import CHAT_TEMPLATE

MESSAGES = [
    {"role": "system", "content": "Be \u00fcseful."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "<b>Which {{ one }}?\n\n"}]},
    {"role": "assistant", "content": "<think>\nI look.\n</think>\n\nThe first.  "},
    {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
]
QWEN25 = """\
{% set image_count = namespace(value=0) %}{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}\
{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}\
<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MACROS = """\
{%- macro render(content, counted=true) -%}
  {%- if content is string -%}{{- content -}}
  {%- elif content is iterable and content is not mapping -%}
    {%- for item in content -%}
      {%- if item.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif 'text' in item -%}{{- item.text -}}
      {%- else -%}{{- raise_exception('Unexpected item type') -}}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if tools -%}{{- tools | tojson -}}{%- endif -%}
{%- set ns = namespace(last=messages|length - 1, seen=false) -%}
{%- for message in messages[::-1] -%}
  {%- set index = (messages|length - 1) - loop.index0 -%}
  {%- if message.role == 'user' and not ns.seen -%}{%- set ns.seen = true -%}{%- set ns.last = index -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
  {%- set content = render(message.content)|trim -%}
  {%- if message.role == 'assistant' -%}
    {%- set thinking = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {% generation %}
      {{- '<|im_start|>' + message.role + '\\n<think>' ~ thinking ~ '</think>' + content -}}
    {% endgeneration %}
  {%- elif message.role in ['system', 'user'] -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content -}}
  {%- else -%}{%- continue -%}{%- endif -%}
  {%- for key, value in message|items -%}
    {{- key ~ (value|tojson|safe if value is not string else value|upper) -}}
  {%- endfor -%}
  {{- loop.index0 ~ ns.last ~ (loop.index0 > ns.last) ~ none -}}
{%- endfor -%}
{{- 'x'.startswith('x') ~ pad_token ~ (messages|map(attribute='role')|join(', ')) ~ ('aab'|replace('a', 'c')) -}}
"""


def processor(template: Any) -> Any:
    return SimpleNamespace(chat_template=template, tokenizer=SimpleNamespace(special_tokens_map={"pad_token": "<p>"}))


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, QWEN25, MACROS])
@pytest.mark.parametrize("messages", [MESSAGES, MESSAGES[1:2]])
def test_as_transformers_renders(template: str, messages: list[dict[str, Any]]) -> None:
    settings = {"chat_template": template, "add_generation_prompt": True, "pad_token": "<p>"}
    (expected,), _ = render_jinja_template([messages], **settings)
    assert chat_text(processor(template), messages) == expected
    assert chat_text(processor({"default": template}), messages) == expected


BOMBS = {
    "loops": "{% for i in range(999) %}" * 5 + "{% endfor %}" * 5,
    "a large range": "{% for i in range(10**12) %}{% endfor %}",
    "a product": "{{ 'a' * 10**11 }}",
    "a list's product": "{% set a = [1] * 10**9 %}",
    "a power": "{{ 9**9**9 }}",
    "a format": "{{ '%0999999999d' % 1 }}",
    "doubled by a sum": "{% set a = 'a' %}" + "{% set a = a + a %}" * 60,
    "doubled by a join": "{% set a = 'a' %}" + "{% set a = a ~ a %}" * 60,
    "doubled by a replacement": "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a|replace('a', a) %}" * 6,
    "doubled lists": "{% set a = [1] %}" + "{% set a = a + a %}" * 60,
    "lists in lists": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "calls": "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(60) }}",
    "a call of itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a centred text": "{{ 'a'.center(10**9) }}",
    "a padded text": "{{ 'a'|center(999999999) }}",
    "a formatted text": "{{ '{:>999999999}'.format(1) }}",
    "words without end": "{{ lipsum(n=10**9) }}",
    "written in a loop": "{% for i in range(9999) %}{{ messages[0].content * 1 }}" + "x" * 9999 + "{% endfor %}",
    "a file": "{% include '/etc/passwd' %}",
    "a class": "{{ ''.__class__.__mro__ }}",
    "no template": "{% for",
    "a wrong type": "{{ messages.role.name + 1 }}",
    "none": None,
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_without_bound_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 2.0)
    began = time.process_time()
    with pytest.raises(InputError, match="chat template") as refused:
        chat_text(processor(BOMBS[name]), MESSAGES)
    assert "\n" not in str(refused.value) and time.process_time() - began < 4
