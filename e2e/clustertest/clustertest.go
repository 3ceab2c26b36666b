// Package clustertest starts the Kubernetes API of package cluster for a test. It is apart from package cluster because
// the demo runs that one without a test.
package clustertest

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// Start starts a real etcd and kube-apiserver until the test ends. With -short it skips the test.
func Start(t *testing.T) *cluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short: needs the real parts")
	}
	bin := parts.Tools(t, "etcd", "kube-apiserver")
	c, err := cluster.Start(t.Context(), cluster.Config{Bin: bin, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
