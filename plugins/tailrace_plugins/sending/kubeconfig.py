"""A kubeconfig as the target of a webhook: what client-go makes of one, and all that is wrong with it.

What is an error there (`tools/clientcmd/validation.go`) is one here. A key that it would silently leave out is one too
if it looks like another one misspelt. Relative paths are relative to the kubeconfig's directory.
"""

from __future__ import annotations

import base64
import difflib
import os
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tailrace.document import Place, Problem, Value, parse
from tailrace_plugins.sending.authorization import make_header
from tailrace_plugins.sending.target import Credential, Pem, Target, Tls, parse_url
from tailrace_plugins.sending.tls import make_context

_TOP: Final = ("apiVersion", "kind", "preferences", "clusters", "users", "contexts", "current-context", "extensions")
_CLUSTER: Final = (
    "server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority", "certificate-authority-data",
    "proxy-url", "disable-compression", "extensions",
)  # fmt: skip
_USER: Final = (
    "client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "username",
    "password", "as", "as-uid", "as-groups", "as-user-extra", "auth-provider", "exec", "extensions",
)  # fmt: skip
_CONTEXT: Final = ("cluster", "user", "namespace", "extensions")
_INSTEAD: Final = "give a client certificate, or a tokenFile that something else keeps fresh"
_UNSUPPORTED: Final = {
    "exec": f"programs that make credentials are not run here; {_INSTEAD}",
    "auth-provider": f"no kubectl plugin makes credentials here; {_INSTEAD}",
    **dict.fromkeys(("as", "as-uid", "as-groups", "as-user-extra"), "nobody is impersonated; leave it out"),
}


