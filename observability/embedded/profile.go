package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/pprof/profile"

	"github.com/faultline-lab/faultline/observability/names"
)

// The types of profile. A profile of another kind goes by its first sample type.
const (
	ProfileCPU       = "cpu"
	ProfileHeap      = "heap"
	ProfileGoroutine = "goroutine"
	ProfileMutex     = "mutex"
	ProfileBlock     = "block"
)

// ProfileQuery selects profiles. Zero fields do not restrict.
type ProfileQuery struct {
	Service, Instance string
	Type              string    // such as cpu
	From, To          time.Time // a profile matches when its own span of time meets this one
}

// Profile is one stored profile.
type Profile struct {
	Service, Instance, Type string
	From, To                time.Time
	Bytes                   int64
	File                    string // gzipped pprof
}

// profiles takes what pyroscope-go pushes and keeps it as files:
//
//	profiles/<service>/<instance>/<type>.<from>-<to>.pb.gz
//
// with times in Unix milliseconds and names escaped as in URLs.
type profiles struct {
	dir     string
	limits  Limits
	log     *slog.Logger
	stored  atomic.Int64 // bytes
	dropped atomic.Int64
}

// ServeHTTP implements http.Handler for POST /ingest.
func (p *profiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, p.limits.MessageBytes)
	err := p.ingest(r)
	if err == nil {
		return // 200, as Pyroscope answers
	}
	p.dropped.Add(1)
	p.log.Warn("profiles are being lost", "error", err)
	code := http.StatusBadRequest
	if errors.Is(err, errFull) {
		code = http.StatusInsufficientStorage
	}
	http.Error(w, err.Error(), code)
}

var errFull = errors.New("the bound on stored profiles is reached")

func (p *profiles) ingest(r *http.Request) error {
	meta, err := ingestMeta(r.URL.Query())
	if err != nil {
		return err
	}
	body, config, err := ingestBody(r, p.limits.MessageBytes)
	if err != nil {
		return err
	}
	parsed, err := parseProfile(body, 8*p.limits.MessageBytes)
	if err != nil {
		return err
	}
	meta.Type = profileType(parsed, config)
	return p.save(meta, parsed)
}

// ingestMeta reads name=service{label=value,...}, from and until.
func ingestMeta(query url.Values) (Profile, error) {
	service, rest, _ := strings.Cut(query.Get("name"), "{")
	meta := Profile{Service: strings.TrimSpace(service)}
	if meta.Service == "" {
		return meta, fmt.Errorf("profile: name is missing")
	}
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		key, value, _ := strings.Cut(pair, "=")
		switch strings.TrimSpace(key) {
		case names.Instance, "service_instance_id":
			meta.Instance = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	if meta.Instance == "" {
		meta.Instance = meta.Service
	}
	var err error
	if meta.From, err = ingestTime(query.Get("from")); err != nil {
		return meta, fmt.Errorf("profile: from: %w", err)
	}
	if meta.To, err = ingestTime(query.Get("until")); err != nil {
		return meta, fmt.Errorf("profile: until: %w", err)
	}
	// pyroscope-go rounds the end down to a multiple of its upload interval, so the
	// last profile of a program seems to end before it began.
	if meta.To.Before(meta.From) && meta.From.Sub(meta.To) <= roundedEnd {
		meta.To = meta.From
	}
	if meta.To.Before(meta.From) {
		return meta, fmt.Errorf("profile: until %v is before from %v", meta.To, meta.From)
	}
	return meta, nil
}

// roundedEnd is by how much a client may have rounded the end of a profile down.
const roundedEnd = 15 * time.Second

// ingestTime reads a Unix time in whatever unit its magnitude tells: clients
// send seconds, milliseconds or nanoseconds.
func ingestTime(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, fmt.Errorf("%q: must be a Unix time", text)
	}
	switch {
	case n < 1e11:
		return time.Unix(n, 0), nil
	case n < 1e14:
		return time.UnixMilli(n), nil
	case n < 1e17:
		return time.UnixMicro(n), nil
	}
	return time.Unix(0, n), nil
}

// ingestBody gives the profile and, if it came along, the sample types'
// configuration; the body is a form as pyroscope-go sends it or the bare profile.
func ingestBody(r *http.Request, limit int64) (body []byte, config string, err error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, "", fmt.Errorf("profile: %w", err)
		}
		return body, "", nil
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, "", fmt.Errorf("profile: %w", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, "", fmt.Errorf("profile: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(part, limit))
		if err != nil {
			return nil, "", fmt.Errorf("profile: %w", err)
		}
		switch part.FormName() {
		case "profile":
			body = text
		case "sample_type_config":
			config = string(text)
		}
	}
	if len(body) == 0 {
		return nil, "", fmt.Errorf("profile: the form has no part named profile")
	}
	return body, config, nil
}

