"""Answers HTTP requests with Python, as a function of gojinn.

    import gojinn

    def handler(request):
        return {"hello": request.query.get("name", ["world"])[0]}

    gojinn.serve(handler)

A handler takes a Request and returns what to answer: text, bytes, an object for JSON, a tuple
(status, headers, body), a Response, or a generator of the body's pieces. Instead of a handler
there may be a WSGI application. The program runs up to serve() once; each request goes on from
there, in a copy of the interpreter that nothing survives.

The file is also a program: "gojinn.py main:app" serves the attribute app of the module main,
and "gojinn.py --compile lib" compiles the modules in a folder that may be written to.

It needs nothing but CPython's standard library, from version 3.8 on, as a WASI build.
"""

import sys

if __name__ == "__main__":
    sys.modules["gojinn"] = sys.modules[__name__]  # what the module imports is this

import atexit
import binascii
import gc
import io
import json
import os

__all__ = ["serve", "Request", "Response", "Headers", "kv", "KV", "KVError", "fetch", "Answer", "NetError"]

# print() must not get between the answer's bytes: what is printed is for the log.
sys.stdout = sys.__stdout__ = sys.stderr
sys.dont_write_bytecode = True  # the program's folder is read-only

_here = os.path.dirname(os.path.abspath(__file__))
_lib = os.path.join(_here, "lib")
if os.path.isdir(_lib) and _lib not in sys.path:
    sys.path.append(_lib)  # packages, put there by "pip install --target lib"

_PIECE = 65536

# JSON is most of what is done for a request, so this is what is below json.loads and json.dumps.
_decode = json.JSONDecoder().decode
_scan = json.scanner.make_scanner(json.JSONDecoder())
_quote = json.encoder.encode_basestring
if json.encoder.c_make_encoder:

    def _refuse(value):
        raise TypeError("a %s can't be JSON" % type(value).__name__)

    _pieces = json.encoder.c_make_encoder(None, _refuse, _quote, None, ":", ",", False, False, False)

    def _encode(value):
        return "".join(_pieces(value, 0))

else:
    _encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _parse(text):
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


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
                data = binascii.a2b_base64(members["body_base64"])
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
        return _parse(self.text())


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
    """Makes what the contract takes of headers, a dict from names to texts or lists of them, and says
    whether the content's type is among them."""
    fields, names, typed = {}, {}, False
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        if isinstance(value, (list, tuple)):
            value = [str(v) for v in value]
        elif not isinstance(value, str):
            value = str(value)
        key = name.lower()
        if key == "content-type":
            typed = True
        have = names.setdefault(key, name)
        if have not in fields:
            fields[have] = value
            continue
        one = fields[have] if isinstance(fields[have], list) else [fields[have]]
        fields[have] = one + (value if isinstance(value, list) else [value])
    return fields, typed


_JSON, _TEXT, _BYTES = "application/json", "text/plain; charset=utf-8", "application/octet-stream"


def _send_json(reply, status, fields, text):
    try:
        reply.whole(status, fields, text)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which a client may have sent, has no UTF-8, but in JSON an escape.
        reply.whole(status, fields, text.encode("utf-8", "backslashreplace"))


def _answer(result, reply):
    """Sends what a handler returned."""
    status = 200
    if type(result) is tuple and len(result) == 2 and type(result[1]) is dict:  # what most answers are
        status, result = result
    if type(result) is dict:
        _send_json(reply, status, {"Content-Type": _JSON}, _encode(result))
        return
    response = _response(result)
    body, headers = response.body, response.headers
    fields, typed = _fields(headers) if headers else ({}, False)
    if isinstance(body, str):
        kind, empty = _TEXT, not body
    elif isinstance(body, (bytes, bytearray, memoryview)):
        kind, empty = _BYTES, not len(body)
    elif isinstance(body, (dict, list, int, float)):
        kind, empty, body = _JSON, False, _encode(body)
    elif body is None:
        raise TypeError("the handler returned no answer; an empty one is gojinn.Response()")
    elif hasattr(body, "__iter__"):
        kind, empty = _TEXT, False
    else:
        raise TypeError("the handler returned a %s" % type(body).__name__)
    if not typed and not empty:
        fields["Content-Type"] = kind
    if kind is _JSON:
        _send_json(reply, response.status, fields, body)
        return
    if isinstance(body, (str, bytes, bytearray, memoryview)):
        reply.whole(response.status, fields, body)
        return
    reply.start(response.status, fields)
    try:
        for piece in body:
            reply.write(piece)
    finally:
        if hasattr(body, "close"):
            body.close()
    reply.finish()


