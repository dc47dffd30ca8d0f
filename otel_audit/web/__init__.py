"""HTTP reading under /v1/audit: routes to include, an application to mount, problem details for errors."""

from otel_audit.errors import MissingExtraError

try:
    from otel_audit.web.app import create_app
    from otel_audit.web.routes import create_router
except ModuleNotFoundError as error:
    if error.name not in ("fastapi", "pydantic", "starlette"):
        raise
    raise MissingExtraError("reading over HTTP", "web") from error

__all__ = ["create_app", "create_router"]
