"""A listener on a transformers model: images and prompt once per group, the G reasonings as continuations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from reasoner_rm.listener.hearing import heard
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import processed_logits
from reasoner_rm.policy.lora import adapter_off
from reasoner_rm.policy.packing import run
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.schema import CANDIDATES, Belief, Sample, swap_labels
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, render


class TransformersListener:
    """Reads each option's probability in one forward pass.

    Args:
        vlm: is frozen here; a LoRA policy is heard with its adapter off and goes on being trained.
        temperature: of the option logits; above 1 softens the belief.
        strip_verdict: remove verdict sentences from the reasoning before it is heard.
        both_orders: hear the candidates in both orders (relabelled in the reasoning) and average: a second prefill.
        min_mass: beliefs whose options hold less of the vocabulary's probability are None.
        rows: how many reasonings are read side by side.
    """

    def __init__(
        self,
        vlm: Vlm,
        template: Template,
        *,
        temperature: float = 1.0,
        strip_verdict: bool = False,
        both_orders: bool = False,
        min_mass: float = 0.05,
        rows: int = 256,
    ):
        self.vlm = vlm
        self.template = template
        self.temperature = temperature
        self.strip_verdict = strip_verdict
        self.both_orders = both_orders
        self.min_mass = min_mass
        self.rows = rows
        self.encoder = PromptEncoder(vlm)
        if vlm.adapter is None:
            vlm.model.requires_grad_(False).eval()

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        given = self._one_order(samples, texts)
        if not self.both_orders:
            return given
        swapped = [s.swapped() for s in samples]
        nouns = [CANDIDATES[s.task].noun for s in samples]
        other = self._one_order(
            swapped, [[swap_labels(t, noun) for t in row] for row, noun in zip(texts, nouns, strict=True)]
        )
        return [tuple(map(_average, a, b)) for a, b in zip(given, other, strict=True)]

    def _one_order(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        out: list[tuple[Belief | None, ...]] = []
        start = 0
        while start < len(samples):
            end, rows = start + 1, len(texts[start])
            while end < len(samples) and rows + len(texts[end]) <= self.rows:
                rows += len(texts[end])
                end += 1
            out += self._read(samples[start:end], texts[start:end])
            start = end
        return out

    def _read(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        """One batch: each distinct reasoning of a group is read once."""
        asked: list[dict[str, tuple[list[int], list[int]]]] = []
        for sample, row in zip(samples, texts, strict=True):
            questions = {}
            for text in row:
                question = self._question(sample, text)
                if question is not None:
                    questions[text] = question
            asked.append(questions)
        busy = [i for i, questions in enumerate(asked) if questions]
        answers: list[dict[str, Belief | None]] = [{} for _ in samples]
        if busy:
            rows = [(i, text, *asked[i][text]) for i in busy for text in asked[i]]
            logps = self._last_logps([samples[i] for i in busy], [[q[0] for q in asked[i].values()] for i in busy])
            for (i, text, _, tokens), row in zip(rows, logps, strict=True):
                answers[i][text] = self._belief(samples[i], row[tokens])
        return [tuple(answers[i].get(text) for text in row) for i, row in enumerate(texts)]

    @torch.no_grad()
    def _last_logps(self, samples: Sequence[Sample], said: Sequence[Sequence[list[int]]]) -> torch.Tensor:
        """Log-probabilities [B, V] of the token after each of the groups' texts."""
        prompts = self.encoder.batch([self.encoder.encode(render(s, self.template)) for s in samples])
        training = self.vlm.model.training
        self.vlm.model.eval()
        with adapter_off(self.vlm):
            states = run(self.vlm, prompts, said)
        self.vlm.model.train(training)
        last = states.hidden[states.last]
        return processed_logits(self.vlm.model.lm_head, last, self.vlm.banned, self.temperature).log_softmax(-1).cpu()

    def _question(self, sample: Sample, text: str) -> tuple[list[int], list[int]] | None:
        """Token ids up to where the options part, and the options' token ids; None when they are not single tokens."""
        task = get_task(sample.task)
        options = task.options(sample)
        said = heard(text, self.strip_verdict)
        if said is None or len(options) < 2:
            return None
        stem = f"{said}\n{task.answer_prefix}"
        rows = [self.vlm.tokenizer(stem + option, add_special_tokens=False).input_ids for option in options]
        common = 0
        while all(len(r) > common and r[common] == rows[0][common] for r in rows):
            common += 1
        ends = [r[common:] for r in rows]
        if any(len(end) != 1 for end in ends) or common == 0:
            return None
        return rows[0][:common], [end[0] for end in ends]

    def _belief(self, sample: Sample, logps: torch.Tensor) -> Belief | None:
        mass = float(logps.exp().sum())
        if mass < self.min_mass:
            return None
        return Belief(get_task(sample.task).options(sample), tuple(logps.softmax(-1).tolist()), mass)


def _average(a: Belief | None, b: Belief | None) -> Belief | None:
    """The belief of both orders, in the first one's terms."""
    if a is None or b is None:
        return None
    probs = tuple((p + q) / 2 for p, q in zip(a.probs, reversed(b.probs), strict=True))
    return Belief(a.options, probs, (a.mass + b.mass) / 2, abs(a.probs[0] - b.probs[-1]))
