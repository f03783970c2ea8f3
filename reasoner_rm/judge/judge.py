"""The judge: a reasoning reward model behind a Python API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reasoner_rm.config import EngineName
from reasoner_rm.errors import InputError
from reasoner_rm.judge import analysis, ranking, scoring
from reasoner_rm.judge.image_inputs import ImageLike, as_images, as_media
from reasoner_rm.judge.validation import check_candidates, check_captions, check_samples, sampling_temperature
from reasoner_rm.judge.voting import vote_beliefs
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.sampling.tally import tally, with_probabilities
from reasoner_rm.sampling.votes import Vote, collect_votes
from reasoner_rm.schema import MediaRef, Sample, Verdict
from reasoner_rm.serving.shared_engine import SharedEngine
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template

if TYPE_CHECKING:
    from reasoner_rm.judge.remote_judge import ServedJudge
    from reasoner_rm.models.judge_checkpoint import JudgeConfig
    from reasoner_rm.serving.cache import CompletionCache

ProbabilitySource: TypeAlias = Literal["votes", "tokens"]
"""How ``p_first`` is computed. `votes`: the share of votes for the first candidate. `tokens`: the verdict token's
probability after each reasoning, one more forward pass, divided by the judge's calibrated temperature."""


class Judge:
    """Compares, ranks and scores images, with reasoning. Thread-safe: concurrent calls are batched together.

    A trained judge answers the task it was trained for. An instruction-tuned base model answers every task, with the
    default templates. An image is a path, bytes, a data URI, a PIL image or an array (`judge.image_inputs`).

    Example:
        judge = Judge.from_pretrained("runs/pocket-shapes-preference-1")
        verdict = judge.compare("a red circle", "a.png", "b.png")
        verdict.preferred, verdict.p_first, verdict.reasoning

    Args:
        max_tokens: the most tokens of a completion.
        is_base_model: the model was not trained as a judge: every task may be asked, with the template variant of the
            configuration's name.
        urls: whether images may be given by http address; addresses in private networks are refused.
        cache: stores completions; judges may share one.
        deterministic: run every request in a batch of its own. The same input gives the same verdict bit for bit, at
            lower throughput.
        name: identifies the model in the cache.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        config: JudgeConfig,
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
        self.config = config
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
        max_pixels: int | None = None,
        template: str = "default",
        isolate: bool = False,
        **settings: Any,
    ) -> Judge:
        """Load a run, a released judge, or an instruction-tuned base model.

        Args:
            url: for the engine `http`: an OpenAI-compatible server, up to and including `/v1`. ``path_or_id`` is then
                the model's name there, or a local judge folder whose template is used. A `reasoner-rm serve` is asked
                with the template of its own judge.
            dtype: of a model that is loaded here; `auto`: the checkpoint's.
            max_pixels: of an image after resizing; None: as in training.
            template: the template variant for a base model.
            isolate: run a transformers model in a process of its own (`serving.process_engine`), which scales better
                over many threads.
            settings: keyword arguments of the constructor.

        Raises:
            InputError: no such model, a broken or unsupported one, an engine that is not installed.
        """
        from reasoner_rm.judge.loading import load_judge_engine, open_served
        from reasoner_rm.judge.remote_judge import served_judge
        from reasoner_rm.models.judge_checkpoint import is_judge, load_judge_config
        from reasoner_rm.models.loading import model_location
        from reasoner_rm.rollout.factory import resolve_engine
        from reasoner_rm.serving.cache import model_key

        loaded = open_served(path_or_id, url) if resolve_engine(engine).name == "http" else None
        served = None if loaded is None else served_judge(loaded)
        if loaded is not None and served is not None:
            return cls._of_server(loaded, served, f"{url}", **{"max_tokens": max_tokens, **settings})
        config = load_judge_config(path_or_id, variant=template)
        settings = {
            "is_base_model": not is_judge(path_or_id),
            "name": model_key(model_location(path_or_id)),
            **settings,
        }
        loaded = loaded or load_judge_engine(
            path_or_id, engine, config, dtype=dtype, max_pixels=max_pixels, isolate=isolate
        )
        return cls(loaded, config, max_tokens, **settings)

    @classmethod
    def connect(cls, url: str, **settings: Any) -> Judge:
        """The judge of a `reasoner-rm serve` server, with all methods of a local one.

        Args:
            url: the server's address, with or without `/v1`.
            settings: keyword arguments of the constructor.

        Raises:
            InputError: no such server.
        """
        from reasoner_rm.judge.remote_judge import connect

        engine, served = connect(url)
        return cls._of_server(engine, served, url, **settings)

    @classmethod
    def _of_server(
        cls, engine: RolloutEngine, served: ServedJudge, url: str, max_tokens: int | None = None, **settings: Any
    ) -> Judge:
        """The server's own template and task, and its limit of tokens if none is given or that is greater."""
        limit = min(max_tokens or served.max_tokens, served.max_tokens)
        settings = {"is_base_model": served.is_base_model, "name": f"{url}#{served.name}", **settings}
        return cls(engine, served.config, limit, **settings)

    # --- comparing ----------------------------------------------------------------------------------------------

    def compare(
        self,
        caption: str,
        image_a: ImageLike,
        image_b: ImageLike,
        votes: int = 1,
        both_orders: bool = True,
        **options: Any,
    ) -> Verdict:
        """Which of two images fits the caption better: ``preferred`` is 0, 1 or None.

        Args:
            votes: votes per order. One vote is greedy; several are sampled at temperature 1.
            both_orders: ask with the images exchanged as well, which cancels position bias.
            options: further settings of :meth:`verdicts`.
        """
        return self.compare_batch([caption], [image_a], [image_b], votes, both_orders, **options)[0]

    def compare_batch(
        self,
        captions: Sequence[str],
        images_a: Any,
        images_b: Any,
        votes: int = 1,
        both_orders: bool = True,
        **options: Any,
    ) -> list[Verdict]:
        """:meth:`compare` for N captions and pairs, in one batch.

        Raises:
            InputError: lists of unequal lengths, broken media.
        """
        first, second = self.images(images_a), self.images(images_b)
        check_captions(captions, len(first), len(second))
        pairs = zip(captions, first, second, strict=True)
        samples = [Sample("compare", "image_preference", caption, images=(a, b)) for caption, a, b in pairs]
        return self.verdicts(samples, votes, both_orders, **options)

    def compare_edits(self, instruction: str, source: ImageLike, a: ImageLike, b: ImageLike, **options: Any) -> Verdict:
        """Which of two edits of a source image follows the instruction better."""
        sample = Sample("compare", "edit_preference", instruction, images=tuple(self.images([source, a, b])))
        return self.verdicts([sample], **options)[0]

    def compare_videos(self, caption: str, a: Sequence[ImageLike], b: Sequence[ImageLike], **options: Any) -> Verdict:
        """Which of two videos, each a sequence of frames, fits the caption better."""
        videos = (tuple(self.images(a)), tuple(self.images(b)))
        return self.verdicts([Sample("compare", "video_preference", caption, videos=videos)], **options)[0]

    def compare_answers(self, question: str, a: str, b: str, images: Any = (), **options: Any) -> Verdict:
        """Which of two answers to a question about images is better."""
        sample = Sample("compare", "response_preference", question, tuple(self.images(images)), responses=(a, b))
        return self.verdicts([sample], **options)[0]

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
            p_first: how the probability is computed, see `ProbabilitySource`.
            temperature: of the sampling; None: 0 for a single vote, else 1.
            on_text: called with the text of the first vote as it grows.

        Raises:
            InputError: a sample of another task, or broken media.
        """
        for sample in samples:
            check_candidates(sample)
        if p_first not in ("votes", "tokens"):
            raise InputError(f"p_first is {p_first!r}", remedy="use votes or tokens")
        rows = self.collect_votes(samples, votes, both_orders, temperature=temperature, seed=seed, on_text=on_text)
        verdicts = [tally(row) for row in rows]
        if p_first == "votes":
            return verdicts
        beliefs = zip(verdicts, rows, vote_beliefs(self, rows), strict=True)
        return [with_probabilities(verdict, row, probs, self.config.temperature) for verdict, row, probs in beliefs]

    # --- ranking and scoring ------------------------------------------------------------------------------------

    def rank(self, caption: str, images: Any, method: ranking.Method = "auto", **options: Any) -> list[int]:
        """The images' indices, best first; arguments as in :meth:`tournament`."""
        return self.tournament(caption, images, method, **options).order

    def tournament(self, caption: str, images: Any, method: ranking.Method = "auto", **options: Any) -> ranking.Ranking:
        """Images ranked by pairwise comparisons, with the method and the number of comparisons.

        Args:
            method: see :func:`reasoner_rm.judge.ranking.rank`.
            options: further settings of :meth:`verdicts`.
        """
        media = self.images(images)
        return ranking.rank(len(media), self._compare_pairs(caption, media, options), method)

    def best_of(self, caption: str, images: Any, **options: Any) -> int:
        """The index of the best image, by a single-elimination tournament of N - 1 comparisons."""
        media = self.images(images)
        return ranking.knockout(len(media), self._compare_pairs(caption, media, options))[0]

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

    # --- analysis -----------------------------------------------------------------------------------------------

    def explain(self, caption: str, image_a: ImageLike, image_b: ImageLike, **options: Any) -> analysis.Explanation:
        """A verdict, with the points per dimension that its reasoning states."""
        return analysis.explain(self.compare(caption, image_a, image_b, **options))

    def step_scores(self, question: str, steps: Sequence[str], images: Any = (), *, votes: int = 1) -> list[float]:
        """For each step of a solution the share of votes that call it right, 0..1; nan without a readable vote."""
        return analysis.step_scores(self, question, steps, self.images(images), votes)

    def find_errors(self, caption: str, image: ImageLike, *, votes: int = 1) -> list[analysis.CaptionError]:
        """Phrases of the caption that the image contradicts, most votes first."""
        return analysis.find_errors(self, caption, self.media(image), votes)

    def annotate(
        self, images: Any, captions: Sequence[str], aspects: Sequence[str] = analysis.ASPECTS, *, votes: int = 1
    ) -> list[analysis.Annotation]:
        """For each image a score and a rationale per aspect, as in VisionPrefer (arXiv 2404.15100)."""
        return analysis.annotate(self, self.images(images), captions, aspects, votes)

    # --- votes and prompts --------------------------------------------------------------------------------------

    def collect_votes(
        self,
        samples: Sequence[Sample],
        votes: int = 1,
        both_orders: bool = True,
        *,
        temperature: float | None = None,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> list[list[Vote]]:
        """The votes on each sample, of any one task; arguments as in :meth:`verdicts`.

        Raises:
            InputError: fewer than one vote, a temperature below 0, a prompt that is not text, samples of several
                tasks, a task that this judge was not trained for.
        """
        sampling = SamplingParams(sampling_temperature(votes, temperature), self.max_tokens)
        if not samples:
            return []
        check_samples(samples)
        return collect_votes(
            self.engine,
            self.template(samples[0].task),
            samples,
            votes=votes,
            both_orders=both_orders,
            sampling=sampling,
            seed=seed,
            on_text=on_text,
        )

    def template(self, task: str) -> Template:
        """The prompt template of a task.

        Raises:
            InputError: the judge was trained for another task.
        """
        get_task(task)
        if task == self.config.task:
            return self.config.template
        if not self.is_base_model:
            raise InputError(f"this judge was trained for {self.config.task}, not for {task}")
        return load_template(task, self.config.template.name)

    def supports(self, task: str) -> bool:
        """Whether this judge can answer a task."""
        return self.is_base_model or task == self.config.task

    def media(self, image: ImageLike) -> MediaRef:
        """One image as a reference; see :func:`reasoner_rm.judge.image_inputs.as_media`."""
        return as_media(image, urls=self.urls)

    def images(self, images: Any) -> list[MediaRef]:
        """Several images as references; see :func:`reasoner_rm.judge.image_inputs.as_images`."""
        return as_images(images, urls=self.urls)

    def _compare_pairs(self, caption: str, images: Sequence[MediaRef], options: dict[str, Any]) -> ranking.Compare:
        def compare(pairs: Sequence[ranking.Pair]) -> list[float | None]:
            samples = [Sample("compare", "image_preference", caption, images=(images[a], images[b])) for a, b in pairs]
            return [verdict.p_first for verdict in self.verdicts(samples, **options)]

        return compare
