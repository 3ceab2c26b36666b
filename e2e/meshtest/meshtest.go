// Package meshtest runs the simulated mesh of package mesh for a test, and an envoy-scraper that scrapes it into a real
// Prometheus. The tests of e2e/graphs, e2e/migration, e2e/mixin and e2e/pages use it.
package meshtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// Start serves the pages of a mesh until the test ends, and returns its sidecars.
func Start(t *testing.T, cfg mesh.Config) []mesh.Sidecar {
	t.Helper()
	m := mesh.New(cfg)
	if err := m.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m.Sidecars()
}

// Group is an entry of a file for file_sd_configs.
type Group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// Groups returns an entry for each sidecar, with the labels namespace and pod_name.
func Groups(sidecars []mesh.Sidecar) []Group {
	var groups []Group
	for _, s := range sidecars {
		groups = append(groups, NewGroup(s.Addr.String(), s.Namespace, s.Pod))
	}
	return groups
}

// NewGroup returns an entry for one pod.
func NewGroup(address, namespace, pod string) Group {
	return Group{[]string{address}, map[string]string{"namespace": namespace, "pod_name": pod}}
}

// Scrape runs an envoy-scraper that scrapes the groups and itself, until the test ends. config is its configuration
// without remote_write, as a format: %[1]q is the path of the file with the groups.
func Scrape(t *testing.T, groups []Group, config string, to *receiver.Receiver) {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "pods.json")
	content, err := json.Marshal(groups)
	if err == nil {
		err = os.WriteFile(list, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := agent.Start(t, agent.Config{
		Path: parts.Scraper(t), Dir: dir, Name: "envoy-scraper",
		YAML: fmt.Sprintf(config, list) + fmt.Sprintf("remote_write: [{name: main, url: %q}]\n", to.WriteURL()),
		Args: []string{"--storage.path=" + filepath.Join(dir, "data"), "--self-scrape"},
	})
	a.LogIfFailed(t)
}

// HasData returns nil if a query has a result.
func HasData(ctx context.Context, r *receiver.Receiver, expr string) error {
	vector, err := r.Query(ctx, expr)
	if err == nil && len(vector) == 0 {
		err = errors.New("no data")
	}
	return err
}