class _Whole:
    """An answer under "contract json": one object. A reply is given whole, or started, written and finished."""

    def __init__(self, write):
        self._write, self.sent, self._pieces = write, False, []

    def whole(self, status, fields, body):
        if not isinstance(body, str):
            try:
                body = str(body, "utf-8")
            except UnicodeDecodeError:
                text = binascii.b2a_base64(body, newline=False).decode()
                self._write(('{"status":%d,"headers":%s,"body_base64":"%s"}' % (status, _encode(fields), text)).encode())
                return
        self._write(('{"status":%d,"headers":%s,"body":%s}' % (status, _encode(fields), _quote(body))).encode())

    def start(self, status, fields):
        self._status, self._fields = status, fields

    def write(self, piece):
        if piece:
            self.sent = True
            self._pieces.append(piece.encode() if isinstance(piece, str) else piece)

    def finish(self):
        self.whole(self._status, self._fields, b"".join(self._pieces))


class _Stream:
    """An answer under "contract stream": a line, and what follows as it comes."""

    def __init__(self, write):
        self._write, self.sent = write, False

    def whole(self, status, fields, body):
        self.start(status, fields)
        self.write(body)
        self.finish()

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
    """What has been read already, and then what read() returns."""

    def __init__(self, begin, read, end=None):
        self._begin, self._read, self._end = begin, read, end

    def close(self):
        if self._end is not None:
            self._end()
            self._end = None
        super().close()

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
    """Reads the request that begins with data, and says how to answer it.

    Under "contract json" it is one object with a body in it, under "contract stream" a line with one
    that has none, and the body behind it.
    """
    if data[-1:] == b"}" and len(data) < _PIECE:
        try:
            text = data.decode()
            members, end = _scan(text, 0)
            if end == len(text) and "body" in members:
                return Request(members), _Whole(write)
        except (StopIteration, ValueError):
            pass  # there is more of it
    pieces = [data]
    while pieces[-1] and b"\n" not in pieces[-1]:
        pieces.append(read(_PIECE))
    data = b"".join(pieces)
    line, newline, rest = data.partition(b"\n")
    if newline:
        try:
            members = _decode(line.decode())
            if "body" not in members and "body_base64" not in members:
                return Request(members, io.BufferedReader(_Input(rest, read))), _Stream(write)
        except ValueError:
            pass  # an object of several lines
        pieces = [data]
        while pieces[-1]:
            pieces.append(read(_PIECE))
        data = b"".join(pieces)
    if not data:
        raise EOFError("there is no request on standard input")
    return Request(_decode(data.decode())), _Whole(write)


# WSGI, PEP 3333.


def _environ(request):
    """Makes the environment of a request. Its texts are what PEP 3333 calls native: bytes read as ISO-8859-1."""
    members = request.__dict__
    path, _, query = _native(members.get("uri", "/")).partition("?")
    script = ""
    whole = _native(members.get("original_uri", "/"))
    before = whole.partition("?")[0]
    if before != path and (before.endswith(path) or path == "/"):
        # What the server has stripped, with handle_path for example, which leaves a slash of all. As the
        # begin of a link, two slashes would lead to another host.
        script = (before[: -len(path)] if before.endswith(path) else before).strip("/")
        script = script and "/" + script
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
        "REQUEST_URI": whole,
        "RAW_URI": whole,
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
        value = _native(value)
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


def _native(text):
    """Text as PEP 3333 has it: the bytes of its UTF-8, read as ISO-8859-1."""
    return text if text.isascii() else text.encode().decode("latin-1")


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
            if not isinstance(piece, bytes):
                raise TypeError("a WSGI application's body is bytes, not %s" % type(piece).__name__)
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
        reply.finish()

    return respond


def _needs(function):
    """How many arguments a callable needs, None if that can't be seen."""
    bound = 1
    if isinstance(function, type):
        function = function.__init__
    elif hasattr(function, "__func__"):
        function = function.__func__
    elif hasattr(function, "__code__"):
        bound = 0
    else:
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    while code and code.co_flags & 4 and hasattr(function, "__wrapped__"):  # functools.wraps, around *args
        function = function.__wrapped__
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

