"""AuditSinks (auditregistration.k8s.io/v1alpha1) as pipelines: Kubernetes 1.13 to 1.18 took them as objects of the API.

There the API server recorded everything, and for each AuditSink lowered events to its policy and sent them to its
webhook. Here the source takes what the API server's own webhook backend sends, the filter `audit_policy` lowers it, and
the sink `webhook` sends it on, with the batches and the throttle that the API server had.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tailrace.document import Place, Plain, Value, parse
from tailrace_plugins.converting.outcome import NewPipeline, NewStage, Outcome, ParseError
from tailrace_plugins.converting.texts import plain

_STAGES: Final = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_LEVELS: Final = ("None", "Metadata", "Request", "RequestResponse")
_KNOWN: Final = frozenset(
    (
        *("apiVersion", "kind", "metadata", "metadata.name", "spec", "spec.policy", "spec.policy.level"),
        *("spec.policy.stages", "spec.webhook", "spec.webhook.throttle", "spec.webhook.throttle.qps"),
        *("spec.webhook.throttle.burst", "spec.webhook.clientConfig", "spec.webhook.clientConfig.url"),
        *("spec.webhook.clientConfig.caBundle", "spec.webhook.clientConfig.service"),
        *(f"spec.webhook.clientConfig.service.{key}" for key in ("namespace", "name", "path", "port")),
    )
)
_PORT: Final = 8888


class _Key:
    """A key of a manifest."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.seen = False
        self._name = name

    def __str__(self) -> str:
        return f"`{self._name}`"


def convert(text: str, file: str, out: Path) -> Outcome:
    """Convert manifests; files that the config needs are to be written beside `out`. Raises ParseError."""
    outcome = Outcome("AuditSink")
    for document in _documents(text, file):
        _object(document, outcome, out)
    if len(outcome.pipelines) > 1:
        for pipeline in outcome.pipelines:
            pipeline.comments.append(
                "The API server has one webhook backend. So give it the address of one of these pipelines, and let the "
                "others read its log: source {type: tail, paths: [...], tag: audit}."
            )
    return outcome


