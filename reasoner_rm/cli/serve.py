"""The verb `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_engine, libraries_to_stderr
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
    serve = verb("serve", _serve, "a judge over HTTP: JSON, OpenAI's chat completions, a page for people")
    serve.add_argument("--model", required=True, help="a run, a checkpoint folder, or a hub id")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    serve.add_argument("--name", help="the model's name for OpenAI's clients (default: the folder's)")
    add_engine(serve)
    serve.add_argument("--template", default="default", help="how a plain checkpoint is asked (default: default)")
    serve.add_argument("--max-tokens", type=int, default=1024)
    serve.add_argument(
        "--api-key-env", metavar="NAME", help="clients must show the key that this environment variable holds"
    )
    serve.add_argument("--allow-urls", action="store_true", help="fetch images from public http addresses")
    serve.add_argument(
        "--allow-host", action="append", metavar="NAME",
        help="a name that requests may call the server by, as behind a proxy (default: any, or on loopback its own)",
    )  # fmt: skip
    serve.add_argument(
        "--flow-grpo-pickle", action="store_true",
        help="POST / takes the pickles of Flow-GRPO's remote rewards, on loopback only; they are read, never run",
    )  # fmt: skip
    serve.add_argument("--max-in-flight", type=int, default=128, help="requests inside; more get 429 (default: 128)")
    serve.add_argument("--max-body-mb", type=int, default=32, help="of one request (default: 32)")
    serve.add_argument("--max-pixels", type=int, default=16_000_000, help="of one image (default: 16 million)")
    serve.add_argument("--timeout", type=float, default=300.0, help="seconds for an answer (default: 300)")
    serve.add_argument("--cache", type=int, default=10_000, help="requests whose answers are kept; 0: none")


def _serve(args: argparse.Namespace) -> None:
    try:
        from reasoner_rm.server.app import create_app
        from reasoner_rm.server.limits import MB, Limits
        from reasoner_rm.server.runner import allowed_hosts, bind, is_loopback, run
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed", remedy="install reasoner-rm[serve]") from None
    from reasoner_rm.judge import Judge
    from reasoner_rm.serving.cache import CompletionCache

    key = os.environ.get(args.api_key_env) if args.api_key_env else None
    if args.api_key_env and not key:
        raise InputError(f"the environment has no {args.api_key_env}", remedy="export it, or leave --api-key-env out")
    if min(args.max_in_flight, args.max_body_mb, args.max_pixels, args.timeout) <= 0:
        raise InputError("a limit is not positive", remedy="see serve --help")
    if args.flow_grpo_pickle and not is_loopback(args.host):
        what = f"--flow-grpo-pickle is for this machine alone, not for {args.host}"
        raise InputError(what, remedy="leave --host at 127.0.0.1")
    bind(args.host, args.port).close()  # a port that is taken shows before the model is loaded
    limits = Limits(
        in_flight=args.max_in_flight, body=args.max_body_mb * MB, pixels=args.max_pixels, response_timeout=args.timeout
    )
    with libraries_to_stderr():
        judge = Judge.from_pretrained(
            args.model,
            args.engine,
            url=args.url,
            max_tokens=args.max_tokens,
            template=args.template,
            isolate=True,
            cache=CompletionCache(args.cache) if args.cache else None,
        )
    name = args.name or Path(args.model).name or "judge"
    if key is None and not is_loopback(args.host):
        print(f"anybody who reaches {args.host} may ask: --api-key-env sets a key", file=sys.stderr)
    hosts = allowed_hosts(args.host, args.allow_host)
    app = create_app(
        judge,
        name=name,
        limits=limits,
        key=key,
        urls=args.allow_urls,
        hosts=hosts,
        flow_grpo_pickle=args.flow_grpo_pickle,
    )
    run(app, args.host, args.port)
