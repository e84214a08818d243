// Package proto owns the messages and methods that the shop's services speak
// over gRPC. The code is generated from the .proto files beside it.
package proto

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
