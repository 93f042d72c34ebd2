# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a host of the lab: a headless Chromium that does what it is told, line by line.

Each line of standard input is a JSON object: {"open": URL}, or {"script": JAVASCRIPT}, which is the body of an async
function. For each one line of JSON is printed: what the function returned, or null.
"""

from __future__ import annotations

import json
import sys

from selenium import webdriver

options = webdriver.ChromeOptions()
# Root has no sandbox, and a container little shared memory.
for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
    options.add_argument(flag)
browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
RUN = """
const done = arguments[arguments.length - 1];
(async () => { %s })().then(done, (error) => done({error: String(error)}));
"""
try:
    browser.set_script_timeout(60)
    print(json.dumps(browser.capabilities["browserVersion"]), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "open" in told:
            browser.get(told["open"])
        said = browser.execute_async_script(RUN % told["script"]) if "script" in told else None
        print(json.dumps(said), flush=True)
finally:
    browser.quit()
