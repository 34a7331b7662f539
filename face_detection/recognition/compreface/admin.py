"""What programs call that set CompreFace up: they register, log in, and make applications and services.

A key is told when its service is made, or gets another key, and never again: nobody else knows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue

from recognition import client_keys
from recognition.client_keys import ClientService, Kind
from recognition.compreface import json_bodies
from recognition.compreface.failures import Code, Missing, Refused, Unreadable
from recognition.compreface.sessions import COOKIE, LASTS, BadCredentials, logged_in, presented
from recognition.compreface.subjects import LONGEST, check_characters
from recognition.compreface.table import API, Call, Parts
from recognition.errors import AdministratorExists, ServiceExists
from recognition.gallery import applications, logins, services
from recognition.results import Administrator, Application
from serving import bodies, keys
from serving.errors import Failure, NotFound, Unauthorized

CREATED, UNAUTHORIZED = 201, 401
CLIENT = ("CommonClientId", "password")  # what every client of CompreFace sends; it keeps nobody out
LONGEST_SECRET = 1000  # characters of a password; CompreFace bounds names alone
LONGEST_EMAIL = 254  # characters: RFC 5321's limit of a path, without its brackets
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
TYPES: Mapping[str, Kind] = {
    "RECOGNITION": "recognition",
    "DETECTION": "detection",
    "VERIFY": "verification",
}
TYPE_OF = {kind: name for name, kind in TYPES.items()}
ALREADY_REGISTERED = "This email already registered"


class NoToken(Failure):
    """Somebody cannot log in: the error of OAuth (RFC 6749, section 5.2), with the status of its answer."""

    code = "no_token"

    def __init__(self, error: str, detail: str, status: int) -> None:
        super().__init__(detail)
        self.error, self.status = error, status


def register(app: Flask) -> None:
    """Add the form that errors of logins have: OAuth's."""

    @app.errorhandler(NoToken)
    def no_token(e: NoToken) -> ResponseReturnValue:
        return _oauth_error(e.error, e.detail, e.status, e.code)

    @app.errorhandler(BadCredentials)
    def bad_credentials(e: BadCredentials) -> ResponseReturnValue:
        return _oauth_error("invalid_request", e.detail, 400, e.code)

    @app.errorhandler(Unauthorized)
    def unauthorized(e: Unauthorized) -> ResponseReturnValue:
        return _oauth_error("unauthorized", e.detail, UNAUTHORIZED, e.code)


def sign_up(parts: Parts) -> ResponseReturnValue:
    """Let the first who comes be the administrator, where no keys are set."""
    parts.door.check_near()
    if parts.door.keys:
        # Not 403: programs take 400 for "somebody has registered already", and log in.
        text = "Nobody registers where API_KEYS are set: log in with a key of the scope admin."
        raise Refused(Code.NO_PRIVILEGE, text)
    parts.door.count_try()  # before anything is told of who has registered
    sent = _fields("email", "password", "firstName", "lastName")
    for name, called in (("email", "email"), ("password", "password")):
        if not sent[name].strip():
            raise Refused(Code.EMPTY_FIELD, f"Field {called} cannot be empty")
    email = sent["email"].lower()
    if EMAIL.fullmatch(email) is None or len(email) > LONGEST_EMAIL:
        raise Refused(Code.BAD_EMAIL, "Email format is incorrect")
    _check_length("User's first name", sent["firstName"])
    _check_length("User's last name", sent["lastName"])
    if len(sent["password"]) > LONGEST_SECRET:
        raise Refused(Code.BAD_VALUE, f"Password size must be up to {LONGEST_SECRET}")
    known = logins.registered(parts.gallery)
    if known is not None and known[0].email == email:
        raise Refused(Code.EMAIL_EXISTS, ALREADY_REGISTERED)
    if known is not None:
        raise AdministratorExists("Somebody has registered already, and is the only administrator.")
    password = parts.door.kept_of(sent["password"])
    logins.register(parts.gallery, email, sent["firstName"], sent["lastName"], password)
    return Response(status=CREATED)