_REHEARSALS = 4  # CPython replaces instructions by quicker ones when they have run a few times

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
    request object. What a handler does at its first calls, such as importing, is then done
    for all requests. Each is answered a few times. A rehearsal must not use what the function is allowed but reading its
    own files; its answer is dropped, and an exception ends the program.
    """
    respond = _responder(handler, wsgi)
    code = 1
    try:
        own = _wsgi(_mute) if respond.__qualname__.startswith("_wsgi") else _handler(_echo)
        for _ in range(_REHEARSALS):
            _rehearse(own, _SAMPLE)
        for request in (warm,) if isinstance(warm, (str, dict)) else warm:
            request = _sample(request)
            for _ in range(_REHEARSALS):
                _rehearse(respond, request)
        _prepare_draws()
        _park()
        data = os.read(0, _PIECE)  # a restored program goes on here
        for draw in _drawn:
            draw()
        request, reply = _read_request(data, lambda n: os.read(0, n), _write)
        respond(request, reply)
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


def _park():
    """Gets the program ready to be continued again and again from here."""
    gc.collect()
    _open.extend(_files())
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


_buffered = frozenset((io.BufferedRandom, io.BufferedWriter, io.TextIOWrapper))
_open = []  # files that start-up has left open


def _files():
    """The files whose ends may still be in buffers, of those that are not frozen."""
    objects = gc.get_objects()
    if _buffered.isdisjoint(map(type, objects)):
        return []
    return [o for o in objects if type(o) in _buffered]


def _leave(code):
    """Ends the program at once: taking the interpreter down takes 20 milliseconds."""
    try:
        atexit._run_exitfuncs()
        for file in _open + _files():
            try:
                if not file.closed:
                    file.flush()
            except (OSError, ValueError) as e:
                print("a file was not written to its end: %s" % e, file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


# What must not repeat from one request to the next.

_unseeded = []  # generators of random numbers that were made without a seed


def _patch_random(module, load):
    """Notes the generators that are made without a seed, and so get another one for each request."""
    load()
    _unseeded.append(module._inst)
    # Who made the generators that are there already can't be told: better one too many than one that repeats.
    _unseeded.extend([r for r in gc.get_objects() if issubclass(type(r), module._random.Random) and r is not module._inst])
    plain = module.Random.seed

    def seed(self, a=None, version=2):
        _unseeded[:] = [r for r in _unseeded if r is not self]
        if a is None:
            _unseeded.append(self)
        plain(self, a, version)

    seed.__doc__ = plain.__doc__
    module.Random.seed = seed


def _forget_tempfile(module):
    module._name_sequence = None


def _forget_uuid(module):
    module._node = module._last_timestamp = None


_drawn = []  # what to do for a request


def _prepare_draws():
    """Finds what the standard library has drawn so far."""
    if _unseeded:
        from _random import Random

        def reseed():
            for generator in _unseeded:
                Random.seed(generator, int.from_bytes(os.urandom(32), "little"))
                generator.gauss_next = None

        _drawn.append(reseed)
        reseed()
    for name, forget in (("tempfile", _forget_tempfile), ("uuid", _forget_uuid)):
        if name in sys.modules:
            _drawn.append(lambda forget=forget, module=sys.modules[name]: forget(module))


def _patch_asyncio(module, load):
    """Has event loops do without the socket by which other threads and signals wake them: there are none."""
    load()
    loop = module.BaseSelectorEventLoop
    loop._make_self_pipe = loop._close_self_pipe = loop._write_to_self = lambda self: None


class _Imports:
    """Finds modules that are to be changed: a change is a function of the module and of what loads it."""

    def __init__(self, changes):
        self.changes = changes
        for name, change in changes.items():
            if name in sys.modules:
                change(sys.modules[name], lambda: None)

    def find_spec(self, name, path, target=None):
        if name not in self.changes:
            return None
        change = self.changes[name]
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader, change)
                return spec
        return None


class _Loader:
    def __init__(self, loader, change):
        self.loader, self.change = loader, change

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.change(module, lambda: self.loader.exec_module(module))


# Key-value namespaces, "allow kv".


class KVError(OSError):
    """What the store says of an operation that it has not done. kind is one of the words in
    docs/capabilities.md; version, with "exists" and "conflict", the one that the key has."""

    def __init__(self, kind, message, version=None):
        super().__init__(message)
        self.kind, self.version = kind, version


_plain = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def _bytes(text):
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)


def _member(name, data):
    """A member of an operation: text, or base64."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name + "_base64": binascii.b2a_base64(data, newline=False).decode()}


