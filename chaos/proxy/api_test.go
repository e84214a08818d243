package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	toxiclient "github.com/Shopify/toxiproxy/v2/client"
)

// TestToxiproxysOwnClientWorks holds the API to the client that everybody uses.
func TestToxiproxysOwnClientWorks(t *testing.T) {
	l := newLab(t, Config{})
	client := toxiclient.NewClient(l.api.URL)
	upstream := serve(t, echo)
	px, err := client.CreateProxy("redis", "127.0.0.1:0", upstream)
	if err != nil {
		t.Fatal(err)
	}
	if px.Upstream != upstream || !px.Enabled || strings.HasSuffix(px.Listen, ":0") {
		t.Errorf("created %+v", px)
	}
	toxic, err := px.AddToxic("", "latency", "", 1, toxiclient.Attributes{"latency": 100, "jitter": 0})
	if err != nil || toxic.Name != "latency_downstream" || toxic.Attributes["latency"] != 100.0 {
		t.Fatalf("added %+v, %v", toxic, err)
	}
	if took := ask(t, dial(t, px.Listen), "ping"); took < 100*time.Millisecond {
		t.Errorf("the echo took %s", took)
	}
	toxic, err = px.UpdateToxic("latency_downstream", -1, toxiclient.Attributes{"latency": 200})
	if err != nil || toxic.Attributes["latency"] != 200.0 || toxic.Attributes["jitter"] != 0.0 {
		t.Errorf("updated %+v, %v", toxic, err)
	}
	if toxics, err := px.Toxics(); err != nil || len(toxics) != 1 {
		t.Errorf("toxics are %v, %v", toxics, err)
	}
	if err := px.RemoveToxic("latency_downstream"); err != nil {
		t.Error(err)
	}
	if err := px.Disable(); err != nil {
		t.Error(err)
	}
	if err := client.ResetState(); err != nil {
		t.Error(err)
	}
	ask(t, dial(t, px.Listen), "ping")
	all, err := client.Proxies()
	if err != nil || len(all) != 1 || !all["redis"].Enabled {
		t.Errorf("proxies are %v, %v", all, err)
	}
	populated, err := client.Populate([]toxiclient.Proxy{{Name: "redis", Listen: px.Listen, Upstream: serve(t, echo), Enabled: true}, {Name: "other", Upstream: upstream, Enabled: true}})
	if err != nil || len(populated) != 2 || populated[0].Upstream == upstream {
		t.Errorf("populated %v, %v", populated, err)
	}
	ask(t, dial(t, populated[0].Listen), "ping")
	if err := px.Delete(); err != nil {
		t.Error(err)
	}
	if _, err := client.Proxy("redis"); err == nil {
		t.Error("the deleted proxy is still there")
	}
	if version, err := client.Version(); err != nil || !strings.Contains(string(version), "version") {
		t.Errorf("version is %s, %v", version, err)
	}
}

