-- Sends the same POST again and again, to one path or to several in turn, and prints, as one
-- JSON line, what bench reads. Latencies are in microseconds.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.body = file:read("*a")
file:close()

local paths = {}
for path in os.getenv("BENCH_PATHS"):gmatch("%S+") do
	paths[#paths + 1] = path
end

if #paths > 1 then
	local requests, turn = {}, 0
	-- wrk calls it when it knows the host, and a request function for every request.
	function init()
		for i, path in ipairs(paths) do
			requests[i] = wrk.format(nil, path)
		end
	end
	function request()
		turn = turn % #requests + 1
		return requests[turn]
	end
end

function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"errors":%d}\n',
		summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
		e.connect + e.read + e.write + e.status + e.timeout))
end
