"""What a request may cost. Everything that a client decides has a bound here."""

from __future__ import annotations

from dataclasses import dataclass

MB = 2**20

TEXT, VOTES, IMAGES, SAMPLES = 20_000, 16, 32, 64
"""Characters of one text, votes of one order, images and samples of a request; the OpenAPI document states them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server; see `reasoner-rm serve --help`.

    in_flight: requests that are accepted and not yet answered; more get 429.
    held: bytes that all of them hold together, bodies and decoded images; more get 429.
    processed: bytes of processed images that are kept in case they come again.
    body: bytes of one request's body; more get 413.
    pixels: pixels of one image, from its header, before anything is unpacked.
    side: pixels of an image's longer side.
    pairs: comparisons that one request may cause.
    answer: seconds until a request is answered with 504.
    upload: seconds that a body may pause.
    whole: seconds that all of a body may take.
    """

    in_flight: int = 128
    held_bytes: int = 1024 * MB
    image_cache_bytes: int = 64 * MB
    body: int = 32 * MB
    pixels: int = 16_000_000
    side: int = 16_384
    pairs: int = 256
    response_timeout: float = 300.0
    idle_timeout: float = 20.0
    upload_timeout: float = 120.0
