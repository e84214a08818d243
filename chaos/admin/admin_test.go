package admin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/admin"
	"github.com/faultline-lab/faultline/parameter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is two replicas that write down what they are asked.
type service struct {
	mu    sync.Mutex
	asked []string
	addrs []string
	no    string // a path that is refused
}

func newService(t *testing.T) *service {
	s := &service{}
	for range 2 {
		replica := httptest.NewServer(http.HandlerFunc(s.answer))
		t.Cleanup(replica.Close)
		s.addrs = append(s.addrs, strings.TrimPrefix(replica.URL, "http://"))
	}
	return s
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	if s.no != "" && r.URL.Path == s.no {
		http.Error(w, "not here", http.StatusNotFound)
		return
	}
	io.WriteString(w, "dropped\n3 entries\n")
}

func (s *service) of(name string, replica int) []string {
	switch {
	case name != "catalog":
		return nil
	case replica == 0:
		return s.addrs
	}
	return s.addrs[replica-1 : replica]
}

func fault(replica int, params parameter.Values) chaos.Fault {
	return chaos.Fault{ID: "cold", Kind: chaos.Admin, Services: []string{"catalog"}, Replica: replica, Params: params}
}

func TestAFaultFromStartToEnd(t *testing.T) {
	for name, c := range map[string]struct {
		replica int
		params  parameter.Values
		want    []string
	}{
		"all replicas, with undo": {0, parameter.Values{"do": "PUT /store?delay=1s", "undo": "PUT /store?delay=0s"},
			[]string{"PUT /store?delay=0s", "PUT /store?delay=0s", "PUT /store?delay=1s", "PUT /store?delay=1s"}},
		"one, with a body, nothing to undo": {2, parameter.Values{"do": "POST /messages", "body": "{"}, []string{"POST /messages {"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			i, f := admin.New(s.of, nil), fault(c.replica, c.params)
			if err := i.Inject(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			effect, err := i.Active(t.Context(), f)
			if err != nil || !effect.Felt || int(effect.During) != len(s.of("catalog", c.replica)) || !strings.Contains(effect.Detail, "dropped 3 entries") {
				t.Errorf("during: %+v, %v", effect, err)
			}
			if err := i.Recover(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if effect, err := i.Active(t.Context(), f); err != nil || effect.Felt {
				t.Errorf("after: %+v, %v", effect, err)
			}
			i.Release(f)
			if _, err := i.Active(t.Context(), f); err == nil {
				t.Error("a fault that was released is still known")
			}
			slices.Sort(s.asked)
			if !slices.Equal(s.asked, c.want) {
				t.Errorf("asked %q, want %q", s.asked, c.want)
			}
		})
	}
}

func TestARefusalFailsTheFault(t *testing.T) {
	s := newService(t)
	s.no = "/cache"
	i, f := admin.New(s.of, nil), fault(0, parameter.Values{"do": "POST /cache", "undo": "DELETE /cache"})
	if err := i.Inject(t.Context(), f); err == nil || !strings.Contains(err.Error(), "404 Not Found: not here") {
		t.Errorf("injecting: %v", err)
	}
	if effect, err := i.Active(t.Context(), f); err != nil || effect.Felt {
		t.Errorf("felt all the same: %+v, %v", effect, err)
	}
	if err := i.Recover(t.Context(), f); err == nil {
		t.Error("recovered, though the service refused to")
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	i := admin.New(newService(t).of, nil)
	for name, f := range map[string]chaos.Fault{
		"another kind":   {ID: "a", Kind: chaos.Kill, Services: []string{"catalog"}},
		"no service":     {ID: "a", Kind: chaos.Admin, Params: parameter.Values{"do": "POST /a"}},
		"no request":     {ID: "a", Kind: chaos.Admin, Services: []string{"catalog"}, Params: parameter.Values{"do": "flush"}},
		"a wrong undo":   {ID: "a", Kind: chaos.Admin, Services: []string{"catalog"}, Params: parameter.Values{"do": "POST /a", "undo": "GET /a"}},
		"no admin port":  {ID: "a", Kind: chaos.Admin, Services: []string{"bank"}, Params: parameter.Values{"do": "POST /a"}},
		"a path with CR": {ID: "a", Kind: chaos.Admin, Services: []string{"catalog"}, Params: parameter.Values{"do": "POST /a\r\nX: y"}},
	} {
		if err := i.Inject(t.Context(), f); err == nil {
			t.Errorf("%s: injected", name)
		}
	}
}
