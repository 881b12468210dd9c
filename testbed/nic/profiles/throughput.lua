-- pktgen-DPDK: the highest rate of UDP datagrams of many flows, from clients at port 0 to targets at port 1, of which nothing is lost
-- (RFC 2544, 26.1), for each size of frame. Writes each trial as a line of JSON to the file that LEAT_OUT names, and quits.
--
-- Settings come from the environment, as `scripts/bench-nic` sets them: LEAT_FRAMES (64 128 …), LEAT_SECONDS, LEAT_RESOLUTION (percent),
-- LEAT_LINE_RATE (Gbit/s), LEAT_DEVICE_MAC, LEAT_CLIENT_FIRST, LEAT_CLIENT_LAST, LEAT_PORT_FIRST, LEAT_PORT_LAST, LEAT_SERVICE, LEAT_SERVICE_PORT,
-- LEAT_ROUTERS (address/length of the router at each port).

local SEND, RECEIVE = "0", "1"

local function setting(name)
    return os.getenv(name) or error("the environment has no " .. name)
end

local seconds = tonumber(setting("LEAT_SECONDS"))
local resolution = tonumber(setting("LEAT_RESOLUTION"))
local line_rate = tonumber(setting("LEAT_LINE_RATE")) * 1e9
local out = assert(io.open(setting("LEAT_OUT"), "w"))

-- One value, or a range of them that a packet goes on in.
local function range(field, first, last, step)
    local set = pktgen.range[field]
    set(SEND, "start", first)
    set(SEND, "min", first)
    set(SEND, "max", last)
    set(SEND, "inc", step)
end

local function flows()
    pktgen.stop("all")
    pktgen.reset("all")
    -- The routers' addresses are its own: ARP for them is answered, which it is only where packets are looked at.
    local port = 0
    for router in setting("LEAT_ROUTERS"):gmatch("%S+") do
        pktgen.set_ipaddr(tostring(port), "src", router)
        pktgen.process(tostring(port), "on")
        port = port + 1
    end
    pktgen.set_proto(SEND, "udp")
    pktgen.range.ip_proto(SEND, "udp")
    pktgen.range.dst_mac(SEND, "start", setting("LEAT_DEVICE_MAC"))
    range("src_ip", setting("LEAT_CLIENT_FIRST"), setting("LEAT_CLIENT_LAST"), "0.0.0.1")
    range("dst_ip", setting("LEAT_SERVICE"), setting("LEAT_SERVICE"), "0.0.0.0")
    range("src_port", tonumber(setting("LEAT_PORT_FIRST")), tonumber(setting("LEAT_PORT_LAST")), 1)
    range("dst_port", tonumber(setting("LEAT_SERVICE_PORT")), tonumber(setting("LEAT_SERVICE_PORT")), 0)
end

-- Sends for a while at so many percent of the line's rate. Returns whether nothing was lost.
local function trial(frame, percent)
    pktgen.clr()
    pktgen.set(SEND, "rate", percent)
    pktgen.start(SEND)
    pktgen.delay(seconds * 1000)
    pktgen.stop(SEND)
    -- What is under way arrives; RFC 2544 has two seconds for it.
    pktgen.delay(2000)
    local sent = pktgen.portStats(SEND, "port")[tonumber(SEND)].opackets
    local received = pktgen.portStats(RECEIVE, "port")[tonumber(RECEIVE)].ipackets
    out:write(string.format(
        '{"frame":%d,"rate":%.0f,"offered":%d,"arrived":%d,"seconds":%g}\n',
        frame, line_rate / ((frame + 20) * 8) * percent / 100, sent, received, seconds))
    out:flush()
    return sent > 0 and received >= sent
end

local function search(frame)
    range("pkt_size", frame, frame, 0)
    pktgen.set(SEND, "size", frame)
    pktgen.set_range(SEND, "on")
    -- Flows are made before it counts.
    trial(frame, 1)
    local low, high, percent = 0, 100, 100
    while true do
        if trial(frame, percent) then
            low = percent
            if percent == 100 then return end
        else
            high = percent
        end
        if high - low <= resolution then return end
        percent = (low + high) / 2
    end
end

flows()
for frame in setting("LEAT_FRAMES"):gmatch("%d+") do
    search(tonumber(frame))
end
out:close()
pktgen.quit()
