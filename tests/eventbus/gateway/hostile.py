"""What strangers send: requests, bodies, addresses and frames that nobody means well with, made anew from a seed each time."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
UPGRADE = (
    b"GET /api/v1/ws HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef") + b"\r\n\r\n"
)
PONG = b'"t":"end"'
EVENT = b'{"type":"desk.seen","payload":{"n":1},"event_id":"e-1"}'
ROUTES = [
    *(b"/", b"/healthz", b"/readyz", b"/metrics", b"/openapi.json", b"/asyncapi.json", b"/api/v1/status"),
    *(b"/api/v1/events", b"/api/v1/events/x", b"/api/v1/events/x/explain", b"/api/v1/types", b"/api/v1/subscriptions"),
    *(b"/api/v1/stats", b"/api/v1/dead-letters", b"/api/v1/dead-letters/1", b"/api/v1/views/bus", b"/api/v1/ws"),
]
EVIL_TEXT = [
    *(
        "\x00",
        "\r\n",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\U0010ffff",
        "' OR 1=1 --",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
    ),
    *(
        "../../etc/passwd",
        "%00",
        "%2e%2e%2f",
        "{{7*7}}",
        "$(id)",
        "a" * 5_000,
        "é" * 200,
        "*" * 100,
        "null",
        "-1",
        "1e999",
    ),
]
EVIL_VALUES = [
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"9223372036854775808",
        b"1" * 400,
        b"0x10",
        b"01",
        b"+1",
        b".5",
    ),
    *(
        b'"\\ud800"',
        b'"\\udfff\\ud800"',
        b'"\\u000"',
        b'"\\x"',
        b'"\xff\xfe"',
        b'"\xc0\x80"',
        b'"\x00"',
        b'"',
        b"'a'",
        b"[,]",
    ),
    *(
        b"[" * 5_000,
        b'{"a":' * 2_000,
        b"[]" * 10,
        b"{}{}",
        b'{"a":1,"a":2}',
        b"tru",
        b"nul",
        b"/**/1",
        b"[1,]",
        b"\xef\xbb\xbf1",
    ),
    *(
        b"[" + b"0," * 30_000 + b"0]",
        b"{" + b",".join(b'"%d":0' % n for n in range(400)) + b"}",
        b'"' + b"x" * 70_000 + b'"',
    ),
    *(
        b"1" + b"0" * 5_000,
        b"0." + b"3" * 5_000,
        b"1e-999999999",
        b"-0",
        b"-",
        b"",
        b" ",
        b"\xed\xa0\x80",
        b'"\\',
        b'"' + b'\\"' * 3_000,
    ),
]


def bodies(seed: int, count: int) -> Iterator[bytes]:
    """JSON, nearly."""
    rng = random.Random(seed)
    for _ in range(count):
        body = envelope(rng)
        if rng.random() < 0.5:
            body = mutated(rng, body)
        yield body if rng.random() < 0.8 else b"[%b]" % b",".join([EVENT, body, EVENT])


def envelope(rng: random.Random) -> bytes:
    """An event of which some fields are wrong."""
    names = [
        b"type",
        b"payload",
        b"event_id",
        b"timestamp",
        b"source",
        b"correlation_id",
        b"version",
        b"__proto__",
        b"\\u0074ype",
    ]
    fields = [(name, value(rng, 3)) for name in rng.sample(names, rng.randint(0, 6))]
    if rng.random() < 0.7:
        fields.insert(0, (b"type", b'"desk.seen"'))
    return b"{" + b",".join(b'"%b":%b' % field for field in fields) + b"}"


def value(rng: random.Random, depth: int) -> bytes:
    """Some value, good or evil."""
    match rng.randint(0, 7 if depth else 4):
        case 0:
            return rng.choice(EVIL_VALUES)
        case 1:
            return json.dumps(rng.choice(EVIL_TEXT), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        case 2:
            return str(rng.choice([0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64, 10**30])).encode()
        case 3:
            return repr(rng.choice([0.1, 1e308, 5e-324, -0.0, 1e22])).encode()
        case 4:
            return rng.choice([b"true", b"false", b"null", b'"x"'])
        case 5 | 6:
            return b"[" + b",".join(value(rng, depth - 1) for _ in range(rng.randint(0, 4))) + b"]"
        case _:
            names = [
                rng.choice([b'"a"', b'"b"', b'"\\u0061"', b'""', b'"$decimal"', b'"event_id"', b"a"])
                for _ in range(rng.randint(0, 4))
            ]
            return b"{" + b",".join(name + b":" + value(rng, depth - 1) for name in names) + b"}"


def heads(seed: int, count: int) -> Iterator[bytes]:
    """Requests that are not quite HTTP."""
    rng = random.Random(seed)
    for _ in range(count):
        request = rng.choice(
            [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"", b"G\x01T"]
        )
        request += (
            b" "
            + rng.choice(ROUTES)
            + b" "
            + rng.choice([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1 x", b""])
        )
        lines = [request, HOST.strip(), *(header(rng) for _ in range(rng.randint(0, 6)))]
        rng.shuffle(lines[1:])
        ending = rng.choice([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\n\r\n"])
        whole = (
            ending.join(lines)
            + b"\r\n\r\n"
            + rng.choice([b"", EVENT, b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffff\r\n", b"\x00" * 100])
        )
        yield mutated(rng, whole) if rng.random() < 0.5 else whole


def header(rng: random.Random) -> bytes:
    """A line of a head."""
    return rng.choice(
        [
            *(
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Content-Length: 99999999999999999999",
                b"Content-Length: 5, 5",
            ),
            *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: identity"),
            *(
                b"Content-Type: application/json",
                b"Content-Encoding: gzip",
                b"Expect: 100-continue",
                b"Connection: close",
            ),
            *(b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
            *(b"Origin: null", b"Origin: http://localhost", b"Host: evil.example", b"X-Forwarded-For: 1.1.1.1"),
            *(
                b"Authorization: Bearer \xff\xfe",
                b"Authorization: Bearer",
                b"Cookie: a=b",
                b"Range: bytes=0-,0-,0-",
                b"If-None-Match: *",
            ),
            *(
                b"X: " + b"a" * rng.choice([10, 9_000, 20_000]),
                b" folded: 1",
                b"X\x00: 1",
                b": 1",
                b"X: \x7f",
                b"Idempotency-Key: a b",
            ),
            *(b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 99", b"Sec-WebSocket-Protocol: " + b"a," * 500),
        ]
    )


def addresses(seed: int, count: int) -> Iterator[bytes]:
    """Whole requests for addresses that nobody links to."""
    rng = random.Random(seed)
    names = [b"after", b"limit", b"type", b"since", b"epoch", b"token", b"x", b"after[]", b"limit%00"]
    for _ in range(count):
        path = rng.choice(ROUTES) + b"".join(b"/" + quoted(rng) for _ in range(rng.randint(0, 2)))
        query = b"&".join(rng.choice(names) + b"=" + quoted(rng) for _ in range(rng.randint(0, 3)))
        method = rng.choice([b"GET", b"GET", b"GET", b"POST", b"DELETE"])
        yield (
            method
            + b" "
            + path
            + (b"?" + query if query else b"")
            + b" HTTP/1.1\r\n"
            + HOST
            + b"Connection: close\r\n\r\n"
        )


def quoted(rng: random.Random) -> bytes:
    """A part of an address."""
    text = rng.choice([*EVIL_TEXT, "1", "9" * 30, "-5", "desk.*", "2026-01-01", "..", ".", ""]).encode()[:2_000]
    keep: Callable[[int], bool] = lambda byte: 33 <= byte < 127 and byte not in b"?#&%" and rng.random() < 0.8  # noqa: E731
    return b"".join(bytes([byte]) if keep(byte) else b"%%%02X" % byte for byte in text)


def frames(seed: int, count: int) -> Iterator[bytes]:
    """What follows a good handshake: frames that are none, and messages that mean nothing; at last a ping."""
    rng = random.Random(seed)
    for _ in range(count):
        yield b"".join(frame(rng) for _ in range(rng.randint(1, 4))) + text_frame(b'{"type":"ping","t":"end"}')


def text_frame(said: bytes) -> bytes:
    """A good one."""
    return b"\x81" + bytes([0x80 | len(said)]) + b"\x00\x00\x00\x00" + said


def frame(rng: random.Random) -> bytes:
    """One frame."""
    said = rng.choice(
        [
            *(
                b"",
                b"x",
                b"{}",
                b"[]",
                b'"ping"',
                b'{"type":1}',
                b'{"type":"nothing"}',
                b'{"type":"ping","t":1e999}',
                b"\xff\xfe",
            ),
            *(
                b'{"type":"subscribe"}',
                b'{"type":"subscribe","topics":["' + b"*" * 300 + b'"]}',
                b'{"type":"subscribe","topics":[1]}',
            ),
            *(
                b'{"type":"subscribe","topics":["a"],"after":-1}',
                b'{"type":"subscribe","topics":["a"],"where":{"a":{"b":1}}}',
            ),
            *(
                b'{"type":"subscribe","characteristic_ids":[99999999999999999999]}',
                b'{"type":"auth","token":"x"}',
                b"[" * 3_000,
            ),
            *(
                b'{"type":"subscribe","topics":["[[[[]"]}',
                b'{"type":"ping","type":"ping"}',
                b"\x00" * 200,
                b"y" * 70_000,
            ),
            value(rng, 2),
        ]
    )
    first = rng.choice([0x81] * 8 + [0x82, 0x80, 0x01, 0x83, 0x8B, 0xC1, 0xF1, 0x88, 0x89, 0x8A, 0x09])
    masked = 0x80 if rng.random() < 0.9 else 0
    size = len(said)
    lie = rng.random() < 0.1
    if lie:
        length = struct.pack("!BQ", masked | 127, rng.choice([2**63 - 1, 2**62, 1_000_000]))
    elif size < 126:
        length = bytes([masked | size])
    elif size < 65_536:
        length = struct.pack("!BH", masked | 126, size)
    else:
        length = struct.pack("!BQ", masked | 127, size)
    mask = b"\x01\x02\x03\x04"
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(said)) if masked else said
    return bytes([first]) + length + (mask if masked else b"") + body


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same with some bytes changed, gone, twice or new."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(out))
        match rng.randint(0, 3):
            case 0:
                out[at : at + 1] = bytes([rng.randint(0, 255)])
            case 1:
                del out[at : at + rng.randint(1, 8)]
            case 2:
                out[at:at] = out[at : at + 16]
            case _:
                out[at:at] = rng.choice([b"\x00", b"\r\n", b'"', b"{", b"\xff", b"\\", b","])
    return bytes(out)
