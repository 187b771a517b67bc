"""Sends the time, once a second or as often as the query's every says, as server-sent events: ?count=10
ends after ten. What is posted to it comes back line by line, in capitals, while it is still being
sent. It needs "contract stream".
"""

import itertools
import re
import time
from datetime import datetime, timezone

from gojinn import Response

EVERY = re.compile("([0-9]+(?:[.][0-9]+)?)(ms|s|m)")
SECONDS = {"ms": 0.001, "s": 1, "m": 60}


def handler(request):
    if request.path != "/events":
        return 404, {"error": "not found"}
    if request.method == "POST":
        lines = (line.rstrip(b"\r\n").upper() + b"\n" for line in request.stream)
        return Response(lines, headers={"Content-Type": "text/plain; charset=utf-8"})
    every = EVERY.fullmatch(request.query.get("every", [""])[0])
    seconds = float(every[1]) * SECONDS[every[2]] if every else 1
    count = request.query.get("count", [""])[0]
    pieces = events(max(seconds, 0.001), int(count) if count.isdecimal() else None)
    return Response(pieces, headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})


def events(every, count):
    """Sends the time until the client leaves, which ends the program."""
    for n in itertools.count(1):
        now = datetime.now(timezone.utc).isoformat()
        yield f"id: {n}\nevent: time\ndata: {now}\n\n"
        if n == count:
            return
        time.sleep(every)
