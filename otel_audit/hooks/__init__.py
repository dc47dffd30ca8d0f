"""The hook chain and the built-in hooks: what may happen to a record before it is durable, and who hears of it after.

A hook is an object with `before_append(record)` and/or `after_append(event)`, or a plain callable `record -> record`.
"""

from otel_audit.hooks.ambient import AmbientContext, activity_context, current_actor
from otel_audit.hooks.asgi import ActivityContextMiddleware
from otel_audit.hooks.bounds import Bounds
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.hooks.trace import CurrentTrace

__all__ = [
    "ActivityContextMiddleware",
    "AmbientContext",
    "Bounds",
    "CurrentTrace",
    "Hook",
    "HookChain",
    "activity_context",
    "current_actor",
]
