package report_test

import (
	"path/filepath"
	"testing"

	"github.com/faultline-lab/faultline/internal/golden"
)

// goldenFile compares with a file under testdata, or with -update rewrites it.
func goldenFile(t *testing.T, name string, got []byte) {
	t.Helper()
	golden.Equal(t, filepath.Join("testdata", name), string(got))
}
