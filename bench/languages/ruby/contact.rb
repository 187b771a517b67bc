# frozen_string_literal: true

# A contact form's endpoint: checks a message in JSON and answers in JSON.

require "json"

module Contact
  LIMITS = { "email" => 254, "name" => 100, "message" => 5000 }.freeze

  # Returns the status and the answer for the body of a request.
  def self.check(text)
    form = JSON.parse(text)
    return [400, { "error" => "the body is no JSON object" }] unless form.is_a?(Hash)

    errors = {}
    LIMITS.each do |name, most|
      value = form.fetch(name, "")
      if !value.is_a?(String) || value.size > most
        errors[name] = "is not text of at most #{most} characters"
      elsif value.empty? && name != "name"
        errors[name] = "is missing"
      end
    end
    errors["email"] ||= "is no address" unless errors["email"] || form["email"].include?("@")
    return [422, { "errors" => errors }] unless errors.empty?

    [201, { "email" => form["email"], "name" => form.fetch("name", ""), "message" => form["message"] }]
  rescue JSON::ParserError
    [400, { "error" => "the body is no JSON" }]
  end
end

# A Rack application.
App = lambda do |env|
  status, answer = Contact.check(env["rack.input"].read)
  [status, { "content-type" => "application/json" }, [JSON.generate(answer)]]
end

# A function of gojinn.
def handler(request)
  status, answer = Contact.check(request.body)
  Gojinn::Response.json(answer, status: status)
end
