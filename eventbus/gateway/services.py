"""Services: handler classes that run beside the gateway: `--with module:build` names what builds them over the bus.

The name is the operator's, from the command line; it never comes from data. `build(bus)` may be async; what it returns is entered
if it is a context manager, and left when the bus has drained.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from inspect import isawaitable, signature
from traceback import extract_tb
from typing import Any

from eventbus import EventBus, GatewayError

Service = Callable[[EventBus], Any]
"""Builds handlers over a bus, and subscribes them."""


def service_named(name: str) -> Service:
    """What `module:build` stands for; modules are also looked for in the working directory. Raises `GatewayError`.

    So does what it gives, where `build` raises: the operator is told the line of the module, not ours.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise GatewayError(f"--with {name}: write module:build, such as service.handlers:build")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:  # each names its place itself
        raise GatewayError(f"--with {name}: {error}") from error
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        raise _failed(name, error) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found) or not _takes_one(found):
        raise GatewayError(f"--with {name}: {module_name} has nothing of that name to call with a bus")

    @asynccontextmanager
    async def named(bus: EventBus) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                await entered(found, bus, stack)
            except Exception as error:
                raise _failed(name, error) from error
            yield

    return named


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # one that does not tell
        pass
    return True


def _failed(name: str, error: BaseException) -> GatewayError:
    line = extract_tb(error.__traceback__)[-1]
    return GatewayError(f"--with {name}: {type(error).__name__}: {error} ({line.filename}:{line.lineno})")


async def entered(service: Service, bus: EventBus, stack: AsyncExitStack) -> None:
    """Build it, and enter what it gives; the stack leaves it."""
    built = service(bus)
    if isawaitable(built):
        built = await built
    if isinstance(built, AbstractAsyncContextManager):
        await stack.enter_async_context(built)
    elif isinstance(built, AbstractContextManager):
        stack.enter_context(built)
