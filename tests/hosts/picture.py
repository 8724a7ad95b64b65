"""`inv picture`: draw docs/terminal.svg, the terminal in the middle of a run of full-setup."""

import fcntl
import html
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from . import lab

ROOT = Path(__file__).resolve().parents[2]
FAB = Path(sys.executable).with_name("fab")
WIDTH, CELL, ROW = 124, 7.83, 18  # columns, and the size of one in pixels
NBSP = "\xa0"  # other spaces would be drawn as one
COLOURS = {
    "31": "#e06c75",
    "32": "#98c379",
    "33": "#e5c07b",
    "35": "#c678dd",
    "36": "#56b6c2",
}  # xterm's numbers


def main(suite="bookworm"):
    """Boot a fresh host, set it up, and draw the screen as it was while pip worked."""
    with tempfile.TemporaryDirectory() as home:
        host = lab.up("picture", suite)
        try:
            Path(home, ".ssh").mkdir(mode=0o700)
            shutil.copy(host.key, Path(home, ".ssh/id_ed25519"))
            words = ["fab", "-H", host.string, "full-setup", "--distribution", "venv"]
            env = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
            seen = screen(words, env | {"HOME": home, "TERM": "xterm-256color"})
        finally:
            host.down()
    (ROOT / "docs/terminal.svg").write_text(svg([f"$ {' '.join(words)}", *seen]), encoding="utf-8")


def screen(words, env):
    """Run a command on its own terminal; return the last screen that said "running"."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    process = subprocess.Popen(
        [FAB, *words[1:]], cwd=ROOT, env=env, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    text, moment = "", []
    while data := read(master):
        text += data
        lines = [line.rpartition("\r\x1b[K")[2] for line in text.replace("\r\n", "\n").split("\n")]
        if "running" in lines[-1]:
            moment = lines
    if process.wait():
        sys.exit(f"{' '.join(words)} failed:\n{text}")
    return moment


def read(master):
    """Return the new output; an empty string at the end."""
    try:
        return os.read(master, 65536).decode(errors="replace")
    except OSError:
        return ""


def svg(lines):
    """Return *lines* with their ANSI colours as a picture."""
    rows = []
    for number, line in enumerate(lines):
        spans, at, colour = [], 0, None
        for part in re.split(r"(\x1b\[\d+m)", line):
            if code := re.fullmatch(r"\x1b\[(\d+)m", part):
                colour = COLOURS.get(code[1])
            elif part:
                fill = f' fill="{colour}"' if colour else ""
                shown = html.escape(part).replace(" ", NBSP)
                spans.append(f'<tspan x="{16 + at * CELL:.1f}"{fill}>{shown}</tspan>')
                at += len(part)
        rows.append(f'<text y="{30 + number * ROW}">{"".join(spans)}</text>')
    width, height = round(32 + WIDTH * CELL), 30 + len(lines) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}">\n'
        '<rect width="100%" height="100%" rx="8" fill="#1e222a"/>\n'
        '<g fill="#d7dae0" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace"'
        ' font-size="13">\n' + "\n".join(rows) + "\n</g>\n</svg>\n"
    )
