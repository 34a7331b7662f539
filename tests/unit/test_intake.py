"""The bound of bodies that are under way is one for all applications that share it."""

from __future__ import annotations

from flask import Flask, request
from flask.testing import FlaskClient

from serving.errors import Overloaded
from serving.intake import Intake

BODY = 60 * b"x"


def apps(intake: Intake) -> tuple[FlaskClient, FlaskClient]:
    """Two applications; while the second one has a body, the first one is asked with another."""
    first, second = Flask("first"), Flask("second")
    for app in (first, second):
        intake.register(app)
        app.register_error_handler(Overloaded, lambda _: ("full", 429))

    @first.post("/")
    def one() -> str:
        return str(len(request.get_data()))

    @second.post("/")
    def two() -> str:
        request.get_data()
        return str(first.test_client().post("/", data=BODY).status_code)

    return first.test_client(), second.test_client()


def test_a_body_of_one_takes_the_room_of_another() -> None:
    first, second = apps(Intake(100, 100))
    assert second.post("/", data=BODY).text == "429"
    assert first.post("/", data=BODY).text == "60"  # nothing is left of those before
    assert second.post("/", data=BODY).text == "429"


def test_what_has_room_beside_the_largest_is_taken() -> None:
    _, second = apps(Intake(300, 100))
    assert second.post("/", data=BODY).text == "200"
