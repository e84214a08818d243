package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/faultline-lab/faultline/observability"
)

// The whole way: pyroscope-go in a program pushes, the backend lists and merges.
func TestPyroscope(t *testing.T) {
	b := startBackend(t, Config{})
	tel, err := observability.Setup(t.Context(), observability.Config{Service: "orders", Instance: "orders-1", PyroscopeURL: b.Endpoints().Pyroscope})
	if err != nil {
		t.Fatal(err)
	}
	if err := tel.Shutdown(t.Context()); err != nil { // pushes what there is
		t.Fatal(err)
	}
	for _, kind := range []string{ProfileCPU, ProfileGoroutine} {
		list, err := b.Archive().Profiles(t.Context(), ProfileQuery{Service: "orders", Instance: "orders-1", Type: kind})
		if err != nil || len(list) == 0 {
			t.Fatalf("%s profiles: %v, %v", kind, list, err)
		}
		if p := list[0]; p.Bytes == 0 || time.Since(p.To) > time.Minute || p.To.Before(p.From) {
			t.Errorf("profile = %+v", p)
		}
	}
	merged, err := b.Archive().MergeProfile(t.Context(), ProfileQuery{Type: ProfileGoroutine})
	if err != nil || len(merged.Sample) == 0 {
		t.Errorf("merged = %v, %v", merged, err)
	}
	if loss := b.Loss(); loss.ProfilesDropped != 0 {
		t.Errorf("loss = %+v", loss)
	}
}

// pprofOf makes a profile of one sample with a value for each type.
func pprofOf(values ...any) []byte {
	f := &profile.Function{ID: 1, Name: "work"}
	loc := &profile.Location{ID: 1, Line: []profile.Line{{Function: f, Line: 1}}}
	sample := &profile.Sample{Location: []*profile.Location{loc}}
	p := &profile.Profile{Sample: []*profile.Sample{sample}, Location: []*profile.Location{loc}, Function: []*profile.Function{f}}
	for i := 0; i < len(values); i += 2 {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: values[i].(string), Unit: "count"})
		sample.Value = append(sample.Value, int64(values[i+1].(int)))
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		panic(err) // a test's own profile
	}
	return out.Bytes()
}

