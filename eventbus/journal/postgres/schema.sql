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
-- The root of a chain is found by its own id.
CREATE INDEX ON {schema}.events (correlation_id, "offset") WHERE correlation_id <> event_id;

-- Append records, and keep the bodies of those that are retained; gives the offset before the first. Planned once for a connection:
-- the planner, left alone, would plan each call anew, which takes as long as the call.
CREATE FUNCTION {schema}.appended(
    level text, many bigint, size bigint, retained text[], bodies bytea[], event_ids text[], types text[], versions bigint[], kinds text[],
    keys text[], times bigint[], correlations text[], causations text[], new_bodies bytea[], crcs bigint[]
) RETURNS bigint LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE base bigint;
BEGIN
    PERFORM set_config('synchronous_commit', level, true);
    UPDATE {schema}.head SET last = last + many, bytes = bytes + size RETURNING last - many INTO base;
    INSERT INTO {schema}.events SELECT
        base + n.place, n.event_id, n.type, n.version, n.kind, n.key, n.time_ns, n.correlation_id, n.causation_id, n.body, n.crc
    FROM unnest(event_ids, types, versions, kinds, keys, times, correlations, causations, new_bodies, crcs) WITH ORDINALITY
        AS n(event_id, type, version, kind, key, time_ns, correlation_id, causation_id, body, crc, place);
    IF cardinality(retained) > 0 THEN
        INSERT INTO {schema}.small_values AS v SELECT 'retained', r.name, r.value, 1 FROM unnest(retained, bodies) AS r(name, value)
        ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, version = v.version + 1;
    END IF;
    RETURN base;
END $$;

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

-- Who does what, by the clock of this server. Rows are locked in the order of their names.
CREATE FUNCTION {schema}.joined(who text, lasts float8) RETURNS void LANGUAGE sql AS $$
    DELETE FROM {schema}.members  -- who fell silent long ago
    WHERE process <> who AND clock_timestamp() - seen > greatest(10 * ttl, 60) * interval '1 second';
    INSERT INTO {schema}.members VALUES (who, clock_timestamp(), clock_timestamp(), lasts)
    ON CONFLICT (process) DO UPDATE SET seen = clock_timestamp(), ttl = lasts;
$$;

CREATE FUNCTION {schema}.departed(who text) RETURNS void LANGUAGE sql AS $$
    UPDATE {schema}.leases SET owner = NULL WHERE owner = who;
    DELETE FROM {schema}.members WHERE process = who;
$$;

CREATE FUNCTION {schema}.acquired(wanted text[], who text, lasts float8) RETURNS TABLE (name text, token bigint)
LANGUAGE sql AS $$
    INSERT INTO {schema}.leases AS l
    SELECT w, 1, who, clock_timestamp() + lasts * interval '1 second' FROM unnest(wanted) AS w ORDER BY w
    ON CONFLICT ON CONSTRAINT leases_pkey DO UPDATE SET owner = excluded.owner, expires = excluded.expires,
        token = l.token + (l.owner IS DISTINCT FROM excluded.owner)::int
    WHERE l.owner IS NULL OR l.owner = excluded.owner OR l.expires <= clock_timestamp()
    RETURNING l.name, l.token;
$$;

CREATE FUNCTION {schema}.renewed(names text[], tokens bigint[], who text, lasts float8)
RETURNS TABLE (name text, token bigint) LANGUAGE sql AS $$
    UPDATE {schema}.members SET seen = clock_timestamp() WHERE process = who;
    WITH mine AS (
        SELECT l.name FROM {schema}.leases l JOIN unnest(names, tokens) AS w(name, token) USING (name, token)
        WHERE l.owner = who ORDER BY l.name FOR UPDATE OF l
    ) UPDATE {schema}.leases l SET expires = clock_timestamp() + lasts * interval '1 second'
    FROM mine WHERE l.name = mine.name RETURNING l.name, l.token;
$$;

CREATE FUNCTION {schema}.released(names text[], tokens bigint[], who text) RETURNS void LANGUAGE sql AS $$
    UPDATE {schema}.leases l SET owner = NULL FROM unnest(names, tokens) AS w(name, token)
    WHERE l.name = w.name AND l.token = w.token AND l.owner = who;
$$;

-- Put a value in place of the one with this version; or say what is there.
CREATE FUNCTION {schema}.put_if(in_space text, by_name text, new bytea, known bigint)
RETURNS TABLE (is_put boolean, version bigint, value bytea) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF known = 0 THEN
        RETURN QUERY INSERT INTO {schema}.small_values AS v VALUES (in_space, by_name, new, 1)
            ON CONFLICT DO NOTHING RETURNING true, v.version, v.value;
    ELSE
        RETURN QUERY UPDATE {schema}.small_values v SET value = new, version = v.version + 1
            WHERE v.space = in_space AND v.name = by_name AND v.version = known RETURNING true, v.version, v.value;
    END IF;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, coalesce(max(v.version), 0), (array_agg(v.value))[1] FROM {schema}.small_values v
            WHERE v.space = in_space AND v.name = by_name;
    END IF;
END $$;

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
