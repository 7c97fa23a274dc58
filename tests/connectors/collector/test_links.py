"""Pictures and redirecting links."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.collector.links import GIF, target_of
from connectors.collector.records import Refused
from tests.connectors.collector.conftest import Collector

HOSTS = ("shop.example", "*.brand.example", "localhost:8080")


def test_pixel(collector: Collector) -> None:
    answer = collector.client.get(
        "/p.gif?source=mail&campaign=spring&to=x&campaign=other", headers={"user-agent": "M"}
    )
    assert (answer.status_code, answer.content) == (200, GIF)
    assert answer.headers["content-type"] == "image/gif"
    assert "no-store" in answer.headers["cache-control"]
    assert collector.client.get("/p.gif").status_code == 200
    assert collector.client.head("/p.gif").status_code == 200
    first, second = collector.kept.events("mail")
    assert first["parameters"] == {"campaign": "spring", "to": "x"}
    assert (first["type"], first["useragent"]) == ("pixel", "M")
    assert first["receivedAt"] == "2026-03-01T12:00:00.250000Z"
    assert first["id"] != second["id"]
    assert collector.client.get("/p.gif?source=web").status_code == 404


def test_redirect_carries_the_campaign_on(start: Callable[..., Collector]) -> None:
    collector = start(redirect_hosts=["shop.example"])
    target = "https://shop.example/sale?x=1&utm_source=own#top"
    campaign = "utm_source=mail&utm_medium=e%26m&gclid=G&fbclid=F&msclkid=M"
    query = f"to={quote(target, safe='')}&source=links&{campaign}&other=o"
    answer = collector.client.get(f"/r?{query}")
    assert answer.status_code == 302
    assert "no-store" in answer.headers["cache-control"]
    location = urlsplit(answer.headers["location"])
    assert (location.netloc, location.path, location.fragment) == ("shop.example", "/sale", "top")
    assert parse_qs(location.query) == {
        "x": ["1"],
        "utm_source": ["own"],
        "utm_medium": ["e&m"],
        "gclid": ["G"],
        "fbclid": ["F"],
        "msclkid": ["M"],
    }
    [event] = collector.kept.events("links")
    assert (event["type"], event["parameters"]["to"], event["parameters"]["other"]) == (
        "redirect",
        target,
        "o",
    )
    assert collector.client.head(f"/r?{query}").status_code == 302
    assert len(collector.kept.events("links")) == 1


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("https://shop.example", "https://shop.example/"),
        ("HTTPS://SHOP.EXAMPLE/A", "https://shop.example/A"),
        ("http://shop.example:80/a", "http://shop.example:80/a"),
        ("https://a.brand.example/", "https://a.brand.example/"),
        ("http://localhost:8080/x", "http://localhost:8080/x"),
        (
            "https://shop.example/\N{LATIN SMALL LETTER U WITH DIAERESIS}?q=%C3%BC",
            "https://shop.example/%C3%BC?q=%C3%BC",
        ),
        ("https://shop.example//evil.example/", "https://shop.example//evil.example/"),
    ],
)
def test_targets(target: str, location: str) -> None:
    assert target_of([("to", target)], HOSTS) == location


@pytest.mark.parametrize(
    "target",
    [
        "",
        "//evil.example/",
        "/path",
        "evil.example",
        "https://evil.example/",
        "https://evil.example/shop.example",
        "https://shop.example.evil.example/",
        "https://evilshop.example/",
        "https://brand.example/",
        "https://evil-brand.example/",
        "https://shop.example@evil.example/",
        "https://shop.example:pw@evil.example/",
        "https://evil.example@shop.example/",
        "https://shop.example:8443/",
        "https://shop.example:/",
        "https://shop.example:x/",
        "https://localhost/",
        "https://evil.example\\@shop.example/",
        "https://shop.example\\.evil.example/",
        "https:/\\shop.example/",
        "https:shop.example",
        "https:///shop.example/",
        "https://evil.example#@shop.example/",
        "https://evil.example?@shop.example/",
        "https://evil.example;@shop.example/",
        "javascript://shop.example/%0aalert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example/",
        " https://shop.example/",
        "https://shop.example/\r\nset-cookie: x=y",
        "https://shop.example/a b",
        "ht\ttps://shop.example/",
        "https://shop\u3002example/",
        "https://shop.example\u2044evil.example/",
        "https://\uff53hop.example/",
        "https://[::1]/",
        "https://[shop.example/",
        "https://shop.example.:443/",
        "https://%73hop.example/",
        "https://shop.example\0.evil.example/",
    ],
)
def test_no_open_redirect(target: str) -> None:
    with pytest.raises(Refused):
        target_of([("to", target)], HOSTS)


@given(
    st.lists(
        st.sampled_from(
            [
                *"/\\@:?#%.;&= \t\n\0",
                "//",
                "http:",
                "https:",
                "shop.example",
                "evil.example",
                "localhost:8080",
                "[",
                "]",
                "ü",
            ]
        ),
        max_size=10,
    ).map("".join)
)
def test_whatever_is_asked_leads_to_an_allowed_host(target: str) -> None:
    try:
        location = target_of([("to", target), ("utm_x", "\r\n@\\")], HOSTS)
    except Refused:
        return
    assert location.isascii()
    assert location.isprintable()
    # As a browser reads it: backslashes are slashes, and the host ends at the first of / ? #.
    scheme, _, rest = location.replace("\\", "/").partition("://")
    host = rest.split("/")[0].split("?")[0].split("#")[0]
    assert scheme in {"http", "https"}
    assert host.removesuffix(":80" if scheme == "http" else ":443") in {"shop.example", "localhost:8080"}


def test_targets_must_be_one(collector: Collector) -> None:
    get = collector.client.get
    assert get("/r").json()["code"] == "bad_target"
    assert get("/r?to=https://shop.example/&to=https://evil.example/").json()["code"] == "bad_target"
    assert get("/r?to=https://shop.example/").json()["code"] == "bad_target"
    assert not collector.kept.events("links")


def test_a_link_works_though_nothing_can_be_kept(start: Callable[..., Collector]) -> None:
    collector = start(redirect_hosts=["shop.example"], spool_bytes=0)
    collector.kept.away = True
    assert collector.client.get("/r?to=https://shop.example/").status_code == 302
    assert collector.metric("milepost_collector_events_total", source="links", fate="unrecorded") == 1
    assert collector.client.get("/p.gif").status_code == 503
