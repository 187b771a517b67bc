// What the globals of gojinn.js do, in cases that every implementation of the web's standards
// agrees on (Node among them). failures returns what is not so.

const show = v => JSON.stringify(v, (_, x) => typeof x === "bigint" ? x + "n" : x === undefined ? "undefined" : x instanceof Uint8Array ? [...x] : x) ?? "undefined"
const thrown = async f => {
	try {
		await f()
		return "nothing thrown"
	} catch (e) {
		return e.name
	}
}
const bytes = (...b) => new Uint8Array(b)
const streamOf = (...chunks) => new ReadableStream({
	start(c) {
		for (const chunk of chunks) c.enqueue(chunk)
		c.close()
	},
})

// Of a URL: its input, its base, and what it becomes; null: an error.
const urls = [
	["http://Example.COM:80/", , "http://example.com/"],
	["https://example.com:443/a/../b/./c/%2e%2E/d", , "https://example.com/b/d"],
	["http://example.com:8080", , "http://example.com:8080/"],
	["http:/example.com/x", , "http://example.com/x"],
	["https:\\\\example.com\\a\\b", , "https://example.com/a/b"],
	["  http://h/\ta\nb  ", , "http://h/ab"],
	["http://u:p%40@h/", , "http://u:p%40@h/"],
	["http://u@v@h/", , "http://u%40v@h/"],
	["http://h?x=a b\"<>'`#y `\"<>", , "http://h/?x=a%20b%22%3C%3E%27`#y%20%60%22%3C%3E"],
	["http://h/é \"<>`{}?é#é", , "http://h/%C3%A9%20%22%3C%3E%60%7B%7D?%C3%A9#%C3%A9"],
	["http://h/a;b=c/d,e!$&'()*+=:@|", , "http://h/a;b=c/d,e!$&'()*+=:@|"],
	["http://h/%7Efoo/%2f/%/%zz", , "http://h/%7Efoo/%2f/%/%zz"],
	["http://h/\ud800\ud83d\ude00", , "http://h/%EF%BF%BD%F0%9F%98%80"],
	["http://a%41b/", , "http://aab/"],
	["http://1.2.3/", , "http://1.2.0.3/"],
	["http://0x7f.1/", , "http://127.0.0.1/"],
	["http://0300.0250.1/", , "http://192.168.0.1/"],
	["http://1.2.3.4./", , "http://1.2.3.4/"],
	["http://[1:0:0:2:0:0:0:3]/", , "http://[1:0:0:2::3]/"],
	["http://[::ffff:1.2.3.4]:8080/", , "http://[::ffff:102:304]:8080/"],
	["http://[0:0:0:0:0:0:0:0]/", , "http://[::]/"],
	["data:text/plain,hello world?q#f g", , "data:text/plain,hello world?q#f%20g"],
	["foo://Host:80/p/../q", , "foo://Host:80/q"],
	["file:///C|/x/../..", , "file:///C:/"],
	["rel/path?q", "http://u@h:81/foo/bar?baz#qux", "http://u@h:81/foo/rel/path?q"],
	["../../..", "http://h/foo/bar?baz#qux", "http://h/"],
	["", "http://h/foo/bar?baz#qux", "http://h/foo/bar?baz"],
	["?only", "http://h/foo/bar?baz#qux", "http://h/foo/bar?only"],
	["#frag", "http://h/foo/bar?baz#qux", "http://h/foo/bar?baz#frag"],
	["//other:443/x", "https://h/foo", "https://other/x"],
	["////a", "https://h/foo", "https://a/"],
	["\\x", "https://h/foo", "https://h/x"],
	["http:x", "http://h/foo/bar", "http://h/foo/x"],
	["#f", "mailto:a@b", "mailto:a@b#f"],
	["", , null], ["/x", , null], ["http://", , null], ["http://a b/", , null], ["http://a%20b/", , null], ["http://a%00/", , null], ["http://256.1.1.1/", , null],
	["http://1.2.3.4.5/", , null], ["http://1.2.3.08/", , null], ["http://a.0x1/", , null], ["http://[1:2]/", , null], ["http://[::1", , null], ["http://[::1%25eth0]/", , null],
	["http://h:65536/", , null], ["http://h:a/", , null], ["http://@/", , null], ["x", "mailto:a@b", null],
]
// A URL, a member, what it is set to, and what the URL becomes.
const setters = [
	["http://h/", "protocol", "https:", "https://h/"], ["http://h:443/", "protocol", "https", "https://h/"], ["http://h/", "protocol", "foo", "http://h/"],
	["http://h/", "host", "x:90", "http://x:90/"], ["http://h:1/", "host", "x", "http://x:1/"], ["http://h/", "host", "a b", "http://h/"], ["http://h/", "hostname", "", "http://h/"],
	["http://h/", "hostname", "y:80", "http://h/"], ["http://h/", "port", "8080x", "http://h:8080/"], ["http://h:1/", "port", "", "http://h/"], ["http://h:1/", "port", "80", "http://h/"],
	["http://h:1/", "port", "65536", "http://h:1/"], ["http://h/", "username", "é:@", "http://%C3%A9%3A%40@h/"], ["http://h/", "password", "p/w", "http://:p%2Fw@h/"],
	["http://h/a?b", "pathname", "x/../y?#", "http://h/y%3F%23?b"], ["http://h/a", "search", "a b'#", "http://h/a?a%20b%27%23"], ["http://h/a?b", "search", "", "http://h/a"],
	["http://h/", "hash", "#x`", "http://h/#x%60"], ["mailto:x", "pathname", "y", "mailto:x"],
]

