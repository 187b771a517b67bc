// Weather asks a weather service how it is at a place, and answers with the little that a page
// wants to show. It asks with fetch: what may be asked is a line in the Caddyfile.
//
// It answers as the version in Go does.

const maxAnswer = 64 << 10 // characters of the service's answer

// sky says what a code means (WMO 4677, as far as services use it).
const skies = [
	[0, "clear"], [2, "partly cloudy"], [3, "overcast"], [49, "fog"], [59, "drizzle"],
	[69, "rain"], [79, "snow"], [84, "rain showers"], [94, "snow showers"], [99, "thunderstorm"],
]
const sky = code => skies.find(([upTo]) => code >= 0 && code <= upTo)?.[1] ?? "unknown"

const fail = (status, error) => Response.json({ error }, { status })

export default {
	async fetch(request, env) {
		const { pathname, searchParams } = new URL(request.url)
		if (pathname !== "/weather") return fail(404, "not found")
		const lat = coordinate(searchParams.get("lat"), 90), lon = coordinate(searchParams.get("lon"), 180)
		if (lat === null || lon === null) return fail(400, "lat and lon must be degrees, such as ?lat=38.72&lon=-9.14")
		try {
			return Response.json(await ask(env.WEATHER_API, lat, lon), { headers: { "Cache-Control": "public, max-age=600" } })
		} catch (e) {
			if (e.code === "timeout") return fail(504, "the weather service takes too long")
			console.error("asking the weather service:", e)
			return fail(502, "the weather service can't be asked")
		}
	},
}

// coordinate reads degrees from -limit to limit.
function coordinate(text, limit) {
	const degrees = text === null || text.trim() === "" ? NaN : Number(text)
	return Math.abs(degrees) <= limit ? degrees : null
}

// ask asks the service how it is at a place now.
async function ask(service, latitude, longitude) {
	const query = new URLSearchParams({ latitude, longitude, current: "temperature_2m,wind_speed_10m,weather_code" })
	const response = await fetch(`${service}?${query}`, { redirect: "error" })
	if (!response.ok) throw new Error(`it answers with status ${response.status}`)
	const { current } = JSON.parse(await textOf(response))
	if (!current) throw new Error("its answer has no current weather")
	return { time: current.time, temperature: current.temperature_2m, wind: current.wind_speed_10m, sky: sky(current.weather_code) }
}

// textOf reads an answer that is not too long.
async function textOf(response) {
	const decoder = new TextDecoder()
	let text = ""
	for await (const chunk of response.body) {
		text += decoder.decode(chunk, { stream: true })
		if (text.length > maxAnswer) throw new Error("its answer is too long")
	}
	return text + decoder.decode()
}
