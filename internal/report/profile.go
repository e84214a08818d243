package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/google/pprof/profile"

	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Bounds of what profiles may add to the page of one run.
const (
	profiledRuns     = 48        // profiles of one run
	profiledServices = 3         // of one trace: where its critical path spent the most
	flameBytes       = 256 << 10 // of all frames and tables
	pprofBytes       = 512 << 10 // of all files to download
)

// Bounds of one profile.
const (
	topFunctions = 15
	flameFrames  = 400
	flameDepth   = 60
	flameShare   = 0.005 // of the whole: what is less is left out
)

// PageProfile is what one instance of a service spent processor time on, over the
// profiles that meet a span of time.
type PageProfile struct {
	Service  string  `json:"service"`
	Instance string  `json:"instance,omitempty"`
	From     float64 `json:"from"` // seconds from the start of the load
	To       float64 `json:"to"`
	// Seconds of processor time in it; 0 where it was idle.
	Seconds float64 `json:"seconds"`
	// Names of functions; Top and Flame refer to them by index.
	Names []string        `json:"names"`
	Top   []PageFunction  `json:"top"`
	Flame []PageFlameItem `json:"flame"`
	// Pprof is the profile as a gzipped pprof file in base64, "" where it is not on the page.
	Pprof string `json:"pprof,omitempty"`
}

// PageFunction is a function: its own time and that of all it called, in seconds.
type PageFunction struct {
	Name  int     `json:"n"`
	Own   float64 `json:"own"`
	Total float64 `json:"total"`
}

// PageFlameItem is a rectangle of the flame graph, in shares of the whole.
type PageFlameItem struct {
	Name  int     `json:"n"`
	Depth int     `json:"d"`
	Left  float64 `json:"x"`
	Width float64 `json:"w"`
}

// ProfileStore is telemetry that has profiles, too.
type ProfileStore interface {
	Profiles(ctx context.Context, q embedded.ProfileQuery) ([]embedded.Profile, error)
}

// ErrNoProfile says that a moment has no profile.
var ErrNoProfile = errors.New("no CPU profile covers that moment; services send theirs every 5 seconds, and the last one of a run may be missing")

// ProfileOf is the CPU profile of a service's instance ("" for any) over the recorded profiles that meet a
// span of time, as the page draws it, and as a gzipped pprof file. start is when the load began. The error
// is ErrNoProfile where there is none.
func ProfileOf(ctx context.Context, store ProfileStore, start time.Time, q embedded.ProfileQuery) (PageProfile, []byte, error) {
	q.Type = embedded.ProfileCPU
	files, err := store.Profiles(ctx, q)
	if err != nil {
		return PageProfile{}, nil, err
	}
	return profileOf(files, start)
}

func profileOf(files []embedded.Profile, start time.Time) (PageProfile, []byte, error) {
	if len(files) == 0 {
		return PageProfile{}, nil, ErrNoProfile
	}
	parsed := make([]*profile.Profile, 0, len(files))
	page := PageProfile{Service: files[0].Service, From: math.Inf(1), To: math.Inf(-1)}
	if files[0].Instance != files[0].Service {
		page.Instance = files[0].Instance
	}
	for _, f := range files {
		p, err := parseProfile(f.File)
		if err != nil {
			return PageProfile{}, nil, fmt.Errorf("reading a profile: %w", err)
		}
		parsed = append(parsed, p)
		page.From = min(page.From, round(f.From.Sub(start).Seconds(), 1))
		page.To = max(page.To, round(f.To.Sub(start).Seconds(), 1))
	}
	merged, err := profile.Merge(parsed)
	if err != nil {
		return PageProfile{}, nil, fmt.Errorf("merging profiles: %w", err)
	}
	var file bytes.Buffer
	if err := merged.Write(&file); err != nil {
		return PageProfile{}, nil, fmt.Errorf("writing a profile: %w", err)
	}
	newStacks(merged).fill(&page)
	return page, file.Bytes(), nil
}

func parseProfile(name string) (*profile.Profile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	p, err := profile.Parse(f)
	return p, errors.Join(err, f.Close())
}

// frame is a function called in one way, with everything below it.
type frame struct {
	name  string
	value int64
	kids  map[string]*frame
}

func (f *frame) kid(name string) *frame {
	if f.kids[name] == nil {
		f.kids[name] = &frame{name: name, kids: map[string]*frame{}}
	}
	return f.kids[name]
}

// stacks are the samples of a profile as a tree of calls.
type stacks struct {
	root       *frame
	own, total map[string]int64
	index      map[string]int
	names      []string
}

func newStacks(p *profile.Profile) *stacks {
	s := &stacks{root: &frame{kids: map[string]*frame{}}, own: map[string]int64{}, total: map[string]int64{}, index: map[string]int{}}
	value := max(0, slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Unit == "nanoseconds" }))
	for _, sample := range p.Sample {
		s.add(sample, sample.Value[value])
	}
	return s
}

// add takes in one sample: its locations go from the innermost call outwards.
func (s *stacks) add(sample *profile.Sample, v int64) {
	at, last, seen := s.root, "", map[string]bool{}
	at.value += v
	for i, location := range slices.Backward(sample.Location) {
		if len(sample.Location)-i > flameDepth {
			break
		}
		for _, line := range slices.Backward(location.Line) { // what was inlined comes first
			if line.Function == nil {
				continue
			}
			last = shorten(line.Function.Name)
			at = at.kid(last)
			at.value += v
			if !seen[last] { // a function that calls itself counts once
				seen[last] = true
				s.total[last] += v
			}
		}
	}
	if last != "" {
		s.own[last] += v
	}
}

