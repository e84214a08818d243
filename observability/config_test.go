package observability

import (
	"maps"
	"strings"
	"testing"
)

func TestConfigFromEnv(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want Config
	}{
		{"nothing", nil, Config{}},
		{
			"everything",
			map[string]string{
				"OTEL_SERVICE_NAME":           "catalog",
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
				"OTEL_RESOURCE_ATTRIBUTES":    "service.instance.id=catalog-2, deployment.environment.name=lab%2Cone",
				"OTEL_TRACES_SAMPLER_ARG":     "0.25",
				"PYROSCOPE_URL":               "http://127.0.0.1:4040",
			},
			Config{
				Service: "catalog", Instance: "catalog-2", Endpoint: "http://127.0.0.1:4317", PyroscopeURL: "http://127.0.0.1:4040",
				SampleRatio: 0.25, Attributes: map[string]string{"deployment.environment.name": "lab,one"},
			},
		},
		{
			"the service may be named among the attributes",
			map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "service.name=bank"},
			Config{Service: "bank"},
		},
		{
			"the variable of its own wins",
			map[string]string{"OTEL_SERVICE_NAME": "bank", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
			Config{Service: "bank"},
		},
		{
			"what does not parse is left out",
			map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "broken,=x,a=%zz,b=1=2", "OTEL_TRACES_SAMPLER_ARG": "half"},
			Config{Attributes: map[string]string{"a": "%zz", "b": "1=2"}},
		},
		{
			"switched off",
			map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYROSCOPE_URL": "http://127.0.0.1:2"},
			Config{},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ConfigFromEnv(func(key string) string { return test.env[key] })
			if !maps.Equal(got.Attributes, test.want.Attributes) {
				t.Errorf("attributes = %v, want %v", got.Attributes, test.want.Attributes)
			}
			got.Attributes, test.want.Attributes = nil, nil
			if got.Service != test.want.Service || got.Instance != test.want.Instance || got.Endpoint != test.want.Endpoint ||
				got.PyroscopeURL != test.want.PyroscopeURL || got.SampleRatio != test.want.SampleRatio {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	tests := []struct {
		endpoint, address string
		secure            bool
		err               string
	}{
		{"http://127.0.0.1:4317", "127.0.0.1:4317", false, ""},
		{"127.0.0.1:4317", "127.0.0.1:4317", false, ""},
		{"https://collector", "collector:4317", true, ""},
		{"http://[::1]", "[::1]:4317", false, ""},
		{"unix:///tmp/x", "", false, "scheme must be http or https"},
		{"http://:4317", "", false, "has no host"},
		{"http://%zz", "", false, "otlp endpoint"},
	}
	for _, test := range tests {
		t.Run(test.endpoint, func(t *testing.T) {
			address, secure, err := target(test.endpoint)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error = %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || secure != test.secure {
				t.Fatalf("got %q %v %v", address, secure, err)
			}
			if address != test.address {
				t.Errorf("address = %q, want %q", address, test.address)
			}
		})
	}
}

func TestSetupRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"a ratio over 1":      {SampleRatio: 1.5},
		"a negative ratio":    {SampleRatio: -1},
		"a scheme that isn't": {Endpoint: "ftp://x"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Setup(t.Context(), cfg); err == nil {
				t.Fatal("want an error")
			}
		})
	}
}
