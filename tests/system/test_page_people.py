"""People on the web page: found, shown with all faces, renamed, merged, corrected and removed."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from playwright.sync_api import Browser, Page, Route, expect

from browsing import NARROW, TIMEOUT_S, Visit, enrol, enrolled, samples, visiting
from galleries import a_sample
from recognition.gallery import open_gallery
from running import Pair, running_pair
from serving import keys

Photographs = dict[str, list[Path]]

MANY, PAGE = 10_000, 48
RECOGNISER, RECOGNISER_KEY = keys.new("the-door", "recognise")
ENROLLER, ENROLLER_KEY = keys.new("the-desk", "enrol,recognise")


def persons(pair: Pair, **query: Any) -> list[dict[str, Any]]:
    answer = requests.get(f"{pair.url}/persons", params={"limit": 1000, **query}, timeout=TIMEOUT_S).json()
    found: list[dict[str, Any]] = answer["persons"]
    return found


def people(pair: Pair) -> dict[str, int]:
    return {person["name"]: person["samples"] for person in persons(pair)}


def shown(visit: Visit, pair: Pair, name: str) -> Page:
    """Open the view of the one person who has this name."""
    (person,) = (each for each in persons(pair) if each["name"] == name)
    page = visit.view(f"person/{person['id']}")
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    return page


@pytest.fixture
def ann_and_bea(pair: Pair, photographs: Photographs) -> None:
    """Two faces of Ann, one of Bea."""
    pictures = {
        "1": photographs["madonna"][0],
        "2": photographs["madonna"][1],
        "3": photographs["ben_afflek"][0],
    }
    enrol(pair, pictures, {"1": "Ann", "2": "Ann", "3": "Bea"})


# --- found


def test_people_are_found_by_a_part_of_their_names(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    names = ["José Álvarez", "Josef", "Ann", "jo"]
    enrol(pair, dict.fromkeys(names, photographs["madonna"][0]))
    page = visit.view("people")
    listed = page.locator("#people-list bdi")
    expect(listed).to_have_text(["Ann", "jo", "José Álvarez", "Josef"])
    expect(page.locator("#people-summary")).to_have_text("4 people")
    search = page.get_by_role("searchbox")
    search.press_sequentially("jos")
    expect(listed).to_have_text(["José Álvarez", "Josef"])
    expect(page.locator("#people-summary")).to_have_text("2 people with “jos”")
    search.press_sequentially("e alv")
    expect(listed).to_have_text(["José Álvarez"])
    search.fill("nobody")
    expect(page.locator("#people-summary")).to_have_text("Nobody has “nobody” in their name.")
    search.fill("")
    expect(page.locator("#people-summary")).to_have_text("4 people")
    listed.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ann")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert page.title() == "Ann · Faces"
    expect(page.get_by_role("link", name="People", exact=True)).to_have_attribute("aria-current", "page")
    page.go_back()
    expect(listed).to_have_count(4)


def test_an_answer_to_what_was_typed_before_is_dropped(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    page = visit.view("people")
    listed = page.locator("#people-list bdi")
    expect(listed).to_have_text(["Ann", "Bea"])
    held: list[Route] = []
    page.route("**/persons?*q=a*", lambda route: held.append(route))
    with page.expect_request("**/persons?*q=a*"):
        page.get_by_role("searchbox").fill("a")
    page.get_by_role("searchbox").fill("bea")
    expect(listed).to_have_text(["Bea"])
    with page.expect_response("**/persons?*q=a*"):
        held[0].continue_()
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(listed).to_have_text(["Bea"])


def test_faces_that_are_kept_are_shown(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    page = visit.view("people")
    faces = page.locator("#people-list img")
    expect(faces).to_have_count(2)
    assert faces.first.evaluate("image => image.naturalWidth") > 0
    page.locator("#people-list a").first.click()
    expect(page.locator("#person-faces img")).to_have_count(2)
    visit.screenshot("person-faces")


# --- changed


def test_rename_note_and_expiry(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    (ann,) = persons(pair, q="ann")
    path = f"{pair.url}/persons/{ann['id']}"
    requests.patch(path, json={"metadata": {"staff": 7, "note": "old"}}, timeout=TIMEOUT_S)
    page = shown(visit, pair, "Ann")
    expect(page.get_by_label("Note")).to_have_value("old")
    page.get_by_label("Name", exact=True).fill("Anna Lee")
    page.get_by_label("Consent").fill("signed")
    page.get_by_label("Note").fill("")
    page.get_by_label("Delete after").fill("2099-12-31")
    requests.patch(path, json={"metadata": {"staff": 8, "note": "old"}}, timeout=TIMEOUT_S)  # somebody else
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#person-done")).to_have_text("Saved.")
    expect(page.get_by_role("heading", level=1)).to_have_text("Anna Lee")
    (stored,) = persons(pair, q="anna")
    assert stored["metadata"] == {"staff": 8, "consent": "signed"}
    assert stored["expires_at"] == "2099-12-31T23:59:59+00:00"
    assert enrolled(pair) == ["Anna Lee", "Anna Lee", "Bea"]
    page.get_by_label("Delete after").fill("")
    page.get_by_label("Consent").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#person-done")).to_have_text("Saved.")
    (stored,) = persons(pair, q="anna")
    assert (stored["metadata"], stored["expires_at"]) == ({"staff": 8}, None)


def test_what_is_refused_stays_to_be_corrected(browser: Browser, pair: Pair, ann_and_bea: None) -> None:
    with visiting(browser, pair.url, forgiven="status of 400") as visit:
        page = shown(visit, pair, "Ann")
        page.get_by_label("Delete after").fill("2001-01-01")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#person-message")).to_contain_text("expires_at is in the past")
        expect(page.get_by_label("Delete after")).to_have_value("2001-01-01")


def test_metadata_that_is_no_object_is_left_alone(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    (ann,) = persons(pair, q="ann")
    requests.patch(f"{pair.url}/persons/{ann['id']}", json={"metadata": ["x"]}, timeout=TIMEOUT_S)
    page = shown(visit, pair, "Ann")
    expect(page.get_by_label("Consent")).to_be_disabled()
    page.get_by_label("Name", exact=True).fill("Anna")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#person-done")).to_have_text("Saved.")
    assert persons(pair, q="anna")[0]["metadata"] == ["x"]


def test_merge_and_undo(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    before = {sample["id"]: sample["name"] for sample in samples(pair)}
    page = shown(visit, pair, "Ann")
    page.get_by_label("Same person as").press_sequentially("be")
    page.get_by_role("option", name="Bea").click()
    expect(page.get_by_label("Same person as")).to_have_value("Bea")
    page.get_by_role("button", name="Merge").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bea")
    expect(page.locator("#person-summary")).to_have_text("3 faces")
    expect(page.locator("#undo")).to_contain_text("Ann was merged into Bea.")
    assert people(pair) == {"Bea": 3}
    visit.screenshot("person-merged")
    assert visit.faults() == []
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("#undo")).to_be_hidden()
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ann")
    expect(page.locator("#undo-text")).to_have_text("Ann is back, with 2 faces.")
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    assert {sample["id"]: sample["name"] for sample in samples(pair)} == before


def test_undo_leaves_alone_what_was_changed_since(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    page = shown(visit, pair, "Ann")
    page.get_by_label("Same person as").press_sequentially("bea")
    page.get_by_role("option").click()
    page.get_by_role("button", name="Merge").click()
    expect(page.locator("#person-summary")).to_have_text("3 faces")
    requests.patch(f"{pair.url}/samples/1", json={"name": "Cleo"}, timeout=TIMEOUT_S)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#undo")).to_contain_text("1 face was changed since and not moved back.")
    assert people(pair) == {"Ann": 1, "Bea": 1, "Cleo": 1}


def test_a_merge_that_cannot_be_undone_says_so(browser: Browser, pair: Pair, ann_and_bea: None) -> None:
    with visiting(browser, pair.url, forgiven="status of 404") as visit:
        page = shown(visit, pair, "Ann")
        page.get_by_label("Same person as").press_sequentially("bea")
        page.get_by_role("option").click()
        page.get_by_role("button", name="Merge").click()
        expect(page.locator("#undo")).to_contain_text("was merged")
        requests.delete(f"{pair.url}/samples", timeout=TIMEOUT_S)
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#undo")).to_contain_text("The merge cannot be taken back")
        expect(page.get_by_role("button", name="Undo")).to_be_hidden()


def test_only_somebody_who_is_there_can_be_merged_into(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    page = shown(visit, pair, "Ann")
    page.get_by_label("Same person as").fill("Nobody")
    page.get_by_role("button", name="Merge").click()
    expect(page.locator("#person-message")).to_have_text("Choose a person from the list.")
    assert people(pair) == {"Ann": 2, "Bea": 1}


def test_move_and_remove_faces(browser: Browser, pair: Pair, ann_and_bea: None) -> None:
    with visiting(browser, pair.url, forgiven="status of 404") as visit:  # whose last face goes is gone
        move_and_remove(visit, pair)


def move_and_remove(visit: Visit, pair: Pair) -> None:
    page = shown(visit, pair, "Ann")
    faces = page.locator("#person-faces > li")
    expect(faces).to_have_count(2)
    page.get_by_role("button", name="Move 1", exact=True).click()
    target = page.get_by_role("combobox", name="Whose face is it?")
    expect(target).to_be_focused()
    page.keyboard.type("be")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(target).to_have_value("Bea")
    page.keyboard.press("Enter")
    expect(page.locator("#person-done")).to_have_text("The face is Bea’s now.")
    expect(faces).to_have_count(1)
    assert people(pair) == {"Ann": 1, "Bea": 2}
    page.get_by_role("button", name="Move 2", exact=True).click()
    target.fill("Somebody New")
    page.get_by_role("button", name="Move", exact=True).last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("People")  # Ann had no other face
    assert people(pair) == {"Bea": 2, "Somebody New": 1}

    page = shown(visit, pair, "Bea")
    page.get_by_role("button", name="Remove 3").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove 3").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(faces).to_have_count(1)
    assert people(pair) == {"Bea": 1, "Somebody New": 1}


def test_delete_a_person(visit: Visit, pair: Pair, ann_and_bea: None) -> None:
    page = shown(visit, pair, "Ann")
    page.get_by_role("button", name="Delete person").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete Ann?")
    expect(dialog).to_contain_text("2 faces")
    page.keyboard.press("Escape")
    assert people(pair) == {"Ann": 2, "Bea": 1}
    page.get_by_role("button", name="Delete person").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#people-list bdi")).to_have_text(["Bea"])
    assert people(pair) == {"Bea": 1}


def test_somebody_who_is_not_there(browser: Browser, pair: Pair) -> None:
    with visiting(browser, pair.url, forgiven="status of 404") as visit:
        page = visit.view("person/nobody")
        expect(page.locator("#person-message")).to_have_text("This person is not there, or no longer.")
        for odd in ("person/%", "person/", "toString", "person/a%2Fb"):
            visit.view(odd)
        expect(page.locator("#person-shown")).to_be_hidden()


# --- of one name, hostile names, and many


def test_of_one_name_the_person_is_chosen(browser: Browser, pair: Pair, photographs: Photographs) -> None:
    for person in ("first", "second"):
        answer = requests.post(
            f"{pair.url}/persons", json={"id": person, "name": "John Smith"}, timeout=TIMEOUT_S
        )
        assert answer.ok
    with visiting(browser, pair.url, forgiven="status of 409") as visit:
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        name = page.locator("#faces").get_by_role("combobox")
        name.fill("john smith")
        name.press("Enter")
        expect(page.locator("#faces .message")).to_have_text(
            "Several people have this name. Choose one from the list."
        )
        options = page.get_by_role("option")
        expect(options).to_have_count(2)
        visit.screenshot("suggestions")
        assert visit.faults() == []
        options.nth(1).click()
        name.press("Enter")
        expect(page.locator("#summary")).to_have_text("1 face: John Smith")
    assert {person["id"]: person["samples"] for person in persons(pair)} == {"first": 0, "second": 1}


HOSTILE = [
    "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>",
    "\u05d3\u05d5\u05d3 (\u05d1\u05df) 7 <b>",
    "W" * 200,
]


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "right to left", "long"])
def test_names_are_text_and_break_nothing(
    browser: Browser, pair: Pair, photographs: Photographs, name: str
) -> None:
    enrol(pair, {"1": photographs["madonna"][0]}, {"1": name})
    with visiting(browser, pair.url, viewport=NARROW) as visit:
        page = visit.view("people")
        expect(page.locator("#people-list bdi")).to_have_text(name)
        assert visit.fits()
        page.locator("#people-list a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        assert visit.fits()
        requests.post(f"{pair.url}/persons", json={"name": name + "!"}, timeout=TIMEOUT_S)
        page.get_by_label("Same person as").fill(name[:5])
        expect(page.get_by_role("option").locator("bdi")).to_have_text(name + "!")
        assert visit.fits()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Delete person").click()
        expect(page.get_by_role("dialog")).to_contain_text(name)
        page.keyboard.press("Escape")
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        page.get_by_role("button", name="Not ").click()
        expect(page.locator("#faces fieldset")).to_contain_text(name)
        assert visit.fits()
        assert page.locator("img[src=x]").count() == 0


def test_ten_thousand_people(browser: Browser, pair: Pair, photographs: Photographs) -> None:
    """Few are on the page at once, and only those that come into view have their faces fetched."""
    enrol(pair, {"1": photographs["madonna"][0]})
    header = requests.get(f"{pair.url}/export", timeout=TIMEOUT_S).content.splitlines()[0]
    fingerprint = json.loads(header)["fingerprint"]
    with closing(open_gallery(pair.detection.environment["DATABASE_URL"], 30)) as gallery:
        vectors = np.random.default_rng(1).normal(size=(MANY - 1, 128)).astype(np.float32)
        new = [a_sample(str(uuid.uuid4()), name=f"Person {number:05}") for number in range(MANY - 1)]
        gallery.upsert(new, vectors, fingerprint)
    with visiting(browser, pair.url) as visit:
        page = visit.view("people")
        expect(page.locator("#people-summary")).to_have_text(f"10,000 people, 1 to {PAGE} shown")
        expect(page.locator("#people-list li")).to_have_count(PAGE)
        page.mouse.wheel(0, 20_000)
        page.get_by_role("button", name="Next page").click()
        expect(page.locator("#people-summary")).to_have_text(f"10,000 people, {PAGE + 1} to {2 * PAGE} shown")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        page.get_by_role("button", name="Previous page").click()
        expect(page.locator("#people-summary")).to_have_text(f"10,000 people, 1 to {PAGE} shown")
        page.get_by_role("searchbox").fill("09998")
        expect(page.locator("#people-list bdi")).to_have_text(["Person 09998"])
        expect(page.get_by_role("button", name="Next page")).to_be_hidden()
        assert sum(path.endswith("/face") for path in visit.asked) <= 3 * PAGE + 1


# --- what a key may not do


def test_what_a_key_may_not_do_is_told(
    browser: Browser, tmp_path: Path, models_dir: Path, photographs: Photographs
) -> None:
    entries = f"{RECOGNISER_KEY.entry()} {ENROLLER_KEY.entry()}"
    with (
        running_pair(tmp_path, models_dir, API_KEYS=entries) as pair,
        visiting(browser, pair.url, forgiven="status of 40") as visit,
    ):
        page = visit.page
        page.goto(f"{pair.url}/#people")
        page.get_by_role("textbox", name="Key").fill(RECOGNISER)
        page.keyboard.press("Enter")
        expect(page.locator("#people-message")).to_have_text("This key does not have the scope enrol.")
        page.get_by_role("link", name="Recognise").click()
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        name = page.locator("#faces").get_by_role("combobox")
        name.press_sequentially("Ma")
        name.press("Enter")
        expect(page.locator("#faces .message")).to_have_text("This key does not have the scope enrol.")
        page.get_by_role("button", name="Forget key").click()
        page.get_by_role("textbox", name="Key").fill(ENROLLER)
        page.keyboard.press("Enter")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        name.fill("Madonna")
        name.press("Enter")
        expect(page.locator("#summary")).to_have_text("1 face: Madonna")
        page.get_by_role("link", name="People", exact=True).click()
        expect(page.locator("#people-list bdi")).to_have_text(["Madonna"])