def log_in(parts: Parts) -> ResponseReturnValue:
    """Begin a session, for whoever has registered, or by any user's name for a key of the scope admin."""
    parts.door.check_near()
    client = request.authorization
    if client is None or client.type != "basic":
        raise Unauthorized("Full authentication is required to access this resource")
    if (client.username, client.password) != CLIENT:
        raise NoToken("invalid_client", "Bad client credentials", UNAUTHORIZED)
    sent = request.values
    if sent.get("grant_type") != "password":
        detail = "Unsupported grant type" if sent.get("grant_type") else "Missing grant type"
        raise NoToken("invalid_request", detail, 400)
    token = parts.door.log_in(parts.gallery, sent.get("username", ""), sent.get("password", ""))
    lasts_s = int(LASTS.total_seconds())
    response = jsonify(access_token=token, token_type="bearer", expires_in=lasts_s, scope="all")
    return _with_cookie(response, token, lasts_s)


def log_out(parts: Parts) -> ResponseReturnValue:
    """End the session."""
    logins.end_session(parts.gallery, keys.digest(presented(request)))
    return _with_cookie(Response(), "", 0)


def me(_: Parts) -> ResponseReturnValue:
    """Tell who has logged in."""
    who: Administrator = g.administrator
    return jsonify(userId=who.id, email=who.email, firstName=who.first_name, lastName=who.last_name)


def list_applications(parts: Parts) -> ResponseReturnValue:
    """List all applications."""
    return jsonify([_told(each) for each in applications.listed(parts.gallery)])


def make_application(parts: Parts) -> ResponseReturnValue:
    """Make an application without services."""
    name = _name("Application", _fields("name")["name"])
    with _unique(name):
        made = applications.make(parts.gallery, name)
    return jsonify(_told(made)), CREATED


def show_application(parts: Parts, app: str) -> ResponseReturnValue:
    """Show one application."""
    with _application(app):
        return jsonify(_told(applications.get(parts.gallery, app)))


def rename_application(parts: Parts, app: str) -> ResponseReturnValue:
    """Give an application another name."""
    name = _name("Application", _fields("name")["name"])
    with _application(app), _unique(name):
        return jsonify(_told(applications.rename(parts.gallery, app, name)))


def remove_application(parts: Parts, app: str) -> ResponseReturnValue:
    """Remove an application with its services; the galleries of these stay."""
    with _application(app):
        applications.remove(parts.gallery, app)
    return Response()


def list_services(parts: Parts, app: str) -> ResponseReturnValue:
    """List the services of an application, without their keys."""
    with _application(app):
        applications.get(parts.gallery, app)
    return jsonify([_model(each) for each in services.listed(parts.gallery, app=app)])


def make_service(parts: Parts, app: str) -> ResponseReturnValue:
    """Make a service, with a key, and if it is for recognition with a gallery, of its own."""
    sent = _fields("name", "type")
    name = _name("Model", sent["name"])
    if not sent["type"].strip():
        raise Refused(Code.BAD_VALUE, "Model Type cannot be empty")
    kind = TYPES.get(sent["type"].upper())
    if kind is None:
        raise Refused(Code.BAD_VALUE, f"Model Type '{sent['type'][:LONGEST]}' doesn't exist!")
    key = client_keys.new()
    with _application(app), _unique(name):
        made = services.add(parts.gallery, name, kind, client_keys.digest(key), app=app)
    return jsonify(_model(made, key)), CREATED


def show_service(parts: Parts, app: str, service: str) -> ResponseReturnValue:
    """Show a service, without its key."""
    return jsonify(_model(_of(parts, app, service)))


def rename_service(parts: Parts, app: str, service: str) -> ResponseReturnValue:
    """Give a service another name; it keeps its gallery, and that its name."""
    name = _name("Model", _fields("name")["name"])
    with _unique(name):
        return jsonify(_model(services.rename(parts.gallery, _of(parts, app, service).id, name)))


def change_key(parts: Parts, app: str, service: str) -> ResponseReturnValue:
    """Give a service another key; the one before opens nothing any more."""
    key = client_keys.new()
    changed = services.change_key(parts.gallery, _of(parts, app, service).id, client_keys.digest(key))
    return jsonify(_model(changed, key))


def remove_service(parts: Parts, app: str, service: str) -> ResponseReturnValue:
    """Remove a service; its gallery stays."""
    services.remove(parts.gallery, _of(parts, app, service).id)
    return Response()


