package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// exitUnavailable is envoy.sh's way to say that Envoy cannot be had on this machine.
const exitUnavailable = 3

// buildTools builds etcd, kube-apiserver, kubectl and Prometheus, or finds them in the cache. It returns
// their folder.
func buildTools(t *testing.T) string {
	t.Helper()
	return script(t, "tools/build.sh", "etcd", "prometheus", "kubectl", "kube-apiserver")
}

// fetchEnvoy returns the path of a real Envoy. Where it cannot be had it returns "", loudly, and fails the
// test where E2E_NO_SKIP says that nothing may be skipped.
func fetchEnvoy(t *testing.T) string {
	t.Helper()
	path, err := run(t, "tools/envoy.sh")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return path
	case errors.As(err, &exit) && exit.ExitCode() == exitUnavailable && os.Getenv("E2E_NO_SKIP") != "1":
		t.Logf("NO REAL ENVOY: %v", err)
		return ""
	default:
		t.Fatal(err)
		return ""
	}
}

// buildScraper builds the program under test from the module above this one. E2E_SCRAPER names a binary that
// is there already.
func buildScraper(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("E2E_SCRAPER"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "envoy-scraper")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/envoy-scraper")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build envoy-scraper: %v\n%s", err, out)
	}
	return path
}

func script(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := run(t, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run runs a program whose progress, on standard error, the reader of the test may watch. It returns the
// standard output, trimmed.
func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	err := cmd.Run()
	return strings.TrimSpace(stdout.String()), err
}

// output runs a short program and returns what it wrote, standard error too, and its exit code.
func output(t *testing.T, env []string, path string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", path, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// eventually calls check until it returns nil, and fails the test when it has not within the time.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	start := time.Now()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			t.Logf("%s: after %v", what, time.Since(start).Round(100*time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}
