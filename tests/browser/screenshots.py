"""Screenshots of the dashboard beside a demo, wide and on a phone, dark and light: `make screenshots`.

The demo goes fast to where something is to be seen, then slowly, so that the pages show it alive.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

SIZES = {"dashboard": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
FROM = 630  # sessions of the profile `fast`, whose third year ends well
MOMENT_MS = 8_000  # for the figures of the bus to fill their line
PATIENCE_MS = 120_000


def take(browser: Browser, url: str, folder: Path, name: str, size: dict[str, int], theme: str) -> None:
    context = browser.new_context(viewport=size, color_scheme=theme)  # type: ignore[arg-type] # sizes and themes
    page = context.new_page()
    page.goto(url)
    expect(page.locator("[data-link-text]")).to_have_text("live", timeout=PATIENCE_MS)
    wait_for(page, FROM)
    page.locator('[data-panel="why"] .step.is-chosen').wait_for()
    page.wait_for_timeout(MOMENT_MS)
    (folder / f"{name}.png").write_bytes(packed(page.screenshot()))
    context.close()


def packed(png: bytes) -> bytes:
    """The same picture in 256 colours: a third of the bytes, and no eye tells."""
    told = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(told, "PNG", optimize=True)
    return told.getvalue()


def wait_for(page: Page, session: int) -> None:
    told = page.locator('[data-panel="session"]')
    while int(re.sub(r"\D", "", told.inner_text().partition(" of ")[0]) or 0) < session:
        page.wait_for_timeout(200)


def main(folder: Path) -> None:
    """Make them in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as runs, sync_playwright() as playwright:
        demo = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "qt"), "demo", "--profile", "fast", "--web", "--port", "0"),
                *("--speed", "0", "--output", f"{runs}/run"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert demo.stdout is not None
        url = next(line.split()[-1] for line in demo.stdout if line.startswith("dashboard at "))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        )
        try:
            page = browser.new_page()
            page.goto(url)
            wait_for(page, FROM)
            page.locator('[data-panel="speed"]').fill("0")
            for theme in ("dark", "light"):
                for name, size in SIZES.items():
                    take(browser, url, folder, f"{name}-{theme}", size, theme)
        finally:
            browser.close()
            demo.kill()
            demo.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
