"""Limits on everything that a client of the server controls."""

from __future__ import annotations

from dataclasses import dataclass

MB = 2**20

TEXT, VOTES, IMAGES, SAMPLES = 20_000, 16, 32, 64
"""Limits that the OpenAPI document states: characters of a text, votes per order, images and samples of a request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the server; see `reasoner-rm serve --help`.

    Attributes:
        connections: open connections; beyond, the one that has waited longest for its client is closed.
        in_flight: requests whose body is complete and that are not yet answered; further ones get 429.
        held_bytes: memory of their bodies and decoded images together; further bytes get 429.
        image_cache_bytes: memory of the cache of processed images.
        body: bytes of a request's body; more get 413.
        pixels: pixels of an image, checked in its header before it is decoded.
        side: pixels of an image's longer side.
        pairs: comparisons that a request may cause.
        response_timeout: seconds until a request is answered with 504.
        idle_timeout: seconds without a byte while a body is received or a response is sent.
        min_rate: bytes a second at which a body arrives; it may be late by ``idle_timeout``.
        upload_timeout: seconds for a whole body.
    """

    connections: int = 4096
    in_flight: int = 128
    held_bytes: int = 1024 * MB
    image_cache_bytes: int = 64 * MB
    body: int = 32 * MB
    pixels: int = 16_000_000
    side: int = 16_384
    pairs: int = 256
    response_timeout: float = 300.0
    idle_timeout: float = 20.0
    min_rate: float = 1024.0
    upload_timeout: float = 120.0
