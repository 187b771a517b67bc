"""Answers HTTP requests with Python, as a function of gojinn.

    import gojinn

    def handler(request):
        return {"hello": request.query.get("name", ["world"])[0]}

    gojinn.serve(handler)

A handler takes a Request and returns what to answer: text, bytes, an object for JSON, a tuple
(status, headers, body), a Response, or a generator of the body's pieces. Instead of a handler
there may be a WSGI application. The program runs up to serve() once; each request goes on from
there, in a copy of the interpreter that nothing survives.

The file is also a program: "gojinn.py main:app" serves the attribute app of the module main.

It needs nothing but CPython's standard library, from version 3.8 on, as a WASI build.
"""

import sys

if __name__ == "__main__":
    sys.modules["gojinn"] = sys.modules[__name__]  # what the module imports is this

import atexit
import base64
import errno
import gc
import io
import json
import os
import random

__all__ = ["serve", "Request", "Response", "Headers", "kv", "KV", "KVError", "fetch", "Answer", "NetError"]

# print() must not get between the answer's bytes: what is printed is for the log.
sys.stdout = sys.__stdout__ = sys.stderr
sys.dont_write_bytecode = True  # the program's folder is read-only

_here = os.path.dirname(os.path.abspath(__file__))
_lib = os.path.join(_here, "lib")
if os.path.isdir(_lib) and _lib not in sys.path:
    sys.path.append(_lib)  # packages, put there by "pip install --target lib"

_PIECE = 65536
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_quote = json.encoder.encode_basestring


# Requests and responses.


class Headers(dict):
    """Header fields: a dict from names to lists of values. get() finds a name however it is capitalised."""

    __slots__ = ()

    def get(self, name, default=None):
        """The field's first value."""
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name):
        """All values of the field, in their order."""
        values = dict.get(self, name)
        if values is None:
            name = name.lower()
            for key in self:
                if key.lower() == name:
                    return dict.get(self, key)
        return values or []


class Request:
    """A request. Its attributes are the members of the contract's request object, see docs/contract.md:

    id, method, uri, original_uri, scheme, host, proto, path, remote_addr: text
    query: a dict from names to lists of values
    headers: Headers
    route, traceparent: text or None
    params: a dict from the names of the route's placeholders to text
    """

    route = traceparent = None
    params = {}

    def __init__(self, members, stream=None):
        self.__dict__ = members
        members["headers"] = Headers(members.get("headers", ()))
        members["_stream"] = stream

    @property
    def body(self):
        """The body, as bytes."""
        members = self.__dict__
        data = members.get("_body")
        if data is None:
            stream = members["_stream"]
            if stream is not None:
                data = stream.read()
            elif "body_base64" in members:
                data = base64.b64decode(members["body_base64"])
            else:
                data = members.get("body", "").encode()
            members["_body"] = data
        return data

    @property
    def stream(self):
        """A file to read the body from. With "contract stream" the body is there only once: in body or here."""
        members = self.__dict__
        if members["_stream"] is None:
            members["_stream"] = io.BytesIO(self.body)
        return members["_stream"]

    def text(self):
        """The body as text. Raises UnicodeDecodeError if it is not UTF-8."""
        text = self.__dict__.get("body")
        return text if text is not None else self.body.decode()

    def json(self):
        """The body's JSON. Raises ValueError if it is none."""
        return _decode(self.text())


class Response:
    """An answer. body: text, bytes, what JSON can hold, or an iterable of text and bytes.

    headers: a dict from names to text or to lists of texts, or a list of pairs. Without a Content-Type
    text is text/plain, bytes are application/octet-stream, and what JSON can hold is application/json.
    """

    def __init__(self, body=b"", status=200, headers=()):
        self.body, self.status, self.headers = body, status, headers


def _response(result):
    """Makes a Response of what a handler returned."""
    if isinstance(result, Response):
        return result
    if isinstance(result, tuple):
        if len(result) == 2:
            return Response(result[1], result[0])
        if len(result) == 3:
            return Response(result[2], result[0], result[1])
        raise TypeError("a tuple of a handler is (status, body) or (status, headers, body), not %d values" % len(result))
    return Response(result)


