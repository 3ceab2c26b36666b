package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
)

// rules returns the relabel rules of the configuration that the demo writes.
func rules(t *testing.T) []*relabel.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy-scraper.yml")
	if err := writeConfig(file, fromList, "pods.json"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Jobs []struct {
			Rules []*relabel.Config `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	for _, r := range config.Jobs[0].Rules {
		if err := r.Validate(model.UTF8Validation); err != nil {
			t.Fatal(err)
		}
	}
	return config.Jobs[0].Rules
}

// TestTheJobChoosesTheSidecars checks that the job keeps one target per sidecar, with the address of its page, and
// nothing else.
func TestTheJobChoosesTheSidecars(t *testing.T) {
	for _, one := range []bool{false, true} {
		cfg := mesh.DefaultConfig()
		cfg.OneAddress = one
		testChoice(t, mesh.New(cfg))
	}
}

func testChoice(t *testing.T, m *mesh.Mesh) {
	if err := m.Listen(); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(t.TempDir(), "pods.json")
	if err := writePods(file, m.Sidecars()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var groups []group
	if err := json.Unmarshal(b, &groups); err != nil {
		t.Fatal(err)
	}

	chosen := map[string]string{}
	for _, g := range groups {
		b := labels.NewBuilder(labels.FromMap(g.Labels))
		b.Set(model.AddressLabel, g.Targets[0])
		if relabel.ProcessBuilder(b, rules(t)...) {
			chosen[b.Get("namespace")+"/"+b.Get("pod_name")] += b.Get(model.AddressLabel)
		}
	}
	want := map[string]string{}
	for _, s := range m.Sidecars() {
		want[s.Namespace+"/"+s.Pod] = s.Addr.String()
	}
	if !maps.Equal(chosen, want) {
		t.Errorf("kept %v, want %v", chosen, want)
	}
	if len(groups) <= len(chosen) {
		t.Error("the list has no target that the rules drop")
	}
}

// TestNativeSidecarsAreInitContainers checks that native sidecars are marked as init containers.
func TestNativeSidecarsAreInitContainers(t *testing.T) {
	for _, s := range mesh.New(mesh.DefaultConfig()).Sidecars() {
		for _, c := range containers(s) {
			if c.name == "istio-proxy" && c.isInit != s.Native {
				t.Errorf("%s: init container %v, want %v", s.Pod, c.isInit, s.Native)
			}
		}
	}
}
