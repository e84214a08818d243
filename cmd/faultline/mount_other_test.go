//go:build !linux

package main

import "errors"

func mount(string, string) error { return errors.New("mounts are for Linux only") }

func unmount(string) error { return nil }
