"""The site is the documents as they lie in the repository: links are those that GitHub follows.

The pages in the repository's root become pages of the site, and what else lies outside of docs/ is
linked where the repository is published.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {"README.md": "index.md"} | {
    name: name for name in ("AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
}
PUBLISHED = "https://github.com/prunecli/prunecli/blob/main/"
LINK = re.compile(r'(?<=\]\()([^)\s#]+)(?=[)\s#])|(?<=src=")([^"#]+)|(?<=srcset=")([^"#]+)')
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(root / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    uri = page.file.src_uri
    place = next((name for name, own in PAGES.items() if own == uri), f"docs/{uri}")

    def link(found: re.Match[str]) -> str:
        if ":" in found[0]:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), found[0]))
        inside = PAGES.get(target) or target.removeprefix("docs/")
        if target not in PAGES and inside == target:
            return PUBLISHED + target
        return posixpath.relpath(inside, posixpath.dirname(uri) or ".")

    pieces, end = [], 0
    for code in CODE.finditer(markdown):
        pieces += [LINK.sub(link, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*pieces, LINK.sub(link, markdown[end:])])
