package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const (
	maxBody = 64 << 10
	maxPage = 1_000_000
	maxText = 64 // bytes of an id, a category or a key
)

// decode reads the one JSON value of a body. Unknown fields, a second value, more than
// maxBody bytes and other media types are refused.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if given := r.Header.Get("Content-Type"); given != "" {
		if media, _, err := mime.ParseMediaType(given); err != nil || media != "application/json" {
			return refuse(http.StatusUnsupportedMediaType, "the body must be application/json, not %s", given)
		}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badBody(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, "the body must be one JSON value, and there is more after it")
	}
	return nil
}

// badBody says what is wrong with a body in words for its sender.
func badBody(err error) *problem {
	var (
		tooLong *http.MaxBytesError
		syntax  *json.SyntaxError
		kind    *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", tooLong.Limit)
	case errors.Is(err, io.EOF):
		return refuse(http.StatusBadRequest, "the body is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "the body ends in the middle of its JSON")
	case errors.As(err, &syntax):
		return refuse(http.StatusBadRequest, "the body is not JSON: %s at byte %d", syntax, syntax.Offset)
	case errors.As(err, &kind):
		return refuse(http.StatusBadRequest, "%s must not be a %s", kindPath(kind), kind.Value)
	}
	return refuse(http.StatusBadRequest, "the body does not fit: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func kindPath(err *json.UnmarshalTypeError) string {
	if err.Field == "" {
		return "the body"
	}
	return err.Field
}

// intQuery reads a whole number from the query; missing means otherwise.
func intQuery(r *http.Request, name string, otherwise, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, refuse(http.StatusBadRequest, "%s must be a number from 1 to %d", name, most)
	}
	return n, nil
}

// shortText checks a text that comes from outside.
func shortText(name, text string) error {
	if text == "" || len(text) > maxText {
		return refuse(http.StatusBadRequest, "%s must have 1 to %d bytes", name, maxText)
	}
	for _, c := range []byte(text) {
		if c < ' ' || c == 0x7f {
			return refuse(http.StatusBadRequest, "%s must not contain control characters", name)
		}
	}
	return nil
}

// encode answers with JSON.
func encode(w http.ResponseWriter, code int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(data, '\n')) // a client who has gone is no error of ours
	return nil
}
