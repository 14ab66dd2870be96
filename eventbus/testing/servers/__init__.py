"""Servers: real ones, private to a test, an example or a measurement, on a free loopback port; and a network that fails on request.

    with PostgresServer() as server:
        bus = create_event_bus(server.url)

Nothing outside of the server's own folder is touched, and nothing is left when the block ends.
"""

from eventbus.testing.servers.found import NoServer
from eventbus.testing.servers.nats import NatsServer
from eventbus.testing.servers.postgres import PostgresServer
from eventbus.testing.servers.private import PrivateServer
from eventbus.testing.servers.proxy import FaultProxy
from eventbus.testing.servers.redis import RedisServer

__all__ = ["FaultProxy", "NatsServer", "NoServer", "PostgresServer", "PrivateServer", "RedisServer"]
