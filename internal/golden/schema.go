package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// Schema is a JSON schema from a file.
type Schema struct {
	schema *jsonschema.Schema
}

// ReadSchema reads a JSON schema, with a library that is not the one that wrote it.
func ReadSchema(file string) (*Schema, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", document); err != nil {
		return nil, err
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		return nil, err
	}
	return &Schema{schema: schema}, nil
}

// Check says what is wrong with a YAML file by the schema.
func (s *Schema) Check(name string, data []byte) error {
	root, err := strictyaml.Read(name, data)
	if err != nil {
		return err
	}
	text, err := json.Marshal(root.Any())
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.schema.Validate(instance)
}
