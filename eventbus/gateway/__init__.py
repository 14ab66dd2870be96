"""Gateway: the network door of a bus: HTTP, WebSocket and the dashboard, over any bus.

Who comes in is a client with a frame or a request; it sees what every other client sees. Needs the extra `gateway`.
"""

from eventbus import MissingDriver

try:
    import fastapi as _fastapi  # noqa: F401 - only to say what is missing
    import uvicorn as _uvicorn  # noqa: F401 - as above
except ImportError as error:
    raise MissingDriver("the gateway", "gateway") from error

from eventbus.gateway.app import create_gateway
from eventbus.gateway.extension import Extension
from eventbus.gateway.follower import Followed
from eventbus.gateway.server import serve
from eventbus.gateway.services import Service, service_named
from eventbus.gateway.settings import GatewaySettings, Limits

__all__ = ["Followed", "Extension", "GatewaySettings", "Limits", "Service", "create_gateway", "serve", "service_named"]