def _fields(headers):
    """Makes what the contract takes of headers: a dict from names to texts, or lists of them."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    fields, names = {}, {}
    for name, value in pairs:
        if isinstance(value, (list, tuple)):
            value = [str(v) for v in value]
        elif not isinstance(value, str):
            value = str(value)
        key = name.lower()
        have = names.setdefault(key, name)
        if have not in fields:
            fields[have] = value
            continue
        one = fields[have] if isinstance(fields[have], list) else [fields[have]]
        fields[have] = one + (value if isinstance(value, list) else [value])
    return fields, names


def _answer(result, reply):
    """Sends what a handler returned."""
    response = _response(result)
    body = response.body
    fields, names = _fields(response.headers) if response.headers else ({}, ())
    if isinstance(body, str):
        kind = "text/plain; charset=utf-8"
    elif isinstance(body, (bytes, bytearray, memoryview)):
        kind = "application/octet-stream"
    elif isinstance(body, (dict, list, int, float)):
        kind, body = "application/json", _encode(body)
    elif hasattr(body, "__iter__"):
        kind = "text/plain; charset=utf-8"
    elif body is None:
        raise TypeError("the handler returned no answer; an empty one is gojinn.Response()")
    else:
        raise TypeError("the handler returned a %s" % type(body).__name__)
    if "content-type" not in names and len(body if hasattr(body, "__len__") else "?"):
        fields["Content-Type"] = kind
    reply.start(response.status, fields)
    if isinstance(body, (str, bytes, bytearray, memoryview)):
        reply.write(body)
        return
    try:
        for piece in body:
            reply.write(piece)
    finally:
        if hasattr(body, "close"):
            body.close()


class _Whole:
    """An answer under "contract json": one object."""

    def __init__(self, write):
        self._write, self.sent, self._pieces = write, False, []

    def start(self, status, fields):
        self._status, self._fields = status, fields

    def write(self, piece):
        if piece:
            self.sent = True
            self._pieces.append(piece)

    def finish(self):
        pieces = self._pieces
        if len(pieces) == 1:
            body = pieces[0]
        else:
            body = b"".join([p.encode() if isinstance(p, str) else p for p in pieces])
        if not isinstance(body, str):
            try:
                body = str(body, "utf-8")
            except UnicodeDecodeError:
                body = None
        head = '{"status":%d,"headers":%s,' % (self._status, _encode(self._fields))
        if body is None:
            text = head + '"body_base64":"' + base64.b64encode(pieces[0] if len(pieces) == 1 else b"".join(
                [p.encode() if isinstance(p, str) else p for p in pieces])).decode() + '"}'
        else:
            text = head + '"body":' + _quote(body) + "}"
        self._write(text.encode())


class _Stream:
    """An answer under "contract stream": a line, and what follows as it comes."""

    def __init__(self, write):
        self._write, self.sent = write, False

    def start(self, status, fields):
        self._head = ('{"status":%d,"headers":%s}\n' % (status, _encode(fields))).encode()

    def write(self, piece):
        if not piece:
            return
        if isinstance(piece, str):
            piece = piece.encode()
        if not self.sent:
            self.sent = True
            self._write(self._head)
        self._write(piece)

    def finish(self):
        if not self.sent:
            self._write(self._head)


class _Input(io.RawIOBase):
    """A body under "contract stream", of which the first bytes have been read already."""

    def __init__(self, begin, read):
        self._begin, self._read = begin, read

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._begin[:len(buffer)]
        if data:
            self._begin = self._begin[len(data):]
        else:
            data = self._read(len(buffer))
        buffer[:len(data)] = data
        return len(data)


def _read_request(data, read, write):
    """Reads the request that begins with data, and says how to answer it."""
    line, stream, rest = data.partition(b"\n")
    if not stream:
        pieces = [data]
        while True:
            piece = read(_PIECE)
            if not piece:
                break
            pieces.append(piece)
            if b"\n" in piece:
                stream = True
                break
        if len(pieces) > 1:
            data = b"".join(pieces)
            line, _, rest = data.partition(b"\n")
    if not line.strip():
        raise EOFError("there is no request on standard input")
    if stream:
        try:
            members = _decode(line.decode())
            stream = "body" not in members and "body_base64" not in members
        except ValueError:  # JSON that somebody has indented
            stream = members = None
        if stream:
            return Request(members, io.BufferedReader(_Input(rest, read))), _Stream(write)
        pieces = [data]
        while pieces[-1]:
            pieces.append(read(_PIECE))
        line = b"".join(pieces)
    return Request(_decode(line.decode())), _Whole(write)


# WSGI, PEP 3333.


def _environ(request):
    """Makes the environment of a request. Its texts are what PEP 3333 calls native: bytes read as ISO-8859-1."""
    members = request.__dict__
    path, _, query = members.get("uri", "/").partition("?")
    script = ""
    before = members.get("original_uri", "").partition("?")[0]
    if before != path and before.endswith(path):
        script = before[: -len(path)]  # what the server has stripped, with handle_path for example
    if "%" in path or "%" in script:
        from urllib.parse import unquote_to_bytes

        path, script = unquote_to_bytes(path).decode("latin-1"), unquote_to_bytes(script).decode("latin-1")
    host, scheme = members.get("host", ""), members.get("scheme", "http")
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host, "443" if scheme == "https" else "80"
    if request._stream is None:
        body = request.body
        stream, length = io.BytesIO(body), str(len(body))
    else:
        stream, length = request._stream, ""
    environ = {
        "REQUEST_METHOD": members.get("method", "GET"),
        "SCRIPT_NAME": script,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_URI": members.get("original_uri", "/"),
        "RAW_URI": members.get("original_uri", "/"),
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": members.get("proto", "HTTP/1.1"),
        "SERVER_SOFTWARE": "gojinn",
        "REMOTE_ADDR": members.get("remote_addr", ""),
        "CONTENT_LENGTH": length,
        "CONTENT_TYPE": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": True,
        "gojinn.request": request,
    }
    if host:
        environ["HTTP_HOST"] = host
    for name, values in members["headers"].items():
        if "_" in name:  # who could tell it from one with "-"?
            continue
        key = name.upper().replace("-", "_")
        if key == "PROXY":  # which programs take for theirs
            continue
        value = values[0] if len(values) == 1 else ("; " if key == "COOKIE" else ",").join(values)
        if not value.isascii():
            value = value.encode().decode("latin-1")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key == "CONTENT_LENGTH":
            if not length:
                environ[key] = value
        else:
            environ["HTTP_" + key] = value
    if not environ["CONTENT_LENGTH"]:
        del environ["CONTENT_LENGTH"]
    return environ


def _unnative(text):
    """A native text of an application, as text: most mean UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _wsgi(app):
    """Makes a responder of a WSGI application."""

    def respond(request, reply):
        started = []

        def start_response(status, headers, exc_info=None):
            if exc_info:
                try:
                    if reply.sent:
                        raise exc_info[1].with_traceback(exc_info[2])
                finally:
                    exc_info = None
            elif started:
                raise RuntimeError("start_response was called twice")
            started.append(True)
            reply.start(int(status[:3]), _fields([(n, _unnative(v)) for n, v in headers])[0])
            return write

        def write(piece):
            if not started:
                raise RuntimeError("the application writes before it has called start_response")
            reply.write(piece)

        result = app(_environ(request), start_response)
        try:
            for piece in result:
                write(piece)
            if not started:
                raise RuntimeError("the application has not called start_response")
        finally:
            if hasattr(result, "close"):
                result.close()

    return respond


