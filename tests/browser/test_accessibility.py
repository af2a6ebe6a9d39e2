"""What axe-core finds on each view, on a desktop and on a phone, light and dark: nothing that is serious or
critical.
"""

from __future__ import annotations

import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_page import choose

SEVERE = ("serious", "critical")
# While something is loaded, Gradio greys the seconds that it has taken and names an empty place.
CONTEXT = {"exclude": [[".progress-text"], ["[aria-label='Empty value']"]]}
OPTIONS = {"resultTypes": ["violations"]}
AXE = Axe()
LATE_SECONDS = 8
TABS = ("Diagnose", "Look inside", "Data", "Fine-tune")


def faults(page) -> list[str]:
    """One line for each severe kind of fault: what it is, and where it is first."""
    found = AXE.run(page, context=CONTEXT, options=OPTIONS).response["violations"]
    return [
        f"{one['impact']}: {one['id']} x {len(one['nodes'])}: {one['nodes'][0]['html'][:160]}"
        f" {one['nodes'][0]['failureSummary'][:200]}"
        for one in found
        if one["impact"] in SEVERE
    ]


def lasting(page) -> list[str]:
    """The faults that are still there after some seconds: what has just been drawn on a busy computer gets
    its name a moment later.
    """
    found = faults(page)
    until = time.monotonic() + LATE_SECONDS
    while found and time.monotonic() < until:
        page.wait_for_timeout(500)
        found = faults(page)
    return found


def in_both_lights(page, where: str) -> list[str]:
    """The faults of what is shown, by day and by night."""
    lines = []
    for dark in (False, True):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        lines += [f"{where}, {'dark' if dark else 'light'}: {line}" for line in lasting(page)]
    page.evaluate("document.body.classList.remove('dark')")
    return lines


@pytest.mark.parametrize("size", ["page", "phone"])
def test_no_view_has_a_severe_fault(size, request, leaf_photo):
    page = request.getfixturevalue(size)
    page.add_style_tag(
        content="*, *::before, *::after { transition: none !important; animation: none !important; }"
    )
    lines = in_both_lights(page, "Diagnose, empty")
    choose(page, "diagnose-photo", leaf_photo)
    page.wait_for_selector(".answer-label")
    for tab in TABS:
        page.get_by_role("tab", name=tab, exact=True).first.click()
        views = {
            "Look inside": "#inside-views",
            "Data": "#data-views",
            "Diagnose": "#diagnose-views",
            "Fine-tune": "#train-parts",
        }[tab]
        names = (
            page.locator(f"{views} > .tab-wrapper [role=tab]:visible").all_inner_texts()
            if page.locator(views).count()
            else []
        )
        for name in names or [""]:
            if name:
                page.locator(views).get_by_role("tab", name=name, exact=True).first.click()
            page.wait_for_timeout(800)
            lines += in_both_lights(page, f"{tab}, {name}")
    assert lines == [], "\n".join(lines)
