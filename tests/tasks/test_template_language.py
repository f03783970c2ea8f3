"""Templates of strangers: what could run for ever is refused, what remains ends soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import FOLDER, Template, render
from reasoner_rm.tasks.template_language import MAX_STEPS, compiled

LONG = Sample("s", "response_preference", "a" * 20_000, responses=("b" * 20_000,) * 200)
HOSTILE = {
    "a product": "{{ 'a' * 10**11 }}",
    "a power": "{{ 10 ** 10 ** 10 }}",
    "a width": "{{ '%999999999999d' % 1 }}",
    "a range": "{% for i in range(10**12) %}x{% endfor %}",
    "a silent range": "{% for i in range(10**12) %}{% endfor %}",
    "loops in loops": "{% for a in prompt %}{% for b in prompt %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for a in prompt if a == 'b' %}{% endfor %}",
    "the length of a loop": "{% for a in prompt %}{{ loop.length }}{% endfor %}",
    "a doubled text": "{% set x = prompt %}" + "{% set x = x ~ x %}" * 40 + "{{ x | length }}",
    "a doubled name": "{% set n = namespace(x='a') %}{% for i in prompt %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "a recursive loop": "{% for a in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "joins of joins": "{{ prompt | join(prompt) | join(prompt) | length }}",
    "long outputs": "{% for r in responses %}{% for s in responses[:40] %}{{ r }}{% endfor %}{% endfor %}",
    "replacements": "{{ prompt | replace('a', prompt) | replace('a', prompt) }}",
    "a centred text": "{{ 'a' | center(10**11) }}",
    "lorem ipsum": "{{ lipsum(n=10**9) }}",
    "an include": "{% include '/etc/passwd' %}",
    "an import": "{% import '/etc/passwd' as p %}{{ p }}",
    "a parent": "{% extends '/etc/passwd' %}",
    "attributes": "{{ prompt.__class__.__mro__ }}",
    "a method": "{{ prompt.format('a') }}",
    "a hidden filter": "{{ responses | counted }}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep conditions": "{% if prompt %}" * 500 + "{% endif %}" * 500,
    "deep lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "digits": "{{ " + "9" * 10_000 + " }}",
    "a long text": "a" * 10**6,
    "a division by zero": "{{ 1 / 0 }}",
    "a number and a text": "{{ prompt + 1 }}",
    "no template": "{{ prompt",
    "no filter": "{{ prompt | nothing }}",
    "no field": "{{ nothing }}",
    "a loop over a number": "{% for i in 7 %}{% endfor %}",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_soon(name: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match="template 'evil'") as refused:
        render(LONG, Template("evil", HOSTILE[name]))
    assert time.process_time() - started < 3 and "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_the_line_is_named() -> None:
    with pytest.raises(InputError, match=r"no mul is allowed in a prompt's template"):
        render(LONG, Template("own", "a\n\n{{ 2 * 3 }}"))
    with pytest.raises(InputError, match=r"no filter 'replace' .* there are capitalize, count, .*join"):
        render(LONG, Template("own", "{{ prompt | replace('a', 'b') }}"))


def test_sound_templates_are_rendered() -> None:
    """Each expression of the language; loops at the limit."""
    sample = Sample("s", "response_preference", "P", responses=("x", "y"), meta={"scale": [1, 5], "n": 3})
    for text, expected in {
        "{% for r in responses %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else r }}{% endfor %}": "1/2x2/2",
        "{{ responses | join(' or ') | upper }}": "X OR Y",
        "{{ responses[1:] | first }}{{ responses | length }}": "y2",
        "{{ meta.scale[0] }} to {{ meta.scale[1] if meta.scale is defined else 9 }}": "1 to 5",
        "{{ meta.n + 1 - 2 }} {{ -meta.n }} {{ meta.n / 2 }}": "2 -3 1.5",
        "{{ meta.missing | default('none') }}": "none",
        "{% if 'x' in responses and not meta.n > 3 %}yes{% else %}no{% endif %}": "yes",
        "{% for key in meta | sort if key != 'n' %}{{ key }}{% endfor %}": "scale",
        "{% raw %}{{ x }}{% endraw %}{# note #}": "{{ x }}",
    }.items():
        assert render(sample, Template("own", text)).content == (expected,), text
    many = Sample("s", "response_preference", "a" * MAX_STEPS)
    loop = Template("own", "{% for a in prompt %}{{ a }}{% endfor %}")
    assert render(many, loop).content == (many.prompt,)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.name)
def test_the_shipped_templates_are_of_the_language(file: Path) -> None:
    compiled(file.read_text(encoding="utf-8").strip())
