package accounts

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAClockThatIsOff(t *testing.T) {
	c := &clock{}
	for _, test := range []struct {
		query string
		want  int
		off   time.Duration
	}{
		{"?off=-90s", 200, -90 * time.Second},
		{"?off=25h", 400, -90 * time.Second},
		{"?off=later", 400, -90 * time.Second},
		{"?off=2m", 200, 2 * time.Minute},
		{"?off=0s", 200, 0},
	} {
		answer := httptest.NewRecorder()
		c.serve(answer, httptest.NewRequest(http.MethodPut, "/clock"+test.query, nil))
		before := time.Now()
		off := c.now().Sub(before)
		if answer.Code != test.want || off < test.off || off > test.off+time.Minute {
			t.Errorf("%s: %d, off by %s; want %d, %s", test.query, answer.Code, off, test.want, test.off)
		}
	}
}
