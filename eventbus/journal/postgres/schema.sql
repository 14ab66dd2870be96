-- A bus in a schema of its own. Text holds neither NUL nor a lone backslash: "\0" and "\\" stand for them.
CREATE SCHEMA IF NOT EXISTS {schema};

CREATE TABLE {schema}.meta (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO {schema}.meta VALUES ('format', '{format}'), ('epoch', '{epoch}');

-- The end of the log. Whoever appends holds its row until the commit, so that records become visible in the order of their offsets.
CREATE TABLE {schema}.head (one boolean PRIMARY KEY DEFAULT true CHECK (one), last bigint NOT NULL, bytes bigint NOT NULL)
    WITH (fillfactor = 10);
INSERT INTO {schema}.head VALUES (true, 0, 0);

-- Its beginning. Whoever makes a cursor shares its row, whoever trims has it alone.
CREATE TABLE {schema}.base (one boolean PRIMARY KEY DEFAULT true CHECK (one), first bigint NOT NULL, bytes bigint NOT NULL);
INSERT INTO {schema}.base VALUES (true, 1, 0);

CREATE TABLE {schema}.events (
    "offset" bigint PRIMARY KEY,
    event_id text COLLATE "C" NOT NULL UNIQUE,
    type text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    time_ns bigint NOT NULL,
    correlation_id text COLLATE "C",
    causation_id text COLLATE "C",
    body bytea NOT NULL,
    crc bigint NOT NULL
);
CREATE INDEX ON {schema}.events (correlation_id, "offset") WHERE correlation_id IS NOT NULL;

-- A lease is never deleted, so that no token is used twice.
CREATE TABLE {schema}.leases (
    name text COLLATE "C" PRIMARY KEY,
    token bigint NOT NULL,
    owner text COLLATE "C",
    expires timestamptz NOT NULL
);
CREATE TABLE {schema}.members (process text COLLATE "C" PRIMARY KEY, joined timestamptz NOT NULL, seen timestamptz NOT NULL, ttl float8 NOT NULL);

CREATE TABLE {schema}.cursors (
    name text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    floor bigint NOT NULL,
    settled text NOT NULL,
    attempts text NOT NULL,
    totals text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE {schema}.outcomes (
    "offset" bigint,
    name text COLLATE "C",
    status text NOT NULL,
    attempts bigint NOT NULL,
    queued_ns bigint,
    ran_ns bigint,
    PRIMARY KEY ("offset", name)
);

CREATE TABLE {schema}.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    "offset" bigint,
    reason text NOT NULL,
    error text NOT NULL,
    attempts bigint NOT NULL,
    first_failed_ns bigint NOT NULL,
    last_failed_ns bigint NOT NULL,
    body bytea NOT NULL,
    redriven boolean NOT NULL DEFAULT false
);

CREATE TABLE {schema}.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "offset" bigint,
    reason text NOT NULL,
    time_ns bigint NOT NULL,
    raw bytea NOT NULL
);

-- A value that was removed stays as NULL, so that no version comes twice.
CREATE TABLE {schema}.small_values (
    space text COLLATE "C",
    name text COLLATE "C",
    value bytea,
    version bigint NOT NULL,
    PRIMARY KEY (space, name)
);

-- Hints and replies; a crash may empty it.
CREATE UNLOGGED TABLE {schema}.told (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- For operators.
CREATE VIEW {schema}.eventbus_groups AS
SELECT
    regexp_replace(c.name, '/[0-9]+$', '') AS "group",
    coalesce(substring(c.name FROM '/([0-9]+)$')::int, 0) AS part,
    CASE WHEN l.expires > clock_timestamp() THEN l.owner END AS owner,
    c.floor,
    h.last - c.floor AS lag,
    h.last - c.floor - coalesce((
        SELECT sum(split_part(span, '-', 2)::bigint - split_part(span, '-', 1)::bigint + 1)
        FROM regexp_split_to_table(nullif(c.settled, ''), ' ') AS span
    ), 0) AS pending,
    clock_timestamp() - to_timestamp(e.time_ns / 1e9) AS oldest_age
FROM {schema}.cursors c
CROSS JOIN {schema}.head h
LEFT JOIN {schema}.leases l USING (name)
LEFT JOIN {schema}.events e ON e."offset" = c.floor + 1;

CREATE VIEW {schema}.eventbus_members AS
SELECT
    m.process,
    m.joined,
    clock_timestamp() - m.seen AS silent_for,
    clock_timestamp() - m.seen < m.ttl * interval '1 second' AS is_alive,
    (SELECT count(*) FROM {schema}.leases l WHERE l.owner = m.process AND l.expires > clock_timestamp()) AS leases
FROM {schema}.members m;
