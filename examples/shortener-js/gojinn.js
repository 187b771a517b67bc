// A function in JavaScript for QuickJS: reads a request as Gojinn's contracts have it (json
// or stream), gives it to a handler as a Request, and writes the handler's Response.
//
//     args quickjs /app/gojinn.js main.js      as a script, with
//     export default { fetch(request) { return new Response("Hello\n") } }
//
//     args quickjs /app/main.js                as a library, with
//     import { serve } from "./gojinn.js"
//     serve(request => new Response("Hello\n"))
//
// guest/js/README.md says what else there is.

import * as std from "std"
import * as os from "qjs:os"
import { text_encode, text_decode } from "_encoding"

// ---- small things

const S = Symbol("state") // of the objects of this file

const define = (target, members) => {
	for (const [name, value] of Object.entries(members)) {
		Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false })
	}
}
const tag = (...classes) => {
	for (const c of classes) {
		Object.defineProperty(c.prototype, Symbol.toStringTag, { value: c.name, configurable: true })
		define(globalThis, { [c.name]: c })
	}
}

class DOMException extends Error {
	constructor(message = "", name = "Error") {
		super(message)
		define(this, { name: String(name) })
	}
	get code() {
		return { AbortError: 20, QuotaExceededError: 22, TimeoutError: 23, InvalidCharacterError: 5, DataCloneError: 25 }[this.name] || 0
	}
}

// wellFormed replaces halves of surrogate pairs.
const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/
const lones = new RegExp(lone.source, "g")
const wellFormed = s => JSON.stringify(s).includes("\\ud") ? s.replace(lones, "\ufffd") : s // natively escaped, mostly

// encode returns the UTF-8 of a string as a Uint8Array. The native function stops at a NUL.
function encode(s) {
	s = wellFormed(s)
	if (!s.includes("\0")) return new Uint8Array(text_encode(s))
	const parts = s.split("\0").map(part => new Uint8Array(text_encode(part)))
	const out = new Uint8Array(parts.reduce((n, part) => n + part.length + 1, -1))
	let at = 0
	for (const part of parts) {
		out.set(part, at)
		at += part.length + 1
	}
	return out
}

// buffer returns an ArrayBuffer that has just the bytes of a view.
const bufferOf = v => v.byteOffset === 0 && v.byteLength === v.buffer.byteLength ? v.buffer : v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)
const decode = bytes => bytes.byteLength ? text_decode(bufferOf(bytes), "utf-8") : ""
// decodeStrictly returns undefined for what is not UTF-8.
function decodeStrictly(bytes) {
	if (!bytes.byteLength) return ""
	try {
		const s = text_decode(bufferOf(bytes), "utf-8", true)
		return typeof s === "string" ? s : undefined
	} catch {
		return undefined
	}
}
const withoutBOM = s => s.charCodeAt(0) === 0xfeff ? s.slice(1) : s

// bytesOf returns what a BufferSource holds, not copied; undefined for anything else.
function bytesOf(v) {
	if (v instanceof Uint8Array) return v
	if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength)
	if (v instanceof ArrayBuffer || v instanceof SharedArrayBuffer) return new Uint8Array(v)
}
// chunkBytes is what a chunk of a body holds.
function chunkBytes(v) {
	const bytes = typeof v === "string" ? encode(v) : bytesOf(v)
	if (!bytes) throw new TypeError(`a chunk of a body is ${describe(v)}, want bytes or a string`)
	return bytes
}
function join(chunks) {
	if (chunks.length === 1) return chunks[0]
	const out = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0))
	let at = 0
	for (const c of chunks) {
		out.set(c, at)
		at += c.length
	}
	return out
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
const digits = new Uint8Array(64)
const values = new Int8Array(128).fill(-1)
for (let i = 0; i < 64; i++) {
	digits[i] = alphabet.charCodeAt(i)
	values[digits[i]] = i
}
function toBase64(bytes) {
	const n = bytes.length, out = new Uint8Array(Math.ceil(n / 3) * 4)
	let at = 0
	for (let i = 0; i < n; i += 3) {
		const bits = bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2] // undefined << 8 is 0
		out[at++] = digits[bits >> 18]
		out[at++] = digits[bits >> 12 & 63]
		out[at++] = i + 1 < n ? digits[bits >> 6 & 63] : 61
		out[at++] = i + 2 < n ? digits[bits & 63] : 61
	}
	return decode(out)
}
// fromBase64 is “forgiving-base64 decode” of the Infra standard; undefined is failure.
function fromBase64(s) {
	s = s.replace(/[\t\n\f\r ]+/g, "")
	if (s.length % 4 === 0) s = s.replace(/==?$/, "")
	if (s.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(s)) return undefined
	const out = new Uint8Array(s.length * 3 >> 2)
	let at = 0, bits = 0, have = 0
	for (let i = 0; i < s.length; i++) {
		bits = bits << 6 | values[s.charCodeAt(i)]
		if ((have += 6) >= 8) out[at++] = bits >> (have -= 8)
		bits &= 0xfff
	}
	return out
}
function atob(s) {
	const bytes = fromBase64(String(s))
	if (!bytes) throw new DOMException("the string is not base64", "InvalidCharacterError")
	let out = ""
	for (let i = 0; i < bytes.length; i += 4096) out += String.fromCharCode.apply(null, bytes.subarray(i, i + 4096))
	return out
}
function btoa(s) {
	s = String(s)
	const bytes = new Uint8Array(s.length)
	for (let i = 0; i < s.length; i++) {
		const c = s.charCodeAt(i)
		if (c > 255) throw new DOMException("the string has characters above U+00FF", "InvalidCharacterError")
		bytes[i] = c
	}
	return toBase64(bytes)
}

// ---- what newer versions of the language have

const polyfill = (target, members) => define(target, Object.fromEntries(Object.entries(members).filter(([name]) => !(name in target))))
const findLastIndex = function (accept, self) {
	for (let i = this.length - 1; i >= 0; i--) if (accept.call(self, this[i], i, this)) return i
	return -1
}
const forLists = {
	at(i) {
		i = Math.trunc(i) || 0
		return this[i < 0 ? this.length + i : i]
	},
	findLastIndex,
	findLast(accept, self) { return this[findLastIndex.call(this, accept, self)] },
	toReversed() { return this.slice().reverse() },
	toSorted(compare) { return this.slice().sort(compare) },
	with(i, value) {
		const at = i < 0 ? this.length + i : i
		if (!(at >= 0 && at < this.length)) throw new RangeError("index out of range")
		const out = this.slice()
		out[at] = value
		return out
	},
}
polyfill(Array.prototype, {
	...forLists,
	toSpliced(...change) {
		const out = this.slice()
		out.splice(...change)
		return out
	},
})
polyfill(Object.getPrototypeOf(Uint8Array.prototype), forLists)
polyfill(String.prototype, {
	at(i) { return forLists.at.call(String(this), i) },
	isWellFormed() { return !lone.test(this) },
	toWellFormed() { return wellFormed(String(this)) },
})
polyfill(Object, {
	hasOwn: (o, name) => Object.prototype.hasOwnProperty.call(o, name),
	groupBy(items, key) {
		const out = Object.create(null)
		let i = 0
		for (const item of items) (out[key(item, i++)] ??= []).push(item)
		return out
	},
})
polyfill(Promise, {
	withResolvers() {
		const out = {}
		out.promise = new this((resolve, reject) => Object.assign(out, { resolve, reject }))
		return out
	},
})

// There are no locales. QuickJS's own say -1 for 11 o'clock.
define(Date.prototype, {
	toLocaleDateString() { return isNaN(this) ? "Invalid Date" : `${this.getMonth() + 1}/${this.getDate()}/${this.getFullYear()}` },
	toLocaleTimeString() {
		const two = n => String(n).padStart(2, "0"), h = this.getHours()
		return isNaN(this) ? "Invalid Date" : `${h % 12 || 12}:${two(this.getMinutes())}:${two(this.getSeconds())} ${h < 12 ? "AM" : "PM"}`
	},
	toLocaleString() { return isNaN(this) ? "Invalid Date" : `${this.toLocaleDateString()}, ${this.toLocaleTimeString()}` },
})

function structuredClone(value) {
	const seen = new Map()
	const clone = v => {
		if (typeof v === "function" || typeof v === "symbol") throw new DOMException(`${typeof v} can't be cloned`, "DataCloneError")
		if (typeof v !== "object" || v === null) return v
		if (seen.has(v)) return seen.get(v)
		const keep = out => (seen.set(v, out), out)
		if (Array.isArray(v)) {
			const out = keep(new Array(v.length))
			for (const k of Object.keys(v)) out[k] = clone(v[k])
			return out
		}
		if (v instanceof Date) return keep(new Date(v.getTime()))
		if (v instanceof RegExp) return keep(new RegExp(v.source, v.flags))
		if (v instanceof ArrayBuffer) return keep(v.slice(0))
		if (v instanceof DataView) return keep(new DataView(clone(v.buffer), v.byteOffset, v.byteLength))
		if (ArrayBuffer.isView(v)) return keep(new v.constructor(clone(v.buffer), v.byteOffset, v.length))
		if (v instanceof Map) {
			const out = keep(new Map())
			for (const [k, x] of [...v]) out.set(clone(k), clone(x))
			return out
		}
		if (v instanceof Set) {
			const out = keep(new Set())
			for (const x of [...v]) out.add(clone(x))
			return out
		}
		if (v instanceof Error) {
			const out = keep(Object.create(Object.getPrototypeOf(v)))
			define(out, { message: v.message, stack: v.stack })
			return out
		}
		if (v instanceof Boolean || v instanceof Number || v instanceof String) return keep(Object(v.valueOf()))
		if (v instanceof Promise || v instanceof WeakMap || v instanceof WeakSet || v[S]) {
			throw new DOMException(`${Object.prototype.toString.call(v)} can't be cloned`, "DataCloneError")
		}
		const out = keep({})
		for (const k of Object.keys(v)) out[k] = clone(v[k])
		return out
	}
	return clone(value)
}

// ---- console: to the server's log, never into the answer