def _value(answer, name):
    text = answer.get(name)
    return text.encode() if text is not None else binascii.a2b_base64(answer[name + "_base64"])


def _send(file, data):
    data = memoryview(data)
    while data:
        data = data[os.write(file, data):]


def _receive(file):
    pieces = []
    while not pieces or pieces[-1]:
        pieces.append(os.read(file, _PIECE))
    return b"".join(pieces)


class KV:
    """A key-value namespace, as a dict whose keys are text or bytes and whose values are bytes.

    A key read back is text; bytes in it that are not UTF-8 are as in os.fsdecode. Text that is
    stored is stored as UTF-8. Nothing is held open. Errors of the store are OSError.
    """

    def __init__(self, path):
        self._path = path.rstrip("/") + "/"

    def _file(self, key):
        """The key's file, or None if its name would be too long."""
        key = _bytes(key)
        if key in (b".", b"..", b".do"):
            name = key.replace(b".", b"%2E") if key != b".do" else b"%2Edo"
            return self._path + name.decode()
        name = "".join([chr(b) if b in _plain else "%%%02X" % b for b in key])
        if not name:
            raise KVError("invalid", "a key is not empty")
        return self._path + name if len(name) <= 255 else None

    def _do(self, op, **members):
        request = {"op": op}
        for name, value in members.items():
            if value is None:
                continue
            if name in ("key", "value", "prefix"):
                request.update(_member(name, _bytes(value)))
            else:
                request[name] = value
        file = os.open(self._path + ".do", os.O_RDWR)
        try:
            _send(file, _encode(request).encode() + b"\n")
            answer = _decode(_receive(file).decode())
        finally:
            os.close(file)
        if "error" in answer:
            raise KVError(answer["error"], answer.get("message", answer["error"]), answer.get("version"))
        return answer

    def get(self, key, default=None):
        """The value of a key, or default."""
        path = self._file(key)
        if path is None:
            try:
                return _value(self._do("get", key=key), "value")
            except KVError as e:
                if e.kind != "not_found":
                    raise
                return default
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return default
        try:
            return _receive(file)
        finally:
            os.close(file)

    def item(self, key):
        """The value of a key and its version. (None, 0) if there is none: what cas() takes for a key that is to be new."""
        try:
            answer = self._do("get", key=key)
        except KVError as e:
            if e.kind != "not_found":
                raise
            return None, 0
        return _value(answer, "value"), answer["version"]

    def put(self, key, value, ttl=None):
        """Sets the value of a key, for ttl seconds if that is given."""
        path = self._file(key)
        if ttl is not None or path is None:
            self._do("put", key=key, value=value, ttl=ttl)
            return
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            _send(file, _bytes(value))
        except BaseException:
            try:
                os.close(file)
            except OSError:
                pass  # it says the same again
            raise
        os.close(file)  # here it is stored

    def create(self, key, value, ttl=None):
        """Sets the value of a key that is not there yet. Whether it was so."""
        try:
            self.cas(key, 0, value, ttl)
        except KVError as e:
            if e.kind != "exists":
                raise
            return False
        return True

    def cas(self, key, version, value, ttl=None):
        """Sets the value of a key that has this version, 0 for none, and returns its new version. Otherwise
        it is a KVError of kind "conflict" or "exists"."""
        return self._do("cas", key=key, version=version, value=value, ttl=ttl)["version"]

    def incr(self, key, by=1, ttl=None):
        """Adds to an integer, 0 if there is none yet, and returns the sum. ttl is for one that this makes."""
        return int(self._do("incr", key=key, by=by, ttl=ttl)["value"])

    def delete(self, key):
        """Removes a key. Whether there was one."""
        try:
            self._do("delete", key=key)
        except KVError as e:
            if e.kind != "not_found":
                raise
            return False
        return True

    def keys(self, prefix=""):
        """Goes through the keys that begin with prefix, in the order of their bytes."""
        cursor = None
        while True:
            answer = self._do("list", prefix=prefix or None, cursor=cursor, limit=1000)
            for entry in answer["keys"]:
                yield _value(entry, "key").decode("utf-8", "surrogateescape")
            cursor = answer.get("cursor")
            if cursor is None:
                return

    def items(self, prefix=""):
        """Goes through keys and values."""
        for key in self.keys(prefix):
            value = self.get(key)
            if value is not None:  # it may have gone meanwhile
                yield key, value

    def __getitem__(self, key):
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        self.put(key, value)

    def __delitem__(self, key):
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key):
        path = self._file(key)
        return os.path.exists(path) if path is not None else self.get(key) is not None

    def __iter__(self):
        return self.keys()


