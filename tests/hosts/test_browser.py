"""A person with a real browser logs in through Apache and runs a cell and a command."""

import json
import os
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from . import browser
from .visitor import PASSWORD

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"not installed: {', '.join(browser.MISSING)}"
)

NOTEBOOKS = "/home/jupyter/notebooks"
# No news. A screen reader for terminals, as a test cannot read what is drawn as pixels.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "terminal-extension/plugin": {"screenReaderMode": True},
}
CELLS = {
    "6*7": "42",
    "import platform\nplatform.freedesktop_os_release()['PRETTY_NAME']": "'Debian GNU/Linux 1",
}
ROWS = ".jp-Terminal .xterm-accessibility-tree"


def prepare(server):
    """Write these settings and remove workspaces and files of an earlier test."""
    lab = "/home/jupyter/.jupyter/lab"
    lines = ["set -e", f"rm -rf {lab}/workspaces {NOTEBOOKS}/answer.*"]
    for name, values in SETTINGS.items():
        file = f"{lab}/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        lines += [f"mkdir -p $(dirname {file})", f"echo '{json.dumps(values)}' >{file}"]
    server.ssh("runuser -u jupyter -- sh", input="\n".join(lines))


@pytest.fixture
def person(server, tmp_path):
    """A person at a browser that trusts the server's certificate; the last screen is kept."""
    certificate = server.ssh("cat /etc/remote-jupyter/tls/cert.pem").stdout
    prepare(server)
    with browser.chromium(tmp_path / "person", server.address, certificate) as one:
        yield one
        one.driver.save_screenshot(tmp_path / "jupyterlab.png")


def test_notebook_and_terminal_in_a_browser(person, server, oracle, tmp_path):
    driver = person.driver
    driver.get(f"http://{server.address}/")
    assert driver.current_url.startswith(f"https://{server.address}/jupyter/login")
    person.see("#password_input").send_keys(PASSWORD, Keys.ENTER)

    person.click('.jp-LauncherCard[data-category="Notebook"][title^="Python 3"]')
    person.read("#jp-main-statusbar", "| Idle")  # what is run before is silently dropped
    person.click(".jp-Notebook .jp-mod-active .cm-content")
    for number, (code, result) in enumerate(CELLS.items(), 1):
        person.type(code)
        person.type(Keys.ENTER, holding=[Keys.SHIFT])
        person.read(
            f".jp-Notebook .jp-Cell:nth-child({number}) .jp-OutputArea-executeResult pre", result
        )
    person.type("s", holding=[Keys.CONTROL])
    person.see(".jp-Dialog input").send_keys(
        Keys.CONTROL, "a", Keys.NULL, "answer.ipynb", Keys.ENTER
    )

    person.click(".lm-DockPanel-tabBar .lm-TabBar-addButton")
    person.click('.jp-LauncherCard[title*="terminal"]')
    person.read(ROWS, "$")
    person.drag(".lm-DockPanel-tabBar .lm-mod-current.jp-mod-current", to="#jp-main-dock-panel")
    person.click(".jp-Terminal .xterm-screen")
    person.type("echo The answer is $((6*7)) | tee answer.txt", Keys.ENTER)
    person.read(ROWS, "The answer is 42")

    seen = oracle(server)
    text, notebook = seen.file(f"{NOTEBOOKS}/answer.txt"), seen.file(f"{NOTEBOOKS}/answer.ipynb")
    assert (text.user, text.content_string) == ("jupyter", "The answer is 42\n")
    cell = json.loads(notebook.content_string)["cells"][0]
    assert (cell["source"], cell["outputs"][0]["data"]["text/plain"]) == (["6*7"], ["42"])
    assert driver.get_log("browser") == []
    if picture := os.environ.get("SCREENSHOT"):
        Path(picture).parent.mkdir(exist_ok=True)
        driver.save_screenshot(picture)
