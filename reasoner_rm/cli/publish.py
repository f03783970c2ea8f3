"""The verb `publish`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, libraries_to_stderr
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
    publish = verb("publish", _publish, "release a run's judge: a folder with its model card, checked, then the hub")
    publish.add_argument("run_dir", type=Path, metavar="RUN")
    publish.add_argument("--repo-id", required=True, metavar="ORG/NAME")
    publish.add_argument("--dry-run", action="store_true", help="write and check the folder, send nothing")
    publish.add_argument("--out", type=Path, help="the folder to write (default: RUN/release)")
    publish.add_argument("--license", default="other", help="of the weights, as the hub writes it (default: other)")
    publish.add_argument("--private", action="store_true", help="a private repository")
    publish.add_argument("--pictures", action=argparse.BooleanOptionalAction, default=True,
                         help="show a held-out comparison in the card; its images are copied")  # fmt: skip
    publish.add_argument("--results", type=Path, nargs="+", default=(), metavar="DIR",
                         help="what `eval` wrote about the run's judge: its figures stand in the card")  # fmt: skip
    publish.add_argument("--check", type=int, default=8, metavar="N", help="compare N answers with the run's")
    publish.add_argument("--json", action="store_true", help="print one JSON object")


def _publish(args: argparse.Namespace) -> None:
    from reasoner_rm.release.hub import upload
    from reasoner_rm.release.prepare import prepare
    from reasoner_rm.release.verify import check

    if args.repo_id.count("/") > 1 or not args.repo_id.strip("/"):
        raise InputError(f"--repo-id {args.repo_id!r} is not of the form ORG/NAME")
    if args.check < 1:
        raise InputError("--check is not positive", remedy="a release is compared with its run")
    with libraries_to_stderr():
        out = args.out or args.run_dir / "release"
        made = prepare(args.run_dir, out, args.repo_id, args.license, args.pictures, args.results)
        found = check(made.folder, args.run_dir, args.check)
        print(f"checked: {found.same} of {found.asked} answers are the run's, word for word", file=sys.stderr)
        address = None if args.dry_run else upload(made.folder, args.repo_id, private=args.private)
    told = {"folder": str(made.folder), "asked": found.asked, "same": found.same, "readable": found.readable}
    print(json.dumps({**told, "commit": address}) if args.json else f"release: {address or made.folder}")
