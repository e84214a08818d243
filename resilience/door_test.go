package resilience

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultline-lab/faultline/observability/names"
)

func newTestDoor(t *testing.T, chain ...Spec) (*Door, *registry) {
	t.Helper()
	reg := &registry{}
	d, err := NewDoor(DoorConfig{Service: "b", Chain: chain, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	return d, reg
}

func TestDoorWithoutPolicies(t *testing.T) {
	d, _ := newTestDoor(t)
	broken := errors.New("broken")
	if err := d.Do(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if d.KeepsDeadline() || d.DefaultDeadline() != 0 {
		t.Error("keeps deadlines without the policy")
	}
}

func TestDoorPolicies(t *testing.T) {
	within(t, func(t *testing.T) {
		d, reg := newTestDoor(t, spec(t, "timeout", "1s"), spec(t, "bulkhead", 1))
		began := time.Now()
		var wait sync.WaitGroup
		wait.Go(func() {
			err := d.Do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			if rejection(err) != "timeout timeout" || time.Since(began) != time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
		synctest.Wait()
		if err := d.Do(t.Context(), func(context.Context) error { return nil }); rejection(err) != "bulkhead full" {
			t.Errorf("got %v", err)
		}
		wait.Wait()
		if n := reg.value(t, names.PolicyRejections, names.On, "b", names.Policy, "bulkhead", names.Cause, "full"); n != 1 {
			t.Errorf("%v rejections", n)
		}
	})
}

func TestDoorDeadline(t *testing.T) {
	d, reg := newTestDoor(t, spec(t, "deadline", "2s"))
	if !d.KeepsDeadline() || d.DefaultDeadline() != 2*time.Second {
		t.Errorf("%t %s", d.KeepsDeadline(), d.DefaultDeadline())
	}
	err := d.Expired(context.Canceled)
	if rejection(err) != "deadline expired" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := reg.value(t, names.PolicyRejections, names.Policy, "deadline", names.Cause, "expired"); n != 1 {
		t.Errorf("%v rejections", n)
	}
}
