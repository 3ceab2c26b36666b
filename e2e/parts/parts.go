// Package parts is shared by the end-to-end tests. It builds the real programs (etcd, kube-apiserver, Prometheus,
// Envoy) from pinned sources with the scripts of e2e/tools, which cache them, and envoy-scraper from the root module.
// It also starts and stops them (run.go), waits for conditions (wait.go), and measures how busy the machine is
// (lateness.go).
package parts

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

// exitUnavailable is the exit code of envoy.sh and chromium.sh if the program is not available on this machine.
const exitUnavailable = 3

// Tools builds programs of e2e/tools, or finds them in the cache. It returns their folder.
func Tools(t *testing.T, names ...string) string {
	t.Helper()
	return Script(t, "e2e/tools/build.sh", names...)
}

// Envoy returns the path of a real Envoy. If Envoy is not available, it logs that and returns "". With E2E_NO_SKIP it
// fails the test instead.
func Envoy(t *testing.T) string {
	t.Helper()
	path, err := run(t, "e2e/tools/envoy.sh")
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

// Scraper builds the program under test and returns its path. E2E_SCRAPER may name an existing binary instead.
func Scraper(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("E2E_SCRAPER"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "envoy-scraper")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/envoy-scraper")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build envoy-scraper: %v\n%s", err, out)
	}
	return path
}

// Script runs a build script of the repository and returns the path that the script prints.
func Script(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := run(t, path, args...)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return out
}

// run runs a script and returns its standard output, trimmed. The script's progress on standard error is shown to the
// user.
func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(root(t), path), args...)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	err := cmd.Run()
	return strings.TrimSpace(stdout.String()), err
}

// Output runs a short program. It returns its output, including standard error, and its exit code.
func Output(t *testing.T, env []string, path string, args ...string) (string, int) {
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

// root returns the repository's root folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "envoy-scraper")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no parent folder contains cmd/envoy-scraper")
		}
		dir = parent
	}
}
