package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestTheVersionIsTheSameEverywhere compares every place that names our version with the file VERSION.
func TestTheVersionIsTheSameEverywhere(t *testing.T) {
	want := strings.TrimSpace(read(t, "../../VERSION"))
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?$`).MatchString(want) {
		t.Fatalf("VERSION: %q is not a version like 1.2.3 or 1.2.3-rc.1", want)
	}
	const aVersion = `["']?([^\s"']+)`
	for _, c := range []struct{ file, before string }{
		{"deploy/helm/envoy-scraper/Chart.yaml", `(?m)^version: `},
		{"deploy/helm/envoy-scraper/Chart.yaml", `(?m)^appVersion: `},
		{"deploy/manifests/daemonset.yaml", `image: envoy-scraper:`},
		{"deploy/manifests/kustomization.yaml", `newTag: `},
	} {
		found := regexp.MustCompile(c.before + aVersion).FindStringSubmatch(read(t, "../../"+c.file))
		if found == nil || found[1] != want {
			t.Errorf("%s: %q is followed by %q, want %s, as in VERSION", c.file, c.before, found, want)
		}
	}
	for _, name := range documents(t) {
		versions := regexp.MustCompile(`envoy-scraper[:-]v?(\d+\.\d+\.\d+)\b`)
		for _, found := range versions.FindAllStringSubmatch(read(t, name), -1) {
			if found[1] != want {
				t.Errorf("%s: %s, want version %s, as in VERSION", name, found[0], want)
			}
		}
	}
}

// TestMakeStampsTheVersion checks the commands that make would run.
func TestMakeStampsTheVersion(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make on this machine")
	}
	_ = read(t, "../../Makefile") // the test cache must know that the result depends on it
	want := strings.TrimSpace(read(t, "../../VERSION"))
	for target, part := range map[string]string{
		"build":   "version.Version=" + want + " ",
		"image":   "-version '" + want + "'",
		"release": "-version '" + want + "'",
	} {
		cmd := exec.Command("make", "-n", target)
		cmd.Dir = "../.."
		cmd.Env = withoutMake(os.Environ())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), part) {
			t.Errorf("make -n %s lacks %q (%v):\n%s", target, part, err, out)
		}
	}
}

// withoutMake removes the variables that a make which runs this test passes to the inner make.
func withoutMake(env []string) (kept []string) {
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if name != "VERSION" && name != "MAKEFLAGS" && name != "MFLAGS" && name != "MAKELEVEL" {
			kept = append(kept, v)
		}
	}
	return kept
}
