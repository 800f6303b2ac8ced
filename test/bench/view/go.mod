module github.com/truesize/truesize/test/bench/view

go 1.26.0

require (
	github.com/cilium/ebpf v0.22.0
	github.com/truesize/truesize v0.0.0
	golang.org/x/sys v0.48.0
	google.golang.org/grpc v1.82.1
	k8s.io/cri-api v0.37.2
)

require (
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/truesize/truesize => ../../..
