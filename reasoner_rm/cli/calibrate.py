"""The verb `calibrate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reasoner_rm.cli.common import Add, libraries_to_stderr
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
    calibrate = verb(
        "calibrate", _calibrate, "fit the temperature of a judge's verdict probabilities on held-out comparisons"
    )
    calibrate.add_argument("run_dir", type=Path, metavar="RUN")
    calibrate.add_argument(
        "--data", type=Path, required=True, metavar="FILE.jsonl", help="labelled comparisons that were not trained on"
    )
    calibrate.add_argument("--limit", type=int, help="use only the first N samples", metavar="N")
    calibrate.add_argument("--max-tokens", type=int, default=1024)
    calibrate.add_argument("--json", action="store_true", help="print one JSON object")


def _calibrate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.io import load_samples
    from reasoner_rm.judge import Judge
    from reasoner_rm.models.judge_checkpoint import FILE
    from reasoner_rm.models.loading import resolve_model
    from reasoner_rm.release.calibrate import calibrate, save_temperature

    folder = Path(resolve_model(args.run_dir))
    if not (folder / FILE).is_file():
        raise InputError(
            "no trained judge in this directory", file=args.run_dir, remedy="give the directory of a finished run"
        )
    samples = load_samples(args.data)[: args.limit]
    with libraries_to_stderr():
        fit = calibrate(Judge.from_pretrained(folder, max_tokens=args.max_tokens), samples)
        save_temperature(fit, folder)
    if args.json:
        print(json.dumps(fit.as_json()))
        return
    print(f"temperature {fit.temperature:g}, fitted on {fit.fitted_on} comparisons")
    print(f"ECE on {fit.after.n} other comparisons: {fit.before.ece:.3f} before, {fit.after.ece:.3f} after")
    print(f"plot: {folder / 'calibration.png'}")
