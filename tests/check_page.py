#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the demo's page in a real browser: Chromium, headless, driven through its chromedriver (the W3C's WebDriver).

check_page.py COMMAND [FOLDER [SIZE]]

runs COMMAND demo --size SIZE (64) and opens its page in light and dark, on narrow and wide screens. The screenshots go to
FOLDER, if given, and so do the pictures of README.md: check_page.py build/tools/attentile FOLDER 256, then copy them to docs/.
Skipped, with a line that says so, where the browser is missing.
"""
import base64
import contextlib
import html.parser
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SCREENS = [(width, scheme) for width in (400, 800, 1280, 1920) for scheme in ("light", "dark")]
SKIPPED = 77
browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
driver = shutil.which("chromedriver")
broken = 0


def expect(truth, text):
    global broken
    broken += not truth
    print(("ok   " if truth else "FAIL ") + text)


class Session:
    """A browser. Commands are POST requests with JSON, https://www.w3.org/TR/webdriver2/."""

    def __init__(self, port):
        self.address = f"http://127.0.0.1:{port}/session"
        # Chromium's sandbox needs user namespaces, which containers and root lack; the page is our own.
        options = {"binary": browser, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                               "--hide-scrollbars"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
                  "timeouts": {"script": 120000, "pageLoad": 240000}}
        self.address += "/" + self.post("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def post(self, command, values):
        request = urllib.request.Request(self.address + command, json.dumps(values).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=280) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"chromedriver: {json.load(error)['value']['message']}")

    def devtools(self, name, **values):
        return self.post("/goog/cdp/execute", {"cmd": name, "params": values})

    def script(self, code, *values):
        return self.post("/execute/sync", {"script": code, "args": values})

    def promise(self, code, *values):
        return self.post("/execute/async", {"script": code, "args": values})

    def close(self):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(self.address, method="DELETE"), timeout=60).close()


