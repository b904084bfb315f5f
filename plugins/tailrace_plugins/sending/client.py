"""A small HTTP client for one target: one connection that is kept, nothing tried twice behind one's back.

Whatever the other side answers is an `Answer`, also a redirect, which is never followed. That there is none is
`Unanswered`, whose text names host and port and says what to check. Neither holds a credential, nor is one logged.
"""

from __future__ import annotations

import gzip
import ssl
import time
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, ProtocolError, SSLError

from tailrace import Context
from tailrace_plugins.receiving.watched import Watched
from tailrace_plugins.sending.authorization import Authorization
from tailrace_plugins.sending.target import Target, address, parse_url
from tailrace_plugins.sending.tls import make_context
from tailrace_plugins.sending.trouble import explain

_PIECE: Final = 65_536
_CLOSED: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Unanswered(Exception):  # noqa: N818 - said of the request
    """There was no whole answer; the other side may have taken the request all the same."""


class Answer(NamedTuple):
    """What the other side answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False  # the body was longer than is of interest

    @property
    def is_taken(self) -> bool:
        """Whether the request was taken."""
        return 200 <= self.status < 300


class Client:
    """Sends requests to one target, by one thread. Raises ValueError if the target's files cannot be used."""

    def __init__(self, context: Context, target: Target) -> None:
        parts = parse_url(target.url)
        self._log = context.log
        self._target = target
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.host = address(parts)
        """Host and port, for people."""
        self._is_secure = parts.scheme == "https"
        self._authorization = Authorization(context, target.credential)
        tls = target.tls
        self._certificates = Watched([pem for pem in (tls.ca, tls.cert, tls.key) if isinstance(pem, str)])
        self._manager = self._make_manager()
        self._is_kept = False  # the connection answered before, and may have been closed since
        if self._is_secure and tls.insecure:
            urllib3.disable_warnings(InsecureRequestWarning)  # in favour of this one
            self._log.warning(
                "the receiver is not verified: anybody on the way can read and take what is sent",
                extra={"host": self.host, "do": "give the CA that signed its certificate"},
            )

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = {}) -> Answer:
        """Post a body, compressed if the target wants that. Raises Unanswered.

        `path` follows the target's own, and may have a query; where it is empty, the target's URL is taken as it is.
        """
        if self._target.gzip:
            body = gzip.compress(body, 1, mtime=0)  # the same body is the same bytes
            headers = {**headers, "Content-Encoding": "gzip"}
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        """Send a request and read its answer. Raises Unanswered.

        A connection that was kept may have been closed by the other side meanwhile; then it is sent again, once.
        """
        self._renew()
        url = f"{self._base}{path}" if path else self._target.url
        headers = {
            "User-Agent": "tailrace",
            "Accept-Encoding": "identity",  # an answer cannot unfold in memory
            **self._target.headers,
            **headers,
        }
        was_kept, self._is_kept = self._is_kept, False
        try:
            try:
                answer = self._request(method, url, body, headers)
            except (ProtocolError, SSLError) as error:
                if not was_kept or not isinstance(error.args[-1], _CLOSED):
                    raise
                answer = self._request(method, url, body, headers)
        except (HTTPError, ssl.SSLError, OSError) as error:
            self._manager.clear()
            raise Unanswered(explain(error, self.host, self._target.timeout)) from None
        self._is_kept = True
        if answer.status == 401:
            self._authorization.read_anew()
        return answer

    def _request(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        response = self._manager.urlopen(
            method,
            url,
            body=body,
            headers={**headers, **self._authorization.headers()},
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
            timeout=self._target.timeout,
        )
        received = b""
        deadline = time.monotonic() + self._target.timeout
        try:
            while len(received) <= self._target.most_answer_bytes and (piece := response.read1(_PIECE)):
                received += piece
                if time.monotonic() > deadline:  # it trickles
                    raise TimeoutError
        except BaseException:
            response.close()
            raise
        is_cut = len(received) > self._target.most_answer_bytes
        if is_cut:
            response.close()  # what is left of it need not be read
            received = received[: self._target.most_answer_bytes]
        response.release_conn()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, found, received, is_cut)

    def _make_manager(self) -> urllib3.PoolManager:
        target = self._target
        context = make_context(target.tls) if self._is_secure else None
        if target.proxy is not None:
            return urllib3.ProxyManager(
                target.proxy, num_pools=1, block=True, ssl_context=context, server_hostname=target.tls.server_name
            )
        return urllib3.PoolManager(num_pools=1, block=True, ssl_context=context, server_hostname=target.tls.server_name)

    def _renew(self) -> None:
        """Take up certificates that changed; what cannot be used leaves the former ones in force."""
        if not self._is_secure or not self._certificates.changed():
            return
        try:
            manager = self._make_manager()
        except ValueError as error:
            self._log.error("changed files cannot be used; the former ones stay in force", extra={"cause": str(error)})
            return
        self._manager.clear()
        self._manager, self._is_kept = manager, False
        self._log.info("changed files are in force", extra={"what": "certificates"})

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._manager.clear()
        self._is_kept = False


def place_of(url: str) -> str:
    """Give scheme, host and path of a URL that somebody else wrote, without what may be secret in it."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"[:200]
    except ValueError:
        return "a place that is no URL"
