// Serves contact.js with node's own HTTP server, in as many processes as the first argument
// says, at the port of the second.

import cluster from "node:cluster"
import http from "node:http"
import { check } from "./contact.js"

const [processes, port] = process.argv.slice(2).map(Number)
if (cluster.isPrimary && processes > 1) {
	for (let i = 0; i < processes; i++) cluster.fork()
} else {
	http.createServer((request, response) => {
		const chunks = []
		request.on("data", chunk => chunks.push(chunk))
		request.on("end", () => {
			const [status, answer] = check(Buffer.concat(chunks).toString())
			const body = JSON.stringify(answer)
			response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) })
			response.end(body)
		})
	}).listen(port, "127.0.0.1")
}
