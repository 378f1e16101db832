"""Where webhooks may go: hosts by name, when a job is sent, and addresses, when they are called."""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase

import httpx

from app.errors import Forbidden, Invalid
from app.settings import Settings

LONGEST_URL = 2048
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"https": 443, "http": 80}
_NAMED_PORT = re.compile(r":(\d+|\*)$")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = {ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("fd00:ec2::254")}
"""Metadata services at addresses that look public, or merely private."""


def check_webhook(url: str, settings: Settings) -> httpx.URL:
    """The URL as it is to be called. No name is looked up here.

    Raises:
        Invalid: no webhooks are called here; it is no URL.
        Forbidden: its host may not be called.
    """
    if not settings.webhook_hosts or settings.webhook_secret is None:
        raise Invalid("webhook_unavailable", "this service is not set up to call webhooks")
    parsed = _parsed(url, settings)
    host = parsed.raw_host.decode()
    if not any(_matches(parsed, pattern.lower()) for pattern in settings.webhook_hosts):
        raise Forbidden("webhook_not_allowed", f"webhooks may not go to {host[:255]!r}")
    try:
        literal = ipaddress.ip_address(parsed.host)
    except ValueError:
        return parsed
    if not may_be_called(literal, private=settings.webhook_private):
        raise Forbidden("webhook_not_allowed", f"webhooks may not go to the address {literal}")
    return parsed


def _parsed(url: str, settings: Settings) -> httpx.URL:
    """Raises Invalid. What is wrong is told without the URL, which may hold a secret."""
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode()
    except (httpx.InvalidURL, ValueError) as error:
        raise Invalid("invalid_webhook", "`webhook` is no URL") from error
    schemes = ("https", "http") if settings.webhook_insecure else ("https",)
    if parsed.scheme not in schemes:
        raise Invalid("invalid_webhook", f"`webhook` is not a URL of {' or '.join(schemes)}")
    odd = "#" in url or "\\" in url or not url.isprintable()
    if odd or not parsed.host or len(url) > LONGEST_URL:
        raise Invalid("invalid_webhook", "`webhook` has no host, odd characters, or too many of them")
    return parsed


def _matches(url: httpx.URL, pattern: str) -> bool:
    """A pattern without a port means the scheme's own."""
    host = url.raw_host.decode().removesuffix(".")
    if ":" in host:
        host = f"[{host}]"
    usual = _PORTS[url.scheme]
    if not _NAMED_PORT.search(pattern):
        pattern = f"{pattern}:{usual}"
    return fnmatchcase(f"{host}:{url.port or usual}", pattern.replace("[", "[[]"))


def may_be_called(address: Address, *, private: bool) -> bool:
    """Whether it leads out of every network of our own; private: those are allowed, too.

    What is link-local, where clouds keep their metadata, is refused in any case; an IPv4 address inside an
    IPv6 one (mapped, 6to4, Teredo, NAT64) counts as itself.
    """
    inner = _inner(address)
    if inner is not None:
        return may_be_called(inner, private=private)
    if address in _NEVER or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.is_private or address.is_loopback:
        return private
    return address.is_global or private


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