@contextlib.contextmanager
def started(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"HOME": folder, "TMPDIR": folder}
    with subprocess.Popen([driver, f"--port={port}", "--log-level=OFF"], env=environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        session = None
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            session = Session(port)
            yield session
        finally:
            if session:
                session.close()
            process.terminate()


class Page(html.parser.HTMLParser):
    """What a page asks for from elsewhere, and elements left open."""
    VOID = {"meta", "img", "link", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.faults = [], []
        self.feed(text)
        self.faults += [f"<{tag}> is left open" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith("data:") or name.startswith("on") or tag == "script":
                self.faults.append(f"<{tag} {name}={value[:60]!r}>")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")


FACTS = """
const images = [...document.images], inside = r => r.left >= 0 && r.right <= innerWidth + 0.5;
const leaves = e => { // whether what it holds reaches into its padding or beyond
  const style = getComputedStyle(e), box = e.getBoundingClientRect(), range = document.createRange();
  range.selectNodeContents(e);
  const held = range.getBoundingClientRect();
  return e.scrollWidth > e.clientWidth || held.left < box.left + parseFloat(style.paddingLeft) - 0.5
    || held.right > box.right - parseFloat(style.paddingRight) + 0.5};
return {title: document.title, width: innerWidth, scroll: document.documentElement.scrollWidth,
  images: images.map(i => ({loaded: i.complete, natural: [i.naturalWidth, i.naturalHeight], alt: i.alt,
                            shown: i.getBoundingClientRect().width, inside: inside(i.getBoundingClientRect())})),
  cut: [...document.querySelectorAll('.keys li, figcaption, h1, h2, dt, dd, p, th, td')].filter(leaves).map(e => e.textContent),
  rows: [...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent)),
  marks: [...document.querySelectorAll('.mark')].map(m => {
    const r = m.getBoundingClientRect(), f = m.parentElement.getBoundingClientRect();
    return r.width > 5 && r.left < f.right && r.right > f.left && r.top < f.bottom && r.bottom > f.top}),
  ground: getComputedStyle(document.body).backgroundColor, text: document.body.innerText}"""

# Decodes the screenshot in the browser: how many colours each picture's place has, and how often the commonest is there.
COLOURS = """
const [png, done] = arguments, image = new Image();
image.onload = () => {
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth, canvas.height = image.naturalHeight;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.drawImage(image, 0, 0);
  done([...document.images].map(i => {
    const r = i.getBoundingClientRect(), seen = new Map();
    const data = pen.getImageData(r.left + scrollX, r.top + scrollY, r.width, r.height).data;
    for (let k = 0; k < data.length; k += 4) {
      const colour = data[k] << 16 | data[k + 1] << 8 | data[k + 2];
      seen.set(colour, (seen.get(colour) || 0) + 1);
    }
    return [seen.size, 4 * Math.max(...seen.values()) / data.length];
  }));
};
image.onerror = () => done([]);
image.src = 'data:image/png;base64,' + png;"""


def screenshot(session):
    """All of the page, as base64."""
    return session.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]


def keep_sections(session, keep):
    """Pictures and heat maps by themselves, without their headings."""
    for name in ("pictures", "attention"):
        box = session.script(f"const r = document.querySelector('#{name} .pictures').getBoundingClientRect();"
                             "return {x: r.x + scrollX - 12, y: r.y + scrollY - 12, width: r.width + 24, height: r.height + 24}")
        data = session.devtools("Page.captureScreenshot", format="jpeg", quality=75, captureBeyondViewport=True,
                                clip=box | {"scale": 1})["data"]
        (keep / f"demo-{name}.jpg").write_bytes(base64.b64decode(data))


def check_screen(session, width, scheme, size, keep):
    session.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    session.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    facts, picture, where = session.script(FACTS), screenshot(session), f"{width} px, {scheme}"
    if keep:
        (keep / f"page-{width}-{scheme}.png").write_bytes(base64.b64decode(picture))
    images = facts["images"]
    expect(facts["width"] == width and facts["scroll"] <= width and not facts["cut"],
           f"{where}: nothing overflows ({facts['scroll']} px){facts['cut'] or ''}")
    expect(len(images) == 9 and all(i["loaded"] and i["natural"] == [size, size] for i in images), f"{where}: 9 images loaded")
    expect(all(i["shown"] > 100 and i["inside"] and len(i["alt"]) > 20 for i in images), f"{where}: images shown, with texts")
    expect(len(facts["marks"]) == 10 and all(facts["marks"]), f"{where}: 10 rings lie on their pictures")
    colours = session.promise(COLOURS, picture)
    expect(len(colours) == 9 and all(count > 100 and most < 0.5 for count, most in colours),
           f"{where}: the screenshot shows them: colours {[count for count, _ in colours]}")
    return facts


def check_text(facts, size, printed):
    """The page says what the command printed."""
    rows = [line.split() for line in printed.splitlines() if re.match(r"[a-z-]+ +[\dx]+ ", line)]
    expect(len(rows) >= 9 and [" ".join(row).split() for row in facts["rows"][:-1]] == rows, f"{len(rows)} layers, as printed")
    before, after = re.search(r"PSNR +([\d.]+) dB .*, ([\d.]+) dB denoised", printed).groups()
    expect(f"{before} dB" in facts["text"] and f"{after} dB" in facts["text"], f"{before} dB before, {after} dB after")
    expect("{{" not in facts["text"] and f"{size * size:,} pixels" in facts["text"], "nothing is left to fill in")


def check_page(session, path, size, printed, keep):
    session.post("/url", {"url": path.as_uri()})
    seen = [check_screen(session, width, scheme, size, keep) for width, scheme in SCREENS]
    if keep:
        session.devtools("Emulation.setEmulatedMedia", features=[])
        keep_sections(session, keep)
    check_text(seen[0], size, printed)
    grounds = {(scheme, sum(map(int, re.findall(r"\d+", facts["ground"])[:3]))) for (_, scheme), facts in zip(SCREENS, seen)}
    expect(len(grounds) == 2 and dict(grounds)["light"] > 600 and dict(grounds)["dark"] < 150, f"light and dark differ: {grounds}")
    session.script("document.querySelector('.keys b').textContent = '193.7 GFLOP/s and more of it'")
    expect(len(session.script(FACTS)["cut"]) == 1, "a number too wide for its box is seen")
    logged = session.post("/se/log", {"type": "browser"})
    expect(not logged, "the console is silent" + "".join(f"\n     {entry['message']}" for entry in logged))


def main(command, keep=None, size=64):
    if not browser or not driver:
        print(f"skip the demo's page in a browser: {'chromedriver' if browser else 'Chromium'} is not installed")
        return SKIPPED
    keep = pathlib.Path(keep) if keep else None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "demo.html"
        printed = subprocess.run([command, "demo", "--size", str(size), "--html", path], check=True, capture_output=True,
                                 text=True).stdout
        faults = Page(path.read_text(encoding="utf-8")).faults
        expect(not faults, "the page needs nothing else" + "".join(f"\n     {fault}" for fault in faults))
        with started(folder) as session:
            check_page(session, path, int(size), printed, keep)
    return broken > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
