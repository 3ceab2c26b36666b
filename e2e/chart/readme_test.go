package chart

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeCommandRenders renders the chart as the `helm install` command of README would install it.
func TestReadmeCommandRenders(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, found := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), "\n$ helm install ")
	command, _, _ = strings.Cut(command, "\n")
	args := strings.Fields(strings.ReplaceAll(command, "'", ""))
	if !found || len(args) < 3 || args[1] != strings.TrimPrefix(chartDir, "../../") {
		t.Fatalf("README: helm install %v, want a release and the chart", args)
	}
	tl := newTools(t, false)
	args = append([]string{"template", args[0], chartDir}, args[2:]...)
	out, code := tl.runHelm(t, args...)
	const url = "http://prometheus:9090/api/v1/write"
	if code != 0 || !strings.Contains(out, "kind: DaemonSet") || !strings.Contains(out, url) {
		t.Errorf("helm %v: exit code %d:\n%s", args, code, out)
	}
}
