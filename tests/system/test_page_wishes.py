"""Deciding on the web page by the share of strangers who get a name, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, Route, expect

from browsing import TIMEOUT_S, Visit, enrol, refuse, visiting
from running import Pair, running_pair

Photographs = dict[str, list[Path]]
# What the page asks for, to decide by itself.
EVERY_DISTANCE, MOST_STRANGERS = "1000000000", "0.5"


def wishes(pair: Pair) -> list[dict[str, float]]:
    """What there is to choose from, the strictest first."""
    decisions = requests.get(f"{pair.url}/ready", timeout=TIMEOUT_S).json()["decisions"]
    found: list[dict[str, float]] = decisions["wishes"]
    return sorted(found, key=lambda wish: wish["max_false_match"])


def one_in(share: float) -> str:
    return f"1 in {int(float(f'{1 / share:.0e}')):,}"


def by_strangers(page: Page) -> Page:
    page.get_by_role("radio", name="Share of strangers").check()
    expect(page.get_by_role("slider")).to_have_count(1)
    return page


def shows(page: Page, photograph: Path, summary: str) -> None:
    page.locator("#recognise-file, #recognise-other").last.set_input_files(photograph)
    expect(page.locator("#summary")).to_have_text(summary)


def rated(pair: Pair, photograph: Path, *rates: float) -> Callable[[Route], None]:
    """Has the people that the face of a photograph may be come with these rates; the first is the face's."""
    options = {"include_unknown": "1", "top_k": "2", "min_distance": "20"}
    files = {"file": photograph.read_bytes()}
    answer = requests.post(f"{pair.url}/face-recognition", files=files, data=options, timeout=TIMEOUT_S)
    (face,) = answer.json()
    for each, rate in zip((face, *face["candidates"]), (rates[0], *rates), strict=False):
        each["false_match"] = rate
    return lambda route: route.fulfill(json=[face])


