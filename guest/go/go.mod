module github.com/gojinn/gojinn/guest/go

go 1.24
