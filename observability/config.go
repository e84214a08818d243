package observability

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Config says who a program is and where its telemetry goes.
type Config struct {
	Service      string            // service.name; "" means unknown_service
	Instance     string            // service.instance.id, such as catalog-2; "" means the service's name
	Endpoint     string            // OTLP over gRPC: http://host:port, https://host:port or host:port; "" exports nothing
	PyroscopeURL string            // where profiles are pushed; "" takes none
	Attributes   map[string]string // further resource attributes
	SampleRatio  float64           // of traces that start here, 0 to 1; 0 means 1. A caller's decision is kept.
}

// ConfigFromEnv reads the standard OTEL_* variables and PYROSCOPE_URL with the
// given look-up, such as os.Getenv. Values that do not parse are left out, as
// OpenTelemetry's specification asks.
func ConfigFromEnv(get func(string) string) Config {
	cfg := Config{
		Service:      get("OTEL_SERVICE_NAME"),
		Endpoint:     get("OTEL_EXPORTER_OTLP_ENDPOINT"),
		PyroscopeURL: get("PYROSCOPE_URL"),
		Attributes:   parseAttributes(get("OTEL_RESOURCE_ATTRIBUTES")),
	}
	if name := cfg.Attributes["service.name"]; cfg.Service == "" {
		cfg.Service = name
	}
	cfg.Instance = cfg.Attributes["service.instance.id"]
	delete(cfg.Attributes, "service.name")
	delete(cfg.Attributes, "service.instance.id")
	if ratio, err := strconv.ParseFloat(get("OTEL_TRACES_SAMPLER_ARG"), 64); err == nil {
		cfg.SampleRatio = ratio
	}
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		cfg.Endpoint, cfg.PyroscopeURL = "", ""
	}
	return cfg
}

// parseAttributes reads key=value pairs in W3C baggage form: commas between
// pairs, values percent-encoded.
func parseAttributes(text string) map[string]string {
	attributes := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" {
			continue
		}
		value = strings.TrimSpace(value)
		if decoded, err := url.PathUnescape(value); err == nil {
			value = decoded
		}
		attributes[key] = value
	}
	return attributes
}

// withDefaults fills what was left out and refuses what cannot be meant.
func (c Config) withDefaults() (Config, error) {
	if c.Service == "" {
		c.Service = "unknown_service"
	}
	if c.Instance == "" {
		c.Instance = c.Service
	}
	if c.SampleRatio == 0 {
		c.SampleRatio = 1
	}
	if !(c.SampleRatio > 0 && c.SampleRatio <= 1) {
		return c, fmt.Errorf("sample ratio %v: must be from 0 to 1", c.SampleRatio)
	}
	return c, nil
}

// target splits an endpoint into what grpc dials and whether it wants TLS.
func target(endpoint string) (address string, secure bool, err error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", false, fmt.Errorf("otlp endpoint: %w", err)
	}
	secure = u.Scheme == "https"
	if !secure && u.Scheme != "http" {
		return "", false, fmt.Errorf("otlp endpoint %q: scheme must be http or https", endpoint)
	}
	if u.Hostname() == "" {
		return "", false, fmt.Errorf("otlp endpoint %q: has no host", endpoint)
	}
	address = u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "4317")
	}
	return address, secure, nil
}
