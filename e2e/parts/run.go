package parts

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// Run starts a program and kills it at the end of the test. If the test failed, it logs the program's log.
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