def _of(parts: Parts, app: str, service_id: str) -> ClientService:
    """Return a service of an application.

    Raises:
        Missing: there is no such application, or no such service in it.
    """
    with _application(app):
        applications.get(parts.gallery, app)
    for service in services.listed(parts.gallery, app=app):
        if service.id == service_id:
            return service
    raise Missing(Code.NO_SERVICE, f"Model {service_id} not found")


def _fields(*names: str) -> dict[str, str]:
    """Return texts of a JSON object, empty ones where they are missing; what else it has is passed over.

    Raises:
        Unreadable: it is no JSON object, or one of them is no text that a database can hold.
        UnsupportedMediaType: it does not say that it is JSON.
    """
    sent = json_bodies.an_object(json_bodies.parsed(bodies.json()))
    texts = {name: sent.get(name) or "" for name in names}
    if not all(isinstance(text, str) and "\0" not in text for text in texts.values()):
        raise Unreadable("A field is no text, or has a NUL.")
    return texts


def _check_length(called: str, text: str) -> None:
    if not text.strip():
        raise Refused(Code.BAD_VALUE, f"{called} cannot be empty")
    if len(text) > LONGEST:
        raise Refused(Code.BAD_VALUE, f"{called} size must be between 1 and {LONGEST}")


def _name(what: str, name: str) -> str:
    _check_length(f"{what} name", name)
    check_characters(name)
    return name


@contextmanager
def _unique(name: str) -> Iterator[None]:
    try:
        yield
    except ServiceExists as e:
        raise Refused(Code.NAME_EXISTS, f"Name {name} is not unique") from e


@contextmanager
def _application(app_id: str) -> Iterator[None]:
    try:
        if client_keys.UUID.fullmatch(app_id) is None:  # a database may not even compare it
            raise NotFound("It is no id.")
        yield
    except NotFound as e:
        raise Missing(Code.NO_APPLICATION, f"App {app_id} not found") from e


def _told(application: Application) -> dict[str, Any]:
    who: Administrator = g.administrator
    owner = {"userId": who.id, "firstName": who.first_name, "lastName": who.last_name}
    return {"id": application.id, "name": application.name, "role": "OWNER", "owner": owner}


def _model(service: ClientService, key: str | None = None) -> dict[str, Any]:
    """Render a service, with its key where that is new."""
    told = {"id": service.id, "name": service.name, "type": TYPE_OF[service.kind]}
    if service.created is not None:
        told["createdDate"] = service.created.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return told if key is None else {**told, "apiKey": key}


def _with_cookie(response: Response, token: str, lasts_s: int) -> Response:
    """Let programs that keep cookies send the session along; pages of other sites cannot."""
    path = request.path[: request.path.index("/admin") + len("/admin")]
    response.set_cookie(
        COOKIE,
        token,
        max_age=lasts_s,
        path=path,
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


def _oauth_error(error: str, detail: str, status: int, code: str) -> Response:
    g.code = code
    response = jsonify(error=error, error_description=detail)
    response.status_code = status
    if status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = f'Bearer realm="oauth2-resource", error="{error}"'
    return response


# Under /admin, as CompreFace has them, and under /api/v1, where all else is. Other sites' pages are kept out.
_call = partial(Call, kind=None, pages=False, prefixes=("", API))
_MODEL = "/admin/app/<app>/model"


def _inside(method: str, path: str, handler: Callable[..., ResponseReturnValue]) -> Call:
    return _call(method, path, logged_in(handler))


CALLS = (
    _call("POST", "/admin/user/register", sign_up),
    _call("POST", "/admin/oauth/token", log_in),
    _inside("DELETE", "/admin/oauth/token", log_out),
    _inside("GET", "/admin/user/me", me),
    _inside("GET", "/admin/apps", list_applications),
    _inside("POST", "/admin/app", make_application),
    _inside("GET", "/admin/app/<app>", show_application),
    _inside("PUT", "/admin/app/<app>", rename_application),
    _inside("DELETE", "/admin/app/<app>", remove_application),
    _inside("GET", "/admin/app/<app>/models", list_services),
    _inside("POST", _MODEL, make_service),
    _inside("GET", f"{_MODEL}/<service>", show_service),
    _inside("PUT", f"{_MODEL}/<service>", rename_service),
    _inside("PUT", f"{_MODEL}/<service>/apikey", change_key),
    _inside("DELETE", f"{_MODEL}/<service>", remove_service),
)
