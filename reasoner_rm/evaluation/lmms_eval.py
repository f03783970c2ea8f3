"""What lmms-eval calls when it runs a benchmark's protocol: rows in, images and prompts out, answers to a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.data.images import open_image
from reasoner_rm.data.media import Media
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.prompts import prompts
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.scoring import headline
from reasoner_rm.sampling.votes import Order, in_order
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Prompt, render
from reasoner_rm.utils.seeding import stable_seed

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE, SEEN = "<image>", "seen.png"


class LmmsTask:
    """One benchmark under one protocol; of a row's items the first is asked, in the order of the first vote."""

    def __init__(self, name: str, protocol: str, keep: str | Path = ".evaluation-images"):
        self.benchmark = get_benchmark(name)
        self.protocol = self.benchmark.protocol(protocol).with_options(votes=1)
        self.template = prompts(self.protocol)
        self.media = Media(Path("."), Path(keep))

    def visual(self, doc: Mapping[str, Any]) -> list[Image]:
        """The images of the prompt, in reading order."""
        return [open_image(ref) for ref in self._prompt(doc).images]

    def text(self, doc: Mapping[str, Any], **_: Any) -> str:
        """The prompt, with `<image>` for every image."""
        prompt = self._prompt(doc)
        parts = zip(prompt.content, prompt.is_image, strict=True)
        return "".join(IMAGE if image else str(part) for part, image in parts)

    def target(self, doc: Mapping[str, Any], **_: Any) -> str:
        return str(dict(self.item(doc).gold))

    def process(self, doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
        return {"score": {"doc": _without_pictures(doc), "text": results[0]}}

    def aggregate(self, results: Sequence[Mapping[str, Any]]) -> float | None:
        """The protocol's headline figure."""
        items = []
        for result in results:
            sample = self.item(result["doc"])
            items.append(AnsweredItem(sample, (Prediction(self.order(sample), 0, result["text"]),)))
        return headline(items, self.protocol).value

    def item(self, doc: Mapping[str, Any]) -> Sample:
        """The first item of a row, named by its texts. lmms-eval decodes images; here they are encoded again."""
        values = {key: _encoded(value) for key, value in doc.items()}
        texts = [value for value in values.values() if isinstance(value, (str, int, float)) and value != SEEN]
        name = f"row-{stable_seed(*texts):x}"
        return next(iter(self.benchmark.read(DatasetRow(values, name, 0, self.media))))

    def order(self, sample: Sample) -> Order:
        return self.protocol.orders(sample, 0)[0]

    def _prompt(self, doc: Mapping[str, Any]) -> Prompt:
        sample = self.item(doc)
        shown = in_order(sample, self.order(sample))
        return render(shown, self.template(shown))


def _encoded(value: Any) -> Any:
    if not hasattr(value, "save"):
        return value
    out = io.BytesIO()
    value.save(out, "PNG")
    return out.getvalue()


def _without_pictures(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {key: SEEN if hasattr(value, "save") else value for key, value in doc.items()}
