module example.com/thumbnail

go 1.26