async function* cases() {
	for (const [input, base, want] of urls) {
		let got = null
		try {
			got = new URL(input, base).href
		} catch (e) {
			if (!(e instanceof TypeError)) got = String(e)
		}
		yield [`new URL(${show(input)}, ${show(base)})`, got, want]
		yield [`URL.canParse(${show(input)}, ${show(base)})`, URL.canParse(input, base), want !== null]
		if (want !== null) yield [`new URL(${show(want)}) again`, new URL(want).href, want]
	}
	for (const [url, member, value, want] of setters) {
		const u = new URL(url)
		u[member] = value
		yield [`${url} with ${member} = ${show(value)}`, u.href, want]
	}
	const u = new URL("https://u:p@example.com:8443/a/b?c=d&e#f")
	yield ["the parts of a URL", [u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, u.searchParams.get("c"), `${u}`, JSON.stringify(u)],
		["https://example.com:8443", "https:", "u", "p", "example.com:8443", "example.com", "8443", "/a/b", "?c=d&e", "#f", "d", u.href, `"${u.href}"`]]
	yield ["the origin of no tuple", new URL("data:x").origin, "null"]
	u.searchParams.append("g h", "é&")
	yield ["a parameter appended", u.search, "?c=d&e=&g+h=%C3%A9%26"]
	u.search = "?z=%20"
	yield ["search sets the parameters", [...u.searchParams], [["z", " "]]]
	u.searchParams.delete("z")
	yield ["the last parameter removed", u.href, "https://u:p@example.com:8443/a/b#f"]

	const p = new URLSearchParams("?a=1&b=2&a=3+%2B&%zz=%ff&&=&x=y=z")
	yield ["parameters", [...p], [["a", "1"], ["b", "2"], ["a", "3 +"], ["%zz", "\ufffd"], ["", ""], ["x", "y=z"]]]
	yield ["their text", String(p), "a=1&b=2&a=3+%2B&%25zz=%EF%BF%BD&=&x=y%3Dz"]
	yield ["get, getAll, has, size", [p.get("a"), p.getAll("a"), p.get("n"), p.has("b"), p.has("b", "3"), p.size], ["1", ["1", "3 +"], null, true, false, 6]]
	p.set("a", "!'()~*-._")
	p.delete("x")
	p.sort()
	yield ["set, delete, sort", String(p), "=&%25zz=%EF%BF%BD&a=%21%27%28%29%7E*-._&b=2"]
	yield ["from pairs", String(new URLSearchParams([["a", 1], ["a", "b c"]])), "a=1&a=b+c"]
	yield ["from an object", String(new URLSearchParams({ a: 1, b: null })), "a=1&b=null"]
	yield ["from what is no pair", await thrown(() => new URLSearchParams([["a"]])), "TypeError"]

	const h = new Headers([["B", " x \t"], ["a", "1"], ["A", "2"], ["Set-Cookie", "c=1"], ["set-cookie", "d=2"]])
	yield ["headers", [...h], [["a", "1, 2"], ["b", "x"], ["set-cookie", "c=1"], ["set-cookie", "d=2"]]]
	yield ["get, has, getSetCookie", [h.get("A"), h.get("x"), h.has("B"), h.getSetCookie()], ["1, 2", null, true, ["c=1", "d=2"]]]
	h.set("a", "3")
	h.delete("b")
	h.delete("SET-COOKIE")
	yield ["set, delete", [[...h.keys()], [...h.values()]], [["a"], ["3"]]]
	yield ["a copy is one", [new Headers(h).get("a"), new Headers({ X: "y" }).get("x")], ["3", "y"]]
	for (const [name, value] of [["a b", ""], ["", ""], ["a:", ""], ["é", ""], ["a", "b\nc"], ["a", "\0"], ["a", "\u0100"]]) {
		yield [`header ${show(name)}: ${show(value)}`, await thrown(() => new Headers().append(name, value)), "TypeError"]
	}
	yield ["a header of Latin-1", new Headers({ a: "\xff" }).get("a"), "\xff"]

	const r = new Request("http://H/a?b#c", { method: "post", body: "x=1", headers: { a: "b" } })
	yield ["a request", [r.method, r.url, r.headers.get("a"), r.headers.get("content-type"), r.bodyUsed, r.redirect], ["POST", "http://h/a?b#c", "b", "text/plain;charset=UTF-8", false, "follow"]]
	const copy = r.clone()
	yield ["its text", [await r.text(), r.bodyUsed], ["x=1", true]]
	yield ["its text again", await thrown(() => r.text()), "TypeError"]
	yield ["a clone of it used", await thrown(() => r.clone()), "TypeError"]
	yield ["the clone's", [await copy.text(), copy.method], ["x=1", "POST"]]
	const from = new Request("http://h/", { method: "PUT", body: "x" }), to = new Request(from, { headers: { c: "d" } })
	yield ["a request of a request", [to.method, to.headers.get("c"), await to.text(), from.bodyUsed], ["PUT", "d", "x", true]]
	yield ["methods", ["get", "Patch", "patch", "options"].map(method => new Request("http://h/", { method }).method), ["GET", "Patch", "patch", "OPTIONS"]]
	for (const [what, make] of [
		["a relative URL", () => new Request("/x")], ["credentials", () => new Request("http://u:p@h/")], ["CONNECT", () => new Request("http://h/", { method: "connect" })],
		["no token", () => new Request("http://h/", { method: "a b" })], ["a body with GET", () => new Request("http://h/", { body: "" })],
	]) yield [`a request with ${what}`, await thrown(make), "TypeError"]

	const answer = new Response("é", { status: 201, statusText: "Made", headers: { "X-A": "b" } })
	yield ["a response", [answer.status, answer.statusText, answer.ok, answer.headers.get("x-a"), answer.headers.get("content-type"), await answer.text()], [201, "Made", true, "b", "text/plain;charset=UTF-8", "é"]]
	yield ["an empty response", [new Response().status, new Response().body, await new Response().text(), new Response().headers.get("content-type")], [200, null, "", null]]
	const json = Response.json({ a: [1] }, { status: 400 })
	yield ["Response.json", [json.status, json.ok, json.headers.get("content-type"), await json.json()], [400, false, "application/json", { a: [1] }]]
	yield ["Response.json with a type", Response.json(1, { headers: { "Content-Type": "a/b" } }).headers.get("content-type"), "a/b"]
	const away = Response.redirect("http://h/é", 303)
	yield ["Response.redirect", [away.status, away.headers.get("location")], [303, "http://h/%C3%A9"]]
	for (const [what, make, want] of [
		["status 199", () => new Response("", { status: 199 }), "RangeError"], ["status 600", () => new Response("", { status: 600 }), "RangeError"],
		["a body and status 204", () => new Response("", { status: 204 }), "TypeError"], ["a line end in its text", () => new Response("", { statusText: "\n" }), "TypeError"],
		["no JSON", () => Response.json(undefined), "TypeError"], ["a redirect of 200", () => Response.redirect("http://h", 200), "RangeError"],
	]) yield [`a response with ${what}`, await thrown(make), want]
	for (const [what, body, type, want] of [
		["parameters", new URLSearchParams({ a: "b c" }), "application/x-www-form-urlencoded;charset=UTF-8", [97, 61, 98, 43, 99]],
		["bytes", bytes(0, 255), null, [0, 255]], ["a part of a buffer", new Uint16Array([1, 2, 3]).subarray(1, 2), null, [2, 0]], ["a buffer", bytes(1).buffer, null, [1]],
		["a blob", new Blob(["a", bytes(98)], { type: "Text/X" }), "text/x", [97, 98]], ["a number", 12, "text/plain;charset=UTF-8", [49, 50]],
		["half a pair", "\ud800", "text/plain;charset=UTF-8", [0xef, 0xbf, 0xbd]], ["NUL", "a\0b", "text/plain;charset=UTF-8", [97, 0, 98]],
		["a stream", streamOf(bytes(1, 2), bytes(3)), null, [1, 2, 3]],
	]) {
		const r = new Response(body)
		yield [`a body of ${what}`, [r.headers.get("content-type"), [...new Uint8Array(await r.arrayBuffer())]], [type, want]]
	}
	yield ["text drops a BOM, and replaces what is not UTF-8", await new Response(bytes(0xef, 0xbb, 0xbf, 97, 0xff)).text(), "a\ufffd"]
	yield ["what is no JSON", await thrown(() => new Response("{").json()), "SyntaxError"]

	const read = async stream => {
		const reader = stream.getReader(), out = []
		for (;;) {
			const { value, done } = await reader.read()
			if (done) return out
			out.push(value)
		}
	}
	yield ["a body read as a stream", await read(new Response("ab").body), [bytes(97, 98)]]
	const twice = new Response(streamOf(bytes(1), bytes(2))), other = twice.clone()
	yield ["a stream cloned", [[...new Uint8Array(await other.arrayBuffer())], [...new Uint8Array(await twice.arrayBuffer())]], [[1, 2], [1, 2]]]
	const locked = new Response("a")
	locked.body.getReader()
	yield ["a locked body", [await thrown(() => locked.text()), locked.bodyUsed], ["TypeError", false]]
	let pulled = 0, cancelled
	const counting = new ReadableStream({
		pull(c) { c.enqueue(++pulled) },
		cancel(reason) { cancelled = reason },
	}, { highWaterMark: 0 })
	const seen = []
	for await (const n of counting) {
		seen.push(n)
		if (n === 3) break
	}
	yield ["a stream left early", [seen, pulled, cancelled, counting.locked], [[1, 2, 3], 3, undefined, false]]
	const broken = new ReadableStream({ pull(c) { c.error(new RangeError("x")) } })
	yield ["a broken stream", await thrown(() => new Response(broken).text()), "RangeError"]
	yield ["a stream of a generator", await read(ReadableStream.from((function* () { yield 1; yield 2 })())), [1, 2]]
	yield ["a stream closed twice", await thrown(() => new ReadableStream({ start(c) { c.close(); c.close() } })), "TypeError"]
	yield ["tee", await Promise.all(streamOf(1, 2).tee().map(read)), [[1, 2], [1, 2]]]

	const form = new FormData()
	form.append("a", "1")
	form.append("a", "line\nend \"é\"")
	form.append("f", new File([bytes(13, 10, 255)], "x \"y\".bin", { type: "image/png" }))
	const multipart = new Response(form)
	yield ["the type of a form", /^multipart\/form-data; ?boundary=\S+$/.test(multipart.headers.get("content-type")), true]
	const back = await multipart.formData(), file = back.get("f")
	yield ["a form there and back", [back.getAll("a"), file.name, file.type, file.size, [...new Uint8Array(await file.arrayBuffer())]],
		[["1", "line\r\nend \"é\""], "x \"y\".bin", "image/png", 3, [13, 10, 255]]]
	const urlencoded = await new Response(new URLSearchParams([["a", "1 2"], ["a", "3"]])).formData()
	yield ["a form in a query", [...urlencoded], [["a", "1 2"], ["a", "3"]]]
	form.set("a", "2")
	form.delete("f")
	yield ["set and delete", [...form], [["a", "2"]]]
	yield ["no form", await thrown(() => new Response("a=b").formData()), "TypeError"]
	yield ["a form cut off", await thrown(() => new Response("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb", { headers: { "content-type": "multipart/form-data; boundary=x" } }).formData()), "TypeError"]

	yield ["TextEncoder", new TextEncoder().encode("a\0é\ud800😀"), bytes(97, 0, 0xc3, 0xa9, 0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x98, 0x80)]
	const into = new Uint8Array(4)
	yield ["encodeInto", [new TextEncoder().encodeInto("aé😀", into), into], [{ read: 2, written: 3 }, bytes(97, 0xc3, 0xa9, 0)]]
	yield ["TextDecoder", new TextDecoder().decode(bytes(0xef, 0xbb, 0xbf, 97, 0xff, 0xf0, 0x9f)), "a\ufffd\ufffd"]
	yield ["ignoreBOM", new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(0xef, 0xbb, 0xbf)), "\ufeff"]
	yield ["fatal", await thrown(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes(0xc3))), "TypeError"]
	yield ["an unknown encoding", await thrown(() => new TextDecoder("x")), "RangeError"]
	yield ["Latin-1", new TextDecoder("latin1").decode(bytes(0xe9, 0x80)), "é€"]
	yield ["UTF-16", new TextDecoder("utf-16le").decode(bytes(0xe9, 0, 0x3d, 0xd8, 0, 0xde)), "é😀"]
	for (const step of [1, 2, 3]) {
		const all = new TextEncoder().encode("\ufeffé😀€a"), d = new TextDecoder()
		let text = ""
		for (let i = 0; i < all.length; i += step) text += d.decode(all.subarray(i, i + step), { stream: true })
		yield [`decoded by ${step}`, text + d.decode(), "é😀€a"]
	}
	yield ["base64", [btoa("\0\xff~a"), btoa(""), atob("AP9+YQ=="), atob(" AP9 +YQ "), atob("")], ["AP9+YQ==", "", "\0\xff~a", "\0\xff~a", ""]]
	for (const s of ["A", "AP9+Y", "A===", "====", "A-__", "YQ=a"]) yield [`atob(${show(s)})`, await thrown(() => atob(s)), "InvalidCharacterError"]
	yield ["btoa of what is no byte", await thrown(() => btoa("\u0100")), "InvalidCharacterError"]

	yield ["randomUUID", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), true]
	const random = new Uint32Array(8)
	yield ["getRandomValues", [crypto.getRandomValues(random) === random, random.some(n => n), await thrown(() => crypto.getRandomValues(new Float32Array(1)))].slice(0, 2), [true, true]]
	yield ["getRandomValues of too much", await thrown(() => crypto.getRandomValues(new Uint8Array(65537))), "QuotaExceededError"]
	const numbers = Array.from({ length: 2000 }, () => Math.random())
	yield ["Math.random", [numbers.every(n => n >= 0 && n < 1), new Set(numbers).size, Math.abs(numbers.reduce((a, b) => a + b) / 2000 - 0.5) < 0.06], [true, 2000, true]]

	const order = []
	await new Promise(resolve => {
		setTimeout((...a) => { order.push("timeout", ...a); resolve() }, 5, 1, 2)
		clearTimeout(setTimeout(() => order.push("cleared"), 1))
		queueMicrotask(() => order.push("microtask"))
		Promise.resolve().then(() => order.push("promise"))
		setTimeout(() => order.push("now"))
		order.push("first")
	})
	yield ["timers", order, ["first", "microtask", "promise", "now", "timeout", 1, 2]]
	let ticks = 0
	await new Promise(resolve => {
		const id = setInterval(() => {
			if (++ticks === 3) {
				clearInterval(id)
				resolve()
			}
		}, 1)
	})
	yield ["setInterval", ticks, 3]
	const before = performance.now()
	await new Promise(resolve => setTimeout(resolve, 20))
	yield ["performance.now", performance.now() - before >= 15, true]

	const odd = { d: new Date(5), m: new Map([[1, { a: 2 }]]), s: new Set([1]), b: bytes(1, 2), n: null, u: undefined, e: new RangeError("x") }
	odd.self = odd
	const cloned = structuredClone(odd)
	yield ["structuredClone", [cloned.d.getTime(), cloned.m.get(1), cloned.m.get(1) === odd.m.get(1), [...cloned.s], cloned.b, cloned.self === cloned, cloned.e instanceof RangeError, cloned.e.message],
		[5, { a: 2 }, false, [1], bytes(1, 2), true, true, "x"]]
	yield ["structuredClone of a function", await thrown(() => structuredClone(() => 0)), "DataCloneError"]

	const controller = new AbortController(), heard = []
	controller.signal.addEventListener("abort", e => heard.push(e.type))
	controller.abort()
	controller.abort()
	yield ["AbortController", [heard, controller.signal.aborted, controller.signal.reason.name, await thrown(() => controller.signal.throwIfAborted())], [["abort"], true, "AbortError", "AbortError"]]
	yield ["a fetch aborted before", await thrown(() => fetch("http://h/", { signal: controller.signal })), "AbortError"]
	const timed = AbortSignal.timeout(1)
	await new Promise(resolve => { timed.onabort = resolve })
	yield ["AbortSignal.timeout", timed.reason.name, "TimeoutError"]

	yield ["newer methods", [[1, 2, 3].at(-1), "abc".at(-1), bytes(1, 2).at(-1), Object.hasOwn({ a: 1 }, "a"), [1, 2, 3].findLast(n => n < 3), [3, 1].toSorted(), [1, 2].toReversed(), [1, 2].with(0, 3), [1, 2, 3].toSpliced(1, 1), "\ud800".isWellFormed(), "\ud800".toWellFormed()],
		[3, "c", 2, true, 2, [1, 3], [2, 1], [3, 2], [1, 3], false, "\ufffd"]]
	yield ["dates for people", [0, 11, 12, 23].map(h => new Date(2026, 10, 3, h, 4, 5).toLocaleString("en-US").replace(/\u202f/g, " ")),
		["11/3/2026, 12:04:05 AM", "11/3/2026, 11:04:05 AM", "11/3/2026, 12:04:05 PM", "11/3/2026, 11:04:05 PM"]]
	const { promise, resolve } = Promise.withResolvers()
	resolve(7)
	yield ["Promise.withResolvers", await promise, 7]
	yield ["names", [URL, Headers, Request, Response].map(c => Object.prototype.toString.call(c.prototype)), ["[object URL]", "[object Headers]", "[object Request]", "[object Response]"]]
}

export async function failures() {
	const failed = []
	let count = 0
	for await (const [name, got, want] of cases()) {
		count++
		if (show(got) !== show(want)) failed.push(`${name}: got ${show(got)}, want ${show(want)}`)
	}
	return { count, failed }
}