def kv(namespace):
    """The namespace of that name, at /kv/<name>, or the one at a path that begins with "/"."""
    return KV(namespace if namespace.startswith("/") else "/kv/" + namespace)


# HTTP requests to others, "allow http".


class NetError(OSError):
    """Why there is no answer. kind is one of the words in docs/capabilities.md, such as "refused" or "dns"."""

    def __init__(self, kind, reason):
        super().__init__("%s: %s" % (kind, reason) if reason else kind)
        self.kind, self.reason = kind, reason


class _NetTimeout(NetError, TimeoutError):
    pass


def _net_error(answer):
    kind = answer["error"]
    return (_NetTimeout if kind == "timeout" else NetError)(kind, answer.get("reason", ""))


def _ask(members, timeout, body=None):
    """Makes a request, and returns the open file that its answer is read from."""
    try:
        file = os.open("/net/http", os.O_RDWR)
    except FileNotFoundError:
        raise NetError("refused", "no origin is allowed") from None
    try:
        _send(file, _encode(members).encode() + b"\n")
        if body:
            _send(file, body)
        if timeout is not None:
            import select

            if not select.select([file], [], [], timeout)[0]:
                raise _NetTimeout("timeout", "there is no answer after %s seconds" % timeout)
    except BaseException:
        os.close(file)
        raise
    return file


class Answer:
    """An answer of another server. status: a number; headers: Headers; body: bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def text(self):
        """The body as text. Raises UnicodeDecodeError if it is not UTF-8."""
        return self.body.decode()

    def json(self):
        """The body's JSON. Raises ValueError if it is none."""
        return _parse(self.body.decode())


_LINE = 1 << 20  # larger bodies are streamed: a line has a limit


def fetch(url, method=None, headers=None, body=None, timeout=None):
    """Makes a request and returns the Answer, whatever its status is.

    body is text, bytes, or what JSON can hold; with one, the method is POST unless it is given.
    timeout is how many seconds to wait for the answer; the server's configuration has one of its own.
    Raises NetError if there is no answer, TimeoutError if it takes too long.
    """
    fields = dict(headers or {})
    if body is not None and not isinstance(body, (str, bytes, bytearray, memoryview)):
        body = _encode(body)
        if not any(name.lower() == "content-type" for name in fields):
            fields["Content-Type"] = _JSON
    members = {"method": method or ("GET" if body is None else "POST"), "url": url, "headers": fields}
    data = b"" if body is None else _bytes(body)
    large = len(data) > _LINE
    if large:
        members["stream"] = True
    elif data:
        members.update(_member("body", data))
    file = _ask(members, timeout, data if large else None)
    try:
        raw = _receive(file)
    finally:
        os.close(file)
    if large:
        line, _, rest = raw.partition(b"\n")
        answer = _decode(line.decode())
    else:
        answer = _decode(raw.decode())
    if "error" in answer:
        raise _net_error(answer)
    return Answer(answer["status"], Headers(answer["headers"]), rest if large else _value(answer, "body"))


