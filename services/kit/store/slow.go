package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// mostDelay bounds what SetDelay takes: longer is a typing error.
const mostDelay = 30 * time.Second

// slice is how long a statement that is held up sleeps before it looks how many others there are.
const slice = 10 * time.Millisecond

// pace is what every statement of a database is held up by, and timed with.
type pace struct {
	delay   atomic.Int64 // nanoseconds
	running atomic.Int64 // statements that are held up now
	timed   prometheus.Observer
}

// statement holds a statement up, and runs and times it. Its connection is taken meanwhile, as it is by
// a disk or a server that is slow: whoever finds no free one waits.
func (p *pace) statement(ctx context.Context, do func() error) error {
	began := time.Now()
	defer func() { p.timed.Observe(time.Since(began).Seconds()) }()
	if delay := time.Duration(p.delay.Load()); delay > 0 {
		if err := p.hold(ctx, delay); err != nil {
			return err
		}
	}
	return do()
}

// hold waits until the statement had so much of the store's time, of which it gets as much as every other one.
func (p *pace) hold(ctx context.Context, left time.Duration) error {
	p.running.Add(1)
	defer p.running.Add(-1)
	timer := time.NewTimer(slice)
	defer timer.Stop()
	for left > 0 {
		sharers := time.Duration(p.running.Load())
		began := time.Now()
		timer.Reset(min(slice, left*sharers))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		left -= time.Since(began) / sharers
	}
	return nil
}

// SetDelay makes each statement and each commit take so much more of the store's time from now on; of n at once each
// takes n times as long. 0 ends that. The error says that the delay is negative or above 30s.
func (db *DB) SetDelay(delay time.Duration) error {
	if delay < 0 || delay > mostDelay {
		return fmt.Errorf("a delay of %s is not from 0s to %s", delay, mostDelay)
	}
	db.pace.delay.Store(int64(delay))
	return nil
}

// ServeDelay answers PUT /store?delay=50ms, with which whoever operates the service calls SetDelay.
func (db *DB) ServeDelay(w http.ResponseWriter, r *http.Request) {
	delay, err := time.ParseDuration(r.URL.Query().Get("delay"))
	if err == nil {
		err = db.SetDelay(delay)
	}
	if err != nil {
		http.Error(w, "reading delay: "+err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "each statement takes %s more of the store's time\n", delay)
}

// paced opens connections whose statements the pace holds up.
type paced struct {
	driver.Connector
	pace *pace
}

// fullConn is what the connections of both databases can do.
type fullConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
}

// Connect is part of driver.Connector.
func (c paced) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := conn.(fullConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T cannot do all that is asked of it", conn), conn.Close())
	}
	return pacedConn{fullConn: full, pace: c.pace}, nil
}

// byName opens connections of a driver that makes no connectors.
type byName struct {
	driver driver.Driver
	name   string
}

// Connect is part of driver.Connector.
func (c byName) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.name) }

// Driver is part of driver.Connector.
func (c byName) Driver() driver.Driver { return c.driver }

// pacedConn is a connection. What it does not name here it does as ever.
type pacedConn struct {
	fullConn
	pace *pace
}

// ExecContext is part of driver.ExecerContext.
func (c pacedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.pace.statement(ctx, func() (err error) {
		result, err = c.fullConn.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

// QueryContext is part of driver.QueryerContext.
func (c pacedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = c.pace.statement(ctx, func() (err error) {
		rows, err = c.fullConn.QueryContext(ctx, query, args)
		return err
	})
	return rows, err
}

// BeginTx is part of driver.ConnBeginTx.
func (c pacedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.fullConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return pacedTx{Tx: tx, ctx: context.WithoutCancel(ctx), pace: c.pace}, nil
}

// CheckNamedValue is part of driver.NamedValueChecker.
func (c pacedConn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.fullConn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

// ResetSession is part of driver.SessionResetter.
func (c pacedConn) ResetSession(ctx context.Context) error {
	if resetter, ok := c.fullConn.(driver.SessionResetter); ok {
		return resetter.ResetSession(ctx)
	}
	return nil
}

// IsValid is part of driver.Validator.
func (c pacedConn) IsValid() bool {
	validator, ok := c.fullConn.(driver.Validator)
	return !ok || validator.IsValid()
}

// pacedTx is a transaction; what a disk is slow at is its end.
type pacedTx struct {
	driver.Tx
	ctx  context.Context // which does not end: a commit has to, one way or the other
	pace *pace
}

// Commit is part of driver.Tx.
func (t pacedTx) Commit() error {
	return t.pace.statement(t.ctx, t.Tx.Commit)
}
