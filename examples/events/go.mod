module github.com/gojinn/gojinn/examples/events

go 1.24

require github.com/gojinn/gojinn/guest/go v0.0.0

replace github.com/gojinn/gojinn/guest/go => ../../guest/go
