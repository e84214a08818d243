package kit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
)

func TestADoorThatIsGivenFewerAndMoreWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, err := NewDoor(DoorConfig{Service: "a", Capacity: Capacity{Workers: 4, Queue: 20}})
		if err != nil {
			t.Fatal(err)
		}
		leave := make(chan struct{})
		inside := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				err := door.Do(t.Context(), func(context.Context) error {
					mu.Lock()
					inside++
					mu.Unlock()
					<-leave
					mu.Lock()
					inside--
					mu.Unlock()
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		now := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if inside != want {
				t.Errorf("%s: %d inside, want %d", when, inside, want)
			}
		}
		now(4, "at first")
		if err := door.SetWorkers(2); err != nil {
			t.Fatal(err)
		}
		now(4, "with two workers, those under way go on")
		leave <- struct{}{}
		leave <- struct{}{}
		now(2, "when two have left")
		leave <- struct{}{}
		now(2, "when a third has left, one comes in")
		if err := door.SetWorkers(5); err != nil {
			t.Fatal(err)
		}
		now(5, "with five workers")
		close(leave)
		all.Wait()
	})
}

func TestServeWorkers(t *testing.T) {
	limited, err := NewDoor(DoorConfig{Service: "a", Capacity: Capacity{Workers: 4}})
	if err != nil {
		t.Fatal(err)
	}
	open, err := NewDoor(DoorConfig{Service: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, query string
		door        *Door
		want        int
	}{
		{"a number", "?workers=2", limited, 200}, {"none", "?workers=0", limited, 400}, {"a word", "?workers=few", limited, 400},
		{"nothing", "", limited, 400}, {"a door without a limit", "?workers=2", open, 400},
	} {
		answer := httptest.NewRecorder()
		c.door.ServeWorkers(answer, httptest.NewRequest(http.MethodPut, "/door"+c.query, nil))
		if answer.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, answer.Code, c.want, answer.Body)
		}
	}
}
