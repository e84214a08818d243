package plan

import (
	"net/http"
	clock "time"
)

type times struct{}

func (times) Now() {}

func now() any {
	var time times
	time.Now()
	_ = http.MethodGet
	return clock.Now()
}
