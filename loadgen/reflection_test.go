package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	alphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// sparing answers with one file at a time, as some servers do.
type sparing struct {
	reflectionpb.UnimplementedServerReflectionServer
	files map[string]*descriptorpb.FileDescriptorProto // by name; the service is in the one called ""
}

func (s *sparing) ServerReflectionInfo(stream reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &reflectionpb.ServerReflectionResponse{}
		file, known := s.files[in.GetFileByFilename()]
		if known {
			data, err := proto.Marshal(file)
			if err != nil {
				return err
			}
			out.MessageResponse = &reflectionpb.ServerReflectionResponse_FileDescriptorResponse{
				FileDescriptorResponse: &reflectionpb.FileDescriptorResponse{FileDescriptorProto: [][]byte{data}},
			}
		} else {
			out.MessageResponse = &reflectionpb.ServerReflectionResponse_ErrorResponse{
				ErrorResponse: &reflectionpb.ErrorResponse{ErrorMessage: "no such file here"},
			}
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// grpcOn serves what register registers and returns a connection to it.
func grpcOn(t *testing.T, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := dialGRPC(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); serving.Wait() })
	return conn
}

func TestReflectionOfOldServers(t *testing.T) {
	conn := grpcOn(t, func(s *grpc.Server) {
		pb.RegisterTestServiceServer(s, &testService{})
		alphapb.RegisterServerReflectionServer(s, reflection.NewServer(reflection.ServerOptions{Services: s}))
	})
	methods, err := reflectMethods(t.Context(), conn, []string{"/" + unaryCall, "/" + emptyCall})
	if err != nil {
		t.Fatal(err)
	}
	if in, out := methods["/"+unaryCall].in.FullName(), methods["/"+emptyCall].out.FullName(); in != "grpc.testing.SimpleRequest" || out != "grpc.testing.Empty" {
		t.Errorf("UnaryCall takes %s, EmptyCall gives %s", in, out)
	}
}

func TestReflectionFileByFile(t *testing.T) {
	messages := &descriptorpb.FileDescriptorProto{
		Name: proto.String("messages.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/timestamp.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Order"),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("at"), Number: proto.Int32(1), TypeName: proto.String(".google.protobuf.Timestamp"),
				Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}},
		}},
	}
	service := &descriptorpb.FileDescriptorProto{
		Name: proto.String("service.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		Dependency: []string{"messages.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   proto.String("Orders"),
			Method: []*descriptorpb.MethodDescriptorProto{{Name: proto.String("Place"), InputType: proto.String(".shop.Order"), OutputType: proto.String(".shop.Order")}},
		}},
	}
	tests := map[string]struct {
		files map[string]*descriptorpb.FileDescriptorProto
		want  string
	}{
		"protobuf's own files are taken from here": {map[string]*descriptorpb.FileDescriptorProto{"": service, "messages.proto": messages}, ""},
		"a file is missing":                        {map[string]*descriptorpb.FileDescriptorProto{"": service}, `file "messages.proto": no such file here`},
		"another file instead": {
			map[string]*descriptorpb.FileDescriptorProto{"": service, "messages.proto": service},
			`file "messages.proto": the server answered with another file`,
		},
		"no service": {map[string]*descriptorpb.FileDescriptorProto{}, `service "shop.Orders": no such file here`},
		"a file of nonsense": {
			map[string]*descriptorpb.FileDescriptorProto{"": {Name: proto.String("x"), Syntax: proto.String("proto9")}},
			"reading its descriptors: ",
		},
		"a file without the service": {
			map[string]*descriptorpb.FileDescriptorProto{"": protodesc.ToFileDescriptorProto(pb.File_grpc_testing_empty_proto)},
			`service "shop.Orders": proto: not found`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn := grpcOn(t, func(s *grpc.Server) { reflectionpb.RegisterServerReflectionServer(s, &sparing{files: test.files}) })
			methods, err := reflectMethods(t.Context(), conn, []string{"/shop.Orders/Place"})
			if test.want == "" {
				if err != nil || methods["/shop.Orders/Place"].in.Fields().ByName("at").Message().FullName() != "google.protobuf.Timestamp" {
					t.Errorf("methods %v, error %v", methods, err)
				}
			} else if err == nil || !strings.HasPrefix(plainSpaces(err), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

func TestReflectionServerGone(t *testing.T) {
	conn := grpcOn(t, func(s *grpc.Server) {})
	_ = conn.Close()
	if _, err := reflectMethods(context.Background(), conn, []string{"/a.B/C"}); err == nil {
		t.Error("no error")
	}
}

// plainSpaces is an error's text without the no-break spaces that protobuf puts
// into its errors in some builds, so that nobody depends on their wording.
func plainSpaces(err error) string { return strings.ReplaceAll(err.Error(), "\u00a0", " ") }