// form builds a multipart body from pairs of name and content.
func form(t testing.TB, parts ...string) (string, []byte) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(parts); i += 2 {
		part, err := w.CreateFormFile(parts[i], parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(parts[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), body.Bytes()
}

// push sends one profile of a service's instance.
func push(t testing.TB, b *Backend, name string, from, to int64, body []byte, more ...string) (int, string) {
	t.Helper()
	kind, content := form(t, append([]string{"profile", string(body)}, more...)...)
	query := url.Values{"name": {name}, "from": {fmt.Sprint(from)}, "until": {fmt.Sprint(to)}}
	code, _, answer := post(t, b.Endpoints().Pyroscope+"/ingest?"+query.Encode(), kind, "", content)
	return code, string(answer)
}

func TestProfileTypesAndNames(t *testing.T) {
	b := startBackend(t, Config{})
	tests := []struct {
		name, service, instance, kind string
		body                          []byte
		config                        string
	}{
		{"orders{instance=orders-2,x=y}", "orders", "orders-2", "cpu", pprofOf("samples", 1, "cpu", 10), ""},
		{"bank", "bank", "bank", "heap", pprofOf("alloc_objects", 1, "inuse_space", 2), ""},
		{"bank{service_instance_id=\"b/1\"}", "bank", "b/1", "mutex", pprofOf("contentions", 1), `{"contentions":{"display-name":"mutex_count"}}`},
		{"../../etc{instance=..}", "../../etc", "..", "block", pprofOf("contentions", 1), `{"contentions":{"display-name":"block_count"}}`},
		{"odd", "odd", "odd", "wall/clock", pprofOf("wall/clock", 1), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			more := []string{}
			if test.config != "" {
				more = []string{"sample_type_config", test.config}
			}
			if code, answer := push(t, b, test.name, 1_700_000_000, 1_700_000_010, test.body, more...); code != http.StatusOK {
				t.Fatalf("answer %d %s", code, answer)
			}
			list, err := b.Archive().Profiles(t.Context(), ProfileQuery{Service: test.service, Instance: test.instance, Type: test.kind})
			if err != nil || len(list) != 1 {
				t.Fatalf("list = %v, %v", list, err)
			}
			p := list[0]
			if p.From.Unix() != 1_700_000_000 || p.To.Unix() != 1_700_000_010 {
				t.Errorf("profile = %+v", p)
			}
			if inside, err := filepath.Rel(filepath.Join(b.cfg.Dir, profilesDir), p.File); err != nil || strings.HasPrefix(inside, "..") {
				t.Errorf("stored outside: %s", p.File)
			}
		})
	}
	// The body may also be the bare profile.
	code, _, answer := post(t, b.Endpoints().Pyroscope+"/ingest?name=bare&from=1700000000000&until=1700000000001", "application/octet-stream", "", pprofOf("cpu", 1))
	if list, err := b.Archive().Profiles(t.Context(), ProfileQuery{Service: "bare"}); code != http.StatusOK || err != nil || len(list) != 1 || list[0].To.Sub(list[0].From) != time.Millisecond {
		t.Errorf("bare: %d %s, %v, %v", code, answer, list, err)
	}
}

func TestIngestTakesARoundedEnd(t *testing.T) {
	b := startBackend(t, Config{})
	if code, answer := push(t, b, "last", 1008, 1005, pprofOf("cpu", 1)); code != http.StatusOK {
		t.Fatalf("got %d %s", code, answer)
	}
	list, err := b.Archive().Profiles(t.Context(), ProfileQuery{Service: "last"})
	if err != nil || len(list) != 1 || !list[0].To.Equal(list[0].From) {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestIngestRefuses(t *testing.T) {
	b := startBackend(t, Config{Limits: Limits{MessageBytes: 4 << 10}})
	good := pprofOf("cpu", 1)
	bomb := gzipped(t, make([]byte, 1<<20))
	tests := []struct {
		what, name string
		from, to   int64
		body       []byte
		says       string
	}{
		{"no name", "{a=b}", 1, 2, good, "name is missing"},
		{"no time", "x", 0, 2, good, `from: "0": must be a Unix time`},
		{"time backwards", "x", 30, 2, good, "is before from"},
		{"not pprof", "x", 1, 2, []byte("hello"), "profile: "},
		{"empty", "x", 1, 2, nil, "no part named profile"},
		{"without sample types", "x", 1, 2, pprofOf(), "profile: "},
		{"too large once unpacked", "x", 1, 2, bomb, "message too large"},
		{"too large", "x", 1, 2, bytes.Repeat([]byte("a"), 5<<10), "request body too large"},
		{"a name too long for a file", strings.Repeat("n", 151), 1, 2, good, "is longer than 150 characters"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			code, answer := push(t, b, test.name, test.from, test.to, test.body)
			if code != http.StatusBadRequest || !strings.Contains(answer, test.says) {
				t.Errorf("answer %d %q, want %q in it", code, answer, test.says)
			}
		})
	}
	if loss := b.Loss(); loss.ProfilesDropped != int64(len(tests)) {
		t.Errorf("%d profiles are counted as dropped, want %d", loss.ProfilesDropped, len(tests))
	}
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, profilesDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was stored: %v", err)
	}
}

func TestProfilesAreBounded(t *testing.T) {
	b := startBackend(t, Config{Limits: Limits{ProfileBytes: 1}})
	if code, answer := push(t, b, "x", 1, 2, pprofOf("cpu", 1)); code != http.StatusOK {
		t.Fatalf("the first: %d %s", code, answer)
	}
	if code, answer := push(t, b, "x", 2, 3, pprofOf("cpu", 1)); code != http.StatusInsufficientStorage {
		t.Errorf("the second: %d %s", code, answer)
	}
}

// What accumulates is added up; a level is averaged over time and added over
// instances.
func TestMergeProfile(t *testing.T) {
	b := startBackend(t, Config{})
	for i, instance := range []string{"a-1", "a-1", "a-2"} {
		from := int64(1_700_000_000 + 10*i)
		push(t, b, "a{instance="+instance+"}", from, from+10, pprofOf("samples", 1, "cpu", 100*(i+1)))
		push(t, b, "a{instance="+instance+"}", from, from+10, pprofOf("alloc_space", 10*(i+1), "inuse_space", 100*(i+1)))
	}
	a := b.Archive()
	sums := func(q ProfileQuery) map[string]int64 {
		t.Helper()
		merged, err := a.MergeProfile(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]int64)
		for i, kind := range merged.SampleType {
			for _, s := range merged.Sample {
				got[kind.Type] += s.Value[i]
			}
		}
		return got
	}
	tests := []struct {
		name string
		q    ProfileQuery
		want map[string]int64
	}{
		{"all", ProfileQuery{Type: "cpu"}, map[string]int64{"samples": 3, "cpu": 600}},
		{"an instance", ProfileQuery{Type: "cpu", Instance: "a-2"}, map[string]int64{"samples": 1, "cpu": 300}},
		{"a time", ProfileQuery{Type: "cpu", From: time.Unix(1_700_000_011, 0), To: time.Unix(1_700_000_019, 0)}, map[string]int64{"samples": 1, "cpu": 200}},
		{"levels", ProfileQuery{Type: "heap"}, map[string]int64{"alloc_space": 60, "inuse_space": 150 + 300}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := sums(test.q); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if _, err := a.MergeProfile(t.Context(), ProfileQuery{}); err == nil || err.Error() != "merging profiles: a type is needed" {
		t.Errorf("error = %v", err)
	}
	if _, err := a.MergeProfile(t.Context(), ProfileQuery{Type: "wall"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("error = %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.MergeProfile(gone, ProfileQuery{Type: "cpu"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

// Other files in the folder do no harm.
func TestListProfilesPassesOver(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README", "a/b", "a/b/c", "x/y/z.pb.gz", "x/y/cpu.1-x.pb.gz", "x/y/.new-123", "x/y/cpu.1-2.pb.gz", "%zz/y/cpu.1-2.pb.gz", "a/b/c/cpu.1-2.pb.gz"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil && !strings.Contains(err.Error(), "not a directory") {
			t.Fatal(err)
		}
		_ = os.WriteFile(path, nil, 0o600) // some of the paths are folders by now
	}
	list, err := listProfiles(dir, ProfileQuery{})
	if err != nil || len(list) != 1 || list[0].Service != "x" || list[0].Type != "cpu" {
		t.Errorf("list = %+v, %v", list, err)
	}
	if list, err := listProfiles(filepath.Join(dir, "none"), ProfileQuery{}); err != nil || len(list) != 0 {
		t.Errorf("of a run without profiles: %v, %v", list, err)
	}
}

func TestIngestTime(t *testing.T) {
	want := time.UnixMilli(1_700_000_000_123)
	for text, want := range map[string]time.Time{
		"1700000000": want.Truncate(time.Second), "1700000000123": want, "1700000000123000": want, "1700000000123000000": want,
	} {
		if got, err := ingestTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
}

func FuzzIngest(f *testing.F) {
	kind, body := form(f, "profile", string(pprofOf("cpu", 1)), "sample_type_config", "{}")
	f.Add("name=a%7Binstance%3Da-1%7D&from=1&until=2", kind, body)
	f.Add("name=b&from=1&until=2", "application/octet-stream", pprofOf("goroutine", 1))
	f.Add("name=..&from=9&until=1", "multipart/form-data", []byte("--x"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, query, kind string, body []byte) {
		p := &profiles{dir: filepath.Join(dir, "profiles"), limits: Limits{MessageBytes: 1 << 16}.withDefaults()}
		req := httptest.NewRequest(http.MethodPost, "/ingest", bytes.NewReader(body))
		req.URL.RawQuery = query
		req.Header.Set("Content-Type", kind)
		if p.ingest(req) != nil {
			return
		}
		if list, err := listProfiles(p.dir, ProfileQuery{}); err != nil || len(list) == 0 {
			t.Errorf("what was taken in is not listed: %v", err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("written outside the folder: %v, %v", entries, err)
		}
		if err := os.RemoveAll(p.dir); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzEscapeName(f *testing.F) {
	for _, seed := range []string{"", ".", "..", "a/b", "%2E", "orders", "é", "a\x00b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		escaped := escapeName(name)
		if strings.ContainsAny(escaped, "/\\\x00") || strings.HasPrefix(escaped, ".") || escaped == "" {
			t.Errorf("%q becomes %q", name, escaped)
		}
		if back, err := url.PathUnescape(escaped); err != nil || (back != name && name != "") {
			t.Errorf("%q becomes %q and comes back as %q, %v", name, escaped, back, err)
		}
	})
}
