"""A contact form's endpoint: checks a message in JSON and answers in JSON."""

import json


def check(text):
    """Returns the status and the answer for the body of a request."""
    try:
        form = json.loads(text)
    except ValueError:
        return 400, {"error": "the body is no JSON"}
    if not isinstance(form, dict):
        return 400, {"error": "the body is no JSON object"}
    errors = {}
    for name, most in (("email", 254), ("name", 100), ("message", 5000)):
        value = form.get(name, "")
        if not isinstance(value, str) or len(value) > most:
            errors[name] = "is not text of at most %d characters" % most
        elif not value and name != "name":
            errors[name] = "is missing"
    if "email" not in errors and "@" not in form["email"]:
        errors["email"] = "is no address"
    if errors:
        return 422, {"errors": errors}
    return 201, {"email": form["email"], "name": form.get("name", ""), "message": form["message"]}


def handler(request):
    """A function of gojinn."""
    return check(request.body)


def application(environ, start_response):
    """A WSGI application."""
    status, answer = check(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    body = json.dumps(answer).encode()
    reason = {201: "Created", 400: "Bad Request", 422: "Unprocessable Entity"}[status]
    start_response("%d %s" % (status, reason), [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
