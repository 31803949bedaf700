"""What a page that needs nothing but itself looks like to a parser that is not the one of the library."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser


class _Sealed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {"style": [], "script": []}
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.content:
            self._open = tag
            self.content[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.content[self._open][-1] += data


def check_sealed(text: str) -> None:
    """Check that a page allows its one style, its one script and data, by its own policy, and has nothing else."""
    page = _Sealed(text)
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    for kind in ("style", "script"):
        [content] = page.content[kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'", kind
    assert rules == {"img-src": "data:", "media-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    names = [tag for tag, _ in page.tags]
    assert names.index("meta") < names.index("style")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base"), tag
        for name, value in attributes.items():
            assert name != "style", f"{tag}: a policy with hashes forbids it"
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert (value or "data:").startswith(("data:", "#")), (tag, name, (value or "")[:60])
