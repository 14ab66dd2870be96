-- A bus in a database of a Redis server. Every change is one call of this script, which nobody sees half done.
--
-- KEYS[1] is "{name}:meta"; all other keys have its prefix, and with it their place in a cluster. ARGV holds the name of a call, the
-- epoch that who calls knows ("" for none), and what the call takes. Offsets are whole numbers below 2^53, times are milliseconds.
--
--   meta          hash    format, epoch, first, last, bytes; ids, ids_since: of the newest hash of ids; dead-letters, quarantine: ids given
--   log           stream  a record under the id "<offset>-0"
--   ids:<n>       hash    event id -> offset, of the newest records and of those before them
--   cursors       hash    group or part -> "revision floor|settled|attempts|totals"
--   outcomes:<n>  hash    "offset group" -> "status attempts queued_ns ran_ns", of a thousand offsets; groups: set of those groups
--   leases        hash    name -> "token expires owner"; never deleted, so that no token is used twice
--   members       hash    process -> "seen ttl"
--   dead-letters  stream  under the id "<id>-0"; redriven: set of ids
--   quarantine    stream  under the id "<id>-0"
--   values:<space>, versions:<space>  hashes; a version stays when its value goes
local meta, call, at = KEYS[1], ARGV[1], 2
local prefix = string.sub(meta, 1, -5)
local PAGE = 1000

local function take()
    at = at + 1
    return ARGV[at]
end

local function number() return tonumber(take()) end
local function key(name) return prefix .. name end
local function whole(value) return string.format('%.0f', value) end

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function of_meta(...)
    local found = redis.call('HMGET', meta, ...)
    for i, value in ipairs(found) do found[i] = tonumber(value) end
    return unpack(found)
end

-- XADD of the next `number()` words, to a stream whose ids are counted in `counter`.
local function add(stream, counter)
    local id, count = redis.call('HINCRBY', meta, counter, 1), number()
    redis.call('XADD', key(stream), whole(id) .. '-0', unpack(ARGV, at + 1, at + count))
    at = at + count
    return id
end

local function lease(name)
    local token, expires, owner = string.match(redis.call('HGET', key('leases'), name) or '0 0 ', '^(%d+) (%d+) (.*)$')
    return tonumber(token), tonumber(expires), owner
end

local function set_lease(name, token, expires, owner)
    redis.call('HSET', key('leases'), name, whole(token) .. ' ' .. whole(expires) .. ' ' .. owner)
end

local function is_held(name, token)
    local found, expires, owner = lease(name)
    return found == token and owner ~= '' and expires > now()
end

local function put(space, name, value)
    if value then redis.call('HSET', key('values:' .. space), name, value) else redis.call('HDEL', key('values:' .. space), name) end
    return redis.call('HINCRBY', key('versions:' .. space), name, 1)
end

-- A value that may be none: "" or "=" and the value.
local function maybe()
    local text = take()
    if text == '' then return nil end
    return string.sub(text, 2)
end

local calls = {}

-- How the log stands: epoch, first, last, bytes. With a new epoch it is made where there is none.
function calls.stand()
    local format, fresh = take(), take()
    local found = redis.call('HMGET', meta, 'format', 'epoch', 'first', 'last', 'bytes')
    if not found[2] then
        if fresh == '' then return {'none'} end
        for _, name in ipairs({'meta', 'log', 'cursors', 'leases', 'members', 'dead-letters', 'quarantine'}) do
            if redis.call('EXISTS', key(name)) == 1 then return {'foreign', key(name)} end
        end
        redis.call('HSET', meta, 'format', format, 'epoch', fresh, 'first', 1, 'last', 0, 'bytes', 0, 'ids', 1, 'ids_since', now())
        return {'stands', fresh, 1, 0, 0}
    end
    if found[1] ~= format then return {'format', found[1] or 'none'} end
    return {'stands', found[2], tonumber(found[3]), tonumber(found[4]), tonumber(found[5])}
end