// parseProfile reads pprof, gzipped or not, of at most limit bytes.
func parseProfile(body []byte, limit int64) (*profile.Profile, error) {
	if len(body) > 2 && body[0] == 0x1f && body[1] == 0x8b {
		var err error
		if body, err = gunzip(body, limit); err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
	}
	parsed, err := profile.ParseUncompressed(body)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := parsed.CheckValid(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if len(parsed.SampleType) == 0 {
		return nil, fmt.Errorf("profile: has no sample types")
	}
	return parsed, nil
}

func profileType(p *profile.Profile, config string) string {
	for _, sample := range p.SampleType {
		switch sample.Type {
		case "cpu":
			return ProfileCPU
		case "inuse_space", "alloc_space":
			return ProfileHeap
		case "goroutine", "goroutines":
			return ProfileGoroutine
		case "contentions":
			if strings.Contains(config, "block") { // both have contentions and delay
				return ProfileBlock
			}
			return ProfileMutex
		}
	}
	return p.SampleType[0].Type
}

// save writes one profile. The name's time is the profile's own; a second one
// of the same moment replaces the first.
func (p *profiles) save(meta Profile, parsed *profile.Profile) error {
	if p.stored.Load() >= p.limits.ProfileBytes {
		return errFull
	}
	for _, name := range []string{meta.Service, meta.Instance, meta.Type} {
		if len(escapeName(name)) > maxName {
			return fmt.Errorf("profile: name %.40q... is longer than %d characters", name, maxName)
		}
	}
	dir := filepath.Join(p.dir, escapeName(meta.Service), escapeName(meta.Instance))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	name := fmt.Sprintf("%s.%d-%d.pb.gz", escapeName(meta.Type), meta.From.UnixMilli(), meta.To.UnixMilli())
	temp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	err = errors.Join(parsed.Write(temp), temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("profile: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
		p.stored.Add(info.Size())
	}
	return nil
}

// maxName bounds what becomes part of a path.
const maxName = 150

// escapeName makes any name a file name, reversibly.
func escapeName(name string) string {
	escaped := url.PathEscape(name)
	if strings.HasPrefix(escaped, ".") { // "..", and what listings hide
		escaped = "%2E" + escaped[1:]
	}
	return cmp.Or(escaped, "_")
}

// listProfiles reads the names under dir. What does not look like a profile
// is passed over.
func listProfiles(dir string, q ProfileQuery) ([]Profile, error) {
	var found []Profile
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		p, ok := profileOf(relative)
		if !ok || !q.matches(p) {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		p.File, p.Bytes = path, info.Size()
		found = append(found, p)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing profiles: %w", err)
	}
	slices.SortFunc(found, func(a, b Profile) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.File, b.File))
	})
	return found, nil
}

func profileOf(relative string) (Profile, bool) {
	parts := strings.Split(filepath.ToSlash(relative), "/")
	if len(parts) != 3 || strings.HasPrefix(parts[2], ".") {
		return Profile{}, false
	}
	base, found := strings.CutSuffix(parts[2], ".pb.gz")
	dot := strings.LastIndexByte(base, '.')
	if !found || dot < 0 {
		return Profile{}, false
	}
	from, to, _ := strings.Cut(base[dot+1:], "-")
	begin, err1 := strconv.ParseInt(from, 10, 64)
	end, err2 := strconv.ParseInt(to, 10, 64)
	service, err3 := url.PathUnescape(parts[0])
	instance, err4 := url.PathUnescape(parts[1])
	kind, err5 := url.PathUnescape(base[:dot])
	if errors.Join(err1, err2, err3, err4, err5) != nil {
		return Profile{}, false
	}
	return Profile{Service: service, Instance: instance, Type: kind, From: time.UnixMilli(begin), To: time.UnixMilli(end)}, true
}

func (q ProfileQuery) matches(p Profile) bool {
	return (q.Service == "" || q.Service == p.Service) &&
		(q.Instance == "" || q.Instance == p.Instance) &&
		(q.Type == "" || q.Type == p.Type) &&
		(q.From.IsZero() || !p.To.Before(q.From)) &&
		(q.To.IsZero() || !p.From.After(q.To))
}

// Profiles lists the stored profiles that match, by time.
func (a *Archive) Profiles(ctx context.Context, q ProfileQuery) ([]Profile, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return listProfiles(filepath.Join(a.dir, profilesDir), q)
}

// MergeProfile merges the profiles that match into one; q.Type is needed, for
// only profiles of one type can be added up. What accumulates (CPU time,
// allocations, waits) is added; what is a level (live heap, goroutines) is
// averaged over time for each instance and then added over the instances. The
// error is ErrNotFound if there is none.
func (a *Archive) MergeProfile(ctx context.Context, q ProfileQuery) (*profile.Profile, error) {
	if q.Type == "" {
		return nil, fmt.Errorf("merging profiles: a type is needed")
	}
	list, err := a.Profiles(ctx, q)
	if err != nil {
		return nil, err
	}
	byInstance := make(map[string][]*profile.Profile)
	for _, entry := range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		body, err := os.ReadFile(entry.File)
		if err != nil {
			return nil, fmt.Errorf("merging profiles: %w", err)
		}
		parsed, err := parseProfile(body, math.MaxInt32)
		if err != nil {
			return nil, fmt.Errorf("merging profiles: %s: %w", entry.File, err)
		}
		byInstance[entry.Instance] = append(byInstance[entry.Instance], parsed)
	}
	if len(byInstance) == 0 {
		return nil, fmt.Errorf("%s profiles: %w", q.Type, ErrNotFound)
	}
	merged := make([]*profile.Profile, 0, len(byInstance))
	for _, instance := range slices.Sorted(maps.Keys(byInstance)) {
		one, err := mergeOverTime(byInstance[instance])
		if err != nil {
			return nil, fmt.Errorf("merging profiles of %s: %w", instance, err)
		}
		merged = append(merged, one)
	}
	all, err := profile.Merge(merged)
	if err != nil {
		return nil, fmt.Errorf("merging profiles: %w", err)
	}
	return all, nil
}

// mergeOverTime merges one instance's profiles.
func mergeOverTime(parts []*profile.Profile) (*profile.Profile, error) {
	merged, err := profile.Merge(parts)
	if err != nil {
		return nil, err
	}
	ratios := make([]float64, len(merged.SampleType))
	for i, sample := range merged.SampleType {
		ratios[i] = 1
		if strings.HasPrefix(sample.Type, "inuse_") || strings.HasPrefix(sample.Type, "goroutine") {
			ratios[i] = 1 / float64(len(parts))
		}
	}
	if err := merged.ScaleN(ratios); err != nil {
		return nil, err
	}
	return merged, nil
}
