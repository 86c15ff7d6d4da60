"""A page opened in headless Chromium, without a network, and what it says of itself."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

_FRAME = """<!doctype html><body><iframe src="probed.html" width="%d" height="2000"></iframe>
<script>
window.addEventListener("message", function (event) {
  document.body.setAttribute("data-seen", event.data);
});
</script>"""
"""A frame: a window of Chromium is at least 500 pixels wide."""

_PROBE = """
<script>
var seen = { errors: [] };
window.addEventListener("error", function (event) { seen.errors.push(String(event.message)); });
document.addEventListener("securitypolicyviolation", function (event) {
  seen.errors.push("blocked: " + event.violatedDirective + " " + event.blockedURI);
});
["error", "warn"].forEach(function (level) {
  console[level] = function () {
    seen.errors.push(level + ": " + Array.prototype.join.call(arguments, " "));
  };
});
function each(selector, act) {
  return Array.prototype.map.call(document.querySelectorAll(selector), act);
}
function place(chart, trace, curve) {
  // A field has no points: hover over the middle of the plot.
  var size = chart._fullLayout._size;
  return trace.z ? { xpx: size.w / 2 + 20, ypx: size.h / 2 + 9 }
    : [{ curveNumber: curve, pointNumber: 0 }];
}
function looked(chart) {
  var points = 0, hovered = 0;
  (chart.data || []).forEach(function (trace, curve) {
    points += chart.calcdata && chart.calcdata[curve] ? chart.calcdata[curve].length : 0;
  });
  (chart.data || []).some(function (trace, curve) {
    if (trace.hoverinfo === "skip" || trace.visible === false) { return false; }
    Plotly.Fx.hover(chart, place(chart, trace, curve));
    hovered = chart.querySelectorAll("g.hovertext").length;
    return hovered > 0;
  });
  return { name: chart.id, drawn: chart.querySelectorAll("svg.main-svg").length, points: points,
           hovered: hovered };
}
window.addEventListener("load", function () {
  each("details", function (one) { one.open = true; });
  window.setTimeout(function () {
    try { seen.charts = each(".chart", looked); } catch (error) { seen.errors.push(String(error)); }
    seen.page = document.documentElement.scrollWidth;
    seen.window = window.innerWidth;
    window.parent.postMessage(JSON.stringify(seen), "*");
  }, 3000);
});
</script>
"""


def browser() -> str:
    """The path of Chromium; skips the test where there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium here (looked for {', '.join(_NAMES)})")
    return found


def look(page: Path, folder: Path, *, width: int = 1280) -> dict[str, Any]:
    """What the page reports of its charts and its errors, once everything in it is opened.

    folder: for the copy with the probe, and for Chromium's profile.
    """
    text = page.read_text("utf-8")
    (folder / "probed.html").write_text(text.replace("<head>", f"<head>{_PROBE}", 1), "utf-8")
    frame = folder / "frame.html"
    frame.write_text(_FRAME % width, "utf-8")
    done = subprocess.run(
        [
            browser(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--proxy-server=127.0.0.1:9",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={max(500, width + 40)},2100",
            "--virtual-time-budget=20000",
            "--timeout=120000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None, f"the page did not load: {done.stderr[-2000:]}"
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen
