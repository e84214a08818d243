package chaos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// ParseAsk reads what a fault of the kind admin asks for, "POST /cache/flush", into
// method and path.
func ParseAsk(text string) (method, path string, err error) {
	method, path, _ = strings.Cut(text, " ")
	methods := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	if !slices.Contains(methods, method) || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") {
		return "", "", fmt.Errorf("%q is not a request; write it as POST /path, with %s", text, strings.Join(methods, ", "))
	}
	return method, path, nil
}

func checkAdmin(values parameter.Values) []parameter.Problem {
	var problems []parameter.Problem
	for _, name := range []string{"do", "undo"} {
		if !values.Has(name) {
			continue
		}
		if _, _, err := ParseAsk(values.Text(name)); err != nil {
			problems = append(problems, parameter.Problem{Name: name, Message: err.Error()})
		}
	}
	return problems
}