func TestTheAPIRefuses(t *testing.T) {
	l := newLab(t, Config{})
	l.proxy("p", "127.0.0.1:1")
	l.toxic("p", `{"type":"latency","name":"there","attributes":{"latency":1}}`)
	tests := []struct {
		name, method, path, body string
		status                   int
		message                  string
	}{
		{"not JSON", "POST", "/proxies", `{`, 400, "bad request body"},
		{"a proxy without name", "POST", "/proxies", `{"upstream":"x:1"}`, 400, "missing required field: name"},
		{"a proxy without upstream", "POST", "/proxies", `{"name":"x"}`, 400, "missing required field: upstream"},
		{"a name with a slash", "POST", "/proxies", `{"name":"a/b","upstream":"x:1"}`, 400, "slash"},
		{"a proxy twice", "POST", "/proxies", `{"name":"p","upstream":"x:1"}`, 409, "already exists"},
		{"a bad address", "POST", "/proxies", `{"name":"x","upstream":"x:1","listen":"nonsense"}`, 400, "listen"},
		{"an unknown proxy", "GET", "/proxies/x", ``, 404, "proxy not found"},
		{"another address", "POST", "/proxies/p", `{"upstream":"y:1"}`, 400, "cannot change"},
		{"an unknown toxic", "DELETE", "/proxies/p/toxics/x", ``, 404, "toxic not found"},
		{"a toxic twice", "POST", "/proxies/p/toxics", `{"type":"latency","name":"there","attributes":{"latency":1}}`, 409, "already exists"},
		{"a kind of toxic that there is not", "POST", "/proxies/p/toxics", `{"type":"x"}`, 400, "invalid toxic type"},
		{"a meter", "POST", "/proxies/p/toxics", `{"type":"faultline_meter","name":"m"}`, 400, "invalid toxic type"},
		{"removing a meter", "DELETE", "/proxies/p/toxics/faultline_meter_upstream", ``, 404, "toxic not found"},
		{"a stream that there is not", "POST", "/proxies/p/toxics", `{"type":"latency","stream":"x"}`, 400, "stream was invalid"},
		{"a slicer without attributes", "POST", "/proxies/p/toxics", `{"type":"slicer"}`, 400, "slices of 0 bytes"},
		{"a slicer that varies too much", "POST", "/proxies/p/toxics", `{"type":"slicer","attributes":{"average_size":5,"size_variation":5}}`, 400, "size_variation < average_size"},
		{"a negative bandwidth", "POST", "/proxies/p/toxics", `{"type":"bandwidth","attributes":{"rate":-1}}`, 400, "-1 KB/s"},
		{"a negative latency", "POST", "/proxies/p/toxics", `{"type":"latency","attributes":{"latency":-1}}`, 400, "latency -1 ms"},
		{"more jitter than latency", "POST", "/proxies/p/toxics", `{"type":"latency","attributes":{"latency":1,"jitter":2}}`, 400, "jitter <= latency"},
		{"a negative timeout", "POST", "/proxies/p/toxics", `{"type":"timeout","attributes":{"timeout":-1}}`, 400, "negative"},
		{"a negative delay of closing", "POST", "/proxies/p/toxics", `{"type":"slow_close","attributes":{"delay":-1}}`, 400, "negative"},
		{"negative bytes", "POST", "/proxies/p/toxics", `{"type":"limit_data","attributes":{"bytes":-1}}`, 400, "negative"},
		{"a reset in an hour", "POST", "/proxies/p/toxics", `{"type":"reset_peer","attributes":{"timeout":3600000}}`, 400, "want 0 to 10000"},
		{"attributes of another type", "POST", "/proxies/p/toxics", `{"type":"latency","attributes":{"latency":"1s"}}`, 400, "bad attributes"},
		{"toxicity", "POST", "/proxies/p/toxics", `{"type":"latency","toxicity":0.5}`, 400, "toxicity 0.5 is refused"},
		{"an update that does harm", "POST", "/proxies/p/toxics/there", `{"attributes":{"jitter":2}}`, 400, "jitter <= latency"},
		{"a lease without ttl", "POST", "/lease", `{}`, 400, "ttl"},
		{"a lease for ever", "POST", "/lease", `{"ttl":"9999h"}`, 400, "from 100ms to 1h"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer := struct {
				Error  string
				Status int
			}{}
			status, _ := l.do(test.method, test.path, test.body, &answer)
			if status != test.status || answer.Status != test.status || !strings.Contains(answer.Error, test.message) {
				t.Errorf("answered %d %+v, want %d with %q", status, answer, test.status, test.message)
			}
		})
	}
}

func TestAPageOfABrowserMayNotUseTheAPI(t *testing.T) {
	l := newLab(t, Config{})
	r, err := http.NewRequest("POST", l.api.URL+"/reset", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("answered %d, %v", answer.StatusCode, err)
	}
}

func FuzzCheckToxic(f *testing.F) {
	for _, seed := range []string{
		`{"type":"latency","attributes":{"latency":1,"jitter":1}}`, `{"type":"slicer"}`, `{"type":"bandwidth","attributes":{"rate":1e400}}`,
		`{"type":"reset_peer","toxicity":1,"attributes":{"timeout":0}}`, `{`, `null`, `{"type":"limit_data","attributes":null}`,
	} {
		f.Add([]byte(seed))
	}
	registerToxics()
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = checkToxic(body) // it must not panic
	})
}
