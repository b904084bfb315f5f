"""Expectations are those of Go's `url.ParseRequestURI(...).Path`, by its source and tests."""

from __future__ import annotations

import pytest

from tailrace_plugins.filters.audit_policy import Policy
from tailrace_plugins.policy.uri import request_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/healthz", "/healthz"),
        ("/healthz?verbose", "/healthz"),
        ("/healthz?", "/healthz"),
        ("/a?b?c", "/a"),
        ("/a#b", "/a#b"),
        ("/%68ealthz", "/healthz"),
        ("/a%2Fb%3fc", "/a/b?c"),
        ("/a+b", "/a+b"),
        ("/a b", "/a b"),
        ("//host/path", "//host/path"),
        ("///path", "///path"),
        ("/..//a/.", "/..//a/."),
        ("/支付", "/支付"),
        ("/%E6%94%AF", "/支"),
        ("/%ff", "/\udcff"),
        ("/\ud800", "/\ufffd"),
        ("*", "*"),
        ("http://example.com/a?b", "/a"),
        ("http://example.com", ""),
        ("HTTP://u:p@example.com:80/a", "/a"),
        ("http://[::1]:80/a", "/a"),
        ("http://[fe80::1%25en0]/a", "/a"),
        ("http:///a", "/a"),
        ("http:/a", "/a"),
        ("mailto:a@b", ""),
        ("a+b.c-1:x", ""),
        ("http://a%25b/c", "/c"),
        ("http://a:/c", "/c"),
    ],
)
def test_the_path_is_decoded_and_without_query(uri: str, path: str) -> None:
    assert request_path(uri) == path


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "healthz",
        "?a",
        "/a\n",
        "/\x7f",
        "/%",
        "/%4",
        "/%zz",
        "http://%zz/a",
        "http://a b/c",
        "http://a%41b/c",
        "http://a:b/c",
        "http://a:1:2/c",
        "http://[::1/a",
        "http://[::1]x/a",
        "http://[x]/a",
        "http://x[::1]/a",
        "http://a b@c/d",
        "http://%z@c/d",
        ":a",
        "1http://a/b",
        "ht_tp://a/b",
    ],
)
def test_what_is_no_request_uri_cannot_be_judged(uri: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        request_path(uri)
    policy = Policy.parse("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}")
    verdict = policy.evaluate({"requestURI": uri, "verb": "get"})
    assert verdict.error is not None
    assert policy.evaluate({"requestURI": uri, "objectRef": {}}).error is None
