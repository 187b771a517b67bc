# frozen_string_literal: true

require_relative "contact"

run App
