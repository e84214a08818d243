package accounts

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// mostOff bounds by how much a clock may be off: more is a typing error.
const mostOff = 24 * time.Hour

// clock is the machine's clock, less wrong or more.
type clock struct {
	off atomic.Int64 // nanoseconds
}

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

// serve answers PUT /clock?off=-90s: from now on the clock is that much off, as one whose time service is wrong.
func (c *clock) serve(w http.ResponseWriter, r *http.Request) {
	off, err := time.ParseDuration(r.URL.Query().Get("off"))
	if err == nil && off.Abs() > mostOff {
		err = fmt.Errorf("%s is more than %s", off, mostOff)
	}
	if err != nil {
		http.Error(w, "setting the clock: "+err.Error(), http.StatusBadRequest)
		return
	}
	c.off.Store(int64(off))
	fmt.Fprintf(w, "the clock is off by %s\n", off)
}
