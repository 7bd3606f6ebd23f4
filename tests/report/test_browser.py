"""The page in a real browser: no error, nothing fetched, both colour schemes, works without its script."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stemcal.report.run import run_report

pytestmark = pytest.mark.browser

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=3000",
    "--enable-logging=stderr",
]
DARK = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    message = "no chromium on PATH"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def browse(chromium: str, tmp_path: Path):
    """Run Chromium once with a fresh profile; return what it wrote to stdout and stderr."""

    def run(url: str, *options: str) -> tuple[str, str]:
        profile = tmp_path / f"profile{len(list(tmp_path.glob('profile*')))}"
        command = [chromium, *QUIET, f"--user-data-dir={profile}", *options, url]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
        return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    return run


@pytest.fixture(scope="module")
def page(hand_made) -> Path:
    run_report(hand_made.manifest(), hand_made.processing, source={})
    return hand_made.processing / "session.html"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=float)


def test_the_page_loads_without_a_word_on_the_console(page: Path, browse, hand_made) -> None:
    dom, log = browse(f"{page.as_uri()}#d4", "--dump-dom")
    assert "CONSOLE" not in log, log
    assert dom.count('<tr role="row" data-state=') == len(hand_made.datasets)
    assert "no beam found in 40 % of the frames" in dom
    assert "&lt;script&gt;alert('x')" in dom
    assert '<details id="d4" open="">' in dom
    assert '<details id="d3">' in dom


def test_a_page_that_fetches_something_would_be_noticed(page: Path, browse, tmp_path: Path) -> None:
    html = page.read_text(encoding="utf-8").replace("<main>", '<main><img src="http://127.0.0.1:9/x.png" alt="x">')
    (tmp_path / "bad.html").write_text(html, encoding="utf-8")
    _, log = browse((tmp_path / "bad.html").as_uri(), "--dump-dom")
    assert "CONSOLE" in log
    assert "Content Security Policy" in log


def test_light_and_dark_are_drawn_and_differ(page: Path, browse, tmp_path: Path) -> None:
    shots = {}
    for name, options in (("light", []), ("dark", DARK)):
        browse(page.as_uri(), "--window-size=1280,1400", f"--screenshot={tmp_path / name}.png", *options)
        shots[name] = pixels(tmp_path / f"{name}.png")
        assert shots[name].std() > 10, name
    assert np.median(shots["light"]) > 220
    assert np.median(shots["dark"]) < 50


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_hangs_over_the_edge(page: Path, browse, tmp_path: Path, width: int) -> None:
    """The page must not scroll sideways; the script that measures it is the test's own."""
    probe = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    html = page.read_text(encoding="utf-8").replace("</body>", probe)
    (tmp_path / "probe.html").write_text(html, encoding="utf-8")
    dom, _ = browse((tmp_path / "probe.html").as_uri(), "--dump-dom", f"--window-size={width},1000")
    needed, given = map(int, dom.split("<title>")[1].split("</title>")[0].split())
    assert given == width
    assert needed <= given
