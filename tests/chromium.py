"""A headless Chromium, and what is lacking for it here; where it is required, that is an error."""

import importlib.util
import os
import shutil

import pytest

BROWSER, DRIVER = "chromium", "chromedriver"
LACKING = [
    *(name for name in ("bokeh", "selenium") if importlib.util.find_spec(name) is None),
    *(
        package
        for package, program in (("chromium", BROWSER), ("chromium-driver", DRIVER))
        if shutil.which(program) is None
    ),
]
if os.environ.get("TINYTENSOR_TEST_BROWSER") == "required":
    assert not LACKING, f"the live page can't be tested without {', '.join(LACKING)}"


def needs_browser(test):
    """Mark a test that needs a headless browser; it is not one of the quick tests."""
    reason = f"a headless browser needs {', '.join(LACKING)}"
    return pytest.mark.full(pytest.mark.skipif(bool(LACKING), reason=reason)(test))


def chromium(*arguments: str):
    """A new one, which notes what it loads and complains about."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which(DRIVER)))
