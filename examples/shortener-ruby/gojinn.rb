# frozen_string_literal: true

# Answers HTTP requests with Ruby, in a server with gojinn. Copy this file beside your own; it needs
# nothing but Ruby's standard library. Two ways to use it:
#
#   args ruby /app/gojinn.rb main.rb     main.rb defines handler(request), or is config.ru
#   args ruby /app/main.rb               main.rb ends with Gojinn.serve { |request| … }
#
# What a program does before it serves is done once, and requests begin from there: load libraries,
# read files, fill caches then. Each request has the program as it was at that point, and nothing of
# another request. README.md has the rest.

require "json"
require "stringio"

module Gojinn
  # What the server asks and is told. Everything else goes to its log: what a program prints would
  # spoil the answer otherwise.
  INPUT = STDIN.binmode
  OUTPUT = STDOUT.binmode
  private_constant :INPUT, :OUTPUT
  OUTPUT.sync = true
  Object.send(:remove_const, :STDIN)
  Object.send(:remove_const, :STDOUT)
  ::STDIN = $stdin = StringIO.new
  ::STDOUT = $stdout = STDERR
  STDERR.sync = true

  # Once is what INPUT is more than an IO. Rack 2 rewinds a body before and after it reads it, which does no
  # harm; who reads it again is told that it is gone.
  module Once
    # The body begins here.
    def begin
      @read = @over = false
      self
    end

    def rewind
      @over = @read
      0
    end

    %w[each each_line getc gets read readline readlines readpartial sysread].each do |name|
      module_eval "def #{name}(*, **, &block) = once && super", __FILE__, __LINE__
    end

    private

    def once
      raise Errno::ESPIPE, "the body can be read only once" if @over

      @read = true
    end
  end
  private_constant :Once
  INPUT.extend(Once)

  # Unseeded are the generators of random numbers that were made without a seed at start, and so get another one for
  # each request.
  module Unseeded
    SEED = Random.instance_method(:initialize)
    @made = ObjectSpace.each_object(Random).to_a # how those were made that are there can't be told

    def self.again = @made.each { |generator| SEED.bind_call(generator) unless generator.frozen? }

    def self.note(generator) = @made << generator

    def initialize(*seed)
      super
      Unseeded.note(self) if seed.empty?
    end
  end
  private_constant :Unseeded
  Random.prepend(Unseeded)

  # Error is that something was not possible which was asked of the server.
  class Error < StandardError; end

  class << self
    # Answers the request for which the program was started, and ends the program.
    #
    # The handler (or block) gets a Request and returns the answer: a String, a Hash (sent as JSON),
    # [status, headers, body] or a Response.
    #
    # If it raises, the program ends with exit code 1: what and where is in the server's log, and
    # the client gets 502.
    def serve(handler = nil, &block)
      handler ||= block
      raise ArgumentError, "Gojinn.serve needs a handler or a block" unless handler.respond_to?(:call)

      answer(->(request) { Response.of(handler.call(request)).to_a })
    end

    # The same with a Rack application, of Rack 3 or 2.
    def run(app)
      raise ArgumentError, "Gojinn.run needs a Rack application" unless app.respond_to?(:call)

      gateway = Gateway.new(app)
      answer(->(request) { gateway.call(request) })
    end

    # Has the program answer GET requests for these URIs before it waits for the real one, and
    # throws the answers away. What is made at first use is there already then. Give it requests that change nothing,
    # and that need no capability but files: start-up can't do more ahead of a request.
    def warm(*uris)
      @warm = (@warm || []) + uris
    end

    # Sends a line to one of the server's files and yields the file, from which the answer is read.
    def ask(path, line) # :nodoc:
      File.open(path, "r+b") do |file|
        push(file, line)
        yield file
      end
    end

    def push(file, text) # :nodoc:
      text = text.b
      sent = file.syswrite(text)
      sent += file.syswrite(text.byteslice(sent..)) while sent < text.bytesize
    end

    # The text as JSON has it: as it is if it is UTF-8, else in base64.
    def pack(name, text) # :nodoc:
      text = text.dup.force_encoding(Encoding::UTF_8) unless text.encoding == Encoding::UTF_8
      text.valid_encoding? ? [name, text] : ["#{name}_base64", [text].pack("m0")]
    end

    def unpack(object, name) # :nodoc:
      object[name] || object["#{name}_base64"]&.unpack1("m0")
    end

    # Tells that there is a file whose end may still be in a buffer of Ruby's.
    def buffered # :nodoc:
      @buffered = true
    end

    private

    # source is a lambda. Interpreters in WebAssembly have little room for calls from C into Ruby, which
    # block methods and Method#call are and this isn't: see README.md.
    def answer(source)
      ready(source)
      head = INPUT.gets or abort "gojinn: there is no request"
      # From here on numbers must not repeat.
      Random.srand
      Unseeded.again
      request = Request.new(JSON.parse(head.force_encoding(Encoding::UTF_8)), INPUT.begin)
      send_answer(request, *source.call(request))
      finish
    rescue Errno::EPIPE
      exit!(1) # nobody reads the answer
    rescue SystemExit => e
      warn "gojinn: the program has called exit, so there is no answer", *e.backtrace&.first if e.success?
      exit!(e.success? ? 1 : e.status)
    rescue Exception => e # rubocop:disable Lint/RescueException
      $stderr.write(e.full_message(highlight: false, order: :top))
      exit!(1)
    end

    # Does whatever can be done before the request is there.
    def ready(source)
      sink = StringIO.new
      SAMPLES.each do |sample|
        # Its body is what Ruby has compiled and cached when a real one comes.
        request = Request.new(JSON.parse(sample), StringIO.new)
        Gateway.new(->(_) { [200, { "content-type" => "text/plain" }, ["ok"]] }).call(request)
        send_answer(request, *Response.of({ "ok" => request["Accept"] }).to_a, sink)
      end
      while (uri = @warm&.shift)
        send_answer(request = Request.get(uri), *source.call(request), sink)
      end
      Random.srand
      room
      File.write("/dev/snapshot", "safe")
    rescue Errno::ENOENT
      # Another server: the program runs there from its start.
    end

    # Has Ruby collect its garbage now, with as much room behind it as most requests need: a
    # collection takes some milliseconds, and changes pages all over memory that have to be restored.
    def room
      Array.new(ROOM) { +"" }.clear # what is left on the stack is not collected
      GC.start
    end

    def send_answer(request, status, headers, body, to = OUTPUT)
      object = { "status" => status, "headers" => headers }
      if request.stream?
        Pieces.new(to, request.input).send(JSON.generate(object) << "\n", body)
      else
        name, text = pack("body", body.is_a?(String) ? body : Pieces.gather(body, request.input))
        object[name] = text
        to.write(JSON.generate(object))
      end
    end

    # Ends the program. Nothing is torn down, which would take long: files are written to their end.
    def finish
      ObjectSpace.each_object(IO) { |io| io.flush unless io.closed? || io.equal?(INPUT) } if @buffered
      exit!(0)
    end
  end

  ROOM = 20_000
  SAMPLES = [
    '{"method":"POST","uri":"/a?x=1","original_uri":"/a?x=1","scheme":"http","host":"a:1","proto":"HTTP/1.1","path":"/a",' \
    '"query":{"x":["1"]},"remote_addr":"::1","headers":{"Accept":["*/*"],"Content-Type":["text/plain"]},"body":"\u00e9"}',
    '{"method":"GET","uri":"/","original_uri":"/","scheme":"http","host":"a","proto":"HTTP/1.1","path":"/","query":{},' \
    '"remote_addr":"::1","headers":{"Accept":["*/*"]}}'
  ].freeze
  private_constant :ROOM, :SAMPLES

  # Request is what a client has sent.
  class Request
    # A request as the server describes it, with its body in the object or else in input.
    def initialize(object, input)
      @object = object
      @body = Gojinn.unpack(object, "body")
      @input = @body ? nil : input
    end

    # A GET request without a body.
    def self.get(uri)
      path, query = uri.split("?", 2)
      new({ "id" => "", "method" => "GET", "uri" => uri, "original_uri" => uri, "scheme" => "http", "host" => "localhost",
            "proto" => "HTTP/1.1", "path" => Form.unescape(path, plus: false), "query" => Form.decode(query || ""),
            "remote_addr" => "127.0.0.1", "headers" => {}, "body" => "" }, nil)
    end

    # The server's id of the request, as in its log.
    def id = @object["id"]
    # GET, POST, …
    def method = @object["method"]
    # The path, percent-decoded.
    def path = @object["path"]
    # Path and query after the server's rewrites, as they were sent.
    def uri = @object["uri"]
    # The same before the server's rewrites.
    def original_uri = @object["original_uri"]
    # http or https
    def scheme = @object["scheme"]
    # The host that was asked for, with its port if it has one; "" if the client named none.
    def host = @object["host"]
    # HTTP/1.1, HTTP/2.0, …
    def proto = @object["proto"]
    # The client's IP address.
    def remote_addr = @object["remote_addr"]
    # W3C's trace context, or nil.
    def traceparent = @object["traceparent"]
    # The route that has matched, or nil.
    def route = @object["route"]
    # What each placeholder of the route has matched.
    def params = @object["params"] || {}
    # Each name in the query with the list of its values.
    def query = @object["query"]
    # Each header field, in its usual capitals, with the list of its values.
    def headers = @object["headers"]

    # A header field by its name in any capitals: its values joined, or nil.
    def [](name)
      values = headers[name] || headers[name = name.split("-").map!(&:capitalize).join("-")] ||
               headers.find { |field, _| field.casecmp?(name) }&.last
      values&.join(name.casecmp?("Cookie") ? "; " : ", ")
    end

    # The whole body: text if it is UTF-8, else binary.
    def body
      @body ||= input.read.force_encoding(Encoding::UTF_8).then { |text| text.valid_encoding? ? text : text.b }
    end

    # The body as an IO, for contract stream: what has been read from it isn't in body.
    def input
      @input ||= StringIO.new(@body.b)
    end

    # The body, which is JSON. Raises JSON::ParserError if it isn't.
    def json = JSON.parse(body)

    # The body, which is a form (application/x-www-form-urlencoded): each name with the list of its values.
    def form = Form.decode(body)

    # Tells whether bodies are streamed (contract stream).
    def stream? = !@object.key?("body") && !@object.key?("body_base64")

    # The request as the server has described it.
    def to_h = @object
  end

  # Response is an answer.
  class Response
    # 200 to 599
    attr_accessor :status
    # Names and values; a list for a field that is sent several times.
    attr_accessor :headers
    # A String of text or of any bytes, something with each, or something with call, which gets a
    # stream to write to. With contract stream pieces are sent as they come.
    attr_accessor :body

    def initialize(body = "", status: 200, headers: {})
      @body = body
      @status = status
      @headers = headers
    end

    # An answer in JSON.
    def self.json(object, status: 200, headers: {})
      new(JSON.generate(object), status: status, headers: { "Content-Type" => "application/json" }.merge(headers))
    end

    # The answer that a handler means by what it has returned.
    def self.of(value)
      case value
      when Response then value
      when String then new(value)
      when Hash then json(value)
      when Array
        status, headers, body = value
        return new(body, status: status, headers: headers) if value.size == 3 && status.is_a?(Integer) && headers.is_a?(Hash)

        raise TypeError, "an Array is an answer only as [status, headers, body]"
      else
        raise TypeError, "#{value.class} is no answer: a handler returns a String, a Hash, [status, headers, body] or a Gojinn::Response"
      end
    end

    def to_a = [@status, @headers, @body]
  end

  # Form is what is in queries and forms.
  module Form
    # Each name with the list of its values.
    def self.decode(text)
      text.split("&").each_with_object({}) do |pair, fields|
        next if pair.empty?

        name, value = pair.split("=", 2)
        (fields[unescape(name)] ||= []) << unescape(value || "")
      end
    end

    def self.unescape(text, plus: true)
      text = text.b
      text.tr!("+", " ") if plus
      text.gsub!(/%(\h\h)/) { $1.hex.chr }
      text.force_encoding(Encoding::UTF_8)
    end
  end

  # Pieces are how a body that isn't one String is sent.
  class Pieces
    def initialize(to, input)
      @to = to
      @input = input
    end

    def self.gather(body, input)
      text = StringIO.new("".b)
      new(text, input).send("", body)
      text.string
    end

    def send(head, body)
      case
      when body.nil? || body.is_a?(String)
        @to.write(head, body.to_s)
      when body.respond_to?(:each)
        @to.write(head)
        body.each { |piece| @to.write(piece) unless piece.empty? }
      when body.respond_to?(:call)
        @to.write(head)
        body.call(Stream.new(@to, @input))
      else
        raise TypeError, "#{body.class} is no body: it is a String, or has each or call"
      end
    ensure
      body.close if body.respond_to?(:close)
    end
  end
  private_constant :Pieces

  # Stream is what a body with call writes to.
  class Stream
    def initialize(to, input)
      @to = to
      @input = input
    end

    def write(*texts)
      raise IOError, "closed stream" if @closed

      @to.write(*texts)
    end

    def <<(text)
      write(text)
      self
    end

    # Reads from the request's body.
    def read(...) = @input.read(...)

    def flush = self

    def close
      @closed = true
      nil
    end
    alias close_write close

    def close_read = nil

    def closed? = @closed ? true : false
  end

  # Gateway calls a Rack application.
  class Gateway
    # What is the same in every environment.
    COMMON = {
      "SCRIPT_NAME" => "", "QUERY_STRING" => "", "SERVER_SOFTWARE" => "gojinn", "GATEWAY_INTERFACE" => "CGI/1.2",
      "rack.version" => [1, 3].freeze, "rack.errors" => $stderr, "rack.multithread" => false, "rack.multiprocess" => true,
      "rack.run_once" => true, "rack.hijack?" => false
    }.freeze
    private_constant :COMMON

    def initialize(app)
      @app = app
    end

    def call(request)
      env = environment(request)
      status, headers, body = @app.call(env)
      fields = {}
      headers.each do |name, value|
        if name == "rack.hijack"
          body = value
        elsif !name.start_with?("rack.") && !value.nil?
          fields[name] = value.is_a?(Array) ? value.map(&:to_s) : lines(value.to_s)
        end
      end
      [status.to_i, fields, after(env, status, headers, body)]
    end

    private

    # Several values were one text with line ends until Rack 3.
    def lines(value) = value.include?("\n") ? value.split("\n") : value

    def after(env, status, headers, body)
      finished = env["rack.response_finished"]
      finished&.any? ? Finishing.new(body) { finished.reverse_each { |call| call.call(env, status, headers, nil) } } : body
    end

    def environment(request)
      env = COMMON.dup
      path, query = request.uri.split("?", 2)
      env["REQUEST_METHOD"] = request.method
      env["REQUEST_URI"] = binary(request.original_uri)
      env["SCRIPT_NAME"] = prefix(request, path)
      env["PATH_INFO"] = binary(path)
      env["QUERY_STRING"] = binary(query) if query
      env["SERVER_PROTOCOL"] = env["HTTP_VERSION"] = request.proto
      env["REMOTE_ADDR"] = request.remote_addr
      env["HTTPS"] = "on" if request.scheme == "https"
      env["rack.url_scheme"] = request.scheme
      env["rack.input"] = request.input
      env["gojinn.request"] = request
      host(env, request)
      fields(env, request)
      env
    end

    # What the server has taken off the path before the function: the place of the application. handle_path
    # leaves a slash of all. As the begin of a link, two slashes would lead to another host.
    def prefix(request, path)
      before = request.original_uri.split("?", 2).first
      return "" if before == path || !before.end_with?(path) && path != "/"

      taken = before.delete_suffix(path).gsub(%r{\A/+|/+\z}, "")
      taken.empty? ? "" : binary("/#{taken}")
    end

    def host(env, request)
      host = request.host
      env["HTTP_HOST"] = host unless host.empty?
      name, port = host.match(/\A(.*?)(?::(\d+))?\z/m).captures
      env["SERVER_NAME"] = name.empty? ? "localhost" : name
      env["SERVER_PORT"] = port || (request.scheme == "https" ? "443" : "80")
    end

    def fields(env, request)
      request.headers.each do |name, values|
        next if name.include?("_") || name == "Proxy" # see httpoxy

        key = name.upcase.tr("-", "_")
        key = "HTTP_#{key}" unless key == "CONTENT_TYPE" || key == "CONTENT_LENGTH"
        env[key] = binary(values.size == 1 ? values[0] : values.join(name == "Cookie" ? "; " : ", "))
      end
    end

    def binary(text) = text.ascii_only? ? text : text.b
  end
  private_constant :Gateway

  # Finishing is a body after which something is to be done.
  class Finishing
    def initialize(body, &after)
      @body = body
      @after = after
      define_singleton_method(:each) { |&piece| body.each(&piece) } if body.respond_to?(:each)
    end

    def call(stream) = @body.call(stream)

    def close
      @body.close if @body.respond_to?(:close)
    ensure
      @after.call
    end
  end
  private_constant :Finishing

  # Builder reads files like config.ru. Rack's own does the same in calls that are nested deeper.
  class Builder
    # The application of a file.
    def self.load(path)
      builder = new
      builder.instance_eval(File.read(path), path)
      builder.to_app
    end

    def initialize(&block)
      @uses = []
      @maps = {}
      instance_eval(&block) if block
    end

    # The application.
    def run(app = nil, &block)
      @app = app || block
    end

    # A class of middleware around it, the first outermost.
    def use(middleware, *args, **options, &block)
      @uses << ->(app) { middleware.new(app, *args, **options, &block) }
    end

    # Another application for paths that begin with prefix.
    def map(prefix, &block)
      @maps[prefix.chomp("/")] = self.class.new(&block).to_app
    end

    # Has a block called with the application before there is a request.
    def warmup(&block)
      @warmup = block
    end

    def freeze_app = nil

    def to_app
      app = @maps.empty? ? @app : mapped
      raise Error, "the Rack file runs no application" unless app

      app = @uses.reverse.inject(app) { |inner, use| use.call(inner) }
      @warmup&.call(app)
      app
    end

    private

    def mapped
      maps = @maps.sort_by { |prefix, _| -prefix.size }
      other = @app
      lambda do |env|
        path = env["PATH_INFO"]
        prefix, app = maps.find { |p, _| path == p || path.start_with?("#{p}/") }
        next other ? other.call(env) : [404, { "content-type" => "text/plain" }, ["not found\n"]] unless app

        app.call(env.merge("SCRIPT_NAME" => env["SCRIPT_NAME"] + prefix, "PATH_INFO" => path.delete_prefix(prefix)))
      end
    end
  end

  # KV is a namespace of a key-value store ("allow kv sessions"). Keys and values are Strings of any bytes.
  #
  #   sessions = Gojinn::KV.new("sessions")
  #   sessions["a"] = "1"
  #   sessions.incr("visits")
  class KV
    # Error is that an operation was not done. Its code is a word of docs/capabilities.md, such as "conflict" or "full".
    class Error < Gojinn::Error
      attr_reader :code
      # The version that the key has, for "conflict" and "exists".
      attr_reader :version

      def initialize(code, message, version)
        super("#{code}: #{message}")
        @code = code
        @version = version
      end
    end

    # Entry is a value with what the store knows of it. Times are Time, or nil.
    Entry = Struct.new(:value, :version, :modified, :expires)

    # The namespace of this name, or that at another path.
    def initialize(name, path: "/kv/#{name}")
      @path = path
    end

    # The value of a key, or nil: UTF-8 if it is that, else binary.
    def [](key)
      entry(key)&.value
    end
    alias get []

    # The value with its version, or nil.
    def entry(key)
      answer = operate({ "op" => "get" }, key, absent: true) or return nil
      Entry.new(Gojinn.unpack(answer, "value"), answer["version"], time(answer["modified"]), time(answer["expires"]))
    end

    def key?(key) = !entry(key).nil?

    def []=(key, value)
      put(key, value)
    end

    # Sets a key; it vanishes after ttl seconds, if that is given. Returns its version.
    def put(key, value, ttl: nil)
      operate({ "op" => "put", "ttl" => ttl }, key, value)["version"]
    end

    # Removes a key, and tells whether there was one. With a version only if it still has that, else
    # it raises Error with the code "conflict".
    def delete(key, version: nil)
      !operate({ "op" => "delete", "version" => version }, key, absent: true).nil?
    end

    # Adds to a decimal number, and returns the sum. No key is 0; ttl is for one that this makes.
    def incr(key, by = 1, ttl: nil)
      operate({ "op" => "incr", "by" => by, "ttl" => ttl }, key)["value"].to_i
    end

    # Sets a key if it has this version (0: if there is none), and returns its new one. Else nil.
    def cas(key, version, value, ttl: nil)
      operate({ "op" => "cas", "version" => version, "ttl" => ttl }, key, value)["version"]
    rescue Error => e
      raise unless e.code == "conflict" || e.code == "exists"
    end

    # The keys that begin with prefix, in the order of their bytes; without a block an Enumerator. They are asked for in pages.
    def each_key(prefix = "", page: 100)
      return enum_for(:each_key, prefix, page: page) unless block_given?

      cursor = nil
      loop do
        keys, cursor = list(prefix, cursor: cursor, limit: page)
        keys.each { |key| yield key }
        break unless cursor
      end
    end

    # A page of keys, and the cursor of the next one or nil.
    def list(prefix = "", cursor: nil, limit: 100)
      object = { "op" => "list", "cursor" => cursor, "limit" => limit }
      object.store(*Gojinn.pack("prefix", prefix)) unless prefix.empty?
      answer = operate(object)
      [answer["keys"].map { |key| Gojinn.unpack(key, "key") }, answer["cursor"]]
    end

    # The file that is a key, to be used like any other: File.open(sessions.file("a"), "a") { … }
    def file(key)
      name = key.b.gsub(/[^A-Za-z0-9\-._~]/n) { |byte| format("%%%02X", byte.ord) }
      case name
      when "..", "." then name = name.gsub(".", "%2E")
      when ".do" then name = "%2Edo"
      end
      "#{@path}/#{name}"
    end

    private

    def operate(object, key = nil, value = nil, absent: false)
      object.store(*Gojinn.pack("key", key)) if key
      object.store(*Gojinn.pack("value", value)) if value
      object.compact!
      answer = JSON.parse(Gojinn.ask("#{@path}/.do", JSON.generate(object) << "\n", &:read))
      return answer unless (code = answer["error"])
      return nil if absent && code == "not_found"

      raise Error.new(code, answer["message"], answer["version"])
    rescue Errno::EMSGSIZE
      raise Error.new("too_large", "the value is too large", nil)
    end

    def time(seconds) = seconds && Time.at(seconds)
  end

  # HTTP makes requests by way of the server ("allow http https://api.example.com"), with the words
  # of Net::HTTP. TLS, connections and the resolving of names are the server's.
  #
  #   Gojinn::HTTP.get("https://api.example.com/a")                     # the body
  #   Gojinn::HTTP.post("https://api.example.com/a", "x=1").code        # "200"
  class HTTP
    # Error is why there is no answer. Its code is a word of docs/capabilities.md, such as "refused" or "timeout".
    class Error < Gojinn::Error
      attr_reader :code

      def initialize(code, reason)
        super("#{code}: #{reason}")
        @code = code
      end
    end

    # Fields are the header fields of a request or an answer, by names in any capitals.
    module Fields
      # The values of a field joined, or nil.
      def [](name)
        fields[name.downcase]&.join(", ")
      end

      def []=(name, value)
        fields[name.downcase] = Array(value).map(&:to_s)
      end

      def add_field(name, value) = (fields[name.downcase] ||= []) << value.to_s
      def get_fields(name) = fields[name.downcase]&.dup
      def key?(name) = fields.key?(name.downcase)
      def delete(name) = fields.delete(name.downcase)
      def each_header = fields.each { |name, values| yield name, values.join(", ") }
      alias each each_header
      def to_hash = fields.dup
      def content_type = self["content-type"]&.split(";")&.first&.strip

      def content_type=(value)
        self["content-type"] = value
      end

      def basic_auth(name, password)
        self["authorization"] = "Basic #{["#{name}:#{password}"].pack("m0")}"
      end

      # The body becomes a form.
      def set_form_data(fields)
        self["content-type"] = "application/x-www-form-urlencoded"
        self.body = fields.map { |name, value| "#{HTTP.escape(name)}=#{HTTP.escape(value)}" }.join("&")
      end

      private

      def fields = (@fields ||= {})
    end

    # Request is one to be made. Its path may be a URL, then it needs no HTTP object with a host.
    class Request
      include Fields
      attr_reader :method, :path
      attr_accessor :body

      def initialize(method, path, headers = nil)
        @method = method
        @path = path.to_s
        headers&.each { |name, value| self[name] = value }
      end
    end

    %w[Get Head Post Put Patch Delete Options].each do |name|
      const_set(name, Class.new(Request) { define_method(:initialize) { |path, headers = nil| super(name.upcase, path, headers) } })
    end

    # Response is an answer.
    class Response
      include Fields
      # The status as text, as Net::HTTP has it.
      attr_reader :code

      def initialize(object, file = nil)
        @code = object["status"].to_s
        object["headers"]&.each { |name, values| self[name] = values }
        @body = Gojinn.unpack(object, "body")
        @file = file
      end

      # Text if it is UTF-8, else binary.
      def body
        @body ||= @file ? Gojinn.pack("", @file.read).then { |name, text| name.empty? ? text : text.unpack1("m0") } : ""
      end

      # The body in pieces as they come, if the request was made with a block.
      def read_body
        return body unless block_given?
        return yield(body) if @body || !@file

        while (piece = @file.readpartial(16_384))
          yield piece
        end
      rescue EOFError
        nil
      end

      def success? = @code.start_with?("2")

      # Raises HTTP::Error unless the status is 2xx.
      def value
        raise Error.new("status", @code) unless success?
      end
    end

    class << self
      # The body of a URL.
      def get(url, headers = nil) = get_response(url, headers).body

      def get_response(url, headers = nil) = perform(Get.new(url, headers), url.to_s)

      def post(url, data, headers = nil) = new_request(Post, url, data, headers)

      def post_form(url, fields)
        request = Post.new(url)
        request.set_form_data(fields)
        perform(request, url.to_s)
      end

      def put(url, data, headers = nil) = new_request(Put, url, data, headers)

      # Yields an HTTP object, whose paths are those of one host.
      def start(host, port = nil, use_ssl: false, **)
        http = new(host, port)
        http.use_ssl = use_ssl
        block_given? ? yield(http) : http
      end

      def escape(text) = text.to_s.b.gsub(/[^A-Za-z0-9\-._~]/n) { |byte| format("%%%02X", byte.ord) } # :nodoc:

      # Makes a request. With a block the answer's body is read from the server as it comes.
      def perform(request, url) # :nodoc:
        object = { "method" => request.method, "url" => url, "headers" => request.to_hash }
        object["stream"] = true if block_given?
        body = request.body
        object.store(*Gojinn.pack("body", body)) if body && !block_given?
        Gojinn.ask("/net/http", JSON.generate(object) << "\n") do |file|
          next response(file.read) unless block_given?

          Gojinn.push(file, body) if body && !body.empty?
          answer = response(file.gets, file)
          yield answer
          answer
        end
      rescue Errno::ENOENT
        raise Error.new("refused", "the function has no “allow http”")
      end

      private

      def new_request(kind, url, data, headers)
        request = kind.new(url, headers)
        request.body = data
        perform(request, url.to_s)
      end

      def response(text, file = nil)
        object = JSON.parse(text || "")
        raise Error.new(object["error"], object["reason"]) if object["error"]

        Response.new(object, file)
      end
    end

    attr_reader :address, :port
    attr_writer :use_ssl

    def initialize(address, port = nil)
      @address = address
      @port = port
    end

    def use_ssl? = @use_ssl || @port == 443

    def get(path, headers = nil, &block) = request(Get.new(path, headers), &block)
    def head(path, headers = nil) = request(Head.new(path, headers))
    def delete(path, headers = nil) = request(Delete.new(path, headers))
    def post(path, data, headers = nil) = request(Post.new(path, headers), data)
    def put(path, data, headers = nil) = request(Put.new(path, headers), data)
    def patch(path, data, headers = nil) = request(Patch.new(path, headers), data)

    def request(request, body = nil, &block)
      request.body = body if body
      host = @address.include?(":") && !@address.start_with?("[") ? "[#{@address}]" : @address
      origin = "#{use_ssl? ? "https" : "http"}://#{host}#{":#{@port}" if @port}"
      self.class.perform(request, request.path.start_with?("/") ? origin + request.path : request.path, &block)
    end
  end

  # Main is this file as a program: ruby gojinn.rb <file>[:<name>]
  module Main
    def self.run(args)
      target = args.shift or abort "gojinn: which file? ruby gojinn.rb main.rb, or config.ru"
      $LOADED_FEATURES << File.realpath(__FILE__) # for require_relative "gojinn"
      file, name = target.match(/\A(.+?)(?::([A-Za-z_]\w*[!?]?))?\z/m)&.captures
      file = File.expand_path(file, __dir__)
      $LOAD_PATH.unshift(File.dirname(file), *Dir[File.join(File.dirname(file), "lib")])
      return Gojinn.run(Builder.load(file)) if file.end_with?(".ru")

      file += ".rb" unless file.end_with?(".rb")
      require file
      serve(file, name)
    end

    def self.serve(file, name)
      main = TOPLEVEL_BINDING.receiver
      name ||= main.respond_to?(:handler, true) ? "handler" : "App"
      if name.match?(/\A[A-Z]/)
        return Gojinn.run(Object.const_get(name)) if Object.const_defined?(name)
      elsif main.respond_to?(name, true)
        return Gojinn.serve(->(request) { main.__send__(name, request) })
      end
      abort "gojinn: #{file} has no #{name == "App" ? "method handler(request) and no Rack application App" : name}"
    end
  end
  private_constant :Main

  # What a program has written to a file and not closed is in a buffer of Ruby's, to be looked for at the end.
  module Noticed
    def write(*)
      Gojinn.buffered
      super
    end
  end
  private_constant :Noticed
  File.prepend(Noticed)

  Main.run(ARGV) if $PROGRAM_NAME == __FILE__
end
