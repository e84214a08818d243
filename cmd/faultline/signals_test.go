package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestAside(t *testing.T) {
	var usual, drawn bytes.Buffer
	a := &aside{out: &usual}
	fmt.Fprint(a, "1")
	back := a.through(&drawn)
	fmt.Fprint(a, "2")
	back()
	fmt.Fprint(a, "3")
	if usual.String() != "13" || drawn.String() != "2" {
		t.Errorf("got %q and %q", usual.String(), drawn.String())
	}
}

func TestPipeTellsThatNobodyReads(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	gone := 0
	p := &pipe{Writer: writer, gone: func() { gone++ }}
	if _, err := p.Write([]byte("read")); err != nil || gone != 0 {
		t.Errorf("with a reader: %v, gone %d", err, gone)
	}
	_ = reader.Close()
	if _, err := p.Write([]byte("unread")); !errors.Is(err, syscall.EPIPE) || gone != 1 {
		t.Errorf("without: %v, gone %d", err, gone)
	}
}
