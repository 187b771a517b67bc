module github.com/gojinn/gojinn/bench/stream/guest

go 1.24

require github.com/gojinn/gojinn/guest/go v0.0.0

replace github.com/gojinn/gojinn/guest/go => ../../../guest/go
