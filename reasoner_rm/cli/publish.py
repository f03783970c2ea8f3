"""The verb `publish`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, libraries_to_stderr
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
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
    publish.add_argument("--json", action="store_true", help="print one JSON object")


def _publish(args: argparse.Namespace) -> None:
    from reasoner_rm.release.hub import upload
    from reasoner_rm.release.prepare import prepare
    from reasoner_rm.release.verify import verify

    if args.repo_id.count("/") > 1 or not args.repo_id.strip("/"):
        raise InputError(f"--repo-id {args.repo_id!r} is not of the form ORG/NAME")
    if args.check < 1:
        raise InputError(f"--check is {args.check}", remedy="give at least 1")
    with libraries_to_stderr():
        out = args.out or args.run_dir / "release"
        release = prepare(args.run_dir, out, args.repo_id, args.license, args.pictures, args.results)
        result = verify(release.folder, args.run_dir, args.check)
        print(f"verified: {result.same} of {result.asked} texts are identical to the run's", file=sys.stderr)
        address = None if args.dry_run else upload(release.folder, args.repo_id, private=args.private)
    row = {"folder": str(release.folder), "asked": result.asked, "same": result.same, "readable": result.readable}
    print(json.dumps({**row, "commit": address}) if args.json else f"release: {address or release.folder}")
