package parts

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// Run starts a program that ends with the test, which prints the program's log if it failed.
func Run(t *testing.T, spec process.Spec) *process.Process {
	t.Helper()
	p, err := process.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", spec.Name, p.Log())
		}
	})
	return p
}
