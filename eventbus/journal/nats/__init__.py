"""The journal in two streams of a NATS server with JetStream, shared by any number of processes.

In the order of a call: `storage` (opened, watched), `writes` over `leases` over `reads` over `messages` (subjects, labels), `server`.
"""

from __future__ import annotations

import ssl as tls
from typing import Any

from eventbus.bounds import bus_name, seconds
from eventbus.errors import MissingDriver, PolicyConflict
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.remote.link import Bus
from eventbus.url import Url
from eventbus.wording import shown

try:
    import nats  # noqa: F401 - who has no driver is told which extra brings it
except ImportError as error:
    raise MissingDriver("nats", "nats") from error

from eventbus.journal.nats.server import NatsServer
from eventbus.journal.nats.storage import NatsStorage


class NatsJournal(RemoteJournal):
    """A `SharedJournal` in the streams `name` and `name-meta`; `nats://user:password@host:port`, or `nats://token@host:port`.

    `poll` (s) is how often the log is looked at when no hint comes, `timeout_s` the deadline of each call, `dedupe_s` how long an id
    is known to the server after its record was appended (of the streams as they were made), `ssl` true or the file of an authority.
    Leases last whole seconds, rounded up. More than 1,000 records in one append are several batches, each whole or not there; a
    record whose id the server forgot is found by reading the log. Raises `PolicyConflict` for a setting that cannot be.
    """

    def __init__(
        self,
        url: Url,
        *,
        name: str = "eventbus",
        poll: float = 1.0,
        timeout_s: float = 5.0,
        dedupe_s: float = 7_200.0,
        token: str | None = None,
        ssl: bool | str | None = None,
        creates: bool = True,
    ) -> None:
        bus = Bus(bus_name(name), seconds("poll", poll), creates)
        if url.path:
            raise PolicyConflict("url", f"nats has no database {shown(url.path)}: the bus is chosen by name=")
        host = url.host or "localhost"
        address = f"{f'[{host}]' if ':' in host else host}:{url.port or 4222}"
        options: dict[str, Any] = {"name": f"eventbus {name}", "tls": _context(ssl)}
        if token is not None or (url.user and url.password is None):
            options["token"] = url.user if token is None else token
        elif url.user:
            options |= {"user": url.user, "password": url.password}
        place = f"nats://{f'{url.user}@' if url.user and url.password is not None else ''}{address}"
        server = NatsServer(place, f"nats://{address}", options, seconds("timeout_s", timeout_s))
        dedupe_ns = int(seconds("dedupe_s", dedupe_s) * 1e9)
        super().__init__(NatsStorage(server, bus, dedupe_ns))


def _context(ssl: bool | str | None) -> tls.SSLContext | None:
    if not ssl:
        return None
    try:
        return tls.create_default_context(cafile=ssl if isinstance(ssl, str) else None)
    except OSError as error:
        raise PolicyConflict("ssl", f"{shown(ssl)} is no file of certificates: {error}") from error


__all__ = ["NatsJournal"]
