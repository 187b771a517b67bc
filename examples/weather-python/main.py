"""Asks a weather service how it is at a place, and answers with the little that a page wants to
show. It asks with urllib, as any program in Python would: what may be asked is a line in the Caddyfile.

It answers as the version in Go does.
"""

import json
import os
import sys
import urllib.request
from urllib.parse import urlencode

PATIENCE = 5  # seconds that the service may take
MAX_ANSWER = 64 << 10  # bytes of the service's answer

# What codes mean (WMO 4677, as far as services use it), each up to a number.
SKIES = (
    (0, "clear"), (2, "partly cloudy"), (3, "overcast"), (49, "fog"), (59, "drizzle"),
    (69, "rain"), (79, "snow"), (84, "rain showers"), (94, "snow showers"), (99, "thunderstorm"),
)

opener = urllib.request.build_opener()  # made once, for all requests


def handler(request):
    if request.path != "/weather":
        return fail(404, "not found")
    lat, lon = coordinate(request, "lat", 90), coordinate(request, "lon", 180)
    if lat is None or lon is None:
        return fail(400, "lat and lon must be degrees, such as ?lat=38.72&lon=-9.14")
    try:
        report = ask(os.environ.get("WEATHER_API", ""), lat, lon)
    except (OSError, ValueError, LookupError, TypeError) as e:
        if isinstance(getattr(e, "reason", e), TimeoutError):
            return fail(504, "the weather service takes too long")
        print("asking the weather service:", repr(e), file=sys.stderr)
        return fail(502, "the weather service can't be asked")
    return 200, {"Cache-Control": "public, max-age=600"}, report


def coordinate(request, name, limit):
    """Degrees from -limit to limit, or None."""
    try:
        degrees = float(request.query[name][0])
    except (LookupError, ValueError):
        return None
    return degrees if abs(degrees) <= limit else None


def ask(service, lat, lon):
    """Asks the service how it is at a place now."""
    query = urlencode({"latitude": f"{lat:.9g}", "longitude": f"{lon:.9g}", "current": "temperature_2m,wind_speed_10m,weather_code"})
    with opener.open(f"{service}?{query}", timeout=PATIENCE) as response:
        text = response.read(MAX_ANSWER + 1)
    if len(text) > MAX_ANSWER:
        raise ValueError("its answer is too long")
    now = json.loads(text)["current"]
    return {"time": now["time"], "temperature": now["temperature_2m"], "wind": now["wind_speed_10m"], "sky": sky(now["weather_code"])}


def sky(code):
    return next((name for limit, name in SKIES if 0 <= code <= limit), "unknown")


def fail(status, message):
    return status, {"error": message}
