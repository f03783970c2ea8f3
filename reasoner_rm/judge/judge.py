"""The judge that people plug in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reasoner_rm.config import EngineName
from reasoner_rm.errors import InputError
from reasoner_rm.judge import analysis, ranking, scoring
from reasoner_rm.judge.image_inputs import ImageLike, as_images, as_media
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.sampling.tally import tally, with_probabilities
from reasoner_rm.sampling.votes import Vote, collect_votes
from reasoner_rm.schema import PAIRWISE_TASKS, MediaRef, Sample, Verdict
from reasoner_rm.serving.shared_engine import SharedEngine
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template

if TYPE_CHECKING:
    from reasoner_rm.models.judge_checkpoint import JudgeConfig
    from reasoner_rm.serving.cache import CompletionCache

ProbabilitySource: TypeAlias = Literal["votes", "tokens"]
"""Where ``p_first`` comes from: the share of votes, or the verdict token's probabilities after each reasoning (one
forward pass more), softened by the temperature that the judge was calibrated with."""


class Judge:
    """Compares, ranks and scores, with its reasons. Any number of threads may share one: their calls are merged.

    A trained judge answers the task it was trained for; a plain instruction-tuned model is asked any, with the default
    templates. Wherever an image is due, a path, bytes, a data URI, a PIL image or an array will do (`judge.media`).

    Example:
        judge = Judge.from_pretrained("runs/pocket-shapes-preference-1")
        verdict = judge.compare("a red circle", "a.png", "b.png")
        verdict.preferred, verdict.p_first, verdict.reasoning

    Args:
        plain: the card is no trained judge's: other tasks may be asked with the template variant of its name.
        urls: whether images may be given by http address; private networks are never asked.
        cache: remembers completions; may be shared by judges.
        deterministic: every request runs in a batch of its own, so that no rounding depends on its neighbours: the
            same input, the same verdict, bit for bit, and slower.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        card: JudgeConfig,
        max_tokens: int = 1024,
        *,
        is_base_model: bool = False,
        urls: bool = False,
        cache: CompletionCache | None = None,
        deterministic: bool = False,
        name: str = "judge",
    ):
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}", remedy="a verdict needs some hundred")
        self.card = card
        self.max_tokens = max_tokens
        self.is_base_model, self.urls, self.name = is_base_model, urls, name
        self.engine = SharedEngine(engine, model=name, cache=cache, deterministic=deterministic)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        engine: EngineName = "auto",
        *,
        url: str | None = None,
        dtype: str = "auto",
        max_tokens: int = 1024,
        template: str = "default",
        isolate: bool = False,
        **settings: Any,
    ) -> Judge:
        """Load a run, a released judge, or a plain instruction-tuned checkpoint.

        Args:
            url: where the model is served, up to and including `/v1`, for the engine `http`: any OpenAI-compatible
                server. ``path_or_id`` is then its name there; or a folder, for how it wants to be asked.
            template: the variant with which a plain checkpoint is asked.
            isolate: a model that transformers would run here runs in a process of its own (`serving.process_engine`),
                which serves many threads better.
            settings: of the constructor.

        Raises:
            InputError: no such model, a broken or unsupported one, an engine that is not there.
        """
        from reasoner_rm.models.judge_checkpoint import is_judge, load_card
        from reasoner_rm.models.loading import resolve_model
        from reasoner_rm.rollout.factory import endpoint_at, load_engine, resolve_engine
        from reasoner_rm.serving.cache import model_key
        from reasoner_rm.serving.ipc import ModelSpec
        from reasoner_rm.serving.process_engine import open_process_engine

        name = resolve_engine(engine).name  # a wrong one shows before anything is loaded
        card = load_card(path_or_id, variant=template)
        low, high = card.min_pixels, card.max_pixels
        settings = {"is_base_model": not is_judge(path_or_id), "name": model_key(resolve_model(path_or_id)), **settings}
        if isolate and name == "transformers":
            opened = open_process_engine(ModelSpec(str(path_or_id), dtype, low, high))
        else:
            where = endpoint_at(url, path_or_id) if url else None
            opened = load_engine(path_or_id, engine, dtype=dtype, min_pixels=low, max_pixels=high, endpoint=where)
        return cls(opened, card, max_tokens, **settings)

    @classmethod
    def connect(cls, url: str, **settings: Any) -> Judge:
        """The judge of a `reasoner-rm serve`, at its address without `/v1`; everything below works on it.

        Raises:
            InputError: no such server.
        """
        from reasoner_rm.judge.remote_judge import card_of, engine_at, fetch_info

        found = fetch_info(url)
        settings = {"is_base_model": bool(found["is_base_model"]), "name": f"{url}#{found['model']}", **settings}
        return cls(engine_at(url, found["model"]), card_of(found), int(found["max_tokens"]), **settings)

    # --- comparing ----------------------------------------------------------------------------------------------

    def compare(
        self,
        caption: str,
        image_a: ImageLike,
        image_b: ImageLike,
        votes: int = 1,
        both_orders: bool = True,
        **how: Any,
    ) -> Verdict:
        """Which of two images serves the caption better: ``preferred`` is 0, 1 or None.

        Args:
            votes: votes per order; one is greedy and deterministic, more are sampled at temperature 1.
            both_orders: ask with the images exchanged as well, so that position cannot decide.
            how: further settings of :meth:`verdicts`.
        """
        return self.compare_batch([caption], [image_a], [image_b], votes, both_orders, **how)[0]

    def compare_batch(
        self,
        captions: Sequence[str],
        images_a: Any,
        images_b: Any,
        votes: int = 1,
        both_orders: bool = True,
        **how: Any,
    ) -> list[Verdict]:
        """:meth:`compare` for N captions and pairs, in one batch.

        Raises:
            InputError: lists of unequal lengths, broken media.
        """
        first, second = self.images(images_a), self.images(images_b)
        scoring.check_captions(captions, len(first), len(second))
        pairs = zip(captions, first, second, strict=True)
        samples = [Sample("compare", "image_preference", caption, images=(a, b)) for caption, a, b in pairs]
        return self.verdicts(samples, votes, both_orders, **how)

    def compare_edits(self, instruction: str, source: ImageLike, a: ImageLike, b: ImageLike, **how: Any) -> Verdict:
        """Which of two edits of a source image carries out the instruction better."""
        sample = Sample("compare", "edit_preference", instruction, images=tuple(self.images([source, a, b])))
        return self.verdicts([sample], **how)[0]

    def compare_videos(self, caption: str, a: Sequence[ImageLike], b: Sequence[ImageLike], **how: Any) -> Verdict:
        """Which of two videos, given as frames in the order of time, serves the caption better."""
        videos = (tuple(self.images(a)), tuple(self.images(b)))
        return self.verdicts([Sample("compare", "video_preference", caption, videos=videos)], **how)[0]

    def compare_answers(self, question: str, a: str, b: str, images: Any = (), **how: Any) -> Verdict:
        """Which of two answers to a question about images is better."""
        shown = tuple(self.images(images))
        return self.verdicts([Sample("compare", "response_preference", question, shown, responses=(a, b))], **how)[0]

    def verdicts(
        self,
        samples: Sequence[Sample],
        votes: int = 1,
        both_orders: bool = True,
        *,
        p_first: ProbabilitySource = "votes",
        temperature: float | None = None,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Verdict]:
        """Verdicts on any preference samples of one task, in order.

        Args:
            p_first: where the probability comes from.
            temperature: of sampling; None: 0 for a single vote, else 1.
            on_text: called with the text of the first vote as it grows.

        Raises:
            InputError: a sample of another task, or broken media.
        """
        for sample in samples:
            _check_candidates(sample)
        if p_first not in ("votes", "tokens"):
            raise InputError(f"p_first from {p_first!r}", remedy="use votes or tokens")
        ballots = self.ballots(samples, votes, both_orders, temperature=temperature, seed=seed, on_text=on_text)
        counted = [tally(row) for row in ballots]
        if p_first == "votes" or not samples:
            return counted
        shown = [ballot for row in ballots for ballot in row]
        texts = [[ballot.completion.text] for ballot in shown]
        sure = iter(self.engine.beliefs(self.template(samples[0].task), [b.sample for b in shown], texts))
        beliefs = [[next(sure)[0] for _ in row] for row in ballots]
        rows = zip(counted, ballots, beliefs, strict=True)
        return [with_probabilities(verdict, row, believed, self.card.temperature) for verdict, row, believed in rows]

    # --- ranking and scoring ------------------------------------------------------------------------------------

    def rank(self, caption: str, images: Any, method: ranking.Method = "auto", **how: Any) -> list[int]:
        """The images' indices, best first; see :meth:`tournament`."""
        return self.tournament(caption, images, method, **how).order

    def tournament(self, caption: str, images: Any, method: ranking.Method = "auto", **how: Any) -> ranking.Ranking:
        """Images ranked by comparing pairs: how, and how many comparisons it took, is said (`judge.ranking`)."""
        shown = self.images(images)
        return ranking.rank(len(shown), self._referee(caption, shown, how), method)

    def best_of(self, caption: str, images: Any, **how: Any) -> int:
        """The index of the best image, by a knock-out of N - 1 comparisons."""
        shown = self.images(images)
        return ranking.knockout(len(shown), self._referee(caption, shown, how))[0]

    def score(
        self,
        images: Any,
        captions: Sequence[str],
        mode: scoring.Mode = "auto",
        *,
        votes: int = 1,
        on_unparsed: scoring.OnUnparsed = "nan",
    ) -> scoring.Scores:
        """A number for each of N images with its caption; see :func:`reasoner_rm.judge.scoring.score`."""
        return scoring.score(self, self.images(images), captions, mode, votes, on_unparsed)

    # --- reading ------------------------------------------------------------------------------------------------

    def explain(self, caption: str, image_a: ImageLike, image_b: ImageLike, **how: Any) -> analysis.Explanation:
        """A verdict with its reasoning and the points for each dimension that the reasoning states."""
        return analysis.explain(self.compare(caption, image_a, image_b, **how))

    def step_scores(self, question: str, steps: Sequence[str], images: Any = (), *, votes: int = 1) -> list[float]:
        """For each step of a solution the share of votes that call it right, 0..1; nan where none can be read."""
        return analysis.step_scores(self, question, steps, self.images(images), votes)

    def find_errors(self, caption: str, image: ImageLike, *, votes: int = 1) -> list[analysis.CaptionError]:
        """Phrases of the caption that the image contradicts, by the share of votes, most named first."""
        return analysis.find_errors(self, caption, self.media(image), votes)

    def annotate(
        self, images: Any, captions: Sequence[str], aspects: Sequence[str] = analysis.ASPECTS, *, votes: int = 1
    ) -> list[analysis.Annotation]:
        """For each image a score and a rationale on each aspect, as in VisionPrefer (arXiv 2404.15100)."""
        return analysis.annotate(self, self.images(images), captions, aspects, votes)

    # --- what the above stands on -------------------------------------------------------------------------------

    def ballots(
        self,
        samples: Sequence[Sample],
        votes: int = 1,
        both_orders: bool = True,
        *,
        temperature: float | None = None,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> list[list[Vote]]:
        """All votes on samples of one task, whichever it is.

        Raises:
            InputError: no votes wanted, a temperature below 0, a prompt that is no text, several tasks at once, a task
                that this judge was not trained for.
        """
        if not isinstance(votes, int) or votes < 1:
            raise InputError(f"votes is {votes}", remedy="ask for at least one")
        warmth = (0.0 if votes == 1 else 1.0) if temperature is None else temperature
        if not 0 <= warmth < math.inf:
            raise InputError(f"temperature is {temperature}", remedy="give 0 for greedy, or more")
        if not samples:
            return []
        for sample in samples:
            if not isinstance(sample.prompt, str):
                raise InputError(f"sample {sample.id!r} has no text but {type(sample.prompt).__name__} as its prompt")
        tasks = {sample.task for sample in samples}
        if len(tasks) > 1:
            raise InputError(f"samples of several tasks at once: {', '.join(sorted(tasks))}", remedy="ask task by task")
        return collect_votes(
            self.engine,
            self.template(samples[0].task),
            samples,
            votes=votes,
            both_orders=both_orders,
            sampling=SamplingParams(warmth, self.max_tokens),
            seed=seed,
            on_text=on_text,
        )

    def template(self, task: str) -> Template:
        """The prompt that a task is asked with.

        Raises:
            InputError: the judge was trained for another task.
        """
        get_task(task)
        if task == self.card.task:
            return self.card.template
        if not self.is_base_model:
            raise InputError(f"{task} is asked, this judge was trained for {self.card.task}")
        return load_template(task, self.card.template.name)

    def supports(self, task: str) -> bool:
        """Whether a task may be asked."""
        return self.is_base_model or task == self.card.task

    def media(self, image: ImageLike) -> MediaRef:
        return as_media(image, urls=self.urls)

    def images(self, images: Any) -> list[MediaRef]:
        return as_images(images, urls=self.urls)

    def _referee(self, caption: str, images: Sequence[MediaRef], options: dict[str, Any]) -> ranking.Compare:
        def compare(pairs: Sequence[ranking.Pair]) -> list[float | None]:
            asked = [Sample("compare", "image_preference", caption, images=(images[a], images[b])) for a, b in pairs]
            return [verdict.p_first for verdict in self.verdicts(asked, **options)]

        return compare


def _check_candidates(sample: Sample) -> None:
    """Raises:
    InputError: a sample that compares nothing, or not two things.
    """
    kind = PAIRWISE_TASKS.get(sample.task)
    if kind is None:
        what = f"sample {sample.id!r} is {sample.task}, a judge compares"
        raise InputError(what, remedy=f"use {', '.join(PAIRWISE_TASKS)}")
    shown = len(getattr(sample, kind.media)) - kind.shared
    if shown != 2:
        what = f"sample {sample.id!r} has {max(shown, 0)} candidates, a judge compares 2"
        raise InputError(what, remedy="rank() takes more" if shown > 2 else f"give two {kind.media}")
