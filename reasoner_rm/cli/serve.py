"""The verb `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_engine, libraries_to_stderr, load_judge
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
    serve = verb("serve", _serve, "serve a judge over HTTP: JSON, OpenAI chat completions, and a web page")
    serve.add_argument("--model", required=True, help="a run, a checkpoint folder, or a hub id")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="0: any free port (default: 8000)")
    serve.add_argument("--name", help="the model's name for OpenAI's clients (default: the folder's)")
    add_engine(serve)
    serve.add_argument(
        "--template", default="default", help="prompt template of a checkpoint that has none (default: default)"
    )
    serve.add_argument("--max-tokens", type=int, default=1024)
    serve.add_argument("--api-key-env", metavar="NAME", help="require the API key in this environment variable")
    serve.add_argument("--allow-urls", action="store_true", help="fetch images from public http addresses")
    serve.add_argument(
        "--allow-host", action="append", metavar="NAME",
        help="accepted Host header, as behind a proxy (default: any; on loopback only its own names)",
    )  # fmt: skip
    serve.add_argument(
        "--flow-grpo-pickle", action="store_true",
        help="POST / accepts the pickles of Flow-GRPO's remote rewards, on loopback only; no code in them is run",
    )  # fmt: skip
    serve.add_argument(
        "--max-in-flight", type=int, default=128, help="concurrent requests; more get 429 (default: 128)"
    )
    serve.add_argument("--max-body-mb", type=int, default=32, help="size of one request body (default: 32)")
    serve.add_argument("--max-pixels", type=int, default=16_000_000, help="pixels of one image (default: 16 million)")
    serve.add_argument("--timeout", type=float, default=300.0, help="seconds for one response (default: 300)")
    serve.add_argument(
        "--cache", type=int, default=10_000, help="cached completions; 0 disables the cache (default: 10,000)"
    )


def _serve(args: argparse.Namespace) -> None:
    try:
        from reasoner_rm.server.app import create_app
        from reasoner_rm.server.limits import MB, Limits
        from reasoner_rm.server.runner import allowed_hosts, bind, is_loopback, run
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed", remedy="install reasoner-rm[serve]") from None
    from reasoner_rm.serving.cache import CompletionCache

    key = os.environ.get(args.api_key_env) if args.api_key_env else None
    if args.api_key_env and not key:
        raise InputError(f"the environment has no {args.api_key_env}", remedy="export it, or omit --api-key-env")
    if min(args.max_in_flight, args.max_body_mb, args.max_pixels, args.timeout) <= 0:
        raise InputError("a limit is not positive", remedy="see serve --help")
    if args.flow_grpo_pickle and not is_loopback(args.host):
        problem = f"--flow-grpo-pickle is allowed on loopback only, not on {args.host}"
        raise InputError(problem, remedy="use --host 127.0.0.1")
    bind(args.host, args.port).close()  # fails on a port in use before the model is loaded
    limits = Limits(
        in_flight=args.max_in_flight, body=args.max_body_mb * MB, pixels=args.max_pixels, response_timeout=args.timeout
    )
    with libraries_to_stderr():
        judge = load_judge(
            args,
            template=args.template,
            isolate=True,
            cache=CompletionCache(args.cache) if args.cache else None,
        )
    name = args.name or Path(args.model).name or "judge"
    if key is None and not is_loopback(args.host):
        print(
            f"warning: anyone who can reach {args.host} can send requests; --api-key-env requires a key",
            file=sys.stderr,
        )
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