def decided(**changes: Any) -> Callable[[Route], None]:
    """Has the service say something else of what decisions mean."""

    def fulfil(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["decisions"].update(changes)
        route.fulfill(response=answer, json=body)

    return fulfil


# Browsers do not show what is in a form with a file.
NOTE_FORMS = """
const send = window.fetch;
window.forms = [];
window.fetch = (path, options) => {
  if (path === "face-recognition") window.forms.push(Object.fromEntries(options.body));
  return send(path, options);
};
"""


def asked(page: Page) -> tuple[str | None, str | None]:
    """The `min_distance` and the `max_false_match` of the page's last question."""
    last = page.evaluate(
        "(({ min_distance, max_false_match }) => [min_distance, max_false_match])(forms.at(-1))"
    )
    return last[0], last[1]


@pytest.fixture
def two(pair: Pair, photographs: Photographs) -> Pair:
    """The services with two people enrolled."""
    enrol(pair, {"madonna": photographs["madonna"][0], "ben": photographs["ben_afflek"][0]})
    return pair


def test_the_slider_of_strangers_decides_without_asking_again(
    visit: Visit, two: Pair, photographs: Photographs
) -> None:
    steps = wishes(two)
    limit = steps[1]["max_false_match"]
    picture = photographs["madonna"][1]
    visit.page.add_init_script(NOTE_FORMS)
    visit.page.route("**/face-recognition", rated(two, picture, limit, 0.3))
    page = visit.view("recognise")
    shows(page, picture, "1 face: madonna")
    assert asked(page) == (EVERY_DISTANCE, None)
    with page.expect_response("**/face-recognition"):
        by_strangers(page)
    assert asked(page) == (None, MOST_STRANGERS)
    number = len(visit.asked)
    slider = page.get_by_role("slider", name="Strangers who get a name")
    for place, step in enumerate(steps):
        slider.fill(str(place))
        expect(page.locator("#wish-value")).to_have_text(one_in(step["max_false_match"]))
        known = limit <= step["max_false_match"]
        expect(page.locator("#summary")).to_have_text(f"1 face: {'madonna' if known else 'unknown'}")
        expect(page.locator(".box")).to_contain_text(one_in(limit))
    assert len(visit.asked) == number
    expect(page.locator("#faces li")).to_contain_text("Next nearest: ben, 1 in 3")
    with page.expect_response("**/face-recognition"):
        page.get_by_role("radio", name="Distance").check()
    expect(page.locator("#threshold-value")).to_have_text("9.00")
    assert asked(page) == (EVERY_DISTANCE, None)


def test_each_face_says_how_many_strangers_would_come_as_near(
    visit: Visit, two: Pair, photographs: Photographs
) -> None:
    """By either rule, and for faces that get no name, too."""
    picture = photographs["madonna"][1]
    (told,) = requests.post(
        f"{two.url}/face-recognition", files={"file": picture.read_bytes()}, timeout=TIMEOUT_S
    ).json()
    assert told["false_match"] is not None
    page = visit.view("recognise")
    shows(page, picture, "1 face: madonna")
    expect(page.locator("#faces li")).to_contain_text(" strangers would come as near.")
    for rate, said in (
        (0.0002, "About 1 in 5,000 strangers would come as near."),
        (1e-9, "Fewer than 1 in 100,000 strangers would come as near."),
        (0.8, "Most strangers would come as near."),
    ):
        page.route("**/face-recognition", rated(two, picture, rate, 0.9))
        shows(page, picture, "1 face: madonna")
        expect(page.locator("#faces li")).to_contain_text(said)
        page.unroute("**/face-recognition")
    by_strangers(page)
    shows(page, photographs["elton_john"][0], "1 face: unknown")
    expect(page.locator("#faces li")).to_contain_text("strangers would come as near.")
    expect(page.locator("#faces li")).to_contain_text("distance ")


def test_what_a_wish_costs(visit: Visit, two: Pair) -> None:
    steps = wishes(two)
    page = by_strangers(visit.view("recognise"))
    slider = page.get_by_role("slider")
    for place, step in enumerate(steps):
        slider.fill(str(place))
        expect(page.locator("#wish-cost")).to_contain_text(
            f"About {100 * step['missed']:.0f}\u00a0% of the faces of enrolled people get no name."
        )
        expect(page.locator("#wish-cost")).to_contain_text(f"{step['distance']:.2f}")
        expect(slider).to_have_attribute("aria-valuetext", one_in(step["max_false_match"]))
    expect(page.locator("#strangers-rule")).to_contain_text("Children cannot be told apart")


def test_a_wish_that_cannot_be_had_is_told_with_what_can(visit: Visit, two: Pair) -> None:
    visit.page.route("**/ready", decided(least=0.005))
    page = by_strangers(visit.view("recognise"))
    refused = page.locator("#wish-refused")
    expect(refused).to_be_empty()
    page.get_by_role("slider").press("Home")
    expect(refused).to_have_text(
        "This cannot be had here. About 1 in 200 can, with one in ten faces of enrolled people missed."
    )
    visit.screenshot("recognise-wish-refused")
    assert visit.faults() == []
    page.get_by_role("slider").press("End")
    expect(refused).to_be_empty()


def test_where_it_is_not_known_how_strangers_look_the_distance_decides(
    browser: Browser, two: Pair, photographs: Photographs
) -> None:
    with visiting(browser, two.url, forgiven="status of 409") as visit:
        visit.page.route("**/ready", decided(wishes=[], least=None, people=None), times=1)
        page = visit.view("recognise")
        expect(page.get_by_role("radio", name="Share of strangers")).to_be_disabled()
        expect(page.locator("#strangers-refused")).to_contain_text("too few people are enrolled")
        shows(page, photographs["madonna"][1], "1 face: madonna")
        visit.screenshot("recognise-strangers-refused")
        assert visit.faults() == []
        page.get_by_role("link", name="People").click()
        page.get_by_role("link", name="Recognise").click()  # and is enrolled by now
        by_strangers(page)
        expect(page.locator("#strangers-refused")).to_be_hidden()
        refuse(page, "face-recognition", 409, "not_calibrated", times=1)
        page.set_input_files("#recognise-other", photographs["madonna"][1])
        expect(page.locator("#recognise-message")).to_contain_text("Let the distance decide.")
        visit.page.route("**/ready", decided(wishes=[], least=None, people=None), times=1)
        page.get_by_role("link", name="People").click()
        page.get_by_role("link", name="Recognise").click()
        expect(page.get_by_role("radio", name="Distance")).to_be_checked()
        expect(page.locator("#summary")).to_have_text("1 face: madonna")


def test_an_unknown_face_is_named_and_what_wishes_mean_follows(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    page = by_strangers(visit.view("recognise"))
    cost = page.locator("#wish-cost")
    before = cost.inner_text()
    shows(page, photographs["madonna"][1], "1 face: unknown")
    expect(page.locator("#faces li")).to_contain_text("Nobody is enrolled yet.")
    enrol(pair, {f"ben {i}": photographs["ben_afflek"][i] for i in range(3)})
    page.locator("#faces").get_by_role("combobox").fill("Madonna")
    page.get_by_role("button", name="Name this face").click()
    expect(page.locator("#summary")).to_have_text("1 face: Madonna")
    expect(cost).not_to_have_text(before)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    """The services with a wish of their own."""
    with running_pair(tmp_path_factory.mktemp("strict"), models_dir, MAX_FALSE_MATCH="0.02") as pair:
        yield pair


def test_the_page_begins_with_the_wish_that_is_set(
    browser: Browser, strict: Pair, photographs: Photographs
) -> None:
    enrol(strict, {"madonna": photographs["madonna"][0]})
    with visiting(browser, strict.url) as visit:
        visit.page.add_init_script(NOTE_FORMS)
        page = visit.view("recognise")
        expect(page.get_by_role("radio", name="Share of strangers")).to_be_checked()
        expect(page.locator("#wish-value")).to_have_text("1 in 50")
        shows(page, photographs["madonna"][0], "1 face: madonna")
        assert asked(page) == (None, MOST_STRANGERS)
        page.get_by_role("slider").press("Home")
        expect(page.locator("#wish-value")).to_have_text("1 in 1,000")
        page.get_by_role("button", name="Reset to 1 in 50").click()
        expect(page.locator("#wish-value")).to_have_text("1 in 50")


def test_by_keyboard(visit: Visit) -> None:
    page = visit.view("recognise")
    page.get_by_role("radio", name="Distance").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Share of strangers")).to_be_checked()
    page.keyboard.press("Tab")
    slider = page.get_by_role("slider")
    expect(slider).to_be_focused()
    expect(page.locator("#wish-value")).to_have_text("1 in 100")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#wish-value")).to_have_text("1 in 30")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#wish-value")).to_have_text("1 in 300")
