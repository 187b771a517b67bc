# frozen_string_literal: true

# A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects to it and
# counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
#
# The versions of this function answer alike.

require "securerandom"

MAX_URL = 2000 # characters
KEY_RANDOM = 6 # bytes of a key, which base64 makes 8 characters

# What can be a Location as it is: ASCII without white space.
WEB = %r{\Ahttps?://[!-~]+\z}

# /s/<key> and /s/<key>/hits
PATH = %r{\A/s/([A-Za-z0-9_-]{8})(/hits)?\z}

# The URL of each key, and under "hits/<key>" how often it was asked for.
LINKS = Gojinn::KV.new("links")

def handler(request)
  handle, methods = request.path == "/shorten" ? [:shorten, %w[POST]] : [:look, %w[GET HEAD]]
  return refuse(405, "method not allowed", "Allow" => methods.join(", ")) unless methods.include?(request.method)

  __send__(handle, request)
end

def shorten(request)
  url = url_of(request)
  return refuse(400, "the body must be a JSON object with a url") unless url
  return refuse(422, "url must be an http or https URL of at most 2000 characters") unless url.size <= MAX_URL && url.match?(WEB)

  key = keep(url)
  answer(201, { key: key, short: "#{request.scheme}://#{request.host}/s/#{key}" })
end

# The URL in the body, "" if there is none; nil if the body isn't what it has to be.
def url_of(request)
  return unless request.body.encoding == Encoding::UTF_8

  object = request.json
  url = object.fetch("url", "") if object.is_a?(Hash)
  url if url.is_a?(String)
rescue JSON::ParserError
  nil
end

# Stores a URL under a key that nobody has.
def keep(url)
  while (key = SecureRandom.urlsafe_base64(KEY_RANDOM))
    return key if LINKS.cas(key, 0, url)
  end
end

# Looks a link up.
def look(request)
  key, hits = PATH.match(request.path)&.captures
  url = LINKS[key] if key
  return refuse(404, "no such link") unless url
  return answer(200, { hits: LINKS["hits/#{key}"].to_i }) if hits

  LINKS.incr("hits/#{key}") if request.method == "GET"
  [302, { "Location" => url, "Cache-Control" => "no-store" }, ""]
end

def refuse(status, message, headers = {}) = answer(status, { error: message }, headers)

def answer(status, object, headers = {}) = Gojinn::Response.json(object, status: status, headers: headers)