class KubeconfigError(ValueError):
    """A kubeconfig cannot be used; the text is all that is wrong with it, each with file, line and column."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda found: (found.line, found.column)))
        super().__init__("\n".join(map(str, self.problems)))


class Kubeconfig(NamedTuple):
    """What a kubeconfig says of one context: where to send, and what of it is not done as one may think."""

    target: Target
    warnings: Sequence[str]


def read_kubeconfig(
    text: str, file: str, *, context: str | None = None, timeout: float = 30.0, try_files: bool = True
) -> Kubeconfig:
    """Read a kubeconfig's text: its current context, or the one named. Raises KubeconfigError.

    With `try_files` the files that it names are read as well, and must be what they are said to be.
    """
    root, problems = parse(text.removeprefix("\ufeff"), file, None)
    if root is None:
        raise KubeconfigError(problems)
    reader = _Reader(problems, file, try_files)
    found = reader.read(root, context, timeout)
    if found is None or reader.problems:
        raise KubeconfigError(reader.problems)
    return found


class _Reader:
    """Takes a kubeconfig apart and notes what is wrong with it. As in Go, null and "" are the same as nothing."""

    def __init__(self, problems: Sequence[Problem], file: str, try_files: bool) -> None:
        self.problems = list(problems)
        self._directory = os.path.dirname(os.path.abspath(file))
        self._try_files = try_files
        self._warnings: list[str] = []

    def read(self, root: Value, wanted: str | None, timeout: float) -> Kubeconfig | None:
        if not isinstance(root.data, dict):
            self._note(root.place, "this is no kubeconfig: it holds no keys")
            return None
        self._check_keys(root, _TOP, "a kubeconfig")
        kind = self._text(root, "kind")
        if kind not in (None, "Config"):
            self._note(_place(root, "kind"), f"this is a {kind}, and a kubeconfig is a Config")
        name = wanted or self._text(root, "current-context")
        if name is None:
            self._note(_place(root, "current-context"), "there is no current-context; name the one to use")
            return None
        place = root.place if wanted else _place(root, "current-context")
        context = self._named(root, "contexts", "context", name, place)
        if context is None:
            return None
        self._check_keys(context, _CONTEXT, "a context")
        cluster_name, user_name = self._text(context, "cluster"), self._text(context, "user")
        cluster = user = None
        if cluster_name is None:
            self._note(context.place, f'the context "{name}" names no cluster')
        else:
            cluster = self._named(root, "clusters", "cluster", cluster_name, _place(context, "cluster"))
        if user_name is not None:
            user = self._named(root, "users", "user", user_name, _place(context, "user"))
        url = self._server(cluster, timeout) if cluster is not None else None
        tls = self._tls(cluster, user)
        credential = self._credential(user) if user is not None else None
        proxy = self._proxy(cluster) if cluster is not None else None
        if url is None:
            return None
        if url.startswith("http://"):
            if credential or tls != Tls():
                self._warnings.append(
                    "over http:// no credentials are sent and nothing is verified, as the API server does it; "
                    "give the server as https://"
                )
            credential, tls = None, Tls()
        return Kubeconfig(Target(url, tls, credential, proxy=proxy, timeout=timeout), tuple(self._warnings))

    def _named(self, root: Value, key: str, kind: str, name: str, place: Place) -> Value | None:
        """Find the entry of a list by its name."""
        entries = root.get(key)
        found: list[Value] = []
        names: list[str] = []
        if entries is not None and entries.data is not None and not isinstance(entries.data, list):
            self._note(entries.place, f"{key} is a list of entries with a name and a {kind}")
            return None
        for entry in entries.data if entries is not None and isinstance(entries.data, list) else []:
            its_name = self._text(entry, "name")
            names.append(its_name or "")
            if its_name == name:
                found.append(entry)
        if not found:
            near = _near(name, names)
            there_are = f"there are: {', '.join(names)}" if names else "there are none"
            self._note(place, f'there is no {kind} "{name}"{near} ({there_are})')
            return None
        if len(found) > 1:
            self._note(found[1].place, f'there are two {key} named "{name}"; remove one')
        value = found[0].get(kind)
        if value is None or not isinstance(value.data, dict):
            self._note(found[0].place, f'the {kind} "{name}" is empty; give it its keys below "{kind}:"')
            return None
        return value

    def _server(self, cluster: Value, timeout: float) -> str | None:
        """Give the URL as client-go makes it: without a / at the end, without a query of its own."""
        self._check_keys(cluster, _CLUSTER, "a cluster")
        server = self._text(cluster, "server")
        if server is None:
            given = cluster.get("server")
            if given is None or not given.data:
                self._note(cluster.place, "the cluster has no server; give its URL")
            return None
        place = _place(cluster, "server")
        bare = server.split("#")[0].split("?")[0]
        try:
            parse_url(bare)
        except ValueError as error:
            self._note(place, f"server: {error}")
            return None
        if bare != server and "@" not in server:
            self._warnings.append(
                f"what follows ? or # in the server's URL is not sent ({place}); put it into the path"
            )
        parts = urlsplit(bare)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/'}?timeout={timeout:g}s"

    def _tls(self, cluster: Value | None, user: Value | None) -> Tls:
        ca = name = cert = key = None
        insecure = False
        if cluster is not None:
            ca = self._pem(cluster, "certificate-authority")
            name = self._text(cluster, "tls-server-name")
            insecure = self._truth(cluster, "insecure-skip-tls-verify")
            if insecure and ca is not None:
                message = "a server that is not verified needs no certificate-authority; remove one of the two"
                self._note(_place(cluster, "insecure-skip-tls-verify"), message)
            self._try(Tls(ca=ca), cluster, "certificate-authority")
        if user is not None:
            cert, key = self._pem(user, "client-certificate"), self._pem(user, "client-key")
            if (cert is None) != (key is None):
                given, missing = ("client-certificate", "client-key")[:: 1 if key is None else -1]
                self._note(_place(user, given), f"{given} is given without {missing}; it takes both")
            else:
                self._try(Tls(cert=cert, key=key), user, "client-certificate")
        return Tls(ca, cert, key, name, insecure)

    def _try(self, tls: Tls, table: Value, key: str) -> None:
        if not self._try_files or tls == Tls():
            return
        try:
            make_context(tls)
        except ValueError as error:
            self._note(_place(table, key, f"{key}-data"), str(error))

    def _credential(self, user: Value) -> Credential | None:
        self._check_keys(user, _USER, "a user")
        for key, message in _UNSUPPORTED.items():
            value = user.get(key)
            if value is not None and value.data:
                self._note(_place(user, key), f"{key}: {message}")
        token, file = self._text(user, "token"), self._text(user, "tokenFile")
        name, password = self._text(user, "username"), self._text(user, "password")
        if (token or file) and (name or password):
            self._note(_place(user, "username", "password"), "there are a token and a password; remove one of the two")
            return None
        if name or password:
            return Credential(password or "", user=name or "")
        if not (token or file):
            return None
        credential = Credential(token or "", self._path(file) if file else None)
        if self._try_files or not file:
            try:
                make_header(credential)
            except ValueError as error:
                self._note(_place(user, "tokenFile" if file else "token"), str(error))
        return credential

    def _proxy(self, cluster: Value) -> str | None:
        proxy = self._text(cluster, "proxy-url")
        if proxy is None:
            return None
        try:
            parse_url(proxy)
        except ValueError as error:
            self._note(_place(cluster, "proxy-url"), f"proxy-url: {error}")
        return proxy

    # Values

    def _pem(self, table: Value, key: str) -> Pem | None:
        path, data = self._text(table, key), self._text(table, f"{key}-data")
        if path is not None and data is not None:
            self._note(_place(table, f"{key}-data"), f"{key} and {key}-data are both given; remove one of the two")
        if data is None:
            return None if path is None else self._path(path)
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except ValueError:
            self._note(_place(table, f"{key}-data"), f"{key}-data is not base64; write the output of base64 -w0")
            return None

    def _path(self, path: str) -> str:
        return os.path.join(self._directory, path)

    def _text(self, table: Value, key: str) -> str | None:
        value = table.get(key)
        if value is None or value.data is None or value.data == "":
            return None
        if not isinstance(value.data, str):
            if not value.is_broken():
                self._note(value.place, f"{key} must be a string; put it in quotes")
            return None
        return value.data

    def _truth(self, table: Value, key: str) -> bool:
        value = table.get(key)
        if value is None or value.data is None or isinstance(value.data, bool):
            return value is not None and value.data is True
        self._note(value.place, f"{key} is true or false")
        return False

    def _check_keys(self, table: Value, known: Sequence[str], what: str) -> None:
        for key, entry in table.data.items() if isinstance(table.data, dict) else ():
            if key not in known and (near := _near(key, known)):
                self._note(entry.place, f'{what} has no key "{key}"{near}')

    def _note(self, place: Place, message: str) -> None:
        self.problems.append(place.problem(message))


def _place(table: Value, *keys: str) -> Place:
    """Find where one of these keys stands, or else the table."""
    entries = table.data if isinstance(table.data, dict) else {}
    return next((entries[key].value.place for key in keys if key in entries), table.place)


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [each for each in names if each], n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
