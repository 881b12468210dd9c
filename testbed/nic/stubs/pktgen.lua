-- Runs a profile of pktgen-DPDK (its path is the argument) without pktgen: port 0 sends, and a device between the two ports loses what is
-- above LEAT_STUB_CAPACITY packets per second (default 5,000,000). Knows only what the profile uses; anything else is an error.

local capacity = tonumber(os.getenv("LEAT_STUB_CAPACITY") or 5000000)
local line = tonumber(os.getenv("LEAT_LINE_RATE")) * 1e9
local state = { rate = 100, size = 0, sending = false, ranges = {}, on = false, milliseconds = 0, sent = 0, received = 0 }

local function strict(name, known)
    return setmetatable(known, { __index = function(_, key) error("pktgen has no " .. name .. key, 2) end })
end

local range = {}
for _, field in ipairs({ "src_ip", "dst_ip", "src_port", "dst_port", "pkt_size", "dst_mac" }) do
    range[field] = function(port, part, value)
        assert(port == "0", "only port 0 sends")
        assert(part == "start" or part == "min" or part == "max" or part == "inc", part)
        state.ranges[field .. "." .. part] = value
    end
end
range.ip_proto = function(_, protocol) assert(protocol == "udp") end

pktgen = strict("", {
    range = strict("range.", range),
    stop = function() state.sending = false end,
    reset = function() state.ranges, state.on, state.answers = {}, false, {} end,
    set_ipaddr = function(port, what, address)
        assert(what == "src" and address:match("^[%d.]+/%d+$"), address)
        state.answers[port] = address
    end,
    process = function(port, onoff) assert(onoff == "on" and state.answers[port], "an address comes first") end,
    set_proto = function(_, protocol) assert(protocol == "udp") end,
    set = function(port, what, value)
        assert(port == "0" and (what == "rate" or what == "size"), what)
        state[what] = value
    end,
    set_range = function(_, onoff) state.on = onoff == "on" end,
    clr = function() state.sent, state.received = 0, 0 end,
    start = function(port)
        assert(port == "0" and state.on, "ranges are off: there would be one flow")
        for _, needed in ipairs({ "dst_mac.start", "src_ip.max", "src_port.max", "dst_ip.start", "dst_port.start", "pkt_size.start" }) do
            assert(state.ranges[needed], needed .. " is not set")
        end
        assert(state.ranges["pkt_size.start"] == state.size, "sizes differ")
        assert(state.answers["0"] and state.answers["1"], "nobody would answer ARP")
        state.sending = true
    end,
    delay = function(milliseconds)
        if not state.sending then return end
        local rate = line / ((state.size + 20) * 8) * state.rate / 100
        state.sent = state.sent + math.floor(rate * milliseconds / 1000)
        state.received = state.received + math.floor(math.min(rate, capacity) * milliseconds / 1000)
    end,
    portStats = function(port)
        local zero = { opackets = 0, ipackets = 0 }
        return { [tonumber(port)] = port == "0" and { opackets = state.sent, ipackets = 0 } or
            port == "1" and { opackets = 0, ipackets = state.received } or zero }
    end,
    quit = function() state.quit = true end,
})
dofile(arg[1])
assert(state.quit, "the profile leaves pktgen running")