def _documents(text: str, file: str) -> Iterator[Value]:
    """Give the documents of a YAML file, each with its own lines."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.rstrip() == "---" or line.startswith("--- ")]
    bounds = sorted({0, *starts, len(lines)})
    for begin, end in pairwise(bounds):
        part = lines[begin:end]
        if all(not line.strip() or line.lstrip().startswith("#") or line.rstrip() == "---" for line in part):
            continue
        value, problems = parse("\n" * begin + "\n".join(part), file, None)
        if problems:
            raise ParseError(problems[0])
        if value is not None:
            yield value


def _object(value: Value, outcome: Outcome, out: Path) -> None:
    kind, version = _text(value, "kind"), _text(value, "apiVersion")
    items = value.get("items")
    if kind in ("List", "AuditSinkList") and items is not None and isinstance(items.data, list):
        for item in items.data:
            _object(item, outcome, out)
        return
    node = _Key(value.place, f"{kind or 'what has no kind'} {_text(value, 'metadata', 'name') or ''}".strip())
    if kind != "AuditSink":
        outcome.fail(node, "it is no AuditSink")
        return
    if version != "auditregistration.k8s.io/v1alpha1":
        outcome.fail(node, f"it is of {version}; AuditSinks were of auditregistration.k8s.io/v1alpha1 alone")
        return
    for path, place in _keys(value, ""):
        if path.startswith("metadata."):
            outcome.spare(_Key(place, path), "it is about the object, not about what it does")
        else:
            outcome.fail(_Key(place, path), "an AuditSink has no such field")
    _pipeline(value, node, outcome, out)


def _keys(value: Value, above: str) -> Iterator[tuple[str, Place]]:
    """Give the keys that are not known; of one, nothing below it."""
    if isinstance(value.data, dict):
        for key, entry in value.data.items():
            path = f"{above}.{key}".lstrip(".")
            if path not in _KNOWN:
                yield path, entry.place
            else:
                yield from _keys(entry.value, path)


def _pipeline(value: Value, node: _Key, outcome: Outcome, out: Path) -> None:
    name = outcome.name(_text(value, "metadata", "name") or "auditsink")
    sink = _sink(value, name, node, outcome, out)
    policy = _policy(value, node, outcome)
    if sink is None or policy is None:
        return
    path = out.parent.absolute() / f"{name}-policy.yaml"
    outcome.files[str(path)] = policy.encode()
    source = NewStage({"type": "webhook", "listen": f"127.0.0.1:{_PORT + len(outcome.pipelines)}", "tag": "audit"})
    source.comments.append(
        "The API server sends here: `tailrace kubeconfig` makes the file of its --audit-webhook-config-file. Its own "
        "policy has to record all that this AuditSink asks for."
    )
    lower = NewStage({"type": "audit_policy", "file": plain(str(path))})
    outcome.add(NewPipeline(name, source, [lower], [sink]), node)


def _policy(value: Value, node: _Key, outcome: Outcome) -> str | None:
    """Write the audit policy; `stages` names those that are wanted, a policy those that are not."""
    level = _text(value, "spec", "policy", "level")
    if level not in _LEVELS:
        outcome.fail(node, f"`spec.policy.level` is none of {', '.join(_LEVELS)}")
        return None
    given = _at(value, "spec", "policy", "stages")
    stages = given.plain() if given is not None else []
    if not isinstance(stages, list) or not set(map(str, stages)) <= set(_STAGES):
        outcome.fail(node, f"`spec.policy.stages` names others than {', '.join(_STAGES)}")
        return None
    if not stages:
        outcome.note(
            node, "it names no `stages`, for which the API server sent nothing at all; here all stages are sent"
        )
    omitted = [stage for stage in _STAGES if stages and stage not in stages]
    lines = ["apiVersion: audit.k8s.io/v1", "kind: Policy"]
    lines += [f"omitStages: [{', '.join(omitted)}]"] if omitted else []
    return "\n".join([*lines, "rules:", f'  - level: "{level}"', ""])


def _sink(value: Value, name: str, node: _Key, outcome: Outcome, out: Path) -> NewStage | None:
    config = _at(value, "spec", "webhook", "clientConfig")
    url = _url(config, node, outcome)
    if url is None:
        return None
    options: dict[str, Plain] = {"type": "webhook", "url": plain(url)}
    bundle = _text(config, "caBundle") if config is not None else None
    if bundle:
        try:
            ca = base64.b64decode("".join(bundle.split()), validate=True)
        except (binascii.Error, ValueError):
            outcome.fail(node, "`caBundle` is not base64")
        else:
            path = out.parent.absolute() / f"{name}-ca.pem"
            outcome.files[str(path)] = ca
            options["ca"] = plain(str(path))
    for key in ("qps", "burst"):
        given = _at(value, "spec", "webhook", "throttle", key)
        if given is not None and isinstance(given.data, int):
            options[f"throttle_{key}"] = given.data
    stage = NewStage(options)
    stage.comments.append("A throttle of an AuditSink is one of requests: events wait, and none is dropped.")
    return stage


def _url(config: Value | None, node: _Key, outcome: Outcome) -> str | None:
    """Give where events go."""
    url = _text(config, "url") if config is not None else None
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or parts.fragment:
            outcome.fail(node, "`url` is not like https://host:port/path, without user, password and fragment")
            return None
        return url
    service = config.get("service") if config is not None else None
    name, namespace = (_text(service, key) if service is not None else None for key in ("name", "namespace"))
    if service is None or not name or not namespace:
        outcome.fail(node, "`clientConfig` has neither a url nor a service with name and namespace")
        return None
    port = service.get("port")
    host = f"{name}.{namespace}.svc"
    at = f":{port.data}" if port is not None and isinstance(port.data, int) else ""
    outcome.note(node, f"{host} has to be a name that this host can look up: outside of a cluster put in an address")
    return f"https://{host}{at}/{(_text(service, 'path') or '').lstrip('/')}"


def _at(value: Value | None, *keys: str) -> Value | None:
    for key in keys:
        value = value.get(key) if value is not None else None
    return value


def _text(value: Value, *keys: str) -> str | None:
    found = _at(value, *keys)
    return found.data if found is not None and isinstance(found.data, str) else None