def _needs(function):
    """How many arguments a callable needs, None if that can't be seen."""
    bound = 0
    if not hasattr(function, "__code__"):
        if isinstance(function, type):
            function, bound = function.__init__, 1
        elif not hasattr(function, "__func__"):
            function, bound = type(function).__call__, 1
        if hasattr(function, "__func__"):
            function, bound = function.__func__, 1
    code = getattr(function, "__code__", None)
    return code and code.co_argcount - bound - len(function.__defaults__ or ())


def _handler(handler):
    """Makes a responder of a handler."""
    return lambda request, reply: _answer(handler(request), reply)


def _responder(handler, wsgi):
    if (handler is None) == (wsgi is None):
        raise TypeError("serve() takes a handler, or wsgi=")
    given = handler if wsgi is None else wsgi
    if not callable(given):
        raise TypeError("a %s can't be served: it is neither a handler nor a WSGI application" % type(given).__name__)
    if wsgi is not None or hasattr(given, "wsgi_app") or _needs(given) == 2:
        return _wsgi(given)
    return _handler(given)


# Serving.

_SAMPLE = (
    '{"id":"00000000-0000-4000-8000-000000000000","method":"GET","uri":"/a?b=c","original_uri":"/a?b=c","scheme":"http",'
    '"host":"localhost","proto":"HTTP/1.1","path":"/a","query":{"b":["c"]},"remote_addr":"127.0.0.1",'
    '"headers":{"Accept":["*/*"],"User-Agent":["gojinn"]},"body":""}'
)


