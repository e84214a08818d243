// Package registry owns who is there: for each service, which of its replicas callers are to use, as a zone of
// DNS names does. It is told so, by its environment and by whoever operates it; it looks after nobody's
// health. Callers ask it as package kit describes.
//
//	GET /services/{name}                     200 {"replicas": [1, 2, 3]}
//	PUT /services/{name}?replicas=1,2,3      on the admin port: these and no others; nothing after the = is nobody
//
// Environment, beside what every service gets: RECORDS, as "backend=1,2,3; other=1".
package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/faultline-lab/faultline/services/kit"
)

const mostReplicas = 1000

// Service describes the registry to the kit.
func Service() kit.Service {
	return kit.Service{Name: "registry", Protocol: kit.HTTP, Build: build}
}

func build(_ context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	records, err := parse(rt.Env["RECORDS"])
	if err != nil {
		return nil, fmt.Errorf("reading RECORDS: %w", err)
	}
	z := &zone{records: records}
	main := http.NewServeMux()
	main.HandleFunc("GET /services/{name}", z.get)
	return &kit.Parts{HTTP: main, Admin: map[string]http.Handler{"PUT /services/{name}": http.HandlerFunc(z.put)}}, nil
}

// zone is the records.
type zone struct {
	mu      sync.Mutex
	records map[string][]int
}

func (z *zone) get(w http.ResponseWriter, r *http.Request) {
	z.mu.Lock()
	replicas, known := z.records[r.PathValue("name")]
	z.mu.Unlock()
	if !known {
		http.Error(w, "no such service", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string][]int{"replicas": append([]int{}, replicas...)}) // a reader who has gone is no trouble of ours
}

func (z *zone) put(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	replicas, err := numbers(r.URL.Query().Get("replicas"))
	if err != nil || !r.URL.Query().Has("replicas") {
		http.Error(w, fmt.Sprintf("replicas must be given, as 1,2,3: %v", err), http.StatusBadRequest)
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if _, known := z.records[name]; !known {
		http.Error(w, "no such service", http.StatusNotFound)
		return
	}
	z.records[name] = replicas
	fmt.Fprintf(w, "%s has the replicas %v\n", name, replicas)
}

// parse reads "backend=1,2,3; other=1".
func parse(text string) (map[string][]int, error) {
	records := map[string][]int{}
	for entry := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		name, list, found := strings.Cut(entry, "=")
		replicas, err := numbers(list)
		if name = strings.TrimSpace(name); !found || name == "" || err != nil {
			return nil, fmt.Errorf("%q is not a record, such as backend=1,2,3", strings.TrimSpace(entry))
		}
		records[name] = replicas
	}
	return records, nil
}

// numbers reads "1,2,3"; nothing is no number.
func numbers(text string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > mostReplicas {
			return nil, fmt.Errorf("%q is not a replica from 1 to %d", part, mostReplicas)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
