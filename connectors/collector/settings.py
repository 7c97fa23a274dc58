"""The collector's settings, as `milepost.yaml` or a caller gives them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from milepost.sources import NAME, Strict

KIB = 1024
MIB = 1024 * KIB

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?")


class SegmentSource(Strict):
    """Events by Segment's HTTP tracking API; who holds one of the source's write keys may send."""

    protocol: Literal["segment"]


class SnowplowSource(Strict):
    """Events by Snowplow's tracker protocol, which has no key: the application id tells the source."""

    protocol: Literal["snowplow"]
    app_ids: tuple[str, ...] = Field(
        default=(),
        description="Application ids (`aid`) of this source; none: every id no other source names.",
    )


class PixelSource(Strict):
    """A transparent picture, for ads seen and e-mails opened."""

    protocol: Literal["pixel"]


class RedirectSource(Strict):
    """A redirecting link, for ads, e-mails and printed codes."""

    protocol: Literal["redirect"]


CollectorSource = Annotated[
    SegmentSource | SnowplowSource | PixelSource | RedirectSource, Field(discriminator="protocol")
]


class NetworkCookie(Strict):
    """A cookie of the collector's own domain that tells browsers apart."""

    name: str = Field(default="milepost_id", pattern=r"^[A-Za-z0-9_-]+$", description="Its name.")
    days: int = Field(default=365, ge=1, le=400, description="Days that it lives.")
    domain: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9.-]+$", description="Its domain, if other hosts should see it."
    )
    secure: bool = Field(default=True, description="Over HTTPS only, and also from other sites' pages.")


class CollectorSettings(Strict):
    """How the collector listens, what it takes, and how much of it."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8300, ge=0, le=65_535, description="Port to listen on; 0 for a free one.")
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Addresses of proxies whose X-Forwarded-For and -Proto are believed."
    )
    sources: dict[str, CollectorSource] = Field(
        default_factory=dict, exclude=True, description="Source → its protocol, as `sources` have it."
    )
    max_event_bytes: int = Field(default=32 * KIB, ge=KIB, le=MIB, description="Of one event.")
    max_batch_bytes: int = Field(
        default=500 * KIB, ge=KIB, le=4 * MIB, description="Of a request's body, packed as well as unpacked."
    )
    max_batch_events: int = Field(default=2_500, ge=1, le=20_000, description="Events in one request.")
    max_in_flight_bytes: int = Field(
        default=64 * MIB, ge=MIB, description="Bodies in work at a time; above it the answer is 503."
    )
    max_connections: int = Field(default=2_000, ge=1, description="Connections; above it the answer is 503.")
    events_per_second: float = Field(
        default=5_000.0, gt=0, description="Of one write key, or one source without keys; above it 429."
    )
    body_seconds: float = Field(default=10.0, gt=0, description="In which a request must have arrived.")
    acknowledge_seconds: float = Field(
        default=5.0, gt=0, description="For which Kafka is waited for before records go to the spool."
    )
    spool_bytes: int = Field(default=KIB * MIB, ge=0, description="Of the spool on the disk; 0 for none.")
    redirect_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts that links may lead to: `shop.example`, `*.shop.example`, `localhost:8080`.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=("*",), description="Origins of pages that may send from browsers; `*` for all."
    )
    client_address: bool = Field(default=False, description="Whether records keep the sender's IP address.")
    network_cookie: NetworkCookie | None = Field(
        default=None, description="A cookie that tells browsers apart; none unless set."
    )

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, CollectorSource]) -> dict[str, CollectorSource]:
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} can't name a source; use letters, digits and _")
        return value

    @field_validator("redirect_hosts")
    @classmethod
    def _host_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in value)
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host; write shop.example, *.shop.example or localhost:8080")
        return hosts

    @model_validator(mode="after")
    def _one_source_per_app(self) -> CollectorSettings:
        ids = [
            app
            for source in self.sources.values()
            if isinstance(source, SnowplowSource)
            for app in (source.app_ids or ("(any other)",))
        ]
        twice = sorted({app for app in ids if ids.count(app) > 1})
        if twice:
            raise ValueError(
                f"two Snowplow sources take the application id {', '.join(twice)}; leave it to one"
            )
        if self.max_event_bytes > self.max_batch_bytes:
            raise ValueError("max_event_bytes is above max_batch_bytes; lower it")
        return self

    def of_protocol(self, protocol: str) -> tuple[str, ...]:
        """Give the names of the sources that speak a protocol."""
        return tuple(name for name, source in self.sources.items() if source.protocol == protocol)
