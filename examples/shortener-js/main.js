// A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects to it and
// counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
//
// The versions of this function answer alike.

import { kv } from "./gojinn.js"

const maxURL = 2000 // characters
const keyRandom = 6 // bytes of a key, which base64 makes 8 characters

// links has the URL of each key, and under "hits/<key>" how often it was asked for.
const links = kv("links")

const refuse = (status, error, headers) => Response.json({ error }, { status, headers })

export default {
	async fetch(request) {
		const { path } = request.gojinn
		const [handle, methods] = path === "/shorten" ? [shorten, ["POST"]] : [look, ["GET", "HEAD"]]
		if (!methods.includes(request.method)) return refuse(405, "method not allowed", { Allow: methods.join(", ") })
		return handle(request, path)
	},
}

async function shorten(request) {
	const url = await urlOf(request)
	if (url === null) return refuse(400, "the body must be a JSON object with a url")
	if (url.length > maxURL || !/^https?:\/\/[!-~]+$/.test(url)) { // what can be a Location as it is
		return refuse(422, "url must be an http or https URL of at most 2000 characters")
	}
	const key = keep(url), { scheme, host } = request.gojinn
	return Response.json({ key, short: `${scheme}://${host}/s/${key}` }, { status: 201 })
}

// urlOf reads the body of a request to shorten a URL. It is null if there is no URL in it, and
// empty if none is given.
async function urlOf(request) {
	let object
	try {
		const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await request.bytes())
		object = JSON.parse(text)
	} catch {
		return null
	}
	if (object === null || typeof object !== "object" || Array.isArray(object)) return null
	const { url = "" } = object
	return typeof url === "string" ? url : null
}

// keep stores a URL under a key that nobody has.
function keep(url) {
	for (;;) {
		const random = crypto.getRandomValues(new Uint8Array(keyRandom))
		const key = btoa(String.fromCharCode(...random)).replace(/\+/g, "-").replace(/\//g, "_")
		try {
			links.cas(key, 0, url)
			return key
		} catch (e) {
			if (e.code !== "exists") throw e
		}
	}
}

// look looks a link up.
function look(request, path) {
	const [, key, hits] = /^\/s\/([A-Za-z0-9_-]{8})(\/hits)?$/.exec(path) ?? []
	const url = key === undefined ? null : links.get(key)
	if (url === null) return refuse(404, "no such link")
	if (hits) return Response.json({ hits: Number(links.get("hits/" + key) ?? 0) })
	if (request.method === "GET") links.incr("hits/" + key)
	return new Response(null, { status: 302, headers: { Location: url, "Cache-Control": "no-store" } })
}
