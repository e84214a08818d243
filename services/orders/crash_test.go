package orders

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
)

var points = []point{atCreated, atReserveAnswered, atReserved, atChargeAnswered, atCharged, atConfirmed,
	atTurned, atRefundAnswered, atReleaseAnswered, atCancelled, atTakenOver}

// inRecovery are the points that recovery passes.
var inRecovery = []point{atTakenOver, atTurned, atRefundAnswered, atReleaseAnswered, atCancelled, atConfirmed}

// stories are ways that a saga goes, which between them reach every point.
var stories = []struct {
	name, card string
	fault      func() func(op, order string) fault
	stock      int64
	second     []point // where the life after the crash crashes too
}{
	{"confirmed", goodCard, func() func(string, string) fault { return nil }, 10, inRecovery},
	{"declined", badCard, func() func(string, string) fault { return nil }, 10, inRecovery[:1]},
	{"out of stock", goodCard, func() func(string, string) fault { return nil }, 0, inRecovery[:1]},
	{"charge unknown", goodCard, func() func(string, string) fault { return once("charge", answerLost) }, 10, inRecovery[:1]},
	{"reserve unknown", goodCard, func() func(string, string) fault { return once("reserve", arrivesLate) }, 10, inRecovery[:1]},
	{"refund fails", goodCard, func() func(string, string) fault {
		charge, refund := once("charge", tooSlow), once("refund", neverArrived)
		return func(op, order string) fault {
			if op == "refund" {
				return refund(op, order)
			}
			return charge(op, order)
		}
	}, 10, inRecovery},
}

// once is a fault of the first call of an operation.
func once(op string, f fault) func(string, string) fault {
	done := false
	return func(at, _ string) fault {
		if at == op && !done {
			done = true
			return f
		}
		return fine
	}
}

// TestCrashAnywhere crashes the process at each point of each story, then the next life at each point of the
// recovery, and wants whole sagas of the third. The customer asks again in the end.
func TestCrashAnywhere(t *testing.T) {
	reached := map[point]bool{}
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			for _, first := range points {
				for _, second := range story.second {
					w := newWorld()
					w.fault, w.stock = story.fault(), story.stock
					c := crash(t, w, story.card, first, second)
					if !c.hitFirst {
						break // the story does not pass there, so there is nothing to recover
					}
					reached[first], reached[second] = true, reached[second] || c.hitSecond
				}
			}
		})
	}
	for _, p := range points {
		if !reached[p] {
			t.Errorf("no crash at %q", p)
		}
	}
}

type crashed struct{ hitFirst, hitSecond bool }

func crash(t *testing.T, w *world, card string, first, second point) crashed {
	t.Helper()
	path := t.TempDir() + "/orders.db"
	inFirst, inSecond := &crashAt{point: first, nth: 1}, &crashAt{point: second, nth: 1}
	one := begin(t, w, path, inFirst)
	answer := one.place(t.Context(), request("k-1", card))
	for range 3 { // recovery in the first life, where the story leaves something to it
		one.recovery.round(t.Context())
	}
	one.db.Close()
	two := begin(t, w, path, inSecond)
	for range 3 {
		two.recovery.round(t.Context())
		if inSecond.hit {
			break
		}
	}
	two.db.Close()
	three := begin(t, w, path, nil)
	three.settle(t, w)
	three.wantSound(t)
	again := three.place(t.Context(), request("k-1", card))
	wantConsistent(t, fmt.Sprintf("crash %q, %q", first, second), answer, again)
	return crashed{inFirst.hit, inSecond.hit}
}

// wantConsistent compares what a customer was told at first with what the same request is told in the end.
func wantConsistent(t *testing.T, when string, first, last placed) {
	t.Helper()
	switch {
	case first.crashed || status.Code(first.err) == codes.Unavailable || status.Code(first.err) == codes.DeadlineExceeded:
		// The customer knows nothing, and anything definite may come.
		if c := status.Code(last.err); c != codes.OK && c != codes.Aborted && c != codes.FailedPrecondition {
			t.Errorf("%s: the last answer is %v", when, last.err)
		}
	case first.err == nil:
		if last.err != nil || last.order.GetId() != first.order.GetId() || last.order.GetState() != "confirmed" {
			t.Errorf("%s: confirmed as %s, but then %v, %v", when, first.order.GetId(), last.order, last.err)
		}
	default:
		if status.Code(last.err) != status.Code(first.err) {
			t.Errorf("%s: told %v, but then %v", when, first.err, last.err)
		}
	}
}

