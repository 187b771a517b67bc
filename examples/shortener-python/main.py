"""A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects to it and
counts, GET /s/<key>/hits tells how often. "allow kv links" is what it needs.

The versions of this function answer alike.
"""

import re
import secrets

import gojinn

MAX_URL = 2000  # characters
KEY_RANDOM = 6  # bytes of a key, which base64 makes 8 characters

WEB = re.compile("https?://[!-~]+")  # what can be a Location as it is: ASCII without white space
PATH = re.compile("/s/([A-Za-z0-9_-]{8})(/hits)?")

links = gojinn.kv("links")  # the URL of each key, and under "hits/<key>" how often it was asked for


def handler(request):
    handle, methods = (shorten, ("POST",)) if request.path == "/shorten" else (look, ("GET", "HEAD"))
    if request.method not in methods:
        return refuse(405, "method not allowed", {"Allow": ", ".join(methods)})
    return handle(request)


def shorten(request):
    url = url_of(request)
    if url is None:
        return refuse(400, "the body must be a JSON object with a url")
    if len(url) > MAX_URL or not WEB.fullmatch(url):
        return refuse(422, "url must be an http or https URL of at most 2000 characters")
    key = keep(url)
    return 201, {"key": key, "short": f"{request.scheme}://{request.host}/s/{key}"}


def url_of(request):
    """The URL in the body, "" if there is none; None if the body isn't what it has to be."""
    try:
        members = request.json()
    except ValueError:
        return None
    url = members.get("url", "") if isinstance(members, dict) else None
    return url if isinstance(url, str) else None


def keep(url):
    """Stores a URL under a key that nobody has."""
    while True:
        key = secrets.token_urlsafe(KEY_RANDOM)
        if links.create(key, url):
            return key


def look(request):
    """Looks a link up."""
    match = PATH.fullmatch(request.path)
    url = links.get(match[1]) if match else None
    if url is None:
        return refuse(404, "no such link")
    hits = "hits/" + match[1]
    if match[2]:
        return {"hits": int(links.get(hits, 0))}
    if request.method == "GET":
        links.incr(hits)
    return 302, {"Location": url.decode(), "Cache-Control": "no-store"}, ""


def refuse(status, message, headers=()):
    return status, headers, {"error": message}
