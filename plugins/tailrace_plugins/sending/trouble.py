"""What went wrong on the way to an answer, in words that say what to check."""

from __future__ import annotations

import http.client
import ssl
from typing import Final

from urllib3 import exceptions

_VERIFY: Final = {  # X509_V_ERR_... of OpenSSL
    9: "is not valid yet; check the clocks of both sides",
    10: "has expired; renew it there",
    18: "is self-signed and not trusted; give it, or the CA that signed it, as the CA",
    19: "is signed by a CA that is not trusted; give that CA",
    20: "is signed by a CA that is not trusted; give that CA",
    21: "is signed by a CA that is not trusted; give that CA",
    62: "is for another name; check host and server name",
    64: "is for another address; check host and server name",
}
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def explain(error: BaseException, host: str, timeout: float) -> str:
    """Say what an error of urllib3 means for a request to `host` (with its port); never repeats what was sent."""
    match error:
        case exceptions.ProxyError():
            return f"the proxy on the way to {host} could not be used ({_kind(error.original_error)}); check the proxy"
        case exceptions.NameResolutionError():
            return f"the name in {host} is not known; check the URL, and DNS"
        case exceptions.NewConnectionError():
            return f"no connection to {host} ({_cause(error)}); check that the receiver runs there, and the way to it"
        case exceptions.ConnectTimeoutError():
            return f"no connection to {host} within {timeout:g} s; check the address, and firewalls on the way"
        case exceptions.ReadTimeoutError() | TimeoutError():
            return f"{host} did not answer within {timeout:g} s; check the load there, or give it more time"
        case exceptions.SSLError() if error.args and isinstance(error.args[0], ssl.SSLError):
            return _explain_tls(error.args[0], host)
        case exceptions.ProtocolError():
            return _explain_protocol(error.args[-1], host, timeout)
    return f"the request to {host} failed ({_kind(error)}); check the URL, and what runs there"


def _explain_protocol(cause: object, host: str, timeout: float) -> str:
    match cause:
        case http.client.IncompleteRead():
            return f"the answer of {host} broke off; check what happened there"
        case TimeoutError():
            return f"{host} did not take the request within {timeout:g} s; check the load there, or give it more time"
        case OSError():  # also where nothing came, which the library takes for a bad status line too
            return f"{host} closed the connection without an answer; check what happened there"
    return f"{host} does not speak HTTP; check the URL"


def _explain_tls(error: ssl.SSLError, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = _VERIFY.get(error.verify_code, f"cannot be verified: {error.verify_message}; give the CA that signed it")
        return f"the certificate of {host} {said}"
    if isinstance(error, ssl.SSLEOFError):
        return (
            f"{host} closed the connection while TLS began; check what runs there, and whether it wants a certificate"
        )
    reason = error.reason or ""
    if reason in _NO_TLS:
        return f"{host} does not speak TLS; check the port, or whether the URL should begin with http://"
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE", "DENIED")):
        return f"{host} does not accept the client certificate, or wants one ({reason}); check certificate and key"
    return f"TLS with {host} failed ({reason or error.strerror or 'no reason given'}); check what runs there"


def _kind(error: BaseException) -> str:
    return type(error).__name__


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return (cause.strerror or _kind(cause)) if isinstance(cause, OSError) else _kind(error)
