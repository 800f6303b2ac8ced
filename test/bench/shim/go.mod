module github.com/truesize/truesize/test/bench/shim

go 1.26.0

require github.com/truesize/truesize v0.0.0

require (
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/truesize/truesize => ../../..
