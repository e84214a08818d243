package loadgen

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The two versions of the reflection protocol have the same messages on the
// wire; only the name of the service differs.
var reflectionMethods = []string{
	reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// reflectMethods asks a server for the descriptors of RPCs, given as
// /package.Service/Method.
func reflectMethods(ctx context.Context, conn grpc.ClientConnInterface, rpcs []string) (map[string]*method, error) {
	var methods map[string]*method
	var err error
	for _, reflection := range reflectionMethods {
		methods, err = reflectWith(ctx, conn, reflection, rpcs)
		if status.Code(err) != codes.Unimplemented {
			return methods, err
		}
	}
	return nil, errors.New("it has no gRPC server reflection, which is needed to send bodies written in JSON")
}

func reflectWith(ctx context.Context, conn grpc.ClientConnInterface, reflection string, rpcs []string) (map[string]*method, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, reflection, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	r := &reflector{
		stream: &grpc.GenericClientStream[reflectionpb.ServerReflectionRequest, reflectionpb.ServerReflectionResponse]{ClientStream: stream},
		files:  map[string]*descriptorpb.FileDescriptorProto{},
	}
	for _, rpc := range rpcs {
		if err := r.fetchService(serviceOf(rpc)); err != nil {
			return nil, err
		}
	}
	files, err := protodesc.NewFiles(r.set())
	if err != nil {
		return nil, fmt.Errorf("reading its descriptors: %w", err)
	}
	methods := map[string]*method{}
	for _, rpc := range rpcs {
		if methods[rpc], err = findMethod(files, rpc); err != nil {
			return nil, err
		}
	}
	return methods, nil
}

func serviceOf(rpc string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(rpc, "/"), "/")
	return service
}

// reflector gathers files and all that they import.
type reflector struct {
	stream grpc.BidiStreamingClient[reflectionpb.ServerReflectionRequest, reflectionpb.ServerReflectionResponse]
	files  map[string]*descriptorpb.FileDescriptorProto
}

func (r *reflector) fetchService(service string) error {
	err := r.fetch(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	})
	if err != nil {
		return fmt.Errorf("service %q: %w", service, err)
	}
	for missing := r.missing(); missing != ""; missing = r.missing() {
		if err := r.fetchFile(missing); err != nil {
			return fmt.Errorf("file %q: %w", missing, err)
		}
	}
	return nil
}

// fetchFile asks for a file, and takes this program's own copy of one of
// protobuf's that the server does not have.
func (r *reflector) fetchFile(name string) error {
	err := r.fetch(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name},
	})
	if err == nil && r.files[name] == nil {
		err = errors.New("the server answered with another file")
	}
	if err == nil {
		return nil
	}
	own, ownErr := protoregistry.GlobalFiles.FindFileByPath(name)
	if ownErr != nil {
		return err
	}
	r.files[name] = protodesc.ToFileDescriptorProto(own)
	return nil
}

func (r *reflector) fetch(request *reflectionpb.ServerReflectionRequest) error {
	// io.EOF from Send means that Recv has the reason.
	if err := r.stream.Send(request); err != nil && status.Code(err) != codes.Unknown {
		return err
	}
	answer, err := r.stream.Recv()
	if err != nil {
		return err
	}
	if problem := answer.GetErrorResponse(); problem != nil {
		return errors.New(problem.GetErrorMessage())
	}
	for _, data := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(data, file); err != nil {
			return fmt.Errorf("reading its descriptor: %w", err)
		}
		r.files[file.GetName()] = file
	}
	return nil
}

// missing names a file that is imported and not there yet.
func (r *reflector) missing() string {
	for _, file := range r.files {
		for _, name := range file.GetDependency() {
			if r.files[name] == nil {
				return name
			}
		}
	}
	return ""
}

func (r *reflector) set() *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range r.files {
		set.File = append(set.File, file)
	}
	return set
}

func findMethod(files *protoregistry.Files, rpc string) (*method, error) {
	descriptor, err := files.FindDescriptorByName(protoreflect.FullName(serviceOf(rpc)))
	if err != nil {
		return nil, fmt.Errorf("service %q: %w", serviceOf(rpc), err)
	}
	service, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%q is not a service", serviceOf(rpc))
	}
	name := rpc[strings.LastIndex(rpc, "/")+1:]
	found := service.Methods().ByName(protoreflect.Name(name))
	if found == nil {
		var names []string
		for i := range service.Methods().Len() {
			names = append(names, string(service.Methods().Get(i).Name()))
		}
		return nil, fmt.Errorf("service %q has no method %q; it has: %s", serviceOf(rpc), name, strings.Join(names, ", "))
	}
	if found.IsStreamingClient() || found.IsStreamingServer() {
		return nil, fmt.Errorf("%s is a streaming method; only unary ones can be called", rpc)
	}
	return &method{in: found.Input(), out: found.Output()}, nil
}
