"""Settings: read once at the start, from one file and the environment over it; what both services share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from serving import processor, profiles
from serving.credentials import without_credentials
from serving.home import HOME
from serving.variables import SettingsError, variables, why

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# A relative path means the same wherever a service or a command is started.
Place = Annotated[Path, AfterValidator(lambda path: HOME / path)]


def _fit_for_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{32,}=*", secret.get_secret_value()):  # RFC 6750, section 2.1
        raise ValueError("needs at least 32 characters: letters, digits and . _ ~ + / - (= at the end)")
    return secret


def _words(text: Any) -> Any:
    return text.replace(",", " ").split() if isinstance(text, str) else text


Words = BeforeValidator(_words)  # of a list, between white space or commas
# A host name, or with a dot in front it and its subdomains; never `*`, which would let every name in.
HostName = Annotated[str, Field(pattern=r"^(?i)\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$"), AfterValidator(str.lower)]
Secret = Annotated[SecretStr, AfterValidator(_fit_for_a_header)]


class Common(BaseSettings):
    """The settings of both services. Each field is the variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, enable_decoding=False, hide_input_in_errors=True)

    models: Literal["classic", "fast"] = profiles.DEFAULT
    workers: Positive = 2
    threads: Positive = 32
    log_format: Literal["text", "json"] = "text"
    allowed_hosts: Annotated[tuple[HostName, ...], Words] = ()
    embedding_secret: Secret | None = None
    models_dir: Place = HOME / "models"
    deepface_home: Place | None = None
    max_body_bytes: Positive = 64 * 1024 * 1024
    max_bodies_bytes: Positive = 256 * 1024 * 1024
    max_image_pixels: Positive = 64_000_000
    decode_timeout_s: Seconds = 10.0
    request_read_timeout_s: Seconds = 30.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the values that `read` has collected, and look for no others."""
        return (init_settings,)


Kind = TypeVar("Kind", bound=Common)


class _Variables(EnvSettingsSource):
    """Variables of a mapping, in place of the process's own. One that is blank counts as not set."""

    def __init__(self, kind: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(kind)
        self.env_vars = {name.lower(): value for name, value in variables.items() if value.strip()}


def read(kind: type[Kind], environ: Mapping[str, str] = os.environ, **fixed: Any) -> Kind:
    """Read the settings of a service.

    Args:
        kind: of settings.
        environ: the environment; what it lacks may stand in the settings file.
        fixed: fields that have these values, whatever is set.

    Raises:
        SettingsError: a value has the wrong form, or a file cannot be read.
    """
    values = _Variables(kind, variables(environ))()
    pair = profiles.PROFILES.get(values.get("models", profiles.DEFAULT), {})
    defaults = {name.lower(): value for name, value in pair.items() if name.lower() in kind.model_fields}
    try:
        return kind(**(defaults | values | fixed))
    except ValidationError as e:
        raise SettingsError("; ".join(map(_fault, e.errors()))) from e


def _fault(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{str(error['loc'][0]).upper()}: {message}" if error["loc"] else message


def from_environment(kind: type[Kind], service: str) -> Kind:
    """Read the settings of a service from this process's environment; a fault in them ends the process.

    So does a processor that cannot run the service, before anything is imported that it would be killed by.
    """
    if reason := processor.lacking(processor.SERVING):
        stop(service, f"{reason}; {processor.ADVICE}")
    try:
        return read(kind)
    except SettingsError as e:
        stop(service, str(e))


def text_of(path: Path) -> str:
    """Read a file that a setting names.

    Raises:
        ValueError: it cannot be read; the text says why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"the file cannot be read: {why(e)}") from e


def stop(service: str, reason: str) -> NoReturn:
    """Say why a service cannot start, and exit.

    Raises:
        SystemExit: with the status at which gunicorn's master stops instead of starting workers for ever.
    """
    print(f"{service} cannot start: {without_credentials(reason)}", file=sys.stderr)
    sys.exit(3)