-- Append records that are all new: gives the first offset, or nothing where one is not. With care: an offset for each, negative where it
-- was there, or which id has another type or body. A record is the number of its words, what it is retained as, and the words of its
-- entry: event_id, type and body come first.
function calls.append()
    local with_care, period, count = take() == 'care', number(), number()
    local first, last, newest, since = of_meta('first', 'last', 'ids', 'ids_since')
    local ids, words, retained = {}, {}, {}
    for i = 1, count do
        local length = number()
        retained[i] = maybe()
        ids[i], words[i] = ARGV[at + 2], {at + 1, at + length}
        at = at + length
    end
    local known = {}
    for from = 1, count, PAGE do
        local till = math.min(from + PAGE - 1, count)
        for _, bucket in ipairs({newest - 1, newest}) do
            for i, offset in ipairs(redis.call('HMGET', key('ids:' .. bucket), unpack(ids, from, till))) do
                if offset and tonumber(offset) >= first then known[ids[from + i - 1]] = tonumber(offset) end
            end
        end
    end
    if not with_care and next(known) then return false end
    local answers, fresh = {}, {}
    for i = 1, count do
        local offset = known[ids[i]]
        if offset then
            local kind, body = ARGV[words[i][1] + 3], ARGV[words[i][1] + 5]
            local place, kind_before, body_before = fresh[offset - last], nil, nil
            if place then
                kind_before, body_before = ARGV[words[place][1] + 3], ARGV[words[place][1] + 5]
            else
                local entry = redis.call('XRANGE', key('log'), whole(offset) .. '-0', whole(offset) .. '-0')[1][2]
                kind_before, body_before = entry[4], entry[6]
            end
            if kind_before ~= kind or body_before ~= body then return {'conflict', ids[i]} end
            answers[i] = -offset
        else
            fresh[#fresh + 1] = i
            known[ids[i]] = last + #fresh
            answers[i] = last + #fresh
        end
    end
    if since + period <= now() then
        redis.call('UNLINK', key('ids:' .. (newest - 1)))
        newest = newest + 1
        redis.call('HSET', meta, 'ids', newest, 'ids_since', now())
    end
    local size, index = 0, {}
    for place, i in ipairs(fresh) do
        local offset = whole(last + place)
        redis.call('XADD', key('log'), offset .. '-0', unpack(ARGV, words[i][1], words[i][2]))
        size = size + #ARGV[words[i][1] + 5] + 100
        index[#index + 1], index[#index + 2] = ids[i], offset
        if #index >= 2 * PAGE or place == #fresh then
            redis.call('HSET', key('ids:' .. newest), unpack(index))
            index = {}
        end
        if retained[i] then put('retained', retained[i], ARGV[words[i][1] + 5]) end
    end
    redis.call('HSET', meta, 'last', whole(last + #fresh))
    redis.call('HINCRBY', meta, 'bytes', size)
    if with_care then return answers end
    return last + 1
end

-- Where an id is, as far as it is remembered.
function calls.where()
    local id, first, newest = take(), of_meta('first', 'ids')
    for bucket = newest, newest - 1, -1 do
        local offset = tonumber(redis.call('HGET', key('ids:' .. bucket), id) or 0)
        if offset >= first then return offset end
    end
    return 0
end

-- Remove a page of the oldest records up to a cut, and no record that a cursor has not passed unless it is forced.
function calls.trim()
    local upto, forced = number(), take() == 'force'
    local first, last = of_meta('first', 'last')
    upto = math.min(upto, last, first - 1 + PAGE)
    if not forced then
        for _, row in ipairs(redis.call('HVALS', key('cursors'))) do
            upto = math.min(upto, tonumber(string.match(row, '^%d+ (%d+)|')))
        end
    end
    if upto < first then return {0, first} end
    local size = 0
    for _, entry in ipairs(redis.call('XRANGE', key('log'), whole(first) .. '-0', whole(upto) .. '-0')) do
        size = size + #entry[2][6] + 100
    end
    redis.call('XTRIM', key('log'), 'MINID', whole(upto + 1) .. '-0')
    for block = math.floor(first / PAGE), math.floor((upto + 1) / PAGE) - 1 do
        redis.call('UNLINK', key('outcomes:' .. block))
    end
    redis.call('HSET', meta, 'first', whole(upto + 1))
    redis.call('HINCRBY', meta, 'bytes', -size)
    return {upto + 1 - first, upto + 1}
end

-- The row of a cursor, made where there is none.
function calls.open()
    local name, token, start = take(), number(), take()
    if token > 0 and not is_held(name, token) then return {'lost'} end
    local row = redis.call('HGET', key('cursors'), name)
    if not row then
        local first, last = of_meta('first', 'last')
        local floor = start == 'beginning' and first - 1 or start == 'end' and last or tonumber(start)
        if not floor or floor < first - 1 or floor > last then return {'outside', first, last} end
        row = '1 ' .. whole(floor) .. '|||'
        redis.call('HSET', key('cursors'), name, row)
    end
    return {'row', row}
end

-- Each cursor with all that belongs to it, in place of the revision it names and under a token that is held; or nothing of it.
function calls.write()
    local verdicts = {}
    for i = 1, number() do
        local name, token, revision, row, group = take(), number(), number(), take(), take()
        local before, outcomes = redis.call('HGET', key('cursors'), name) or '', number()
        local is_outdated = tonumber(string.match(before, '^%d+')) ~= revision
        verdicts[i] = token > 0 and not is_held(name, token) and 'lost' or is_outdated and 'outdated' or 'written'
        local is_written = verdicts[i] == 'written'
        if is_written then redis.call('HSET', key('cursors'), name, whole(revision + 1) .. ' ' .. row) end
        if is_written and outcomes > 0 then redis.call('SADD', key('groups'), group) end
        for _ = 1, outcomes do
            local offset, text = take(), take()
            if is_written then
                redis.call('HSET', key('outcomes:' .. math.floor(offset / PAGE)), offset .. ' ' .. group, text)
            end
        end
        for _, stream in ipairs({'dead-letters', 'quarantine'}) do
            for _ = 1, number() do
                if is_written then add(stream, stream) else at = at + 1 + ARGV[at + 1] end
            end
        end
    end
    return verdicts
end

function calls.outcomes()
    local groups, found = redis.call('SMEMBERS', key('groups')), {}
    table.sort(groups)
    for i = 3, #ARGV do
        for _, group in ipairs(groups) do
            local text = redis.call('HGET', key('outcomes:' .. math.floor(ARGV[i] / PAGE)), ARGV[i] .. ' ' .. group)
            if text then found[#found + 1] = {group, tonumber(ARGV[i]), text} end
        end
    end
    return found
end

-- All cursors of a group and of its parts.
function calls.drop()
    local group, dropped = take(), 0
    for _, name in ipairs(redis.call('HKEYS', key('cursors'))) do
        local is_part = string.sub(name, 1, #group + 1) == group .. '/' and string.match(string.sub(name, #group + 2), '^%d+$')
        if name == group or is_part then dropped = dropped + redis.call('HDEL', key('cursors'), name) end
    end
    return dropped
end

-- --- dead letters, quarantine, values -------------------------------------------------------------------------------------------------

function calls.add()
    local stream, ids = take(), {}
    for i = 1, number() do ids[i] = add(stream, stream) end
    return ids
end

-- Dead letters after an id, as {entry, is it redriven}: of one subscription or of all, redriven ones too or not. A limit of 0 counts them.
function calls.letters()
    local after, limit, whose, redriven = take(), number(), maybe(), take() == 'redriven'
    local found, count = {}, 0
    repeat
        local page = redis.call('XRANGE', key('dead-letters'), '(' .. after .. '-0', '+', 'COUNT', PAGE)
        for _, entry in ipairs(page) do
            after = string.match(entry[1], '^%d+')
            local is_redriven = redis.call('SISMEMBER', key('redriven'), after)
            if (not whose or entry[2][2] == whose) and (redriven or is_redriven == 0) then
                count = count + 1
                if limit > 0 then found[count] = {entry, is_redriven} end
                if count == limit then return found end
            end
        end
    until #page < PAGE
    if limit == 0 then return count end
    return found
end

function calls.redriven()
    local count = 0
    for i = 3, #ARGV do
        local id = ARGV[i] .. '-0'
        if #redis.call('XRANGE', key('dead-letters'), id, id) > 0 then
            count = count + redis.call('SADD', key('redriven'), ARGV[i])
        end
    end
    return count
end

function calls.purge()
    local count = 0
    for i = 3, #ARGV do
        count = count + redis.call('XDEL', key('dead-letters'), ARGV[i] .. '-0')
        redis.call('SREM', key('redriven'), ARGV[i])
    end
    return count
end

function calls.purge_all()
    local count = redis.call('XLEN', key('dead-letters'))
    redis.call('UNLINK', key('dead-letters'), key('redriven'))
    return count
end

function calls.set()
    local space = take()
    for _ = 1, number() do put(space, take(), maybe()) end
end

-- Put a value in place of the one with this version, and give the new one; or say what is there.
function calls.put_if()
    local space, name, value, version = take(), take(), maybe(), number()
    local found = tonumber(redis.call('HGET', key('versions:' .. space), name) or 0)
    if found ~= version then return {'changed', found, redis.call('HGET', key('values:' .. space), name)} end
    return {'put', put(space, name, value)}
end

-- --- who does what, by the clock of this server -----------------------------------------------------------------------------------------

function calls.join()
    local process, ttl = take(), number()
    local found = redis.call('HGETALL', key('members'))
    for i = 1, #found, 2 do
        local seen, lasts = string.match(found[i + 1], '^(%d+) (%d+)$')
        if now() - seen > math.max(10 * lasts, 60000) then redis.call('HDEL', key('members'), found[i]) end
    end
    redis.call('HSET', key('members'), process, whole(now()) .. ' ' .. whole(ttl))
end

function calls.leave()
    local process = take()
    local found = redis.call('HGETALL', key('leases'))
    for i = 1, #found, 2 do
        local token, expires, owner = lease(found[i])
        if owner == process then set_lease(found[i], token, expires, '') end
    end
    redis.call('HDEL', key('members'), process)
end

function calls.members()
    local found = redis.call('HGETALL', key('members'))
    for i = 2, #found, 2 do found[i] = math.max(0, now() - string.match(found[i], '^%d+')) end
    return found
end

function calls.acquire()
    local process, ttl, found = take(), number(), {}
    for i = 5, #ARGV do
        local token, expires, owner = lease(ARGV[i])
        if owner == '' or owner == process or expires <= now() then
            if owner ~= process then token = token + 1 end
            set_lease(ARGV[i], token, now() + ttl, process)
            found[#found + 1] = {ARGV[i], token}
        end
    end
    return found
end

-- Which of the leases, by their places, are still those of the process. One that ran out and that nobody took is kept.
function calls.renew()
    local process, ttl, renewed = take(), number(), {}
    if redis.call('HEXISTS', key('members'), process) == 1 then
        redis.call('HSET', key('members'), process, whole(now()) .. ' ' .. whole(ttl))
    end
    for i = 1, number() do
        local name, token = take(), number()
        local found, _, owner = lease(name)
        if found == token and owner == process then
            set_lease(name, token, now() + ttl, process)
            renewed[#renewed + 1] = i
        end
    end
    return renewed
end

function calls.release()
    local process = take()
    for _ = 1, number() do
        local name, token = take(), number()
        local found, expires, owner = lease(name)
        if found == token and owner == process then set_lease(name, token, expires, '') end
    end
end

if call ~= 'stand' then
    local epoch = redis.call('HGET', meta, 'epoch') or ''
    if epoch == '' or (ARGV[2] ~= '' and ARGV[2] ~= epoch) then return redis.error_reply('ANOTHERLOG ' .. epoch) end
end
return calls[call]()
