package parts

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Chromium returns the path of a Chromium, which it installs where that is possible. If there is none, it skips the
// test, or fails it with E2E_NO_SKIP.
func Chromium(t *testing.T) string {
	t.Helper()
	path, err := run(t, "e2e/tools/chromium.sh")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return path
	case errors.As(err, &exit) && exit.ExitCode() == exitUnavailable && os.Getenv("E2E_NO_SKIP") != "1":
		t.Skipf("NO CHROMIUM: e2e/tools/chromium.sh: %v", err)
	default:
		t.Fatalf("e2e/tools/chromium.sh: %v", err)
	}
	return ""
}