func (s *stacks) number(name string) int {
	i, known := s.index[name]
	if !known {
		i = len(s.names)
		s.index[name] = i
		s.names = append(s.names, name)
	}
	return i
}

// fill writes the tree and the table into the page.
func (s *stacks) fill(page *PageProfile) {
	page.Seconds, page.Top, page.Flame = cpuSeconds(s.root.value), []PageFunction{}, []PageFlameItem{}
	byOwn := slices.SortedFunc(maps.Keys(s.own), func(a, b string) int { return cmp.Or(cmp.Compare(s.own[b], s.own[a]), cmp.Compare(a, b)) })
	for _, name := range byOwn[:min(len(byOwn), topFunctions)] {
		page.Top = append(page.Top, PageFunction{Name: s.number(name), Own: cpuSeconds(s.own[name]), Total: cpuSeconds(s.total[name])})
	}
	s.lay(page, s.root, 0, 0)
	page.Names = orEmpty(s.names)
}

func cpuSeconds(ns int64) float64 { return round(float64(ns)/1e9, 3) }

// lay places what a frame called beside each other below it, by name, so that two graphs can be compared.
func (s *stacks) lay(page *PageProfile, of *frame, depth int, left float64) {
	if s.root.value <= 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(of.kids)) {
		kid := of.kids[name]
		width := float64(kid.value) / float64(s.root.value)
		if width >= flameShare && len(page.Flame) < flameFrames {
			page.Flame = append(page.Flame, PageFlameItem{Name: s.number(name), Depth: depth, Left: round(left, 4), Width: round(width, 4)})
			s.lay(page, kid, depth+1, left)
		}
		left += width
	}
}

// profiler puts profiles onto the page of a run, as long as there is room.
type profiler struct {
	files        map[[2]string][]embedded.Profile // CPU profiles by service and instance
	flame, pprof int                              // bytes so far
}

// profiles lists what the run has.
func (b *pageBuilder) listProfiles(ctx context.Context) error {
	b.out.Profiles = map[string]PageProfile{}
	store, has := b.telemetry.(ProfileStore)
	if !has {
		return nil
	}
	all, err := store.Profiles(ctx, embedded.ProfileQuery{Type: embedded.ProfileCPU})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.note("profiles could not be listed: " + err.Error())
		return nil
	}
	b.profiler.files = map[[2]string][]embedded.Profile{}
	for _, p := range all {
		key := [2]string{p.Service, p.Instance}
		b.profiler.files[key] = append(b.profiler.files[key], p)
	}
	return nil
}

// profileSpans links the spans of a trace to profiles: those of the instances in which its critical
// path spent the most time. spans are those of the page, in the order of nodes.
func (b *pageBuilder) profileSpans(trace telemetry.Trace, page *PageTrace) {
	instances := map[string]string{}
	for _, s := range trace.Spans {
		instances[s.SpanID] = s.Instance
	}
	at := func(v *PageSpan) [2]string { return [2]string{v.Service, cmp.Or(instances[v.ID], v.Service)} }
	spent := map[[2]string]float64{}
	for i := range page.Spans {
		for _, c := range page.Spans[i].Critical {
			spent[at(&page.Spans[i])] += c[1] - c[0]
		}
	}
	most := slices.SortedFunc(maps.Keys(spent), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(spent[b], spent[a]), cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	most = slices.DeleteFunc(most, func(key [2]string) bool { return len(b.profiler.files[key]) == 0 })
	most = most[:min(len(most), profiledServices)]
	begin := beginOf(trace)
	for i := range page.Spans {
		if v := &page.Spans[i]; slices.Contains(most, at(v)) {
			from := begin.Add(time.Duration(v.Start * float64(time.Millisecond)))
			v.Profile = b.profile(at(v), from, from.Add(time.Duration(v.MS*float64(time.Millisecond))))
		}
	}
}

// profile puts the profile of an instance over a span of time onto the page and
// returns its key, "" where there is none or no room.
func (b *pageBuilder) profile(of [2]string, from, to time.Time) string {
	var files []embedded.Profile
	for _, f := range b.profiler.files[of] {
		if !f.To.Before(from) && !f.From.After(to) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return ""
	}
	key := of[1] + "/" + strconv.FormatInt(files[0].From.UnixMilli(), 36) + "-" + strconv.Itoa(len(files))
	if _, have := b.out.Profiles[key]; have {
		return key
	}
	if len(b.out.Profiles) >= profiledRuns {
		return ""
	}
	page, file, err := profileOf(files, b.run.Meta.Load)
	if err != nil {
		b.note("a profile could not be read: " + err.Error())
		return ""
	}
	data, err := json.Marshal(page)
	if err != nil || b.profiler.flame+len(data) > flameBytes {
		return ""
	}
	b.profiler.flame += len(data)
	if encoded := base64.StdEncoding.EncodeToString(file); b.profiler.pprof+len(encoded) <= pprofBytes {
		b.profiler.pprof += len(encoded)
		page.Pprof = encoded
	}
	b.out.Profiles[key] = page
	return key
}
