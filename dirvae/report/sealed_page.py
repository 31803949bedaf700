"""A page that loads nothing: its content security policy allows data URIs, its own style and its own script.

Attributes `style` have no hash, so each becomes a rule of the page's style sheet; nothing needs 'unsafe-inline'.
"""

from __future__ import annotations

import base64
import hashlib
import re

__all__ = ["seal"]

POLICY = '<meta http-equiv="Content-Security-Policy" content="">'
"""The place of the policy in a template: before its style and its script, which are one element each."""
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ATTRIBUTE = re.compile(r' style="([^"]*)"')
"""Matches only real attributes: in text and in values, quotes and angle brackets are escaped."""


def seal(page: str, *, script: str) -> str:
    """The page with its policy in place of the empty one. `script` is the text of its only script.

    A browser refuses any other script, style or address on the page. Raises `ValueError` for a template without a
    policy, a style or the script.
    """
    head, policy, rest = page.partition(POLICY)
    found = STYLE.search(rest)
    if not policy or found is None or f"<script>{script}</script>" not in rest:
        raise ValueError("the page has no place for a policy, no style, or another script than the one given.")
    body, rules = _as_rules(rest[found.end() :], script)
    style = f"{found[1]}{rules}"
    return f"{head}{_policy(style, script)}{rest[: found.start()]}<style>{style}</style>{body}"


def _as_rules(body: str, script: str) -> tuple[str, str]:
    """The body with a number instead of each attribute `style`, and the style rules of the numbers."""
    numbers: dict[str, int] = {}

    def numbered(attribute: re.Match[str]) -> str:
        return f' data-style="{numbers.setdefault(attribute[1], len(numbers))}"'

    mark = f"<script>{script}</script>"
    parts = [TAG.sub(lambda tag: ATTRIBUTE.sub(numbered, tag[0]), part) for part in body.split(mark)]
    rules = "".join(f'#page [data-style="{number}"]{{{value}}}\n' for value, number in numbers.items())
    return mark.join(parts), rules


def _policy(style: str, script: str) -> str:
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; media-src data:"
    content = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return POLICY.replace('content=""', f'content="{content}"')


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