// TestChargedIsConfirmed wants an order that was charged for sure to go on after a crash, for the money is there.
func TestChargedIsConfirmed(t *testing.T) {
	w := newWorld()
	path := t.TempDir() + "/orders.db"
	one := begin(t, w, path, &crashAt{point: atCharged, nth: 1})
	if got := one.place(t.Context(), request("k-1", goodCard)); !got.crashed {
		t.Fatalf("got %v, %v", got.order, got.err)
	}
	one.db.Close()
	two := begin(t, w, path, nil)
	two.settle(t, w)
	two.wantStates(t, map[state]int{confirmed: 1})
	two.wantSound(t)
}

// TestRandomLives places many orders over several lives of the process, with faults, duplicates and crashes at
// random, and then wants every answer that a customer got to hold.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld()
			w.stock = 30
			w.fault = func(string, string) fault { // under the world's lock
				return []fault{neverArrived, answerLost, tooSlow, arrivesLate, shedAtDoor, fine}[min(5, rng.IntN(25))]
			}
			path := t.TempDir() + "/orders.db"
			var told sync.Map // key -> []placed
			const lives, customers, keys = 4, 4, 40
			for n := range lives {
				c := &crashAt{point: points[(int(seed)*lives+n)%len(points)], nth: 8}
				l := begin(t, w, path, c)
				shop(t, l, rand.NewPCG(seed, uint64(100+n)), customers, keys, &told)
				l.db.Close()
			}
			w.fault = nil
			last := begin(t, w, path, nil)
			last.settle(t, w)
			last.wantSound(t)
			wantPromises(t, last, &told)
		})
	}
}

// shop lets customers order at random, several under the same keys, while recovery and publishing go on.
func shop(t *testing.T, l *life, seed *rand.PCG, customers, keys int, told *sync.Map) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var background, wg sync.WaitGroup
	background.Go(func() { _ = l.outbox.Run(ctx) })
	background.Go(func() {
		for ctx.Err() == nil {
			l.recovery.round(ctx)
		}
	})
	base := seed.Uint64()
	for customer := range customers {
		rng := rand.New(rand.NewPCG(base, uint64(customer)))
		wg.Go(func() {
			for range 15 {
				n := rng.IntN(keys)
				key := fmt.Sprint("k-", n)
				got := l.place(ctx, numbered(n))
				old, _ := told.LoadOrStore(key, &promises{})
				old.(*promises).add(got)
			}
		})
	}
	wg.Wait()
	stop()
	background.Wait()
}

// numbered is the request of a key: the same at each time, declined for every fifth.
func numbered(n int) *ordersv1.PlaceOrderRequest {
	card := goodCard
	if n%5 == 0 {
		card = badCard
	}
	return request(fmt.Sprint("k-", n), card)
}

// promises is what customers were told under one key.
type promises struct {
	mu  sync.Mutex
	all []placed
}

func (p *promises) add(got placed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, got)
}

func wantPromises(t *testing.T, l *life, told *sync.Map) {
	t.Helper()
	ok, refused := 0, 0
	for n := range 40 {
		key := fmt.Sprint("k-", n)
		all, found := told.Load(key)
		if !found {
			continue
		}
		last := l.place(t.Context(), numbered(n))
		for _, got := range all.(*promises).all {
			wantConsistent(t, key, got, last)
			if got.err == nil && !got.crashed {
				ok++
			} else if c := status.Code(got.err); c == codes.FailedPrecondition || c == codes.Aborted {
				refused++
			}
		}
	}
	if ok == 0 || refused == 0 {
		t.Errorf("%d confirmations and %d refusals: too tame to show anything", ok, refused)
	}
}
