"""A service's routes as one table: who may call each, what it takes, answers and raises.

Access, the queue, /openapi.json and the tests read the rows of this table.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from werkzeug.routing import PathConverter

from serving import bodies, hangup
from serving.errors import Failure, InvalidRequest
from serving.keys import OPEN
from serving.validation import check_once, unknown_field

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Route:
    """One row.

    method, path: of the call, the path as Flask writes it.
    handler: is called with the application's parts, and with the path's parameter by its name; its
        docstring describes the call.
    scope: what a key must open; see serving/keys.py.
    answer: the type of its JSON, or the media type of another answer; and an example, None for bytes.
    others: media types that the answer may also have; OCTETS only for those who ask.
    headers: that the answer may have, each a whole number, and what it means.
    queued: whether it waits for a turn, and so is refused, when too many wait, before its body is read.
    json: the type of a JSON body, and an example; of a call that is not queued it is small.
    raw: the media types of a body that is neither JSON nor a form, and an example of each, None for bytes.
    files, form: an upload's files, each with a description, and the model of its other fields.
    several: whether each of the files may come several times.
    on_disk: whether a file, which is not a picture, lies in a temporary file meanwhile, and not in memory.
    query: the model of the parameters; None: it takes none.
    parameter: the type of the path's parameter.
    raises: how it may fail, in addition to how every call may fail.
    unsafe: whether it changes something although its method is GET.
    near: whether it answers, as long as there are no keys, only to this machine and private networks, as what
        asks for `admin` does.
    whole: whether it is about the service as a whole, so that keys for one gallery are refused.
    failing: one status for all failures, in place of their own, once the caller has been let in.
    """

    method: str
    path: str
    handler: Callable[..., ResponseReturnValue]
    scope: str
    answer: tuple[Any, Any]
    _: KW_ONLY
    others: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    queued: bool = False
    json: tuple[Any, Any] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    on_disk: bool = False
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    parameter: Any = str
    raises: tuple[type[Failure], ...] = ()
    unsafe: bool = False
    near: bool = False
    whole: bool = False
    failing: int | None = None

    @property
    def name(self) -> str:
        """What identifies it: Flask's endpoint, and OpenAPI's operationId."""
        path = re.sub(r"<\w+:", "<", self.path)
        return re.sub(r"\W+", "_", f"{self.method.lower()}{path}").strip("_")

    @property
    def summary(self) -> str:
        """What it does, in a few words."""
        return (self.handler.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """What more there is to say of it."""
        return inspect.cleandoc((self.handler.__doc__ or "").partition("\n")[2])

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET" or self.unsafe

    @property
    def has_body(self) -> bool:
        """Whether a body comes with the call."""
        return bool(self.files or self.json or self.raw)

    @property
    def max_json_bytes(self) -> int | None:
        """The bound of a body that is parsed without waiting for a turn; None: the bound of all bodies."""
        return bodies.MAX_SMALL_JSON_BYTES if self.json and not self.queued else None


def register(
    app: Flask,
    routes: Iterable[Route],
    parts_for: Callable[[Route], Any],
    check_queue: Callable[[], None] = lambda: None,
) -> None:
    """Add the routes to `app`.

    Args:
        app: the application, to which whatever comes before a route has been added already.
        routes: the table.
        parts_for: returns what the handler of a route works with in the request under way; called before its
            body is read.
        check_queue: raises where too many requests wait.
    """
    app.wsgi_app = _one_leading_slash(app.wsgi_app)  # type: ignore[assignment, method-assign]
    # Else /samples/%2Fa would lead to the sample `a`, and ids with line breaks nowhere.
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = AnyText
    table: Mapping[str, Route] = {route.name: route for route in routes}
    for route in table.values():
        app.add_url_rule(route.path, route.name, partial(_call, route), methods=[route.method])
    for rule in app.url_map.iter_rules():
        if rule.methods is not None and table[rule.endpoint].unsafe:
            rule.methods.discard("HEAD")  # which Werkzeug adds to every GET, and whose handler would run

    @app.before_request
    def refuse_before_the_body_is_read() -> None:
        route = table.get(request.endpoint or "")
        if route is None:
            return
        hangup.watch(request.environ.get("gunicorn.socket"))
        if route.queued:
            check_queue()
        if route.query is None and route.scope != OPEN:  # browsers' pages may come with anybody's parameters
            for name in query():
                raise unknown_field(name)
        if not route.has_body and route.method != "GET":
            bodies.check_none()
        if route.max_json_bytes is not None and request.max_content_length is not None:
            request.max_content_length = min(request.max_content_length, route.max_json_bytes)
        g.parts = parts_for(route)

    @app.teardown_request
    def no_longer_watch(_: BaseException | None) -> None:
        hangup.watch(None)

    @app.after_request
    def call_it_bytes_if_asked(response: Response) -> Response:
        route = table.get(request.endpoint or "")
        if route is not None and response.status_code == 200 and OCTETS in (route.answer[0], *route.others):
            media = (response.mimetype or OCTETS, OCTETS)
            response.mimetype = request.accept_mimetypes.best_match(media, default=media[0])
        return response


def _call(route: Route, **parameters: str) -> ResponseReturnValue:
    # Here, after all that is done before a request: forms are read, and must be counted by then.
    if route.files and bodies.is_form():
        if route.on_disk:
            bodies.keep_file_on_disk()
        bodies.check_names(route.files, route.form.model_fields if route.form else (), several=route.several)
    return route.handler(g.parts, **parameters)


def query() -> Mapping[str, str]:
    """Return the parameters of the request under way.

    Raises:
        InvalidRequest: they are not UTF-8, or one comes several times.
    """
    try:
        parameters = request.args
    except UnicodeDecodeError as e:
        raise InvalidRequest("The query is not UTF-8.") from e
    check_once(parameters.items(multi=True))
    return parameters


class AnyText(PathConverter):
    """The rest of a path, whatever it is."""

    part_isolating = False
    regex = r"[\s\S]+"


def _one_leading_slash(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Let //face-recognition answer too: some historical clients send it."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = "/" + environ.get("PATH_INFO", "").lstrip("/")
        return wsgi_app(environ, start_response)

    return application
