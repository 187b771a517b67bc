// A contact form's endpoint: checks a message in JSON and answers in JSON.

const limits = { email: 254, name: 100, message: 5000 }

/** Returns the status and the answer for the body of a request. */
export function check(text) {
	let form
	try {
		form = JSON.parse(text)
	} catch {
		return [400, { error: "the body is no JSON" }]
	}
	if (form === null || typeof form !== "object" || Array.isArray(form)) return [400, { error: "the body is no JSON object" }]
	const errors = {}
	for (const [name, most] of Object.entries(limits)) {
		const value = form[name] ?? ""
		if (typeof value !== "string" || value.length > most) errors[name] = `is not text of at most ${most} characters`
		else if (value === "" && name !== "name") errors[name] = "is missing"
	}
	if (!errors.email && !form.email.includes("@")) errors.email = "is no address"
	if (Object.keys(errors).length) return [422, { errors }]
	return [201, { email: form.email, name: form.name ?? "", message: form.message }]
}

/** A function of gojinn. */
export default {
	async fetch(request) {
		const [status, answer] = check(await request.text())
		return Response.json(answer, { status })
	},
}
