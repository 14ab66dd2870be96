"""The documentation is built strictly, and neither building nor reading it asks anybody on the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

LOADS = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?P<src>https?:[^\"'\s>]+)"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]*\bhref=[\"']?(?P<href>https?:[^\"'\s>]+)",
    re.IGNORECASE,
)
NOBODY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | NOBODY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.long
def test_every_page_is_built(site: Path) -> None:
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).with_suffix(".html") for page in docs.rglob("*.md")}
    assert {page for page in pages if not (site / page).exists()} == set()


@pytest.mark.long
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = {match[0] for page in site.rglob("*.html") for match in LOADS.finditer(page.read_text())}
    assert found == set()


@pytest.mark.long
def test_the_reference_has_what_is_promised(site: Path) -> None:
    import eventbus
    from quantum_trader import api

    text = (site / "reference.html").read_text()
    names = {*eventbus.__all__, *api.__all__}
    assert {name for name in names if f'id="{_path(name)}' not in text and f">{name}<" not in text} == set()


def _path(name: str) -> str:
    return f"eventbus.{name}"


@pytest.mark.parametrize(
    "line",
    [
        '<script src="https://a.example/x.js">',
        "<link rel=stylesheet href=https://a.example/x.css>",
        "<img src='http://a/'>",
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(line: str) -> None:
    assert LOADS.search(line)