// describe shows a value to people.
function describe(value, depth = 2, seen = []) {
	switch (typeof value) {
	case "string": return JSON.stringify(value)
	case "bigint": return value + "n"
	case "function": return `[${/^class\b/.test(Function.prototype.toString.call(value)) ? "class" : "Function"} ${value.name || "(anonymous)"}]`
	case "object": break
	default: return String(value)
	}
	if (value === null) return "null"
	if (seen.includes(value)) return "[Circular]"
	if (value instanceof Error) return trace(value, seen)
	if (value instanceof Date) return isNaN(value) ? "Invalid Date" : value.toISOString()
	if (value instanceof RegExp || value instanceof URL) return String(value)
	if (value instanceof Promise) return "Promise {}"
	if (depth < 0) return Array.isArray(value) ? "[Array]" : "[Object]"
	const inner = v => describe(v, depth - 1, [...seen, value])
	const some = (items, all) => items.slice(0, 100).join(", ") + (all > 100 ? `, … ${all - 100} more` : "")
	const braces = (name, text) => `${name && name + " "}{${text && ` ${text} `}}`
	if (Array.isArray(value)) return `[${some(value.slice(0, 100).map(inner), value.length)}]`
	if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${value.constructor.name}(${value.length}) [${some(Array.from(value.subarray(0, 100), String), value.length)}]`
	if (value instanceof Map) return braces(`Map(${value.size})`, some([...value].slice(0, 100).map(([k, v]) => `${inner(k)} => ${inner(v)}`), value.size))
	if (value instanceof Set) return braces(`Set(${value.size})`, some([...value].slice(0, 100).map(inner), value.size))
	if (value instanceof Headers || value instanceof URLSearchParams) return braces(value.constructor.name, some([...value].map(([k, v]) => `${k}: ${inner(v)}`), 0))
	if (value instanceof Request) return `Request { ${value.method} ${value.url} }`
	if (value instanceof Response) return `Response { ${value.status} }`
	const names = Object.keys(value), maker = Object.getPrototypeOf(value)?.constructor?.name
	return braces(!maker || maker === "Object" ? "" : maker,
		some(names.slice(0, 100).map(k => `${/^[\w$]+$/.test(k) ? k : JSON.stringify(k)}: ${inner(value[k])}`), names.length))
}
// trace is an error with where it came from. QuickJS's stack doesn't have the message.
function trace(e, seen = []) {
	if (!(e instanceof Error)) return "Uncaught " + describe(e)
	if (seen.includes(e)) return "[Circular]"
	seen = [...seen, e]
	const stack = typeof e.stack === "string" ? e.stack.trimEnd() : ""
	let text = `${e}${stack && "\n" + stack}`
	if (e instanceof AggregateError) for (const inner of e.errors.slice(0, 10)) text += "\n  " + trace(inner, seen).replace(/\n/g, "\n  ")
	if (e.cause !== undefined) text += "\ncaused by: " + (e.cause instanceof Error ? trace(e.cause, seen) : describe(e.cause, 2, seen))
	return text
}
function format(first, ...rest) {
	if (typeof first === "string" && rest.length && first.includes("%")) {
		first = first.replace(/%[sdifjoOc%]/g, f => {
			if (f === "%%") return "%"
			if (!rest.length) return f
			const v = rest.shift()
			switch (f[1]) {
			case "s": return typeof v === "string" ? v : describe(v, 0)
			case "d": return typeof v === "bigint" ? v + "n" : Number(v)
			case "i": return parseInt(v)
			case "f": return parseFloat(v)
			case "j": return JSON.stringify(v)
			case "c": return ""
			default: return describe(v)
			}
		})
	}
	return [first, ...rest].map(v => typeof v === "string" ? v : describe(v)).join(" ")
}
const complain = text => std.err.puts(wellFormed(text) + "\n")
const write = level => (...values) => {
	const msg = values.length ? format(...values) : ""
	complain(level === "info" && !/^\{|\n/.test(msg) ? msg : JSON.stringify({ level, msg: wellFormed(msg) }))
}
const counts = {}, clocks = {}
const info = write("info"), warn = write("warn")
const console = {
	log: info, info, dir: v => info(v), table: v => info(v), group() {}, groupEnd() {},
	debug: write("debug"), warn, error: write("error"),
	trace: (...values) => write("debug")(format(...values) + "\n" + new Error().stack),
	assert: (ok, ...values) => { if (!ok) write("error")("Assertion failed" + (values.length ? ": " + format(...values) : "")) },
	count: (label = "default") => info(`${label}: ${counts[label] = (counts[label] || 0) + 1}`),
	countReset: (label = "default") => { counts[label] = 0 },
	time: (label = "default") => { clocks[label] = performance.now() },
	timeLog: (label = "default", ...values) => info(`${label}: ${(performance.now() - clocks[label]).toFixed(3)}ms`, ...values),
	timeEnd: (label = "default") => { console.timeLog(label); delete clocks[label] },
}

// ---- timers, and what else waits

const timers = new Map()
let tasks = [], timerNumber = 0, looping = false
const clock = () => __date_clock() / 1000 // ms

function setTimer(run, delay, args, every) {
	if (typeof run !== "function") throw new TypeError("the first argument must be a function")
	delay = Math.min(Math.max(Number(delay) || 0, 0), 0x7fffffff)
	timers.set(++timerNumber, { run, args, due: clock() + delay, every: every ? Math.max(delay, 1) : 0 })
	return timerNumber
}
const setTimeout = (run, delay, ...args) => setTimer(run, delay, args, false)
const setInterval = (run, delay, ...args) => setTimer(run, delay, args, true)
const clearTimeout = id => { timers.delete(id) }
const queueMicrotask = run => {
	if (typeof run !== "function") throw new TypeError("the argument must be a function")
	Promise.resolve().then(run).catch(fail)
}
// later is resolved when all that can go on without waiting has gone on.
const later = () => new Promise(resolve => tasks.push(resolve))

// turn does the next thing that has waited. The runtime calls it, by nextTick, when no
// promise can go on.
function turn() {
	try {
		if (tasks.length) {
			const now = tasks
			tasks = []
			for (const run of now) run()
		} else {
			let id, next
			for (const [i, t] of timers) if (!next || t.due < next.due) [id, next] = [i, t]
			if (!next) throw new Error("the handler waits for a promise that nothing can settle")
			const wait = next.due - clock()
			if (wait > 0) os.sleep(Math.ceil(wait))
			if (next.every) next.due = Math.max(next.due + next.every, clock())
			else timers.delete(id)
			next.run(...next.args)
		}
		nextTick(turn)
	} catch (e) {
		fail(e)
	}
}
const nextTick = globalThis.nextTick
const startTurns = () => { if (!looping) nextTick(turn); looping = true }

function fail(e) {
	complain(trace(e))
	std.out.flush()
	std.exit(1)
}

// ---- events, as far as a signal needs them

class Event {
	constructor(type, init = {}) {
		Object.assign(this, { type: String(type), cancelable: !!init.cancelable, defaultPrevented: false, target: null, timeStamp: performance.now() })
	}
	preventDefault() { if (this.cancelable) this.defaultPrevented = true }
}
class EventTarget {
	#listeners = new Map()
	addEventListener(type, run, options) {
		if (!run) return
		const of = this.#listeners.get(type) || []
		if (!of.some(l => l.run === run)) of.push({ run, once: !!options?.once })
		this.#listeners.set(type, of)
	}
	removeEventListener(type, run) {
		this.#listeners.set(type, (this.#listeners.get(type) || []).filter(l => l.run !== run))
	}
	dispatchEvent(event) {
		event.target = this
		const on = this["on" + event.type]
		if (typeof on === "function") on.call(this, event)
		for (const l of [...this.#listeners.get(event.type) || []]) {
			if (l.once) this.removeEventListener(event.type, l.run)
			typeof l.run === "function" ? l.run.call(this, event) : l.run.handleEvent(event)
		}
		return !event.defaultPrevented
	}
}
class AbortSignal extends EventTarget {
	aborted = false
	reason = undefined
	onabort = null
	throwIfAborted() { if (this.aborted) throw this.reason }
	static abort(reason) {
		const s = new AbortSignal()
		abort(s, reason)
		return s
	}
	static timeout(ms) {
		const s = new AbortSignal()
		setTimeout(() => abort(s, new DOMException("it took too long", "TimeoutError")), ms)
		return s
	}
	static any(signals) {
		const s = new AbortSignal()
		for (const other of signals) {
			if (other.aborted) abort(s, other.reason)
			else other.addEventListener("abort", () => abort(s, other.reason), { once: true })
		}
		return s
	}
}
function abort(signal, reason = new DOMException("it was aborted", "AbortError")) {
	if (signal.aborted) return
	Object.assign(signal, { aborted: true, reason })
	signal.dispatchEvent(new Event("abort"))
}
class AbortController {
	signal = new AbortSignal()
	abort(reason) { abort(this.signal, reason) }
}

// ---- chance

const words = new Uint32Array(4)
let seeded = false

function entropy(view) {
	const from = os.open("/dev/urandom", os.O_RDONLY)
	if (from < 0) throw new Error("opening /dev/urandom: " + std.strerror(-from))
	for (let have = 0; have < view.byteLength;) {
		const n = os.read(from, view.buffer, view.byteOffset + have, view.byteLength - have)
		if (n <= 0) throw new Error("reading /dev/urandom: " + std.strerror(-n))
		have += n
	}
	os.close(from)
	return view
}
// draw is xoshiro128** (Blackman and Vigna).
function draw() {
	let x = Math.imul(words[1], 5)
	x = Math.imul(x << 7 | x >>> 25, 9) >>> 0
	const t = words[1] << 9
	words[2] ^= words[0]
	words[3] ^= words[1]
	words[1] ^= words[2]
	words[0] ^= words[3]
	words[2] ^= t
	words[3] = words[3] << 11 | words[3] >>> 21
	return x
}
// QuickJS's own is seeded when it starts: restored, it would say the same to every request.
define(Math, {
	random() {
		if (!seeded) {
			entropy(words)
			words[0] ||= 1 // all zeros would stay so
			seeded = true
		}
		return ((draw() >>> 5) * 67108864 + (draw() >>> 6)) / 9007199254740992
	},
})
const hex = Array.from({ length: 256 }, (_, i) => (i + 256).toString(16).slice(1))
const crypto = {
	getRandomValues(view) {
		if (!ArrayBuffer.isView(view) || view instanceof DataView || view instanceof Float32Array || view instanceof Float64Array) {
			throw new TypeError("getRandomValues needs an array of integers")
		}
		if (view.byteLength > 65536) throw new DOMException("at most 65536 bytes at a time", "QuotaExceededError")
		return entropy(view)
	},
	randomUUID() {
		const b = entropy(new Uint8Array(16))
		b[6] = b[6] & 15 | 64
		b[8] = b[8] & 63 | 128
		return Array.from(b, (v, i) => (i === 4 || i === 6 || i === 8 || i === 10 ? "-" : "") + hex[v]).join("")
	},
}

// ---- text

class TextEncoder {
	get encoding() { return "utf-8" }
	encode(s = "") { return encode(String(s)) }
	encodeInto(s, into) {
		let read = 0, written = 0
		for (const c of String(s)) {
			const bytes = encode(c)
			if (written + bytes.length > into.length) break
			into.set(bytes, written)
			written += bytes.length
			read += c.length
		}
		return { read, written }
	}
}
const labels = {
	"utf-8": "utf-8", utf8: "utf-8", "unicode-1-1-utf-8": "utf-8", "utf-16": "utf-16le", "utf-16le": "utf-16le", "utf-16be": "utf-16be",
	latin1: "windows-1252", ascii: "windows-1252", "us-ascii": "windows-1252", "iso-8859-1": "windows-1252", "windows-1252": "windows-1252",
}
class TextDecoder {
	#rest = null
	#begun = false
	constructor(label = "utf-8", options = {}) {
		const name = labels[String(label).trim().toLowerCase()]
		if (!name) throw new RangeError(`the encoding ${JSON.stringify(label)} is not known`)
		Object.assign(this, { encoding: name, fatal: !!options?.fatal, ignoreBOM: !!options?.ignoreBOM })
	}
	decode(input, options = {}) {
		let bytes = input === undefined ? new Uint8Array(0) : bytesOf(input)
		if (!bytes) throw new TypeError("decode needs bytes")
		if (this.#rest) bytes = join([this.#rest, bytes])
		this.#rest = null
		if (options?.stream) {
			const whole = bytes.length - this.#incomplete(bytes)
			this.#rest = whole < bytes.length ? bytes.slice(whole) : null
			bytes = bytes.subarray(0, whole)
		}
		let s = ""
		if (bytes.length) {
			try {
				s = text_decode(bufferOf(bytes), this.encoding, this.fatal)
			} catch {
				s = undefined
			}
			if (typeof s !== "string") {
				this.#begun = false
				throw new TypeError(`the bytes are not ${this.encoding}`)
			}
		}
		if (s && !this.#begun && !this.ignoreBOM) s = withoutBOM(s)
		this.#begun = !!options?.stream && (this.#begun || bytes.length > 0)
		return s
	}
	// how many bytes at the end are the begin of a character
	#incomplete(bytes) {
		const n = bytes.length
		if (this.encoding.startsWith("utf-16")) {
			const odd = n % 2, high = bytes[this.encoding === "utf-16le" ? n - odd - 1 : n - odd - 2]
			return n - odd >= 2 && high >= 0xd8 && high < 0xdc ? odd + 2 : odd
		}
		if (this.encoding !== "utf-8") return 0
		for (let back = 1; back <= 3 && back <= n; back++) {
			const c = bytes[n - back]
			if (c >= 0xc2 && c < 0xf5) {
				const need = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4
				if (back >= need) return 0
				const next = bytes[n - back + 1]
				const never = back > 1 && (c === 0xe0 && next < 0xa0 || c === 0xed && next > 0x9f || c === 0xf0 && next < 0x90 || c === 0xf4 && next > 0x8f)
				return never ? 0 : back
			}
			if (c < 0x80 || c > 0xbf) return 0
		}
		return 0
	}
}

// ---- URL (url.spec.whatwg.org), without IDNA: hosts are ASCII

const ports = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21", "file:": "" }
const special = scheme => Object.prototype.hasOwnProperty.call(ports, scheme)
// What the percent-encode sets leave as it is.
const sets = {
	c0: /[^\x20-\x7e]/gu,
	fragment: /[^\x21\x23-\x3b=\x3f-_a-~]/gu,
	query: /[^\x21\x24-\x3b=\x3f-~]/gu,
	specialQuery: /[^\x21\x24-&(-;=?-~]/gu,
	path: /[^\x21\x24-\x3b=@-\]_a-z|~]/gu,
	userinfo: /[^\x21\x24-.0-9A-Z_a-z~]/gu,
}
const percent = c => {
	const code = c.charCodeAt(0)
	return c.length === 1 && code < 128 ? "%" + hex[code].toUpperCase() : encodeURIComponent(c)
}
const escape = (s, set) => s.replace(set, percent)

// unescape returns the bytes of a string whose escapes are undone.
function unescape(s) {
	const bytes = encode(s)
	let at = 0
	for (let i = 0; i < bytes.length; i++) {
		let b = bytes[i]
		if (b === 37 && i + 2 < bytes.length) {
			const pair = String.fromCharCode(bytes[i + 1], bytes[i + 2])
			if (/^[0-9a-f]{2}$/i.test(pair)) {
				b = parseInt(pair, 16)
				i += 2
			}
		}
		bytes[at++] = b
	}
	return bytes.subarray(0, at)
}
const unescapeText = s => s.includes("%") ? decode(unescape(s)) : s

const invalid = what => new TypeError("Invalid URL: " + what)

function parseHost(text, isSpecial) {
	if (text[0] === "[") {
		if (!text.endsWith("]")) throw invalid("an address without ]")
		return `[${showIPv6(parseIPv6(text.slice(1, -1)))}]`
	}
	if (!isSpecial) {
		if (/[\0\t\n\r #/:<>?@[\\\]^|]/.test(text)) throw invalid("a host with characters that it can't have")
		return escape(text, sets.c0)
	}
	const host = unescapeText(text).toLowerCase()
	if (/[^\0-\x7f]/.test(host)) throw invalid("the host is not ASCII; write it as xn--…")
	if (!host || /[\0-\x20"#%/:<>?@[\\\]^`{|}\x7f]/.test(host) && /[\0-\x20#%/:<>?@[\\\]^|\x7f]/.test(host)) throw invalid("a host with characters that it can't have")
	const parts = host.split(".")
	if (parts[parts.length - 1] === "" && parts.length > 1) parts.pop()
	const last = parts[parts.length - 1]
	return /^[0-9]+$/.test(last) || /^0x[0-9a-f]*$/.test(last) ? parseIPv4(parts) : host
}
function parseIPv4(parts) {
	if (parts.length > 4) throw invalid("an IPv4 address of more than four numbers")
	const numbers = parts.map(p => {
		const [digits, base] = /^0x/.test(p) ? [p.slice(2), 16] : p.length > 1 && p[0] === "0" ? [p.slice(1), 8] : [p, 10]
		if (p === "" || !{ 16: /^[0-9a-f]*$/, 8: /^[0-7]*$/, 10: /^[0-9]+$/ }[base].test(digits)) throw invalid("an IPv4 address with what is no number")
		return digits ? parseInt(digits, base) : 0
	})
	const last = numbers.pop()
	if (numbers.some(n => n > 255) || last >= 256 ** (4 - numbers.length)) throw invalid("an IPv4 address with a number too large")
	const address = numbers.reduce((sum, n, i) => sum + n * 256 ** (3 - i), last)
	return [24, 16, 8, 0].map(shift => Math.floor(address / 2 ** shift) % 256).join(".")
}
function parseIPv6(text) {
	const bad = () => invalid("an IPv6 address that is none")
	const halves = text.split("::")
	if (halves.length > 2) throw bad()
	const pieces = (half, isLast) => {
		if (half === "") return []
		const out = [], parts = half.split(":")
		parts.forEach((p, i) => {
			if (p.includes(".") && isLast && i === parts.length - 1) {
				if (!/^(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})$/.test(p)) throw bad()
				const b = p.split(".").map(Number)
				if (b.some(n => n > 255)) throw bad()
				out.push(b[0] << 8 | b[1], b[2] << 8 | b[3])
			} else if (/^[0-9a-f]{1,4}$/i.test(p)) out.push(parseInt(p, 16))
			else throw bad()
		})
		return out
	}
	const head = pieces(halves[0], halves.length === 1), tail = halves.length > 1 ? pieces(halves[1], true) : []
	const n = head.length + tail.length
	if (halves.length === 1 ? n !== 8 : n > 7) throw bad()
	return [...head, ...Array(8 - n).fill(0), ...tail]
}
function showIPv6(pieces) {
	let from = -1, length = 1
	for (let i = 0; i < 8; i++) {
		let n = 0
		while (i + n < 8 && pieces[i + n] === 0) n++
		if (n > length) [from, length] = [i, n]
		i += n
	}
	const show = list => list.map(n => n.toString(16)).join(":")
	return from < 0 ? show(pieces) : `${show(pieces.slice(0, from))}::${show(pieces.slice(from + length))}`
}
function parsePort(text, scheme) {
	if (!/^[0-9]*$/.test(text) || Number(text) > 65535) throw invalid("a port that is none")
	const port = text && String(Number(text))
	return port === ports[scheme] ? "" : port
}
function parseAuthority(u, text) {
	const at = text.lastIndexOf("@")
	if (at >= 0) {
		const credentials = text.slice(0, at), colon = credentials.indexOf(":")
		u.username = escape(colon < 0 ? credentials : credentials.slice(0, colon), sets.userinfo)
		u.password = colon < 0 ? "" : escape(credentials.slice(colon + 1), sets.userinfo)
		text = text.slice(at + 1)
		if (!text) throw invalid("no host")
	}
	const [, host, port] = /^((?:\[[^\]]*\]?|[^:[]|\[)*?)(?::(.*))?$/su.exec(text)
	if (!host && (special(u.scheme) && u.scheme !== "file:" || port !== undefined)) throw invalid("no host")
	u.host = host ? parseHost(host, special(u.scheme)) : ""
	u.port = parsePort(port || "", u.scheme)
	if (u.scheme === "file:") {
		if (at >= 0 || port !== undefined) throw invalid("a file has no port")
		if (u.host === "localhost") u.host = ""
	}
}
const slashes = u => special(u.scheme) ? /[/\\]/ : /\//
// addPath appends segments, given with slashes between them, to u.path.
function addPath(u, text) {
	const segments = text.split(slashes(u))
	segments.forEach((segment, i) => {
		const last = i === segments.length - 1
		const dots = segment.replace(/%2e/gi, ".")
		if (dots === ".." || dots === ".") {
			if (dots === ".." && !(u.scheme === "file:" && u.path.length === 1 && /^[a-z]:$/i.test(u.path[0]))) u.path.pop()
			if (last) u.path.push("")
		} else {
			if (u.scheme === "file:" && !u.path.length && /^[a-z][:|]$/i.test(segment)) segment = segment[0] + ":"
			u.path.push(escape(segment, sets.path))
		}
	})
}
function setPath(u, text) {
	u.path = []
	if (special(u.scheme) || text) addPath(u, slashes(u).test(text[0] || "") ? text.slice(1) : text)
}
const setQuery = (u, text) => { u.query = text === null ? null : escape(text, special(u.scheme) ? sets.specialQuery : sets.query) }

// parseURL returns scheme (with its colon), username, password, host (null: none), port,
// path (a list, or a string where it is opaque), query and fragment (null: none).
function parseURL(input, base) {
	let rest = wellFormed(input).replace(/^[\0-\x20]+|[\0-\x20]+$/g, "").replace(/[\t\n\r]/g, "")
	const cut = mark => {
		const at = rest.indexOf(mark)
		if (at < 0) return null
		const tail = rest.slice(at + 1)
		rest = rest.slice(0, at)
		return tail
	}
	const fragment = cut("#"), query = cut("?")
	const u = { scheme: "", username: "", password: "", host: null, port: "", path: [], query: null, fragment: fragment === null ? null : escape(fragment, sets.fragment) }
	const scheme = /^[a-z][a-z0-9+.-]*:/i.exec(rest)?.[0]
	let relative = !scheme
	if (scheme) {
		u.scheme = scheme.toLowerCase()
		rest = rest.slice(scheme.length)
		relative = special(u.scheme) && base?.scheme === u.scheme && !/^[/\\]{2}/.test(rest)
		if (!relative) {
			if (special(u.scheme) && u.scheme !== "file:") {
				rest = "//" + rest
			} else if (u.scheme !== "file:" && rest[0] !== "/") {
				u.path = escape(rest, sets.c0)
				setQuery(u, query)
				return u
			}
		}
	} else if (!base) {
		throw invalid(JSON.stringify(input))
	} else {
		u.scheme = base.scheme
	}
	const slash = slashes(u)
	if (relative && typeof base.path === "string") {
		if (rest || query !== null || fragment === null) throw invalid(JSON.stringify(input))
		return { ...base, fragment: u.fragment }
	}
	if (slash.test(rest[0] || "") && slash.test(rest[1] || "")) {
		rest = special(u.scheme) && u.scheme !== "file:" ? rest.replace(/^[/\\]+/, "") : rest.slice(2)
		const end = rest.search(slash)
		parseAuthority(u, end < 0 ? rest : rest.slice(0, end))
		setPath(u, end < 0 ? "" : rest.slice(end))
	} else {
		if (relative) for (const part of ["username", "password", "host", "port"]) u[part] = base[part]
		else if (u.scheme === "file:") u.host = ""
		if (!relative || slash.test(rest[0] || "")) {
			setPath(u, rest)
		} else if (rest) {
			u.path = base.path.slice(0, -1)
			addPath(u, rest)
		} else {
			u.path = base.path.slice()
			u.query = base.query
		}
	}
	if (query !== null) setQuery(u, query)
	return u
}
const showPath = u => typeof u.path === "string" ? u.path : u.path.map(p => "/" + p).join("")
const showHost = u => u.host === null ? "" : u.host + (u.port && ":" + u.port)
function showURL(u, withoutFragment) {
	let s = u.scheme
	if (u.host !== null) {
		s += "//"
		if (u.username || u.password) s += u.username + (u.password && ":" + u.password) + "@"
		s += showHost(u)
	} else if (typeof u.path !== "string" && u.path.length > 1 && u.path[0] === "") {
		s += "/."
	}
	s += showPath(u)
	if (u.query !== null) s += "?" + u.query
	if (u.fragment !== null && !withoutFragment) s += "#" + u.fragment
	return s
}

// known is the URL of the request and what it consists of: new URL(request.url) is what most
// handlers begin with, and each character costs.
let known = { text: null, parts: null }

class URL {
	constructor(url, base) {
		if (url === known.text && base === undefined) {
			this[S] = { ...known.parts, path: known.parts.path.slice() }
			return
		}
		this[S] = parseURL(String(url), base === undefined ? undefined : parseURL(String(base)))
	}
	static canParse(url, base) { return URL.parse(url, base) !== null }
	static parse(url, base) {
		try {
			return new URL(url, base)
		} catch {
			return null
		}
	}
	get href() { return showURL(this[S]) }
	set href(v) {
		const params = this[S].params
		this[S] = parseURL(String(v))
		this[S].params = params
		this.#renew()
	}
	toString() { return this.href }
	toJSON() { return this.href }
	get origin() {
		const u = this[S]
		if (u.scheme === "blob:") {
			const inner = URL.parse(showPath(u))
			return inner && /^https?:$/.test(inner.protocol) ? inner.origin : "null"
		}
		return special(u.scheme) && u.scheme !== "file:" ? `${u.scheme}//${showHost(u)}` : "null"
	}
	get protocol() { return this[S].scheme }
	set protocol(v) {
		const u = this[S], scheme = /^[a-z][a-z0-9+.-]*(?=:|$)/i.exec(String(v).replace(/[\t\n\r]/g, ""))?.[0].toLowerCase() + ":"
		if (scheme === "undefined:" && !/^undefined/i.test(String(v)) || special(scheme) !== special(u.scheme)) return
		if (scheme === "file:" && (u.username || u.password || u.port) || u.scheme === "file:" && !u.host) return
		u.scheme = scheme
		if (u.port === ports[scheme]) u.port = ""
	}
	get username() { return this[S].username }
	set username(v) { if (this[S].host && this[S].scheme !== "file:") this[S].username = escape(wellFormed(String(v)), sets.userinfo) }
	get password() { return this[S].password }
	set password(v) { if (this[S].host && this[S].scheme !== "file:") this[S].password = escape(wellFormed(String(v)), sets.userinfo) }
	get host() { return showHost(this[S]) }
	set host(v) { this.#setHost(String(v), true) }
	get hostname() { return this[S].host ?? "" }
	set hostname(v) { this.#setHost(String(v), false) }
	get port() { return this[S].port }
	set port(v) {
		const u = this[S], text = /^[0-9]*/.exec(String(v).replace(/[\t\n\r]/g, ""))[0]
		if (!u.host || u.scheme === "file:" || !text && String(v) !== "" || Number(text) > 65535) return
		u.port = parsePort(text, u.scheme)
	}
	get pathname() { return showPath(this[S]) }
	set pathname(v) { if (typeof this[S].path !== "string") setPath(this[S], wellFormed(String(v)).replace(/[\t\n\r]/g, "").replace(/[?#]/g, percent)) }
	get search() { return this[S].query ? "?" + this[S].query : "" }
	set search(v) {
		v = wellFormed(String(v)).replace(/[\t\n\r]/g, "")
		setQuery(this[S], v ? v.replace(/^\?/, "").replace(/#/g, "%23") : null)
		this.#renew()
	}
	get searchParams() { return this[S].params ??= linked(this) }
	get hash() { return this[S].fragment ? "#" + this[S].fragment : "" }
	set hash(v) {
		v = wellFormed(String(v)).replace(/[\t\n\r]/g, "")
		this[S].fragment = v ? escape(v.replace(/^#/, ""), sets.fragment) : null
	}
	#renew() { if (this[S].params) this[S].params[S].list = parseForm(this[S].query || "") }
	#setHost(text, withPort) {
		const u = this[S]
		if (typeof u.path === "string") return
		text = wellFormed(text).replace(/[\t\n\r]/g, "").split(special(u.scheme) ? /[/\\?#]/ : /[/?#]/)[0]
		const [, host, port] = /^(\[[^\]]*\]?|[^:[]*)(?::(.*))?$/s.exec(text) || [, ""]
		if (!withPort && port !== undefined || text.includes("@")) return
		if (!host && (special(u.scheme) && u.scheme !== "file:" || u.username || u.password || u.port)) return
		try {
			u.host = host && parseHost(host, special(u.scheme))
			const number = /^[0-9]+/.exec(port || "")?.[0]
			if (number && u.scheme !== "file:" && Number(number) < 65536) u.port = parsePort(number, u.scheme)
		} catch { /* it stays as it was */ }
	}
}

function parseForm(text) {
	const list = [], plus = text.includes("+"), escapes = text.includes("%")
	if (!text) return list
	for (let pair of text.split("&")) {
		if (!pair) continue
		if (plus) pair = pair.split("+").join(" ")
		const at = pair.indexOf("=")
		const name = at < 0 ? pair : pair.slice(0, at), value = at < 0 ? "" : pair.slice(at + 1)
		list.push(escapes ? [unescapeText(name), unescapeText(value)] : [name, value])
	}
	return list
}
const formEscape = s => encodeURIComponent(s).replace(/[!'()~]/g, percent).replace(/%20/g, "+")
const usv = v => wellFormed(typeof v === "string" ? v : String(v))

function linked(url) {
	const p = Object.create(URLSearchParams.prototype)
	p[S] = { list: parseForm(url[S].query || ""), url }
	return p
}
class URLSearchParams {
	constructor(init = "") {
		let list
		if (init === null || typeof init !== "object" && typeof init !== "function") {
			list = parseForm(usv(init).replace(/^\?/, ""))
		} else if (init[Symbol.iterator]) {
			list = Array.from(init, pair => {
				const entry = [...pair]
				if (entry.length !== 2) throw new TypeError("each parameter is a name and a value")
				return entry.map(usv)
			})
		} else {
			const record = new Map()
			for (const name of Object.keys(init)) record.set(usv(name), usv(init[name]))
			list = [...record]
		}
		this[S] = { list, url: null }
	}
	get size() { return this[S].list.length }
	append(name, value) {
		this[S].list.push([usv(name), usv(value)])
		changed(this)
	}
	delete(name, value) {
		name = usv(name)
		if (value !== undefined) value = usv(value)
		this[S].list = this[S].list.filter(([n, v]) => n !== name || value !== undefined && v !== value)
		changed(this)
	}
	get(name) {
		name = usv(name)
		const found = this[S].list.find(([n]) => n === name)
		return found ? found[1] : null
	}
	getAll(name) {
		name = usv(name)
		return this[S].list.filter(([n]) => n === name).map(([, v]) => v)
	}
	has(name, value) {
		name = usv(name)
		if (value !== undefined) value = usv(value)
		return this[S].list.some(([n, v]) => n === name && (value === undefined || v === value))
	}
	set(name, value) {
		name = usv(name)
		value = usv(value)
		const first = this[S].list.find(([n]) => n === name)
		if (first) {
			first[1] = value
			this[S].list = this[S].list.filter(entry => entry === first || entry[0] !== name)
		} else {
			this[S].list.push([name, value])
		}
		changed(this)
	}
	sort() {
		this[S].list.sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
		changed(this)
	}
	toString() { return this[S].list.map(([n, v]) => `${formEscape(n)}=${formEscape(v)}`).join("&") }
	*entries() { for (let i = 0; i < this[S].list.length; i++) yield [...this[S].list[i]] }
}
function changed(params) {
	if (params[S].url) params[S].url[S].query = String(params) || null
}
// pairs gives a class with entries what every list of pairs has.
function pairs(c) {
	define(c.prototype, {
		*keys() { for (const [name] of this.entries()) yield name },
		*values() { for (const [, value] of this.entries()) yield value },
		forEach(each, self) { for (const [name, value] of this.entries()) each.call(self, value, name, this) },
		[Symbol.iterator]: undefined,
	})
	Object.defineProperty(c.prototype, Symbol.iterator, { value: c.prototype.entries, writable: true, configurable: true })
}

// ---- Headers

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
function fieldName(v) {
	v = String(v)
	if (!token.test(v)) throw new TypeError(`${JSON.stringify(v)} is no name of a header`)
	return v.toLowerCase()
}
function fieldValue(v) {
	v = String(v)
	if (/^[\t\n\r ]|[\t\n\r ]$/.test(v)) v = v.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "")
	if (/[\0\n\r\u0100-\uffff]/.test(v)) throw new TypeError("the value of a header has characters that it can't have")
	return v
}
class Headers {
	constructor(init) {
		this[S] = new Map() // of lists
		if (init === undefined) return
		if (init === null || typeof init !== "object") throw new TypeError("headers are an object or a list of pairs")
		if (init instanceof Headers) {
			for (const [name, list] of fields(init)) fields(this).set(name, list.slice())
		} else if (typeof init[Symbol.iterator] === "function") {
			for (const pair of init) {
				const entry = [...pair]
				if (entry.length !== 2) throw new TypeError("each header is a name and a value")
				this.append(...entry)
			}
		} else {
			for (const name of Object.keys(init)) this.append(name, init[name])
		}
	}
	append(name, value) {
		const f = fields(this), n = fieldName(name), v = fieldValue(value)
		f.has(n) ? f.get(n).push(v) : f.set(n, [v])
	}
	set(name, value) { fields(this).set(fieldName(name), [fieldValue(value)]) }
	delete(name) { fields(this).delete(fieldName(name)) }
	has(name) { return fields(this).has(fieldName(name)) }
	get(name) {
		const list = fields(this).get(name) ?? fields(this).get(fieldName(name)) // a name that is there needs no look
		return list ? list.length === 1 ? list[0] : list.join(", ") : null
	}
	getSetCookie() { return [...fields(this).get("set-cookie") || []] }
	*entries() {
		for (const name of [...fields(this).keys()].sort()) {
			const list = fields(this).get(name)
			if (name === "set-cookie") for (const v of list) yield [name, v]
			else yield [name, list.join(", ")]
		}
	}
}
// fields returns the map behind headers. Those that came in JSON become one when they are
// first looked at, which many programs never do.
function fields(headers) {
	if (headers[S] instanceof Map) return headers[S]
	const map = new Map()
	for (const name of Object.keys(headers[S])) map.set(name.toLowerCase(), [].concat(headers[S][name]))
	return headers[S] = map
}
function headersFrom(json) {
	const h = Object.create(Headers.prototype)
	h[S] = json
	return h
}

// ---- ReadableStream

class ReadableStream {
	constructor(source = {}, strategy = {}) {
		source ??= {}
		const s = this[S] = { state: "readable", queue: [], requests: [], reader: null, error: undefined, closing: false, started: false, pulling: false, again: false, disturbed: false }
		s.room = strategy?.highWaterMark ?? (source.type === "bytes" ? 0 : 1)
		s.source = source
		const finish = () => {
			s.state = "closed"
			for (const r of s.requests.splice(0)) r.resolve({ value: undefined, done: true })
			s.reader?.[S].close()
		}
		s.close = finish
		s.fail = error => {
			if (s.state !== "readable") return
			Object.assign(s, { state: "errored", error, queue: [] })
			for (const r of s.requests.splice(0)) r.reject(error)
			s.reader?.[S].fail(error)
		}
		s.controller = {
			get desiredSize() { return s.state === "errored" ? null : s.state === "closed" ? 0 : s.room - s.queue.length },
			byobRequest: null,
			enqueue: chunk => {
				if (s.closing || s.state !== "readable") throw new TypeError("the stream is closed")
				if (s.requests.length) s.requests.shift().resolve({ value: chunk, done: false })
				else s.queue.push(chunk)
				pull(s)
			},
			close: () => {
				if (s.closing || s.state !== "readable") throw new TypeError("the stream is closed")
				s.closing = true
				if (!s.queue.length) finish()
			},
			error: s.fail,
		}
		const start = source.start?.(s.controller)
		const started = () => {
			s.started = true
			pull(s)
		}
		if (start === undefined) s.started = true // pulled when it is first read
		else Promise.resolve(start).then(started, s.fail)
	}
	static from(items) {
		const it = items[Symbol.asyncIterator]?.() ?? items[Symbol.iterator]()
		return new ReadableStream({
			async pull(controller) {
				const { value, done } = await it.next()
				done ? controller.close() : controller.enqueue(await value)
			},
			cancel: reason => it.return?.(reason),
		}, { highWaterMark: 0 })
	}
	get locked() { return this[S].reader !== null }
	cancel(reason) {
		if (this.locked) return Promise.reject(new TypeError("the stream is locked"))
		return cancel(this, reason)
	}
	getReader() { return new ReadableStreamDefaultReader(this) }
	tee() {
		const reader = this.getReader(), ends = [], over = [false, false]
		let reading = null
		const pull = () => reading ??= reader.read().then(({ value, done }) => {
			reading = null
			ends.forEach((c, i) => { if (!over[i]) done ? c.close() : c.enqueue(value) })
		}, e => ends.forEach(c => c.error(e)))
		return [0, 1].map(i => new ReadableStream({
			start(controller) { ends[i] = controller },
			pull,
			cancel(reason) {
				over[i] = true
				if (over[0] && over[1]) return reader.cancel(reason)
			},
		}, { highWaterMark: 0 }))
	}
	async *values({ preventCancel = false } = {}) {
		const reader = this.getReader()
		let over = false
		try {
			for (;;) {
				const { value, done } = await reader.read().catch(e => { over = true; throw e })
				if (done) {
					over = true
					return
				}
				yield value
			}
		} finally {
			const cancelled = over || preventCancel || cancel(this)
			reader.releaseLock()
			await cancelled // QuickJS doesn't wait for it when a loop is left
		}
	}
	[Symbol.asyncIterator](options) { return this.values(options) }
}
function pull(s) {
	if (!s.started || s.state !== "readable" || s.closing || !(s.requests.length || s.disturbed && s.queue.length < s.room)) return
	if (s.pulling) {
		s.again = true
		return
	}
	if (!s.source.pull) return
	s.pulling = true
	new Promise(resolve => resolve(s.source.pull(s.controller))).then(() => {
		s.pulling = false
		if (s.again) {
			s.again = false
			pull(s)
		}
	}, s.fail)
}
async function cancel(stream, reason) {
	const s = stream[S]
	s.disturbed = true
	if (s.state === "errored") throw s.error
	if (s.state === "closed") return
	s.queue = []
	s.close()
	await s.source.cancel?.(reason)
}
class ReadableStreamDefaultReader {
	constructor(stream) {
		if (stream.locked) throw new TypeError("the stream is locked")
		const s = stream[S], me = this[S] = { stream }
		this.closed = new Promise((close, fail) => Object.assign(me, { close, fail }))
		this.closed.catch(() => {})
		s.reader = this
		if (s.state === "closed") me.close()
		if (s.state === "errored") me.fail(s.error)
	}
	async read() {
		const s = this[S].stream?.[S]
		if (!s) throw new TypeError("the reader has released its stream")
		s.disturbed = true
		if (s.queue.length) {
			const value = s.queue.shift()
			if (s.closing && !s.queue.length) s.close()
			else pull(s)
			return { value, done: false }
		}
		if (s.state === "closed") return { value: undefined, done: true }
		if (s.state === "errored") throw s.error
		return new Promise((resolve, reject) => {
			s.requests.push({ resolve, reject })
			pull(s)
		})
	}
	async cancel(reason) {
		if (!this[S].stream) throw new TypeError("the reader has released its stream")
		return cancel(this[S].stream, reason)
	}
	releaseLock() {
		const s = this[S].stream?.[S]
		if (!s) return
		for (const r of s.requests.splice(0)) r.reject(new TypeError("the reader has released its stream"))
		s.reader = null
		this[S].stream = null
	}
}
// readFile is a stream of what an open file has, which is closed at its end.
function readFile(fd, first, ended) {
	let closed = fd < 0, buffer
	const end = () => {
		if (!closed && fd > 2) os.close(fd)
		closed = true
	}
	return new ReadableStream({
		pull(controller) {
			if (first?.length) {
				controller.enqueue(first)
				first = null
				return
			}
			buffer ??= new ArrayBuffer(65536)
			const n = closed ? 0 : os.read(fd, buffer, 0, 65536)
			if (n > 0) return controller.enqueue(new Uint8Array(buffer.slice(0, n)))
			end()
			if (n < 0) throw ended?.(n) ?? new TypeError("reading a body: " + std.strerror(-n))
			controller.close()
		},
		cancel: end,
	}, { highWaterMark: 0 })
}

// ---- Blob, File, FormData

class Blob {
	constructor(parts = [], options = {}) {
		if (parts === null || typeof parts !== "object" || !parts[Symbol.iterator]) throw new TypeError("a Blob is made of a list of parts")
		const chunks = Array.from(parts, p => p instanceof Blob ? p[S].bytes : bytesOf(p)?.slice() ?? encode(String(p)))
		const type = String(options?.type ?? "")
		this[S] = { bytes: join(chunks), type: /[^\x20-\x7e]/.test(type) ? "" : type.toLowerCase() }
	}
	get size() { return this[S].bytes.length }
	get type() { return this[S].type }
	slice(start = 0, end = this.size, type = "") { return new Blob([this[S].bytes.slice(start, end)], { type }) }
	stream() { return ReadableStream.from(this.size ? [this[S].bytes.slice()] : []) }
	async text() { return decode(this[S].bytes) }
	async arrayBuffer() { return this[S].bytes.slice().buffer }
	async bytes() { return this[S].bytes.slice() }
}
class File extends Blob {
	constructor(parts, name, options = {}) {
		super(parts, options)
		this.name = usv(name)
		this.lastModified = options?.lastModified ?? Date.now()
	}
}
class FormData {
	constructor() { this[S] = [] }
	append(name, value, filename) { this[S].push(entry(name, value, filename)) }
	set(name, value, filename) {
		const e = entry(name, value, filename), at = this[S].findIndex(([n]) => n === e[0])
		if (at < 0) return void this[S].push(e)
		this[S] = this[S].filter(([n], i) => n !== e[0] || i === at)
		this[S][at] = e
	}
	delete(name) { this[S] = this[S].filter(([n]) => n !== usv(name)) }
	get(name) { return this[S].find(([n]) => n === usv(name))?.[1] ?? null }
	getAll(name) { return this[S].filter(([n]) => n === usv(name)).map(([, v]) => v) }
	has(name) { return this[S].some(([n]) => n === usv(name)) }
	*entries() { for (const e of this[S]) yield [...e] }
}
function entry(name, value, filename) {
	if (value instanceof Blob && (filename !== undefined || !(value instanceof File))) {
		value = new File([value], filename ?? "blob", { type: value.type, lastModified: value.lastModified })
	}
	return [usv(name), value instanceof Blob ? value : usv(value)]
}
const quoted = s => s.replace(/\r\n?|\n/g, "\r\n").replace(/[\r\n"]/g, percent)
function writeMultipart(form) {
	const boundary = "----gojinn" + crypto.randomUUID(), chunks = []
	for (const [name, value] of form[S]) {
		const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`
		if (typeof value === "string") chunks.push(encode(`${head}\r\n\r\n${value.replace(/\r\n?|\n/g, "\r\n")}\r\n`))
		else chunks.push(encode(`${head}; filename="${quoted(value.name)}"\r\nContent-Type: ${value.type || "application/octet-stream"}\r\n\r\n`), value[S].bytes, encode("\r\n"))
	}
	chunks.push(encode(`--${boundary}--\r\n`))
	return { bytes: join(chunks), type: "multipart/form-data; boundary=" + boundary }
}
// find returns where bytes have these others, from a place on, or -1.
function find(bytes, what, from) {
	search: for (let at = from; (at = bytes.indexOf(what[0], at)) >= 0; at++) {
		for (let i = 1; i < what.length; i++) if (bytes[at + i] !== what[i]) continue search
		return at
	}
	return -1
}
function readMultipart(bytes, boundary) {
	const bad = () => new TypeError("the body is not what multipart/form-data looks like")
	const form = new FormData(), delimiter = encode("\r\n--" + boundary), gap = encode("\r\n\r\n")
	let at = find(bytes, delimiter.subarray(2), 0)
	if (at < 0) throw bad()
	at += delimiter.length - 2
	for (;;) {
		if (bytes[at] === 45 && bytes[at + 1] === 45) return form
		const line = bytes.indexOf(10, at), end = line < 0 ? -1 : find(bytes, gap, line - 1)
		if (end < 0) throw bad()
		const next = find(bytes, delimiter, end + 2)
		if (next < 0) throw bad()
		const head = decode(bytes.subarray(line + 1, end)), content = bytes.slice(end + 4, next)
		const parameter = name => {
			const found = new RegExp(`^content-disposition:[^\\r\\n]*;\\s*${name}="((?:[^"\\\\\\r\\n]|\\\\.)*)"`, "im").exec(head)?.[1]
			return found?.replace(/%0A/gi, "\n").replace(/%0D/gi, "\r").replace(/%22/g, '"')
		}
		const name = parameter("name"), filename = parameter("filename")
		if (name === undefined) throw bad()
		const type = /^content-type:[ \t]*(.*?)[ \t]*$/im.exec(head)?.[1]
		form.append(name, filename === undefined ? decode(content) : new File([content], filename, { type: type ?? "text/plain" }))
		at = next + delimiter.length
	}
}

// ---- Request, Response

// extract returns a body's source (null, a string, bytes or a stream) and its type.
function extract(body) {
	if (body === null || body === undefined) return [null, null]
	if (typeof body === "string") return [body, "text/plain;charset=UTF-8"]
	if (body instanceof ReadableStream) {
		if (body.locked || body[S].disturbed) throw new TypeError("the stream has been read already")
		return [body, null]
	}
	const bytes = bytesOf(body)
	if (bytes) return [bytes.slice(), null]
	if (body instanceof URLSearchParams) return [String(body), "application/x-www-form-urlencoded;charset=UTF-8"]
	if (body instanceof Blob) return [body[S].bytes, body.type || null]
	if (body instanceof FormData) {
		const { bytes, type } = writeMultipart(body)
		return [bytes, type]
	}
	if (typeof body === "object" && (body[Symbol.asyncIterator] || typeof body.next === "function" && body[Symbol.iterator])) return [ReadableStream.from(body), null]
	return [String(body), "text/plain;charset=UTF-8"]
}
// Body is what Request and Response have in common. Their state has headers, source, used and
// stream, which is what source is read through when someone has asked for it.
class Body {
	get headers() { return this[S].headers }
	get body() {
		const s = this[S]
		if (s.source === null) return null
		return s.stream ??= s.source instanceof ReadableStream ? s.source : ReadableStream.from(s.source.length ? [typeof s.source === "string" ? encode(s.source) : s.source.slice()] : [])
	}
	get bodyUsed() { return this[S].used || (streamOf(this)?.[S].disturbed ?? false) }
	async text() { return textOf(held(this) ?? await consume(this)) }
	async json() { return JSON.parse(textOf(held(this) ?? await consume(this))) }
	async bytes() {
		const source = held(this) ?? await consume(this)
		return typeof source === "string" ? encode(source) : source.slice()
	}
	async arrayBuffer() { return bufferOf(await this.bytes()) }
	async blob() { return new Blob([await this.bytes()], { type: this.headers.get("content-type") ?? "" }) }
	async formData() {
		const type = this.headers.get("content-type") ?? "", bytes = await this.bytes()
		if (/^application\/x-www-form-urlencoded\s*(;|$)/i.test(type)) {
			const form = new FormData()
			for (const [name, value] of parseForm(decode(bytes))) form.append(name, value)
			return form
		}
		const [, quoted, plain] = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(type) || []
		if (!quoted && !plain) throw new TypeError(`${JSON.stringify(type)} is no form`)
		return readMultipart(bytes, quoted ?? plain)
	}
}
const textOf = source => withoutBOM(typeof source === "string" ? wellFormed(source) : decode(source))
// held takes a body that is no stream; undefined: it is one, or was read already.
function held(body) {
	const s = body[S]
	if (s.used || s.stream || s.source instanceof ReadableStream) return undefined
	if (s.source === null) return ""
	s.used = true
	return s.source
}
const streamOf = body => body[S].stream ?? (body[S].source instanceof ReadableStream ? body[S].source : null)
// consume returns all of a body, a string or bytes.
async function consume(body) {
	const s = body[S], stream = streamOf(body)
	if (s.source !== null && (body.bodyUsed || stream?.locked)) throw new TypeError("the body has been read already")
	if (s.source === null) return ""
	s.used = true
	if (!stream) return s.source
	const chunks = []
	for await (const chunk of stream) chunks.push(chunkBytes(chunk))
	return join(chunks)
}
// split returns the sources of two bodies that say the same as one.
function split(body) {
	const s = body[S], stream = streamOf(body)
	if (body.bodyUsed || stream?.locked) throw new TypeError("the body has been read already")
	if (!stream) return [s.source, s.source]
	const both = stream.tee()
	s.stream = null
	return both
}

class Request extends Body {
	constructor(input, init = {}) {
		super()
		init ??= {}
		const from = input instanceof Request ? input[S] : null
		const s = { ...from, used: false, stream: null, source: null, params: undefined }
		if (!from) {
			const u = parseURL(String(input))
			if (u.username || u.password) throw new TypeError("a URL with a user name is not for requests")
			s.url = showURL(u)
			s.method = "GET"
			s.redirect = "follow"
			s.signal = null
		}
		if (init.method !== undefined) {
			const method = String(init.method)
			if (!token.test(method) || /^(connect|trace|track)$/i.test(method)) throw new TypeError(`${JSON.stringify(method)} is no method for requests`)
			s.method = /^(delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method
		}
		if (init.redirect !== undefined) {
			if (!["follow", "manual", "error"].includes(init.redirect)) throw new TypeError("redirect is follow, manual or error")
			s.redirect = init.redirect
		}
		if (init.signal !== undefined) s.signal = init.signal
		s.signal ??= new AbortSignal()
		s.headers = new Headers(init.headers ?? from?.headers)
		const bodyless = s.method === "GET" || s.method === "HEAD"
		if (init.body !== undefined && init.body !== null) {
			if (bodyless) throw new TypeError(`a request with ${s.method} has no body`)
			let type
			;[s.source, type] = extract(init.body)
			if (type && !s.headers.has("content-type")) s.headers.append("content-type", type)
		} else if (from && from.source !== null) {
			if (input.bodyUsed || streamOf(input)?.locked) throw new TypeError("the body has been read already")
			if (bodyless) throw new TypeError(`a request with ${s.method} has no body`)
			s.source = input[S].stream ?? from.source
			from.used = true
		}
		this[S] = s
	}
	get method() { return this[S].method }
	get url() { return this[S].url }
	get redirect() { return this[S].redirect }
	get signal() { return this[S].signal ??= new AbortSignal() }
	// The members of the contract's request object that have no other place: id, params, remote_addr, …
	get gojinn() {
		const { method, headers, body, body_base64, ...rest } = this[S].head ?? {}
		return rest
	}
	clone() {
		const [mine, other] = split(this)
		const copy = Object.create(Request.prototype)
		copy[S] = { ...this[S], source: other, headers: new Headers(this.headers) }
		this[S].source = mine
		return copy
	}
}
class Response extends Body {
	constructor(body = null, init = {}) {
		super()
		init ??= {}
		const status = init.status === undefined ? 200 : Math.trunc(init.status)
		if (!(status >= 200 && status <= 599)) throw new RangeError(`${init.status} is no status of a response`)
		const statusText = init.statusText === undefined ? "" : String(init.statusText)
		if (statusText && /[^\t\x20-\x7e\x80-\xff]/.test(statusText)) throw new TypeError("statusText has characters that it can't have")
		const headers = new Headers(init.headers), [source, type] = extract(body)
		if (source !== null && [204, 205, 304].includes(status)) throw new TypeError(`a response with status ${status} has no body`)
		if (type && !headers[S].has("content-type")) headers[S].set("content-type", [type])
		this[S] = { status, statusText, headers, source, used: false, stream: null, url: "", redirected: false }
	}
	static json(value, init = {}) {
		const text = JSON.stringify(value)
		if (text === undefined) throw new TypeError("the value has no JSON")
		const r = new Response(null, init)
		if ([204, 205, 304].includes(r.status)) throw new TypeError(`a response with status ${r.status} has no body`)
		r[S].source = text
		const f = r[S].headers[S]
		if (!f.has("content-type")) f.set("content-type", ["application/json"])
		return r
	}
	static redirect(url, status = 302) {
		const location = showURL(parseURL(String(url)))
		if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`${status} is no redirect`)
		return new Response(null, { status, headers: { location } })
	}
	static error() {
		const r = new Response()
		r[S].status = 0
		return r
	}
	get status() { return this[S].status }
	get statusText() { return this[S].statusText }
	get ok() { return this.status >= 200 && this.status < 300 }
	get type() { return this.status ? "default" : "error" }
	get url() { return this[S].url }
	get redirected() { return this[S].redirected }
	clone() {
		const [mine, other] = split(this)
		const copy = Object.create(Response.prototype)
		copy[S] = { ...this[S], source: other, headers: new Headers(this.headers) }
		this[S].source = mine
		return copy
	}
}

// ---- fetch, by way of the server (“allow http”)

function writeAll(fd, bytes) {
	for (let at = 0; at < bytes.length;) {
		const n = os.write(fd, bytes.buffer, bytes.byteOffset + at, bytes.length - at)
		if (n <= 0) throw new TypeError("writing: " + std.strerror(-n))
		at += n
	}
}
const refused = (code, reason) => Object.assign(new TypeError(`${code}: ${reason}`), { code })
const wholeBody = 65536 // bytes of a body that goes into the line

async function fetch(input, init) {
	let request = new Request(input, init)
	for (let hops = 0; ; hops++) {
		const response = await exchange(request)
		const location = response.headers.get("location")
		if (![301, 302, 303, 307, 308].includes(response.status) || location === null || request.redirect === "manual") {
			response[S].redirected = hops > 0
			return response
		}
		if (request.redirect === "error") throw new TypeError("the server redirects")
		if (hops === 20) throw new TypeError("too many redirects")
		await response.body?.cancel()
		request = redirected(request, response.status, location)
	}
}
function redirected(request, status, location) {
	const s = request[S], to = new URL(location, s.url), from = new URL(s.url)
	if (!/^https?:$/.test(to.protocol)) throw new TypeError("the server redirects to what is no URL for requests")
	if (!to.hash) to.hash = from.hash
	const next = Object.create(Request.prototype), headers = new Headers(s.headers)
	next[S] = { ...s, url: to.href, headers, used: false }
	if ((status === 301 || status === 302) && s.method === "POST" || status === 303 && s.method !== "GET" && s.method !== "HEAD") {
		Object.assign(next[S], { method: "GET", source: null, stream: null })
		for (const name of ["content-type", "content-encoding", "content-language", "content-location"]) headers.delete(name)
	} else if (streamOf(request)) {
		throw new TypeError("the server redirects, and the body can't be sent again")
	}
	if (to.origin !== from.origin) for (const name of ["authorization", "cookie"]) headers.delete(name)
	return next
}
// asked has how many requests are to be sent at the next turn.
let asked = null

// exchange sends a request when nothing else can go on, and reads the answer. Those that are to
// be sent at the same turn are all sent before one's answer is read. One that is streamed is
// made only when it is read, if it has no body: so those that have company are not.
async function exchange(request) {
	const s = request[S]
	s.signal?.throwIfAborted()
	if (!/^https?:/.test(s.url)) throw refused("invalid", "only http and https URLs can be fetched")
	if (request.bodyUsed) throw new TypeError("the body has been read already")
	const head = { method: s.method, url: s.url.split("#")[0], headers: Object.fromEntries([...fields(s.headers)].map(([n, list]) => [n, list.length > 1 ? list : list[0]])) }
	const stream = streamOf(request)
	let bytes = null
	if (stream) head.stream = true
	else if (s.source !== null && s.source.length > 0) {
		bytes = typeof s.source === "string" ? encode(s.source) : s.source
		const text = bytes.length <= wholeBody ? decodeStrictly(bytes) : undefined
		if (bytes.length > wholeBody) head.stream = true
		else if (text !== undefined) head.body = text
		else head.body_base64 = toBase64(bytes)
	}
	const company = asked ??= { requests: 0 }
	company.requests++
	await later()
	asked = null
	s.signal?.throwIfAborted()
	if (!stream && !bytes && company.requests === 1) head.stream = true
	const fd = os.open("/net/http", os.O_RDWR)
	if (fd < 0) throw -fd === std.Error.ENOENT ? refused("refused", "the function has no “allow http”") : new TypeError("opening /net/http: " + std.strerror(-fd))
	let kept = false
	try {
		writeAll(fd, encode(JSON.stringify(head) + "\n"))
		if (stream) for await (const chunk of stream) writeAll(fd, chunkBytes(chunk))
		else if (bytes && head.stream) writeAll(fd, bytes)
		if (company.requests > 1) await later()
		s.signal?.throwIfAborted()
		const [answer, first, ended] = readLine(fd)
		if (answer.error) throw refused(answer.error, answer.reason)
		const response = Object.create(Response.prototype)
		const none = s.method === "HEAD" || [204, 205, 304].includes(answer.status)
		let source = none ? null : answer.body ?? (answer.body_base64 !== undefined ? fromBase64(answer.body_base64) : "")
		if (!none && head.stream) {
			kept = !ended
			source = ended && !first.length ? "" : readFile(kept ? fd : -1, first, n => refused(-n === std.Error.EFBIG ? "too_large" : "protocol", "the body of the answer: " + std.strerror(-n)))
		}
		response[S] = { status: answer.status, statusText: "", headers: headersFrom(answer.headers ?? {}), source, used: false, stream: null, url: head.url, redirected: false }
		return response
	} finally {
		if (!kept) os.close(fd)
	}
}
// readLine reads one line of JSON, and returns with it what was read behind it and whether the
// file has ended.
function readLine(fd) {
	let chunk = new ArrayBuffer(65536), have = 0
	for (;;) {
		if (have === chunk.byteLength) chunk = grown(chunk)
		const n = os.read(fd, chunk, have, chunk.byteLength - have)
		if (n < 0) throw new TypeError("reading an answer: " + std.strerror(-n))
		const bytes = new Uint8Array(chunk, 0, have + n), at = bytes.subarray(have).indexOf(10)
		if (n === 0 || at >= 0) {
			const end = at < 0 ? have : have + at
			if (!end) throw new TypeError("there is no answer")
			return [JSON.parse(decode(bytes.subarray(0, end))), bytes.slice(at < 0 ? end : end + 1), n === 0]
		}
		have += n
	}
}
function grown(chunk) {
	const larger = new Uint8Array(chunk.byteLength * 2)
	larger.set(new Uint8Array(chunk))
	return larger.buffer
}

// ---- key-value namespaces (“allow kv”)

/** What the store says of an operation that it has not done: code is one of the words in docs/capabilities.md. */
class KVError extends Error {
	constructor(answer) {
		super(`${answer.error}: ${answer.message}`)
		define(this, { name: "KVError" })
		this.code = answer.error
		this.version = answer.version
	}
}
/** A namespace. Its methods do their work at once; to await them does no harm. Values are strings or bytes. */
class KV {
	constructor(path) { this[S] = { path, fd: -1 } }
	/** The value of a key as text, null if there is none. */
	get(key) {
		const e = this.entry(key)
		return e && (typeof e.value === "string" ? e.value : decode(e.value))
	}
	/** The value of a key as a Uint8Array, null if there is none. */
	getBytes(key) {
		const e = this.entry(key)
		return e && (typeof e.value === "string" ? encode(e.value) : e.value)
	}
	/** {value, version, modified, expires}, null if there is none. The value is a string if it is UTF-8, else bytes. */
	entry(key) {
		const answer = this.#operate({ op: "get", ...named("key", key) }, "not_found")
		if (answer.error) return null
		const { value_base64, value = fromBase64(value_base64 ?? ""), version, modified, expires } = answer
		return { value, version, modified, expires }
	}
	/** Stores a value, whatever was there; it vanishes after ttl seconds. Returns {version, expires}. */
	put(key, value, { ttl } = {}) { return this.#operate({ op: "put", ...named("key", key), ...named("value", value), ttl }) }
	/** Stores a value if the key has this version, 0: if there is no such key. Returns {version, expires}; a KVError has the version that was there. */
	cas(key, version, value, { ttl } = {}) { return this.#operate({ op: "cas", ...named("key", key), version, ...named("value", value), ttl }) }
	/** Removes a key, with a version only if it has this one. Tells whether there was one. */
	delete(key, { version } = {}) { return !this.#operate({ op: "delete", ...named("key", key), version }, "not_found").error }
	/** Adds to a number and returns it, a BigInt if it is too large for a Number. A key that this makes vanishes after ttl seconds. */
	incr(key, by = 1, { ttl } = {}) {
		if (typeof by === "bigint" && (by > 9007199254740991n || by < -9007199254740991n)) throw new RangeError("by is too large")
		const { value } = this.#operate({ op: "incr", ...named("key", key), by: Number(by), ttl })
		return Number.isSafeInteger(Number(value)) ? Number(value) : BigInt(value)
	}
	/** {keys, cursor}: up to limit keys that begin with prefix, in order; the cursor asks for those that follow. */
	list({ prefix, cursor, limit } = {}) {
		const answer = this.#operate({ op: "list", ...(prefix === undefined ? {} : named("prefix", prefix)), cursor, limit })
		return { keys: answer.keys.map(k => k.key ?? fromBase64(k.key_base64)), cursor: answer.cursor }
	}
	#operate(operation, allowed) {
		const s = this[S]
		if (s.fd < 0) {
			s.fd = os.open(s.path + "/.do", os.O_RDWR)
			if (s.fd < 0) throw new Error(`opening ${s.path}: ${std.strerror(-s.fd)}`)
		}
		writeAll(s.fd, encode(JSON.stringify(operation) + "\n"))
		let chunk = new ArrayBuffer(4096), have = 0
		for (let n; (n = os.read(s.fd, chunk, have, chunk.byteLength - have)) !== 0; have += n) {
			if (n < 0) throw new Error(`reading ${s.path}: ${std.strerror(-n)}`)
			if (have + n === chunk.byteLength) chunk = grown(chunk)
		}
		const answer = JSON.parse(decode(new Uint8Array(chunk, 0, have)))
		if (answer.error && answer.error !== allowed) throw new KVError(answer)
		return answer
	}
}
function named(name, v) {
	const bytes = bytesOf(v)
	return bytes ? { [name + "_base64"]: toBase64(bytes) } : { [name]: usv(v) }
}
/** Opens a namespace of the key-value store, which `allow kv <namespace>` grants. */
function kv(namespace, path = "/kv/" + namespace) { return new KV(path) }

// ---- serving

const input = { buffer: new ArrayBuffer(65536) } // made ahead, so that a request finds its pages there

// readHead reads the request object, and what is behind it as far as it has come: that is the
// begin of the body under contract stream, and null under contract json.
function readHead() {
	let have = 0
	for (;;) {
		if (have === input.buffer.byteLength) input.buffer = grown(input.buffer)
		const n = os.read(0, input.buffer, have, input.buffer.byteLength - have)
		seeded = false // here a restored sandbox goes on
		if (n < 0) throw new Error("reading the request: " + std.strerror(-n))
		const bytes = new Uint8Array(input.buffer, 0, have + n), at = n ? bytes.subarray(have).indexOf(10) : -1
		if (n === 0 || at >= 0) {
			const end = at < 0 ? have : have + at
			return [decode(bytes.subarray(0, end)), at < 0 ? null : bytes.slice(end + 1)]
		}
		have += n
	}
}
const plainHost = /^(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*$/
// isNumber tells whether text is a number below an end, written as a URL has it: in decimal, without zeros before it.
const isNumber = (text, end) => text >= 0 && text < end && String(text | 0) === text
// isAddress tells whether a host is an IPv4 address that a URL would not write otherwise.
const isAddress = name => {
	const parts = name.split(".")
	return parts.length === 4 && parts.every(part => isNumber(part, 256))
}
// urlOf returns the URL of a request, and notes it. Where nothing is to be changed it is put together.
function urlOf(head) {
	const scheme = head.scheme + ":", host = head.host || "localhost", uri = head.uri
	const colon = host.indexOf(":"), name = colon < 0 ? host : host.slice(0, colon), port = colon < 0 ? "" : host.slice(colon + 1)
	const escaped = uri.includes("%"), bare = escaped ? uri.split("%").join("") : uri
	if (uri[0] === "/" && !uri.includes("/.") && !uri.includes("'") && !uri.includes("#") && encodeURI(bare) === bare && !(escaped && /\/%2e/i.test(uri)) &&
		(plainHost.test(name) || isAddress(name)) && (colon < 0 || port > 0 && isNumber(port, 65536) && port !== ports[scheme])) {
		const mark = uri.indexOf("?")
		const path = (mark < 0 ? uri : uri.slice(0, mark)).slice(1).split("/")
		known = {
			text: scheme + "//" + host + uri,
			parts: { scheme, username: "", password: "", host: name, port, path, query: mark < 0 ? null : uri.slice(mark + 1), fragment: null },
		}
		return known.text
	}
	const target = uri[0] === "/" ? uri : "/" + uri // OPTIONS *
	try {
		return showURL(parseURL(scheme + "//" + host + target), true)
	} catch {
		return showURL(parseURL(scheme + "//invalid" + target), true) // a Host that is no host
	}
}
// requestOf returns the Request of a head and a body behind it.
function requestOf([text, rest]) {
	const head = JSON.parse(text), streamed = rest !== null && head.body === undefined && head.body_base64 === undefined
	let source = head.body || null
	if (head.body_base64 !== undefined) source = fromBase64(head.body_base64)
	if (streamed) source = readFile(0, rest)
	const request = Object.create(Request.prototype)
	request[S] = { method: head.method, url: urlOf(head), headers: headersFrom(head.headers), source, used: false, stream: null, redirect: "follow", signal: null, head }
	return [request, streamed]
}
// answerHead is the response object without its end.
function answerHead(response) {
	const headers = Object.create(null) // in which __proto__ is a name like others
	for (const [name, list] of fields(response[S].headers)) headers[name] = list.length === 1 ? list[0] : name === "set-cookie" ? list : list.join(", ")
	return '{"status":' + response[S].status + ',"headers":' + JSON.stringify(headers)
}
function answerBody(source) {
	if (source === null) return "}"
	if (typeof source !== "string") {
		const text = decodeStrictly(source)
		if (text === undefined) return `,"body_base64":"${toBase64(source)}"}`
		source = text
	}
	let text = JSON.stringify(source)
	if (text.includes("\\ud")) text = JSON.stringify(wellFormed(source)) // half a pair, which the contract refuses
	return ',"body":' + text + "}"
}
// answer hands a response to a function that writes: strings and bytes. It returns a promise
// if that takes time.
function answer(response, streamed, put) {
	if (!(response instanceof Response)) throw new TypeError(`the handler returned ${describe(response)}, want a Response`)
	const s = response[S], stream = streamOf(response)
	if (!s.status) throw new TypeError("the handler returned Response.error()")
	if (s.used || stream?.[S].disturbed || stream?.locked) throw new TypeError("the body of the response has been read already")
	if (stream) return answerStream(response, stream, streamed, put)
	if (!streamed) {
		put(answerHead(response) + answerBody(s.source))
		return
	}
	put(answerHead(response) + "}\n")
	if (s.source?.length) put(typeof s.source === "string" ? wellFormed(s.source) : s.source)
}
async function answerStream(response, stream, streamed, put) {
	if (!streamed) return put(answerHead(response) + answerBody(await consume(response)))
	put(answerHead(response) + "}\n")
	for await (const chunk of stream) put(chunkBytes(chunk))
}
// put writes to standard output, at once.
function put(text) {
	if (typeof text !== "string") return writeAll(1, text)
	std.out.puts(text)
	if (std.out.flush() || std.out.error()) throw new Error("writing the answer failed")
}
const handled = handler => {
	const run = typeof handler === "function" ? handler : typeof handler?.fetch === "function" ? handler.fetch.bind(handler) : null
	if (!run) throw new TypeError("a handler is a function, or an object with a method fetch")
	return run
}
const sample = JSON.stringify({
	id: "", method: "POST", uri: "/a?b=c", original_uri: "/a?b=c", scheme: "https", host: "example.com", proto: "HTTP/1.1", path: "/a", query: { b: ["c"] }, remote_addr: "::1",
	headers: { "Content-Type": ["application/json"], Accept: ["*/*"] }, body: '{"a":[1]}',
})
// warm goes the way of a request once, so that a restored sandbox has been there.
function warm() {
	const [request] = requestOf([decode(encode(sample)), null])
	const url = new URL(request.url)
	request.headers.get("accept")
	answer(Response.json([url.searchParams.get("b"), url.pathname]), false, () => {})
	answer(new Response(request.method, { headers: { "x-a": "b" } }), true, () => {})
	seeded = true // this draws nothing
	Math.random()
	known = { text: null, parts: null }
}
let serving = false

/** Answers the request with what handler(request, env) returns, a Response or a promise of one, and ends the program. Call it once, last. */
async function serve(handler) {
	try {
		if (serving) throw new Error("serve was called twice")
		serving = true
		const run = handled(handler)
		warm()
		std.gc()
		const promise = os.open("/dev/snapshot", os.O_WRONLY)
		if (promise >= 0) { // what must be unique is drawn after the first read
			writeAll(promise, encode("safe"))
			os.close(promise)
		}
		const [request, streamed] = requestOf(readHead())
		let response = run(request, process.env)
		if (!(response instanceof Response)) {
			startTurns()
			response = await response
		}
		const writing = answer(response, streamed, put)
		if (writing) {
			startTurns()
			await writing
		}
		std.exit(0)
	} catch (e) {
		fail(e)
	}
}

// ---- globals

tag(DOMException, Event, EventTarget, AbortSignal, AbortController, TextEncoder, TextDecoder, URL, URLSearchParams, Headers,
	ReadableStream, ReadableStreamDefaultReader, Blob, File, FormData, Request, Response)
for (const c of [URLSearchParams, Headers, FormData]) pairs(c)
const started = clock()
const performance = { now: () => clock() - started, get timeOrigin() { return started } }
const process = { env: { ...globalThis.env }, argv: args, exit: code => std.exit(code | 0), nextTick: (run, ...values) => queueMicrotask(() => run(...values)) }
define(globalThis, {
	self: globalThis, console, atob, btoa, structuredClone, setTimeout, setInterval, clearTimeout, clearInterval: clearTimeout, queueMicrotask,
	crypto, fetch, performance, process,
})
for (const name of ["print", "exit", "env", "nextTick", "setImmediate", "__loadScript"]) delete globalThis[name]

export { serve, kv, KVError }

// As a script: `quickjs /app/gojinn.js main.js`.
const here = /\(?([^()\s]+?)(?::\d+)*\)?\s*$/.exec(new Error().stack.trimEnd())?.[1]
if (args[0] === here) {
	const name = args[1] || "main.js"
	import(name[0] === "/" ? name : here.slice(0, here.lastIndexOf("/") + 1) + name).then(module => {
		const handler = module.default ?? (module.fetch && { fetch: module.fetch })
		if (handler === undefined) throw new TypeError(`${name} has no default export`)
		return serve(handler)
	}).catch(fail)
}
