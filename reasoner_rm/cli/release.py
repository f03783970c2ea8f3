"""The verbs that release the judge of a finished run: `calibrate` and `publish`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from reasoner_rm.cli.common import Add, check_range, libraries_to_stderr
from reasoner_rm.errors import InputError
from reasoner_rm.utils.locks import file_lock


def add_verbs(verb: Add) -> None:
    _add_calibrate(verb)
    _add_publish(verb)


def _add_calibrate(verb: Add) -> None:
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


def _add_publish(verb: Add) -> None:
    publish = verb("publish", _publish, "write a release folder with a model card, verify it, and upload it to the hub")
    publish.add_argument("run_dir", type=Path, metavar="RUN")
    publish.add_argument("--repo-id", required=True, metavar="ORG/NAME")
    publish.add_argument("--dry-run", action="store_true", help="write and verify the folder, upload nothing")
    publish.add_argument("--out", type=Path, help="the folder to write (default: RUN/release)")
    publish.add_argument(
        "--license", default="other", help="licence of the weights, as the hub spells it (default: other)"
    )
    publish.add_argument("--private", action="store_true", help="create a private repository")
    publish.add_argument("--pictures", action=argparse.BooleanOptionalAction, default=True,
                         help="show a held-out comparison in the card; its images are copied")  # fmt: skip
    publish.add_argument("--results", type=Path, nargs="+", default=(), metavar="DIR",
                         help="result folders of `eval` for the run's judge, shown in the card")  # fmt: skip
    publish.add_argument(
        "--check", type=int, default=8, metavar="N", help="samples to compare with the run (default: 8)"
    )
    publish.add_argument(
        "--max-tokens", type=int, default=256, metavar="N", help="tokens of a text that is compared (default: 256)"
    )
    publish.add_argument("--json", action="store_true", help="print one JSON object")


def _calibrate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.io import load_samples
    from reasoner_rm.judge import Judge
    from reasoner_rm.models.judge_checkpoint import FILE
    from reasoner_rm.models.loading import model_location
    from reasoner_rm.release.calibrate import calibrate, save_temperature
    from reasoner_rm.utils.progress import working

    folder = Path(model_location(args.run_dir))
    if not (folder / FILE).is_file():
        raise InputError(
            "no trained judge in this directory", file=args.run_dir, remedy="give the directory of a finished run"
        )
    samples = load_samples(args.data)[: args.limit]
    with libraries_to_stderr():
        judge = Judge.from_pretrained(folder, max_tokens=args.max_tokens)
        with working("calibrating"):
            fit = calibrate(judge, samples)
        save_temperature(fit, folder)
    if args.json:
        print(json.dumps(fit.as_json()))
        return
    print(f"temperature {fit.temperature:g}, fitted on {fit.fitted_on} comparisons")
    print(f"ECE on {fit.after.n} other comparisons: {fit.before.ece:.3f} before, {fit.after.ece:.3f} after")
    print(f"plot: {folder / 'calibration.png'}")


def _publish(args: argparse.Namespace) -> None:
    from reasoner_rm.release.hub import upload
    from reasoner_rm.release.prepare import prepare
    from reasoner_rm.release.verify import verify

    if args.repo_id.count("/") > 1 or not args.repo_id.strip("/"):
        raise InputError(f"--repo-id {args.repo_id!r} is not of the form ORG/NAME")
    check_range(args, 1, math.inf, "check", "max_tokens")
    with libraries_to_stderr():
        out = args.out or args.run_dir / "release"
        with file_lock(out):
            release = prepare(args.run_dir, out, args.repo_id, args.license, args.pictures, args.results)
            result = verify(release.folder, args.run_dir, args.check, args.max_tokens)
            print(
                f"verified: {result.same} of {result.asked} texts are identical to the run's, and {result.plain_same} "
                f"of {result.plain_asked} to those of transformers' own generate",
                file=sys.stderr,
            )
            address = None if args.dry_run else upload(release.folder, args.repo_id, private=args.private)
    row = {"folder": str(release.folder), **asdict(result)}
    print(json.dumps({**row, "commit": address}) if args.json else f"release: {address or release.folder}")