class _Socket:
    """What http.client takes for a socket: it understands the request, has the host make it, and gives the answer back."""

    def __init__(self, origin, timeout):
        self._origin, self._sent, self._file = origin, [], None
        self._timeout = timeout if isinstance(timeout, (int, float)) else None

    def settimeout(self, timeout):
        self._timeout = timeout

    def setsockopt(self, *option):
        pass

    def sendall(self, data):
        self._sent.append(bytes(data))

    def request(self):
        """Makes the request that has been sent, and begins to read the answer."""
        if not self._sent:
            return
        head, _, body = b"".join(self._sent).partition(b"\r\n\r\n")
        self._sent = []
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.strip())
        if any(name.lower() == "transfer-encoding" for name in fields):
            body = _dechunk(body)
        self.close()
        url = target if target.startswith(("http://", "https://")) else self._origin + target
        self._file = io.open(_ask({"method": method, "url": url, "headers": fields, "stream": True}, self._timeout, body), "rb")
        self._answer = _decode(self._file.readline().decode())
        if "error" in self._answer:
            self.close()
            raise _net_error(self._answer)

    def makefile(self, mode="rb", *_):
        """The answer, as it would come over a connection."""
        self.request()
        file, self._file, answer = self._file, None, self._answer
        head = ["HTTP/1.1 %d %s" % (answer["status"], _reason(answer["status"]))]
        for name, values in answer["headers"].items():
            if name.lower() not in ("transfer-encoding", "connection"):
                head += ["%s: %s" % (name, value) for value in values]
        text = "\r\n".join(head + ["Connection: close", "", ""])
        return io.BufferedReader(_Input(text.encode("utf-8"), lambda n: file.read1(n), file.close))

    def close(self):
        if self._file is not None:
            self._file.close()
            self._file = None


def _reason(status):
    from http.client import responses

    return responses.get(status, "")


def _dechunk(body):
    pieces, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].partition(b";")[0], 16)
        if not size:
            return b"".join(pieces)
        at = end + 2
        pieces.append(body[at:at + size])
        at += size + 2


def _patch_http_client(module, load):
    """Has http.client, and with it urllib.request, make requests by /net/http. What is sent is collected first."""
    load()

    class HTTPConnection(module.HTTPConnection):
        _scheme = "http"

        def connect(self):
            host = "[%s]" % self.host if ":" in self.host else self.host
            self.sock = _Socket("%s://%s:%d" % (self._scheme, host, self.port), self.timeout)

        def _send_request(self, *args):
            super()._send_request(*args)
            self.sock.request()

    class HTTPSConnection(HTTPConnection):
        _scheme, default_port = "https", 443

        def __init__(self, host, port=None, *, context=None, check_hostname=None, **options):
            super().__init__(host, port, **options)

    for new in HTTPConnection, HTTPSConnection:
        new.__qualname__, new.__module__ = new.__name__, module.__name__
    module.HTTPConnection, module.HTTPSConnection = HTTPConnection, HTTPSConnection
    module._create_https_context = lambda http_version: None  # TLS is the host's


# Started as a program.


def _find(name):
    """Imports what "module", "module:attribute" or "module:function()" names. Also says whether
    its name is that of a WSGI application, for those of which nothing else tells."""
    import importlib

    module, colon, attribute = name.partition(":")
    found = importlib.import_module(module)
    call = attribute.endswith("()")
    if colon:
        attribute = attribute[:-2] if call else attribute
    else:
        for attribute in ("handler", "app", "application"):
            if hasattr(found, attribute):
                break
        else:
            raise AttributeError("module %r has neither handler nor app nor application; name what to serve: %s:<attribute>" % (module, module))
    for part in attribute.split("."):
        found = getattr(found, part)
    return found() if call else found, attribute.endswith(("app", "application"))


def _compile(args):
    """Compiles the modules in folders, so that importing them takes a tenth of the time."""
    import compileall

    failed = [folder for folder in args if not compileall.compile_dir(folder, quiet=1)]

    def handler(request):
        return 500 if failed else 200, {"compiled": args, "failed": failed}

    serve(handler)


def _main(args):
    if args[:1] == ["--compile"]:
        return _compile(args[1:])
    warm = []
    while len(args) >= 2 and args[0] == "--warm":
        warm.append(args[1])
        args = args[2:]
    if not args:
        sys.exit("usage: gojinn.py [--warm <path>]… <module>[:<attribute>] [<argument>…]")
    sys.argv = args
    found, application = _find(args[0])
    if application and _needs(found) != 1:
        serve(wsgi=found, warm=warm)
    serve(found, warm=warm)


sys.meta_path.insert(0, _Imports({
    "asyncio.selector_events": _patch_asyncio,
    "http.client": _patch_http_client,
    "random": _patch_random,
}))

if __name__ == "__main__":
    _main(sys.argv[1:])
