"""The best of N drawings, and which labelled pairs of a dataset the judge agrees with."""

from __future__ import annotations

import argparse

from drawing import COLOURS, draw

from reasoner_rm import Judge, Sample


def best(judge: Judge, n: int = 6) -> int:
    """The index of the drawing that wins the knockout tournament."""
    colours = sorted(COLOURS)
    return judge.best_of("a red circle", [draw(colours[i % len(colours)], i) for i in range(n)])


def agreed(judge: Judge) -> list[str]:
    """Ids of the pairs with whose label the judge agrees in both orders."""
    samples = [
        Sample(f"pair-{i}", "image_preference", "a red circle", (draw("red", i), draw("blue", i)), gold={"p_first": p})
        for i, p in enumerate((1.0, 0.0, 1.0))
    ]
    verdicts = judge.verdicts(samples)
    return [
        s.id for s, v in zip(samples, verdicts, strict=True) if v.preferred == (0 if s.gold["p_first"] > 0.5 else 1)
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    args = parser.parse_args(argv)
    judge = Judge.from_pretrained(args.model, max_tokens=96)
    print(f"best: {best(judge)}; the judge agrees with the labels of {agreed(judge)}")


if __name__ == "__main__":
    main()
