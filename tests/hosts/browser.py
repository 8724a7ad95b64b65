"""Debian's Chromium without a window, which trusts one certificate and knows one host."""

import contextlib
import os
import shutil
import subprocess

from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver", "certutil": "libnss3-tools"}
MISSING = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
CHANGING = [
    exceptions.ElementClickInterceptedException,
    exceptions.ElementNotInteractableException,
    exceptions.NoSuchElementException,
    exceptions.StaleElementReferenceException,
]
FLAGS = [
    "--headless=new",
    "--no-sandbox",  # which root's Chromium lacks anyway
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextlib.contextmanager
def chromium(home, address, certificate):
    """Open a browser that trusts *certificate*, if any, and finds this host only."""
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    if certificate:
        subprocess.run(
            [*certutil, "-A", "-n", "the server", "-t", "P,,"],
            input=certificate,
            text=True,
            check=True,
        )
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    hosts = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {address}"
    for flag in (*FLAGS, hosts, f"--user-data-dir={home}/profile"):
        options.add_argument(flag)
    service = webdriver.ChromeService(
        shutil.which("chromedriver"), env=os.environ | {"HOME": str(home)}
    )
    driver = webdriver.Chrome(options, service)
    try:
        screen = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        yield Person(driver)
    finally:
        driver.quit()


class Person:
    """A person who reads, clicks, types and drags; each method waits for its CSS selector."""

    def __init__(self, driver):
        self.driver = driver

    def wait(self, condition):
        """Wait until *condition* is true and return its value; the page may change meanwhile."""
        return WebDriverWait(self.driver, 30, 0.1, CHANGING).until(lambda driver: condition())

    def see(self, css):
        """Return the visible element, once there is one."""
        element = lambda: self.driver.find_element(By.CSS_SELECTOR, css)  # noqa: E731
        return self.wait(lambda: element().is_displayed() and element())

    def read(self, css, text):
        """Wait until an element contains a text."""
        elements = lambda: self.driver.find_elements(By.CSS_SELECTOR, css)  # noqa: E731
        return self.wait(
            lambda: any(text in one.get_attribute("textContent") for one in elements())
        )

    def click(self, css):
        """Click an element."""
        self.wait(lambda: self.see(css).click() or True)

    def type(self, *keys, holding=()):
        """Type at the cursor, with keys such as Shift held down."""
        hands = ActionChains(self.driver)
        for key in holding:
            hands.key_down(key)
        hands.send_keys(*keys)
        for key in holding:
            hands.key_up(key)
        hands.perform()

    def drag(self, css, to):
        """Drag an element to the right edge of another."""
        panel = self.see(to)
        edge = panel.size["width"] // 2 - 20

        def move():
            hands = (
                ActionChains(self.driver, duration=50)
                .click_and_hold(self.see(css))
                .move_by_offset(20, 60)
            )
            hands.move_to_element_with_offset(panel, edge, 0).release().perform()
            return True

        self.wait(move)