def _sample(change):
    """A request for warming: change is a path, or a dict of members."""
    members = _decode(_SAMPLE)
    members.update({"uri": "/", "query": {}})
    if isinstance(change, str):
        change = {"uri": change}
    members.update(change)
    if "uri" not in change and "path" in change:
        members["uri"] = change["path"]
    members["original_uri"] = change.get("original_uri", members["uri"])
    path, _, query = members["uri"].partition("?")
    if "path" not in change:
        members["path"] = path
    if query and "query" not in change:
        from urllib.parse import parse_qs

        members["query"] = parse_qs(query, keep_blank_values=True)
    members["headers"] = {n: v if isinstance(v, list) else [v] for n, v in members["headers"].items()}
    return _encode(members)


def _rehearse(respond, text):
    """Answers a request that there isn't, so that what Python makes at first use is there."""
    data, answered = [text.encode(), b""], []
    request, reply = _read_request(data.pop(0), lambda n: data.pop(0) if data else b"", answered.append)
    respond(request, reply)
    reply.finish()


def _write(data):
    """Writes all of data to where the answer goes."""
    while True:
        n = os.write(1, data)
        if n == len(data):
            return
        data = memoryview(data)[n:]


def serve(handler=None, *, wsgi=None, warm=()):
    """Answers the request and ends the program; it does not return.

    handler is a function from Request to what it answers, or a WSGI application, which is
    recognised by an attribute wsgi_app or by taking two arguments. wsgi= says that it is one.

    warm are requests to rehearse before there is one, each a path or a dict of members of the
    request object. What a handler does at its first call, such as importing, is then done
    for all requests. A rehearsal must not use what the function is allowed but reading its
    own files; its answer is dropped, and an exception ends the program.
    """
    respond = _responder(handler, wsgi)
    code = 1
    try:
        _rehearse(_wsgi(_mute) if respond.__qualname__.startswith("_wsgi") else _handler(_echo), _SAMPLE)
        for request in (warm,) if isinstance(warm, (str, dict)) else warm:
            _rehearse(respond, _sample(request))
        _prepare()
        data = os.read(0, _PIECE)  # a restored program goes on here
        _reseed()
        request, reply = _read_request(data, lambda n: os.read(0, n), _write)
        respond(request, reply)
        reply.finish()
        code = 0
    except SystemExit as e:
        print("the program ended before it had answered: exit(%r)" % (e.code,), file=sys.stderr)
        code = e.code if isinstance(e.code, int) and e.code & 0xFF else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    _leave(code)


def _echo(request):
    return 200, {"Content-Type": "application/json"}, _encode({"a": request.headers.get("accept"), "b": request.query})


def _mute(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a"]


def _prepare():
    """Gets the program ready to be continued again and again from here."""
    gc.collect()
    gc.freeze()  # a collection doesn't go through, and so change, what all requests share
    sys.stderr.flush()
    try:
        snapshot = os.open("/dev/snapshot", os.O_WRONLY)
    except OSError:
        return  # of another runtime
    try:
        os.write(snapshot, b"safe")
    finally:
        os.close(snapshot)


def _leave(code):
    """Ends the program at once: taking the interpreter down takes 20 milliseconds."""
    try:
        atexit._run_exitfuncs()
        sys.stderr.flush()
    finally:
        os._exit(code)


# What must not repeat from one request to the next.

_unseeded = []  # generators of random numbers that were made without a seed


class _Random(random.Random):
    """random.Random, but that those made without a seed before the request get another with it."""

    def seed(self, a=None, version=2):
        if a is None and not any(r is self for r in _unseeded):
            _unseeded.append(self)
        elif a is not None:
            _unseeded[:] = [r for r in _unseeded if r is not self]
        super().seed(a, version)


def _reseed():
    """Draws anew what the standard library draws once."""
    random.seed()


# Started as a program.


def _find(name):
    """Imports what "module", "module:attribute" or "module:function()" names."""
    import importlib

    module, colon, attribute = name.partition(":")
    found = importlib.import_module(module)
    if colon:
        path = attribute[:-2] if attribute.endswith("()") else attribute
        for part in path.split("."):
            found = getattr(found, part)
        return found() if attribute.endswith("()") else found
    for attribute in ("handler", "app", "application"):
        if hasattr(found, attribute):
            return getattr(found, attribute)
    raise AttributeError("module %r has neither handler nor app nor application; name what to serve: %s:<attribute>" % (module, module))


def _main(args):
    warm = []
    while len(args) >= 2 and args[0] == "--warm":
        warm.append(args[1])
        args = args[2:]
    if not args:
        sys.exit("usage: gojinn.py [--warm <path>]… <module>[:<attribute>] [<argument>…]")
    sys.argv = args
    serve(_find(args[0]), warm=warm)


if __name__ == "__main__":
    _main(sys.argv[1:])
