"""One signed call, to an address that was checked and to no other."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime
from functools import cached_property

import anyio
import httpx
from standardwebhooks.webhooks import Webhook as Signer

from app.contracts import now
from app.errors import GradSiftError
from app.services.webhook_places import check_webhook, may_be_called
from app.settings import Settings

CALL_SECONDS = 15.0
CONNECT_SECONDS = 5.0
ADDRESSES_TRIED = 3


class NotDelivered(Exception):
    """Why, in words that tell nothing of what was found there. again: whether another call may help."""

    def __init__(self, why: str, *, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


class WebhookSender:
    """Calls by address, with the name in Host and in TLS: whoever answers for the name cannot move it between
    check and call. Follows no redirect, asks no proxy, reads nothing of an answer but its status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def send(self, url: str, message_id: str, body: bytes) -> None:
        """Raises NotDelivered."""
        try:
            checked = check_webhook(url, self._settings)
        except GradSiftError as error:
            raise NotDelivered(error.detail, again=False) from error
        headers = self._signed(message_id, now(), body)
        try:
            with anyio.fail_after(CALL_SECONDS):
                status = await self._call(checked, headers, body)
        except TimeoutError:
            raise NotDelivered(f"no answer within {CALL_SECONDS:g} s") from None
        if not 200 <= status < 300:
            raise NotDelivered(f"it answered {status}", again=status != httpx.codes.GONE)

    def _signed(self, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Headers of https://www.standardwebhooks.com."""
        assert self._settings.webhook_secret is not None  # check_webhook has looked
        signer = Signer(self._settings.webhook_secret.get_secret_value())
        return {
            "content-type": "application/json",
            "user-agent": "gradsift",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signer.sign(message_id, at, body.decode()),
        }

    async def _call(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> int:
        addresses = await self._addresses(url)
        timeout = httpx.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS)
        auth = (url.username, url.password) if url.userinfo else None
        headers = {**headers, "host": url.netloc.decode()}
        async with httpx.AsyncClient(
            verify=self._tls, timeout=timeout, trust_env=False, follow_redirects=False, auth=auth
        ) as client:
            failure: Exception | None = None
            for address in addresses[:ADDRESSES_TRIED]:
                pinned = url.copy_with(host=address, userinfo=b"")
                named = {"sni_hostname": url.raw_host.decode()}
                try:
                    async with client.stream(
                        "POST", pinned, headers=headers, content=body, extensions=named
                    ) as answer:
                        return answer.status_code
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    failure = error
                except httpx.HTTPError as error:
                    raise NotDelivered("the connection broke") from error
        raise NotDelivered(_unconnected(failure)) from failure

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """Every address of the name, if all of them may be called."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await anyio.getaddrinfo(url.raw_host.decode(), port, proto=6)
        except (OSError, UnicodeError):
            raise NotDelivered("its name cannot be resolved") from None
        addresses = list(dict.fromkeys(str(place[4][0]).partition("%")[0] for place in found))
        private = self._settings.webhook_private
        if not all(may_be_called(ipaddress.ip_address(one), private=private) for one in addresses):
            raise NotDelivered("its name leads to an address that may not be called")
        return addresses


def _unconnected(error: Exception | None) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted"
        cause = cause.__cause__ or cause.__context__
    return "no connection could be made"
